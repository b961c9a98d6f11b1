//! The words of the command line, and their help texts.
//!
//! Not here: what they do. Each command takes its own struct of this file.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use forebay_client::{NodeId, ReadFrom};

use crate::{duration, output::Format, range::Range};

/// A commit log that you reach with gRPC: an acknowledged record is on stable storage.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 error, 2 usage, 3 a condition is false, 4 unreachable or timed out, \
                        130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Serve(Serve),
    /// Create, look at, fill and read topics
    #[command(subcommand)]
    Topic(Topic),
    /// Ask one node whether it serves, for health checks: exit code 3 when it does not
    Ready(Ready),
    /// See how a cluster is, and move its leaders
    #[command(subcommand)]
    Cluster(Cluster),
    /// Print a script that completes this command line in your shell
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// Flags go before the environment (`FOREBAY_SECTION__KEY`), which goes before the file.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration file, in TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the data is kept [default: ./forebay-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Take a directory in --data that no other process uses, or make one, and be the node whose data it
    /// holds: for several nodes of a cluster that share one volume
    #[arg(long)]
    pub(crate) claim_data: bool,
    /// Where gRPC clients connect; each shard also listens on a port of its own that follows this one
    /// [default: 127.0.0.1:7400]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where metrics and health are served [default: 127.0.0.1:7480, or behind the ports of more than 79 shards]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) http: Option<String>,
    /// How many shards, each with a core of its own [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// This node's number
    #[arg(long, value_name = "ID")]
    pub(crate) node_id: Option<String>,
    /// The etcd of the cluster that this node belongs to, as http://HOST:PORT,… [default: the node is alone]
    #[arg(long, value_name = "URL,URL")]
    pub(crate) etcd: Option<String>,
    /// The address that clients are told, where it differs from the one listened on
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Ready {
    /// The node's HTTP port
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7480")]
    pub(crate) http: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// Make a topic
    Create(Create),
    /// List the topics
    List(List),
    /// Show a topic's partitions, leaders and offsets
    Describe(Describe),
    /// Delete topics, with all their records
    Delete(Delete),
    /// Append records that are read from standard input
    Produce(Produce),
    /// Print records
    Consume(Consume),
}

/// How a node is reached.
#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// Nodes to begin with; any of them will do
    #[arg(
        long,
        env = "FOREBAY_ENDPOINT",
        value_name = "HOST:PORT[,…]",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    pub(crate) endpoint: Vec<String>,
}

/// How data is printed.
#[derive(Debug, Args)]
pub(crate) struct Print {
    /// How data is printed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The topic's name: up to 249 letters, digits, dots, dashes and underscores
    pub(crate) name: String,
    /// How many partitions
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: u32,
    /// On how many nodes, or `all`: on every one, also on those that join later; at most five replicas vote,
    /// further ones serve reads [default: the server's]
    #[arg(long, value_name = "N|all", value_parser = factor)]
    pub(crate) replication_factor: Option<Factor>,
    /// A setting of the topic, such as `retention_size=4GiB`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// On how many nodes a partition is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Factor {
    Replicas(u32),
    All,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// The topic
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The topics
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Args)]
pub(crate) struct Produce {
    /// The topic; made on first use where the server allows it
    pub(crate) topic: String,
    /// How a record is written: %v value, %k key, %% a percent sign; \n \t \r \0 \\ \xHH as usual
    #[arg(short = 'f', value_name = "PATTERN", default_value = r"%v\n")]
    pub(crate) pattern: String,
    /// The partition [default: by key, and without a key whichever is convenient]
    #[arg(long, short, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// The key of every record
    #[arg(long, short, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// How many replicas hold a batch fsynced before it counts as acknowledged: none, leader, quorum, all,
    /// or a number [default: the topic's]
    #[arg(long, value_name = "WHO", value_parser = acks)]
    pub(crate) acks: Option<Acks>,
    /// Give up on a batch that is not acknowledged in this time [default: try without end]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Print the sum alone, not a line per batch
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

/// Whom an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acks {
    None,
    Leader,
    Quorum,
    All,
    Replicas(u32),
}

