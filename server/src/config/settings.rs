//! The table of all settings: name, meaning, and how text gets in and out. One row per setting; nothing
//! else in the crate knows their names.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use forebay_format::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_MAX};
use forebay_replication::quorum::VOTERS_MAX;

use super::node::Config;
use super::topic::TopicSettings;
use super::units::{ByteSize, Span};
use super::value::{Value, ValueError};

/// A setting of a `T`.
pub struct Setting<T> {
    /// `section.key`; for a topic just the key.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// What its value looks like.
    pub kind: &'static str,
    /// The least and the greatest value that is taken, where there are such.
    pub range: fn() -> Option<(String, String)>,
    /// Takes the text of a value.
    pub set: fn(&mut T, &str) -> Result<(), ValueError>,
    /// The text of the value.
    pub show: fn(&T) -> String,
}

impl<T> fmt::Debug for Setting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A row: name, place in the struct, meaning, and the range where there is one.
macro_rules! setting {
    (@range) => { None };
    (@range $range:expr) => { Some(($range.start().show(), $range.end().show())) };
    ($name:literal, $($place:ident).+: $type:ty, $help:literal $(, $range:expr)?) => {
        Setting {
            name: $name,
            help: $help,
            kind: <$type as Value>::KIND,
            range: || setting!(@range $($range)?),
            set: |settings, text| {
                let value = <$type as Value>::parse(text)?;
                $(check(&value, &$range)?;)?
                settings.$($place).+ = value;
                Ok(())
            },
            show: |settings| settings.$($place).+.show(),
        }
    };
}

/// Whether a value lies in the range of its setting. What is absent has no limit.
fn check<V: InRange>(value: &V, range: &RangeInclusive<V::Number>) -> Result<(), ValueError> {
    match value.number() {
        Some(number) if !range.contains(number) => Err(ValueError::Range {
            least: range.start().show(),
            most: range.end().show(),
            found: number.show(),
        }),
        _ => Ok(()),
    }
}

/// A value that has a number to compare.
trait InRange {
    type Number: Value + PartialOrd;

    fn number(&self) -> Option<&Self::Number>;
}

macro_rules! in_range {
    ($($type:ty),+) => {$(
        impl InRange for $type {
            type Number = Self;

            fn number(&self) -> Option<&Self> {
                Some(self)
            }
        }
    )+};
}
in_range!(u32, ByteSize, Span);

