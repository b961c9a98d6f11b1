//! The command line of `forebay-loadgen`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_client::WriteConcern;
use serde::Serialize;

use crate::units::{Rate, Size, duration};

/// Load for a Forebay node or cluster, measured against what the machine can do.
#[derive(Debug, Parser)]
#[command(name = "forebay-loadgen", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send batches to a topic made for the purpose, and verify the acknowledgements
    Produce(Box<LoadArgs>),
    /// Read a topic from the start, again and again, and verify offsets and checksums
    Consume(Box<LoadArgs>),
    /// Send and read at once, and measure from the intended send time to the arrival
    E2e(Box<LoadArgs>),
    /// Measure only what the machine can do
    Floors(FloorsArgs),
    /// Run the committed scenarios, several rounds, interleaved with the floors
    Suite(SuiteArgs),
    /// Write the README table from committed runs
    Table(TableArgs),
}

/// A load.
#[derive(Debug, Args, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct LoadArgs {
    /// HOST:PORT of one or more nodes
    #[arg(long, env = "FOREBAY_ENDPOINT", value_delimiter = ',', default_value = "127.0.0.1:7400")]
    pub endpoint: Vec<String>,
    /// The topic; made if it does not exist, and then deleted afterwards unless --keep. One that exists
    /// is used as it is, and stays
    #[arg(long, default_value = "loadgen")]
    pub topic: String,
    /// Bytes of a record's value
    #[arg(long, default_value = "1KiB")]
    pub record_bytes: Size,
    /// Bytes of a batch; not more than a record makes a batch of each record
    #[arg(long, default_value = "256KiB")]
    pub batch_bytes: Size,
    /// Partitions of the topic
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub partitions: u32,
    /// Connections; partitions are divided among them
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Batches of a partition that wait for their answer
    #[arg(long, default_value_t = 16)]
    pub in_flight: usize,
    /// Records per second, whatever the server does. Without it, as fast as answers allow
    #[arg(long)]
    pub rate: Option<Rate>,
    /// On how many replicas a batch is durable before it is acknowledged
    #[arg(long, default_value = "leader")]
    pub acks: Acks,
    /// Replicas of each partition; by default as the server has it
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub replication_factor: Option<u32>,
    /// How long to measure
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub duration: Duration,
    /// How long to run before that
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub warmup: Duration,
    /// Where summary.json, latency.hlog and latency.svg go
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Batches built beforehand, or records that the client gathers into batches
    #[arg(long, value_enum, default_value_t = Records::Raw)]
    pub records: Records,
    /// Send without a producer id, so that the server cannot recognise retries
    #[arg(long)]
    pub no_producer_id: bool,
    /// How long the client waits for a batch to fill (with --records plain)
    #[arg(long, default_value = "1ms", value_parser = duration)]
    pub linger: Duration,
    /// Threads of the generator
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// The topic keeps so much, over all partitions
    #[arg(long, default_value = "4GiB")]
    pub retention_size: Size,
    /// Leave the topic behind
    #[arg(long)]
    pub keep: bool,
    /// Consume: stop at the end instead of starting again
    #[arg(long)]
    pub once: bool,
    /// Consume: fill the topic with so much first
    #[arg(long)]
    pub fill: Option<Size>,
    /// The servers' processes, for their processor time. Found by their ports when they run on this machine
    #[arg(long, value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Where the server keeps its data, to see whether there is room and to measure that disk
    #[arg(long)]
    pub server_data: Option<PathBuf>,
    /// Do not measure what the machine can do
    #[arg(long)]
    pub no_floors: bool,
    /// How long to measure each floor
    #[arg(long, default_value = "500ms", value_parser = duration)]
    pub floor_time: Duration,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// The summary.
    Json,
}

/// What goes through the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Records {
    /// Batches that were built beforehand.
    Raw,
    /// Records.
    Plain,
}