#[derive(Debug, Args)]
pub(crate) struct Consume {
    /// The topic
    pub(crate) topic: String,
    /// Where to begin: start, end, an offset, +N after the start, -N before the end, @-1h an hour ago;
    /// with :end after it, stop at today's end
    #[arg(
        short = 'o',
        long = "offset",
        value_name = "PLACE",
        default_value = "start",
        allow_hyphen_values = true
    )]
    pub(crate) range: Range,
    /// Stop after so many records
    #[arg(short = 'n', long = "num", value_name = "N")]
    pub(crate) count: Option<u64>,
    /// A partition to read; may be repeated [default: all]
    #[arg(long = "partition", short, value_name = "N")]
    pub(crate) partitions: Vec<u32>,
    /// Which replicas to read from: leader, any (consumers spread over them), or the number of a node
    #[arg(long, value_name = "WHO", default_value = "leader", value_parser = read_from)]
    pub(crate) from: ReadFrom,
    /// How a record is printed: %v value, %k key, %t topic, %p partition, %o offset, %d time in
    /// milliseconds, %h headers, %V and %K sizes of value and key in bytes, %% a percent sign;
    /// \n \t \r \0 \\ \xHH as usual
    #[arg(short = 'f', value_name = "PATTERN", default_value = r"%v\n", conflicts_with = "format")]
    pub(crate) pattern: String,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Say whether the cluster is as it should be, and what is not; exit code 3 when it is not
    Health(Look),
    /// Show what the cluster is and how large
    Info(Look),
    /// List the nodes
    Members(Look),
    /// List what has happened
    Events(Events),
    /// Have a partition led by another replica, without losing anything
    TransferLeader(TransferLeader),
    /// Have a partition led by a replica that may lack acknowledged records
    ForceLeader(ForceLeader),
    /// Confirm a partition's metadata after etcd went back in time (`METADATA_ROLLED_BACK`)
    ConfirmMetadata(ConfirmMetadata),
    /// Have something go wrong on purpose, at a node that was started with faults.enabled
    #[command(subcommand)]
    Fault(Fault),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Fault {
    /// Messages between the node and a peer are late, and what is behind them waits too
    Delay {
        #[command(flatten)]
        messages: Messages,
        /// How late
        #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "50ms")]
        delay: Duration,
    },
    /// Messages are kept back until the last of them is there, or the faults are cleared
    Pause(Messages),
    /// Messages are swallowed, and nobody is told
    Drop(Messages),
    /// The next fdatasync of a segment fails, as of a disk that is lost: the node ends
    Fsync(FaultOf),
    /// List the node's faults
    List(Asked),
    /// End all of the node's faults; what is kept back goes on
    Clear(Asked),
}

/// A call of one node.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Args)]
pub(crate) struct FaultOf {
    /// How many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    #[command(flatten)]
    pub(crate) asked: Asked,
}

/// Messages of replicas between the node that is asked and another one.
#[derive(Debug, Args)]
pub(crate) struct Messages {
    /// The other node
    #[arg(long, value_name = "NODE")]
    pub(crate) peer: u32,
    /// Which way, as the node that is asked sees it
    #[arg(long, value_enum, default_value_t = Direction::Both)]
    pub(crate) direction: Direction,
    #[command(flatten)]
    pub(crate) fault: FaultOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Direction {
    In,
    Out,
    Both,
}

/// A look at the cluster.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Look again and again, and print what has changed
    #[arg(long, short)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only the last so many
    #[arg(short = 'n', long = "num", value_name = "N")]
    pub(crate) count: Option<usize>,
    #[command(flatten)]
    pub(crate) look: Look,
}

/// A partition, written TOPIC/NUMBER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicPartition {
    pub(crate) topic: String,
    pub(crate) partition: u32,
}

#[derive(Debug, Args)]
pub(crate) struct TransferLeader {
    /// The partition, for example orders/2
    #[arg(value_name = "TOPIC/PARTITION", value_parser = topic_partition)]
    pub(crate) place: TopicPartition,
    /// The node that shall lead [default: whichever holds most]
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<u32>,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Args)]
pub(crate) struct ForceLeader {
    /// The partition, for example orders/2
    #[arg(value_name = "TOPIC/PARTITION", value_parser = topic_partition)]
    pub(crate) place: TopicPartition,
    /// The node that shall lead, with the log that it has
    #[arg(long, value_name = "NODE")]
    pub(crate) node: u32,
    /// Do it; without this, only what may be lost is said
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

#[derive(Debug, Args)]
pub(crate) struct ConfirmMetadata {
    /// The partition, for example orders/2
    #[arg(value_name = "TOPIC/PARTITION", value_parser = topic_partition)]
    pub(crate) place: TopicPartition,
    /// The node whose memory is right [default: whichever remembers the newest state]
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<u32>,
    #[command(flatten)]
    pub(crate) connect: Connect,
    #[command(flatten)]
    pub(crate) print: Print,
}

fn topic_partition(text: &str) -> Result<TopicPartition, String> {
    let parts = text.rsplit_once('/').filter(|(topic, _)| !topic.is_empty());
    let parsed = parts.and_then(|(topic, number)| Some((topic, number.parse().ok()?)));
    let (topic, partition) =
        parsed.ok_or("a partition is written TOPIC/NUMBER, for example orders/2")?;
    Ok(TopicPartition { topic: topic.to_owned(), partition })
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a setting is written KEY=VALUE, for example retention_size=4GiB".to_owned()),
    }
}