impl<V: InRange<Number = V>> InRange for Option<V>
where
    V: Value + PartialOrd,
{
    type Number = V;

    fn number(&self) -> Option<&V> {
        self.as_ref()
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1000;
const DAY: u64 = 24 * 60 * 60 * SECOND;

const fn size(range: (u64, u64)) -> RangeInclusive<ByteSize> {
    ByteSize::new(range.0)..=ByteSize::new(range.1)
}

const fn span(range: (u64, u64)) -> RangeInclusive<Span> {
    Span::from_millis(range.0)..=Span::from_millis(range.1)
}

/// Not much less than a segment, which is what is deleted at a time; none is another word.
const RETENTION_SIZE: RangeInclusive<ByteSize> = size((MIB, 1024 * 1024 * GIB));
const RETENTION_TIME: RangeInclusive<Span> = span((SECOND, 36_500 * DAY));
const SEGMENT_SIZE: RangeInclusive<ByteSize> = size((16 * MIB, SEGMENT_BYTES_MAX));
const BATCH_SIZE: RangeInclusive<ByteSize> = size((4 * KIB, BATCH_BYTES_MAX as u64));
/// As many as can vote.
const MIN_REPLICAS: RangeInclusive<u32> = 1..=5;
const _: () = assert!(*MIN_REPLICAS.end() as usize == VOTERS_MAX);

/// The settings that a topic can have of its own. A node's file has them in its section `topics`, where
/// they are the defaults.
pub fn topic_settings() -> &'static [Setting<TopicSettings>] {
    use super::topic::WriteConcern;
    static TABLE: [Setting<TopicSettings>; 7] = [
        setting!("retention_size", retention_size: Option<ByteSize>,
            "The oldest segments of a partition are deleted while it is larger than this. \
             `none`: never.", RETENTION_SIZE),
        setting!("retention_time", retention_time: Option<Span>,
            "A segment is deleted when its last batch was appended longer ago than this. \
             `none`: never.", RETENTION_TIME),
        setting!("segment_size", segment_size: ByteSize,
            "A segment file that has reached this size is closed, and a new one begun.", SEGMENT_SIZE),
        setting!("segment_age", segment_age: Span,
            "The same for a segment whose first batch is this old, so that the retention of a quiet \
             topic works.", span((SECOND, 365 * DAY))),
        setting!("max_batch_size", max_batch_size: ByteSize,
            "The largest batch that is taken, its header included.", BATCH_SIZE),
        setting!("write_concern", write_concern: WriteConcern,
            "When a batch is acknowledged that does not say so itself."),
        setting!("min_replicas", min_replicas: u32,
            "A partition takes no writes while fewer of its replicas are live. At least a majority of \
             those that vote, at most all of them.", MIN_REPLICAS),
    ];
    &TABLE
}

/// How a node is one of several.
fn cluster_settings() -> [Setting<Config>; 10] {
    use super::{Endpoints, KeyPrefix, Secret};
    use std::path::PathBuf;
    [
        setting!("cluster.etcd.endpoints", cluster.etcd.endpoints: Endpoints,
            "The members of the etcd that holds the cluster's common state. `none`: this node is \
             alone."),
        setting!("cluster.etcd.prefix", cluster.etcd.prefix: KeyPrefix,
            "All keys of the cluster begin with it. Clusters that share an etcd need different ones."),
        setting!("cluster.etcd.ca", cluster.etcd.ca: Option<PathBuf>,
            "A file in PEM with the authorities that the certificates of etcd are checked \
             against. Needed with `https`."),
        setting!("cluster.etcd.cert", cluster.etcd.cert: Option<PathBuf>,
            "A file in PEM with the certificate that this node shows to etcd."),
        setting!("cluster.etcd.key", cluster.etcd.key: Option<PathBuf>,
            "A file in PEM with the private key of `cluster.etcd.cert`."),
        setting!("cluster.etcd.user", cluster.etcd.user: Option<String>,
            "A user of etcd, where it asks for one."),
        setting!("cluster.etcd.password", cluster.etcd.password: Option<Secret>,
            "The password of `cluster.etcd.user`. Better in the environment than in a file."),
        setting!("cluster.etcd.lease_ttl", cluster.etcd.lease_ttl: Span,
            "A node that etcd has heard nothing of for this long leads nothing any more. etcd \
             counts in seconds.", span((2 * SECOND, 300 * SECOND))),
        setting!("cluster.etcd.request_timeout", cluster.etcd.request_timeout: Span,
            "How long a member of etcd may take to connect, and to answer, before the next is tried.",
            span((100, 60 * SECOND))),
        setting!("cluster.trace", cluster.trace: Option<PathBuf>,
            "A directory in which is written down what each replica is told and wants done, in lines of \
             JSON, to look for a fault. The node is slow meanwhile, and the files grow without a limit."),
    ]
}

/// When other nodes seem healthy, and when not.
fn health_settings() -> [Setting<Config>; 3] {
    [
        setting!("cluster.heartbeat_interval", cluster.heartbeat_interval: Span,
            "How often each other node is asked whether it answers. A heartbeat that is not answered \
             before the next is missed.", span((100, 60 * SECOND))),
        setting!("cluster.suspected_after", cluster.suspected_after: u32,
            "A node that has missed so many heartbeats in a row is shown as suspected.", 1..=1_000),
        setting!("cluster.unhealthy_after", cluster.unhealthy_after: u32,
            "A node that has missed so many is shown as unhealthy, and reconnects to it are spaced out. \
             It is healthy again with its first answer.", 1..=1_000),
    ]
}

/// What holds for topics that say nothing else.
fn default_topic_settings() -> [Setting<Config>; 8] {
    use super::WriteConcern;
    [
        setting!("topics.auto_create", topics.auto_create: bool,
            "Whether producing to a topic that does not exist creates it, with one partition."),
        setting!("topics.retention_size", topics.defaults.retention_size: Option<ByteSize>,
            "For topics without a `retention_size` of their own.", RETENTION_SIZE),
        setting!("topics.retention_time", topics.defaults.retention_time: Option<Span>,
            "For topics without a `retention_time` of their own.", RETENTION_TIME),
        setting!("topics.segment_size", topics.defaults.segment_size: ByteSize,
            "For topics without a `segment_size` of their own.", SEGMENT_SIZE),
        setting!("topics.segment_age", topics.defaults.segment_age: Span,
            "For topics without a `segment_age` of their own.", span((SECOND, 365 * DAY))),
        setting!("topics.max_batch_size", topics.defaults.max_batch_size: ByteSize,
            "For topics without a `max_batch_size` of their own.", BATCH_SIZE),
        setting!("topics.write_concern", topics.defaults.write_concern: WriteConcern,
            "For topics without a `write_concern` of their own."),
        setting!("topics.min_replicas", topics.defaults.min_replicas: u32,
            "For topics without a `min_replicas` of their own. One with a larger majority takes that \
             instead, one with fewer replicas all that it has.", MIN_REPLICAS),
    ]
}

/// What no node has that is to keep records.
fn faults_setting() -> Setting<Config> {
    setting!("faults.enabled", faults.enabled: bool,
        "Whether faults can be injected on purpose (`forebay cluster fault`), by whoever reaches \
         this node. For tests. A node that is to keep records must not have it.")
}

/// What a node is, and has.
fn node_settings() -> [Setting<Config>; 5] {
    use super::node::ShardCount;
    use std::path::PathBuf;
    [
        setting!("node.id", node.id: u32,
            "The number of this node in its cluster. A node that is one of several and has none set \
             is given one, and keeps it."),
        setting!("node.data", node.data: PathBuf,
            "The directory of everything that this node stores. Created when missing. It must lie \
             on a filesystem with direct I/O, such as ext4 or XFS."),
        setting!("node.claim_data", node.claim_data: bool,
            "Whether `node.data` is a place that several nodes share. A node takes the first directory \
             in it that no other process uses, or makes one, and is the node whose data that \
             holds. Needs `cluster.etcd.endpoints`, and no `node.id`."),
        setting!("node.shards", node.shards: ShardCount,
            "Threads that own partitions and serve connections. `auto`: one per core. May change \
             between restarts."),
        setting!("node.drain_timeout", node.drain_timeout: Span,
            "How long a node that was told to stop waits for its streams to end.",
            span((0, 600 * SECOND))),
    ]
}

/// All settings of a node.
pub fn settings() -> &'static [Setting<Config>] {
    use super::Address;
    use super::node::{Advertise, FsyncPolicy, LogFormat};
    static TABLE: LazyLock<Vec<Setting<Config>>> = LazyLock::new(|| {
        let mut table: Vec<Setting<Config>> = node_settings().into();
        let network: Vec<Setting<Config>> = vec![
            setting!("network.listen", network.listen: Address,
                "Where gRPC is served, by all shards. Shard `i` alone is on the port `i + 1` after \
                 it. Port 0: the system chooses, for each."),
            setting!("network.http", network.http: Address,
                "Where `/metrics`, `/healthz`, `/readyz` and `/version` are served."),
            setting!("network.advertise", network.advertise: Advertise,
                "The address that clients are told for `network.listen`; the ports of the shards \
                 follow it likewise. `auto`: as `network.listen`; nothing where that is a wildcard such \
                 as `0.0.0.0`, and clients stay with the address that they have."),
            setting!("network.connections_per_shard", network.connections_per_shard: u32,
                "Connections that a shard serves at a time. Further ones wait to be accepted.",
                1..=1_000_000),
            setting!("network.in_flight_per_connection", network.in_flight_per_connection: ByteSize,
                "Bytes of batches of one connection that were taken and are not yet answered. A \
                 stream whose next batch does not fit is not read from until answers have gone out.",
                size((4 * MIB, 4 * GIB))),
        ];
        table.extend(network);
        table.extend(health_settings());
        table.extend(cluster_settings());
        let storage: [Setting<Config>; 3] = [
            setting!("storage.fsync", storage.fsync: FsyncPolicy,
                "`batch`: every answer that promises anything waits for fdatasync. \
                 `interval:50ms`: fdatasync is delayed by up to that; write concern `leader` is \
                 then answered before, and the answer says that it is not durable yet."),
            setting!("storage.memory_per_shard", storage.memory_per_shard: ByteSize,
                "Memory of one shard for buffers and for the most recent batches. What consumers \
                 read from the disk comes on top.",
                size((32 * MIB, 1024 * GIB))),
            setting!("storage.disk_reserve", storage.disk_reserve: ByteSize,
                "Produce is refused while the disk has less free space than this; reads go on.",
                size((16 * MIB, 1024 * GIB))),
        ];
        table.extend(storage);
        table.extend(default_topic_settings());
        table.push(setting!("log.format", log.format: LogFormat,
                "Lines of the log. `auto`: text on a terminal, JSON otherwise. `RUST_LOG` chooses \
                 what is logged."));
        table.push(faults_setting());
        table
    });
    &TABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        let mut config = Config::default();
        for setting in settings() {
            let shown = (setting.show)(&config);
            assert_eq!((setting.set)(&mut config, &shown), Ok(()), "{}", setting.name);
            assert_eq!((setting.show)(&config), shown);
        }
    }

    #[test]
    fn every_topic_setting_has_a_default_of_the_same_name() {
        for setting in topic_settings() {
            let name = format!("topics.{}", setting.name);
            assert!(settings().iter().any(|other| other.name == name), "{name}");
        }
    }

    fn value(kind: &str, range: Option<(String, String)>) -> String {
        range.map_or_else(|| kind.to_owned(), |(least, most)| format!("{kind}: {least} to {most}"))
    }

    #[test]
    fn the_documentation_holds_every_setting_with_kind_and_default() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
        let page = std::fs::read_to_string(path).expect("docs/CONFIGURATION.md");
        let config = Config::default();
        for setting in settings() {
            let (name, help) = (setting.name, setting.help);
            let value = value(setting.kind, (setting.range)());
            let row = format!("| `{name}` | `{}` | {value} | {help} |", (setting.show)(&config));
            assert!(page.lines().any(|line| line == row), "docs/CONFIGURATION.md lacks\n{row}");
        }
        for setting in topic_settings() {
            let value = value(setting.kind, (setting.range)());
            let row = format!("| `{}` | {value} | {} |", setting.name, setting.help);
            assert!(page.lines().any(|line| line == row), "docs/CONFIGURATION.md lacks\n{row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(
            rows,
            settings().len() + topic_settings().len(),
            "a row of a setting that is gone"
        );
    }
}