/// A write concern on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acks(pub WriteConcern);

impl FromStr for Acks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "none" => WriteConcern::None,
            "leader" => WriteConcern::Leader,
            "quorum" => WriteConcern::Quorum,
            "all" => WriteConcern::All,
            number => WriteConcern::Replicas(number.parse().map_err(|_not_a_number| {
                format!("expected none, leader, quorum, all or a number, found `{number}`")
            })?),
        }))
    }
}

impl std::fmt::Display for Acks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            WriteConcern::TopicDefault => f.write_str("default"),
            WriteConcern::None => f.write_str("none"),
            WriteConcern::Leader => f.write_str("leader"),
            WriteConcern::Quorum => f.write_str("quorum"),
            WriteConcern::All => f.write_str("all"),
            WriteConcern::Replicas(count) => write!(f, "{count}"),
        }
    }
}

impl Serialize for Acks {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Floors alone.
#[derive(Debug, Args)]
pub struct FloorsArgs {
    /// The disk to measure
    #[arg(long, default_value = ".")]
    pub directory: PathBuf,
    /// How long each
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub floor_time: Duration,
}

/// The committed scenarios.
#[derive(Debug, Args)]
pub struct SuiteArgs {
    /// The `forebay` binary
    #[arg(long)]
    pub server: PathBuf,
    /// An empty directory for the data, on the disk to be measured; deleted afterwards
    #[arg(long)]
    pub data: PathBuf,
    /// Where the results go
    #[arg(long, default_value = "bench-results")]
    pub out: PathBuf,
    /// A name for the run; by default the day and the commit
    #[arg(long)]
    pub name: Option<String>,
    /// How often each scenario is run
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// How long to measure each scenario
    #[arg(long, default_value = "6s", value_parser = duration)]
    pub duration: Duration,
    /// How long to run before that
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub warmup: Duration,
    /// How long to measure each floor
    #[arg(long, default_value = "500ms", value_parser = duration)]
    pub floor_time: Duration,
    /// Only scenarios whose name contains this
    #[arg(long)]
    pub only: Option<String>,
    /// Shards of each server
    #[arg(long, default_value_t = 1)]
    pub shards: u32,
    /// Run the scenarios of a cluster of three nodes, started with this script (scripts/cluster)
    #[arg(long, value_name = "SCRIPT")]
    pub cluster: Option<PathBuf>,
}

/// The README table.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// Where the results are; the newest run is taken
    #[arg(long, default_value = "bench-results")]
    pub results: PathBuf,
    /// The file with the two markers
    #[arg(long, default_value = "README.md")]
    pub readme: PathBuf,
    /// Change nothing; fail when the table is not what the results say
    #[arg(long)]
    pub check: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_of_the_documentation() {
        let line = "forebay-loadgen produce --endpoint a:1,b:2 --topic t --record-bytes 1KiB \
                    --batch-bytes 256KiB --partitions 3 --connections 2 --in-flight 8 --rate 200k \
                    --acks quorum --duration 30s --warmup 5s --out dir --format json";
        let Command::Produce(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command
        else {
            panic!("not produce");
        };
        assert_eq!(args.endpoint, ["a:1", "b:2"]);
        assert_eq!(args.rate, Some(Rate(200_000.0)));
        assert_eq!(args.acks, Acks(WriteConcern::Quorum));
        assert_eq!(args.duration, Duration::from_secs(30));
    }

    #[test]
    fn a_load_has_a_partition_and_a_connection() {
        for flag in ["--partitions", "--connections"] {
            let line = ["forebay-loadgen", "e2e", flag, "0"];
            Cli::try_parse_from(line).expect_err("nothing to divide by");
        }
    }

    #[test]
    fn acks_take_a_number_and_nothing_else() {
        assert_eq!("2".parse(), Ok(Acks(WriteConcern::Replicas(2))));
        assert!("most".parse::<Acks>().is_err());
    }
}
