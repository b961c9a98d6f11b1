//! The committed scenarios and what each is held against.

use clap::Parser;
use serde::{Deserialize, Serialize};

use crate::{
    args::{Cli, Command, LoadArgs},
    run::Kind,
    summary::Summary,
};

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    /// Stable, for programs.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    pub(super) flags: &'static str,
    pub(super) on: Place,
    /// Half of what this scenario sent in the same round is its rate.
    pub(super) half_of: Option<&'static str>,
    pub(super) goal: Goal,
}

/// Where a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A node that is alone and fsyncs before it acknowledges, as all do but the next.
    Node,
    /// A node that is alone and fsyncs once a second; acknowledgements do not wait.
    LazyNode,
    /// Three nodes with an etcd, on the same disk and processors.
    Cluster,
}

/// What a scenario is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// Throughput over one TCP stream over loopback, at least.
    OfTcpLoopback(f64),
    /// Throughput over direct reads, at least.
    OfDirectRead(f64),
    /// Records per second, at least.
    RecordsPerSecond(f64),
    /// Throughput over that of another scenario in the same round, at least.
    Of(&'static str, f64),
    /// Median service time over the floor of an acknowledgement, at most.
    ServiceP50OverFloor(f64),
    /// 99 % of the latency over the floor of an acknowledgement, at most.
    LatencyP99OverFloor(f64),
    /// Nothing; another scenario is held against it.
    None,
}

/// Retention of 1 GiB is reached during the warm-up: from then on files are used again, as in the steady
/// state of a log.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "produce-batches",
        title: "produce, 1 KiB records in 256 KiB batches, fsync before ack",
        kind: Kind::Produce,
        flags: "--record-bytes 1KiB --batch-bytes 256KiB --in-flight 64 --retention-size 1GiB",
        on: Place::Node,
        half_of: None,
        goal: Goal::OfTcpLoopback(1.0),
    },
    Scenario {
        name: "produce-batches-lazy-fsync",
        title: "the same, fsync once a second, ack without it",
        kind: Kind::Produce,
        flags: "--record-bytes 1KiB --batch-bytes 256KiB --in-flight 64 --retention-size 1GiB",
        on: Place::LazyNode,
        half_of: None,
        goal: Goal::None,
    },
    Scenario {
        name: "produce-batches-fsync-cost",
        title: "produce with fsync before ack, over the same without",
        kind: Kind::Produce,
        flags: "--record-bytes 1KiB --batch-bytes 256KiB --in-flight 64 --retention-size 1GiB",
        on: Place::Node,
        half_of: None,
        goal: Goal::Of("produce-batches-lazy-fsync", 0.8),
    },
    Scenario {
        name: "produce-first-pass",
        title: "produce to disk space that was never written, as until retention is reached",
        kind: Kind::Produce,
        flags: "--record-bytes 1KiB --batch-bytes 256KiB --in-flight 64 --retention-size 32GiB",
        on: Place::Node,
        half_of: None,
        goal: Goal::None,
    },
    Scenario {
        name: "produce-single",
        title: "produce, one record of 1 kB per message, one stream, fsync before ack",
        kind: Kind::Produce,
        flags: "--record-bytes 1000 --batch-bytes 1000 --no-producer-id --in-flight 8192 \
                --retention-size 1GiB",
        on: Place::Node,
        half_of: None,
        goal: Goal::RecordsPerSecond(1e6),
    },
    Scenario {
        name: "produce-plain-100",
        title: "produce plain records of 100 B through the batching client",
        kind: Kind::Produce,
        flags: "--records plain --record-bytes 100 --in-flight 64 --retention-size 1GiB",
        on: Place::Node,
        half_of: None,
        goal: Goal::RecordsPerSecond(5e6),
    },
    Scenario {
        name: "produce-plain-1k",
        title: "produce plain records of 1 KiB through the batching client",
        kind: Kind::Produce,
        flags: "--records plain --record-bytes 1KiB --in-flight 64 --retention-size 1GiB",
        on: Place::Node,
        half_of: None,
        goal: Goal::RecordsPerSecond(1.5e6),
    },
    Scenario {
        name: "consume-tail",
        title: "consume from the tail cache",
        kind: Kind::Consume,
        flags: "--fill 64MiB",
        on: Place::Node,
        half_of: None,
        goal: Goal::OfTcpLoopback(1.25),
    },
    Scenario {
        name: "consume-cold",
        title: "consume from disk",
        kind: Kind::Consume,
        flags: "--topic cold",
        on: Place::Node,
        half_of: None,
        goal: Goal::OfDirectRead(0.85),
    },
    Scenario {
        name: "synchronous",
        title: "one synchronous producer, one record of 1 kB at a time: median ack latency",
        kind: Kind::Produce,
        flags: "--record-bytes 1000 --batch-bytes 1000 --in-flight 1",
        on: Place::Node,
        half_of: None,
        goal: Goal::ServiceP50OverFloor(1.3),
    },
    Scenario {
        name: "partitions-1000",
        title: "produce to 1 000 partitions, over one partition, both on disk space that was never written",
        kind: Kind::Produce,
        // Long enough for a thousand directories, files and their growth, each fsynced, to be over.
        flags: "--partitions 1000 --in-flight 1 --retention-size 32GiB --warmup 25s",
        on: Place::Node,
        half_of: None,
        goal: Goal::Of("produce-first-pass", 0.8),
    },
    Scenario {
        name: "half-load",
        title: "p99 ack latency from the intended send time, at half of maximum load",
        kind: Kind::Produce,
        flags: "--record-bytes 1KiB --batch-bytes 256KiB --in-flight 64 --retention-size 1GiB",
        on: Place::Node,
        half_of: Some("produce-batches"),
        goal: Goal::LatencyP99OverFloor(3.0),
    },
];

