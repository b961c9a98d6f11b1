//! The settings of a node, a small struct for each area.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::address::Address;
use super::error::Origin;
use super::etcd::ClusterConfig;
use super::topic::TopicSettings;
use super::units::{ByteSize, Span};
use super::value::{Value, ValueError, word};

/// All settings of a node, and where each came from.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Who this node is.
    pub node: NodeConfig,
    /// Where it is reached, and what a connection may use.
    pub network: NetworkConfig,
    /// Which cluster it belongs to.
    pub cluster: ClusterConfig,
    /// How it stores.
    pub storage: StorageConfig,
    /// Topics: what holds for those that do not say otherwise.
    pub topics: TopicsConfig,
    /// What it says about itself.
    pub log: LogConfig,
    /// What may be made to go wrong.
    pub faults: FaultsConfig,
    /// By name of the setting; absent where the default stands.
    pub(super) origins: BTreeMap<&'static str, Origin>,
}

impl Config {
    /// The number of this node, if somebody has said it.
    pub fn own_node_id(&self) -> Option<u32> {
        self.origins.contains_key("node.id").then_some(self.node.id)
    }
}

/// Section `node`.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Number of this node in its cluster.
    pub id: u32,
    /// The data directory.
    pub data: PathBuf,
    /// Whether that is a place for the directories of several nodes, of which this one takes one.
    pub claim_data: bool,
    /// Shards, each with a core's thread of its own.
    pub shards: ShardCount,
    /// How long a stopping node waits for its streams to end.
    pub drain_timeout: Span,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            id: 1,
            data: "./forebay-data".into(),
            claim_data: false,
            shards: ShardCount::PerCore,
            drain_timeout: Span::from_millis(10_000),
        }
    }
}

/// How many shards a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardCount {
    /// As many as the process may use cores.
    PerCore,
    /// This many.
    Fixed(u32),
}

impl ShardCount {
    /// Shards of one node, at most.
    pub const MAX: u32 = 512;

    /// The number, at least 1.
    pub fn resolve(self) -> u32 {
        match self {
            Self::Fixed(shards) => shards,
            Self::PerCore => std::thread::available_parallelism()
                .ok()
                .and_then(|cores| u32::try_from(cores.get()).ok())
                .map_or(1, |cores| cores.min(Self::MAX)),
        }
    }
}

impl Value for ShardCount {
    const KIND: &'static str = "`auto` or a number from 1 to 512";

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text.parse() {
            Ok(shards) if (1..=Self::MAX).contains(&shards) => Ok(Self::Fixed(shards)),
            _ => word(text, Self::KIND, &[(AUTO, Self::PerCore)]),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::PerCore => AUTO.to_owned(),
            Self::Fixed(shards) => shards.to_string(),
        }
    }
}

/// The text of what the node finds out by itself.
const AUTO: &str = "auto";

/// Section `network`.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// gRPC, any shard. Shard `i` alone is on the `i + 1`-th port after it.
    pub listen: Address,
    /// HTTP: metrics, health, version.
    pub http: Address,
    /// Where clients and other nodes find `listen`.
    pub advertise: Advertise,
    /// Connections that a shard serves at a time; more wait to be accepted.
    pub connections_per_shard: u32,
    /// Batches of one connection that were taken and not yet answered; more wait.
    pub in_flight_per_connection: ByteSize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            listen: Address::new("127.0.0.1", 7400),
            http: Address::new("127.0.0.1", 7480),
            advertise: Advertise(None),
            connections_per_shard: 10_000,
            in_flight_per_connection: ByteSize::new(64 << 20),
        }
    }
}

/// The address that a node tells others, where it is not the one it listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise(pub Option<Address>);

impl Value for Advertise {
    const KIND: &'static str = "`auto` or HOST:PORT";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text == AUTO { Ok(Self(None)) } else { Address::parse(text).map(|a| Self(Some(a))) }
    }

    fn show(&self) -> String {
        self.0.as_ref().map_or_else(|| AUTO.to_owned(), Address::to_string)
    }
}

/// Section `storage`.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// When acknowledged batches are made durable.
    pub fsync: FsyncPolicy,
    /// Buffers and caches of one shard.
    pub memory_per_shard: ByteSize,
    /// Produce is refused while the disk has less free space than this.
    pub disk_reserve: ByteSize,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            fsync: FsyncPolicy::Batch,
            memory_per_shard: ByteSize::new(512 << 20),
            disk_reserve: ByteSize::new(1 << 30),
        }
    }
}

/// When the node tells the disk to make durable what it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// After each group of batches, before any of them is acknowledged.
    Batch,
    /// At this interval. Answers that promise durability wait for it.
    Interval(Span),
}

impl fmt::Display for FsyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.pad("batch"),
            Self::Interval(span) => write!(f, "interval:{span}"),
        }
    }
}

impl Value for FsyncPolicy {
    const KIND: &'static str = "`batch` or `interval:50ms`";

    fn parse(text: &str) -> Result<Self, ValueError> {
        match text.strip_prefix("interval:") {
            Some(span) => match Span::parse(span)? {
                span if span.as_millis() == 0 => Err(ValueError::form(Self::KIND, text)),
                span => Ok(Self::Interval(span)),
            },
            None => word(text, Self::KIND, &[("batch", Self::Batch)]),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Section `topics`.
#[derive(Debug, Clone)]
pub struct TopicsConfig {
    /// Whether producing to a topic that does not exist creates it, with one partition.
    pub auto_create: bool,
    /// For topics that do not say otherwise.
    pub defaults: TopicSettings,
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self { auto_create: true, defaults: TopicSettings::default() }
    }
}

/// Section `faults`.
#[derive(Debug, Clone, Default)]
pub struct FaultsConfig {
    /// Whether people may inject faults on purpose.
    pub enabled: bool,
}

/// Section `log`.
#[derive(Debug, Clone, Default)]
pub struct LogConfig {
    /// How a line of the log looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Value for LogFormat {
    const KIND: &'static str = "auto, text or json";

    fn parse(text: &str) -> Result<Self, ValueError> {
        const WORDS: [(&str, LogFormat); 3] =
            [(AUTO, LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        word(text, Self::KIND, &WORDS)
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => AUTO,
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}