fn factor(text: &str) -> Result<Factor, String> {
    match (text, text.parse()) {
        ("all", _) => Ok(Factor::All),
        (_, Ok(replicas @ 1..)) => Ok(Factor::Replicas(replicas)),
        _ => Err("expected a number of nodes, or all".to_owned()),
    }
}

fn read_from(text: &str) -> Result<ReadFrom, String> {
    Ok(match (text, text.parse()) {
        ("leader", _) => ReadFrom::Leader,
        ("any", _) => ReadFrom::Any,
        (_, Ok(node)) => ReadFrom::Node(NodeId::new(node)),
        _ => return Err("expected leader, any, or the number of a node".to_owned()),
    })
}

fn acks(text: &str) -> Result<Acks, String> {
    Ok(match text {
        "none" => Acks::None,
        "leader" => Acks::Leader,
        "quorum" => Acks::Quorum,
        "all" => Acks::All,
        _ => match text.parse() {
            Ok(replicas @ 1..) => Acks::Replicas(replicas),
            _ => {
                return Err(
                    "expected none, leader, quorum, all, or a number of replicas".to_owned()
                );
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        Arguments::command().debug_assert();
    }

    fn consume(arguments: &[&str]) -> Result<Consume, clap::Error> {
        let all = ["forebay", "topic", "consume", "orders"].iter().chain(arguments);
        match Arguments::try_parse_from(all)?.command {
            Command::Topic(Topic::Consume(consume)) => Ok(consume),
            other => panic!("not consume: {other:?}"),
        }
    }

    #[test]
    fn a_place_may_begin_with_a_dash() {
        assert_eq!(consume(&["-o", "-5"]).unwrap().range, "-5".parse().unwrap());
        assert_eq!(consume(&["-o", ":end", "-n", "3"]).unwrap().count, Some(3));
    }

    #[test]
    fn a_pattern_and_a_format_contradict_each_other() {
        assert!(consume(&["-f", "%v", "--format", "json"]).is_err());
        assert_eq!(consume(&["--format", "json"]).unwrap().print.format, Format::Json);
    }

    #[test]
    fn several_endpoints_are_written_with_commas() {
        let connect = consume(&["--endpoint", "a:1,b:2"]).unwrap().connect;
        assert_eq!(connect.endpoint, ["a:1", "b:2"]);
    }

    #[test]
    fn replicas_to_read_from_are_a_word_or_a_node() {
        assert_eq!(consume(&[]).unwrap().from, ReadFrom::Leader);
        assert_eq!(consume(&["--from", "any"]).unwrap().from, ReadFrom::Any);
        assert_eq!(consume(&["--from", "3"]).unwrap().from, ReadFrom::Node(NodeId::new(3)));
        assert!(consume(&["--from", "near"]).is_err());
    }

    #[test]
    fn a_factor_is_a_number_or_all() {
        assert_eq!(factor("all"), Ok(Factor::All));
        assert_eq!(factor("3"), Ok(Factor::Replicas(3)));
        assert!(factor("0").is_err() && factor("every").is_err());
    }

    #[test]
    fn acks_are_a_word_or_a_number() {
        assert_eq!(acks("all"), Ok(Acks::All));
        assert_eq!(acks("2"), Ok(Acks::Replicas(2)));
        assert!(acks("0").is_err() && acks("some").is_err());
    }

    #[test]
    fn a_partition_is_a_topic_and_a_number() {
        let expected = TopicPartition { topic: "orders".to_owned(), partition: 2 };
        assert_eq!(topic_partition("orders/2"), Ok(expected));
        for wrong in ["orders", "orders/", "/2", "orders/two", "orders/-1"] {
            assert!(topic_partition(wrong).is_err(), "{wrong}");
        }
    }
}