/// The same load in every row.
macro_rules! replicated {
    ($name:literal, $title:literal, $concern:literal, $goal:expr) => {
        Scenario {
            name: $name,
            title: $title,
            kind: Kind::Produce,
            flags: concat!(
                "--record-bytes 1KiB --batch-bytes 256KiB --in-flight 64 --retention-size 1GiB ",
                $concern
            ),
            on: Place::Cluster,
            half_of: None,
            goal: $goal,
        }
    };
}

/// Run with a cluster: the first on a node that is alone, as what the others are held against.
pub(super) const CLUSTER_SCENARIOS: &[Scenario] = &[
    SCENARIOS[0],
    replicated!(
        "replicated-quorum",
        "produce to three replicas on one machine, quorum, over a node that is alone",
        "--replication-factor 3 --acks quorum",
        Goal::Of("produce-batches", 0.25)
    ),
    replicated!(
        "replicated-3-none",
        "three replicas, write concern none",
        "--replication-factor 3 --acks none",
        Goal::None
    ),
    replicated!(
        "replicated-3-leader",
        "three replicas, write concern leader",
        "--replication-factor 3 --acks leader",
        Goal::None
    ),
    replicated!(
        "replicated-3-all",
        "three replicas, write concern all",
        "--replication-factor 3 --acks all",
        Goal::None
    ),
    replicated!(
        "replicated-2-leader",
        "two replicas, write concern leader",
        "--replication-factor 2 --acks leader",
        Goal::None
    ),
    replicated!(
        "replicated-2-quorum",
        "two replicas, write concern quorum, which is both",
        "--replication-factor 2 --acks quorum",
        Goal::None
    ),
    replicated!(
        "replicated-1",
        "one replica on a node of a cluster, write concern quorum",
        "--replication-factor 1 --acks quorum",
        Goal::None
    ),
    Scenario {
        name: "replicated-synchronous",
        title: "one synchronous producer, three replicas, quorum, one record of 1 kB at a time: median ack latency",
        kind: Kind::Produce,
        flags: "--record-bytes 1000 --batch-bytes 1000 --in-flight 1 --replication-factor 3 --acks quorum",
        on: Place::Cluster,
        half_of: None,
        goal: Goal::None,
    },
];

/// Bytes that the scenario `consume-cold` reads: far more than the server keeps in memory.
pub(super) const COLD_FILL: &str = "--topic cold --fill 4GiB --retention-size 8GiB --keep --once";

impl Scenario {
    /// Its flags as the command line would take them.
    pub(super) fn arguments(&self) -> Result<LoadArgs, clap::Error> {
        arguments(self.kind, self.flags)
    }
}

/// Flags as the command line would take them.
pub(super) fn arguments(kind: Kind, flags: &str) -> Result<LoadArgs, clap::Error> {
    let line = ["forebay-loadgen", kind.name()].into_iter().chain(flags.split_whitespace());
    match Cli::try_parse_from(line)?.command {
        Command::Produce(args) | Command::Consume(args) | Command::E2e(args) => Ok(*args),
        Command::Floors(_) | Command::Suite(_) | Command::Table(_) => {
            unreachable!("the names of kinds are those of loads")
        }
    }
}

/// A value and what it should be.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Measure {
    /// What is measured.
    pub metric: String,
    /// The median of the rounds.
    pub value: f64,
    /// What it should be.
    pub target: f64,
    /// Whether the value should be at least the target; otherwise at most.
    pub at_least: bool,
    /// Whether it is.
    pub met: bool,
}

impl Goal {
    /// The value of one round. `of` finds the throughput of another scenario in that round.
    pub(super) fn value(self, summary: &Summary, of: impl Fn(&str) -> Option<f64>) -> Option<f64> {
        let shares = summary.shares.as_ref();
        match self {
            Self::OfTcpLoopback(_) => shares.map(|shares| shares.of_tcp_loopback),
            Self::OfDirectRead(_) => shares.map(|shares| shares.of_direct_read),
            Self::RecordsPerSecond(_) => Some(summary.records_per_second),
            Self::Of(other, _) => of(other).map(|other| summary.bytes_per_second / other),
            Self::ServiceP50OverFloor(_) => shares?.service_p50_over_floor,
            Self::LatencyP99OverFloor(_) => shares?.latency_p99_over_floor,
            Self::None => None,
        }
    }

    /// The median of the rounds against the target.
    pub(super) fn measure(self, value: f64) -> Option<Measure> {
        let (metric, target, at_least) = match self {
            Self::OfTcpLoopback(target) => ("of_tcp_loopback", target, true),
            Self::OfDirectRead(target) => ("of_direct_read", target, true),
            Self::RecordsPerSecond(target) => ("records_per_second", target, true),
            Self::Of(other, target) => (other, target, true),
            Self::ServiceP50OverFloor(target) => ("service_p50_over_floor", target, false),
            Self::LatencyP99OverFloor(target) => ("latency_p99_over_floor", target, false),
            Self::None => return None,
        };
        let met = if at_least { value >= target } else { value <= target };
        Some(Measure { metric: metric.to_owned(), value, target, at_least, met })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_a_valid_command_line() {
        for scenario in SCENARIOS.iter().chain(CLUSTER_SCENARIOS) {
            scenario.arguments().expect(scenario.name);
        }
        arguments(Kind::Consume, COLD_FILL).unwrap();
    }

    #[test]
    fn whatever_a_scenario_is_held_against_runs_before_it() {
        for scenarios in [SCENARIOS, CLUSTER_SCENARIOS] {
            for (at, scenario) in scenarios.iter().enumerate() {
                let Goal::Of(other, _) = scenario.goal else { continue };
                assert!(scenarios[..at].iter().any(|one| one.name == other), "{}", scenario.name);
            }
        }
    }

    #[test]
    fn a_target_is_met_from_its_own_side() {
        assert!(Goal::OfTcpLoopback(1.0).measure(1.0).unwrap().met);
        assert!(!Goal::ServiceP50OverFloor(1.3).measure(1.4).unwrap().met);
        assert!(Goal::None.measure(1.0).is_none());
    }
}
