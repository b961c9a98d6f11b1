//! What a run leaves behind. The field names are stable: other programs read them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    args::LoadArgs,
    floors::Floors,
    latency::Percentiles,
    load::Outcome,
    units::{bytes_per_second, microseconds, per_second},
};

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// `produce`, `consume` or `e2e`.
    pub command: String,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// What was asked for.
    pub settings: Settings,
    /// How long was measured.
    pub seconds: f64,
    /// Records in that time.
    pub records: u64,
    /// Batches in that time.
    pub batches: u64,
    /// Bytes in that time: values when producing, payloads when consuming.
    pub bytes: u64,
    /// `records` / `seconds`.
    pub records_per_second: f64,
    /// `batches` / `seconds`.
    pub batches_per_second: f64,
    /// `bytes` / `seconds`.
    pub bytes_per_second: f64,
    /// From the intended send time, with a rate; then free of coordinated omission.
    pub latency_intended: Option<Percentiles>,
    /// From handing a batch to the connection to its acknowledgement.
    pub service_time: Option<Percentiles>,
    /// Retries that the server recognised.
    pub duplicates: u64,
    /// Records that were accepted and never acknowledged, or never arrived.
    pub unacknowledged_records: u64,
    /// Batches whose offsets and checksums were verified.
    pub verified_batches: u64,
    /// What was wrong. Empty is good.
    pub problems: Vec<String>,
    /// Processor time.
    pub cpu: Cpu,
    /// What the machine could do in that minute.
    pub floors: Option<Floors>,
    /// Results as shares of that.
    pub shares: Option<Shares>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// Bytes of a record's value.
    pub record_bytes: u64,
    /// Bytes of a batch, at most.
    pub batch_bytes: u64,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Connections of the generator.
    pub connections: u32,
    /// Batches of a partition that wait for their answer.
    pub in_flight: u64,
    /// Records per second, if that was given.
    pub rate: Option<f64>,
    /// The write concern.
    pub acks: String,
    /// `raw` or `plain`.
    pub records: String,
    /// Whether retries could be recognised.
    pub producer_id: bool,
    /// Threads of the generator.
    pub threads: u64,
}

/// Processor time while measuring.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cpu {
    /// Seconds of the generator.
    pub client_seconds: f64,
    /// Seconds of the server, when its process is known.
    pub server_seconds: Option<f64>,
    /// Nanoseconds of the generator per KiB of `bytes`.
    pub client_ns_per_kib: f64,
    /// The server's.
    pub server_ns_per_kib: Option<f64>,
}

/// Results over floors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shares {
    /// Of one TCP stream over loopback.
    pub of_tcp_loopback: f64,
    /// Of direct writes.
    pub of_direct_write: f64,
    /// Of direct reads.
    pub of_direct_read: f64,
    /// Of copying memory.
    pub of_memcpy: f64,
    /// Median service time over the sum of write + fdatasync and a TCP round trip.
    pub service_p50_over_floor: Option<f64>,
    /// 99 % of the latency from the intended time (of the service time without a rate) over that.
    pub latency_p99_over_floor: Option<f64>,
}

impl From<&LoadArgs> for Settings {
    fn from(args: &LoadArgs) -> Self {
        Self {
            record_bytes: args.record_bytes.0,
            batch_bytes: args.batch_bytes.0,
            partitions: args.partitions,
            connections: args.connections,
            in_flight: args.in_flight as u64,
            rate: args.rate.map(|rate| rate.0),
            acks: args.acks.to_string(),
            records: match args.records {
                crate::args::Records::Raw => "raw".to_owned(),
                crate::args::Records::Plain => "plain".to_owned(),
            },
            producer_id: !args.no_producer_id,
            threads: args.threads as u64,
        }
    }
}

impl Summary {
    /// Puts together what was asked for and what came out.
    #[expect(clippy::cast_precision_loss, reason = "rates need no more than 53 bits")]
    pub fn new(
        command: &str,
        started_at_ms: u64,
        args: &LoadArgs,
        outcome: &Outcome,
        floors: Option<Floors>,
    ) -> Self {
        let measured = outcome.measured;
        let seconds = measured.map_or(0.0, |measured| measured.time.as_secs_f64());
        let per = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let kib = outcome.bytes as f64 / 1024.0;
        let ns_per_kib =
            |time: Duration| if kib > 0.0 { time.as_secs_f64() * 1e9 / kib } else { 0.0 };
        let client = measured.map(|measured| measured.client_cpu).unwrap_or_default();
        let server = measured.and_then(|measured| measured.server_cpu);
        let percentiles = |recorder: &crate::latency::Recorder| {
            Some(recorder.percentiles()).filter(|all| all.count > 0)
        };
        let mut summary = Self {
            command: command.to_owned(),
            started_at_ms,
            settings: args.into(),
            seconds,
            records: outcome.records,
            batches: outcome.batches,
            bytes: outcome.bytes,
            records_per_second: per(outcome.records),
            batches_per_second: per(outcome.batches),
            bytes_per_second: per(outcome.bytes),
            latency_intended: outcome.intended.as_ref().and_then(percentiles),
            service_time: outcome.service.as_ref().and_then(percentiles),
            duplicates: outcome.duplicates,
            unacknowledged_records: outcome.unacknowledged,
            verified_batches: outcome.verified_batches,
            problems: outcome.problems.clone(),
            cpu: Cpu {
                client_seconds: client.as_secs_f64(),
                server_seconds: server.map(|time| time.as_secs_f64()),
                client_ns_per_kib: ns_per_kib(client),
                server_ns_per_kib: server.map(ns_per_kib),
            },
            floors: None,
            shares: None,
        };
        summary.shares = floors.as_ref().map(|floors| summary.shares_of(floors));
        summary.floors = floors;
        summary
    }

    /// This result over other floors, for instance the medians of several measurements.
    pub fn shares_of(&self, floors: &Floors) -> Shares {
        let rate = self.bytes_per_second;
        let floor = floors.acknowledgement_us();
        let tail = self.latency_intended.or(self.service_time);
        Shares {
            of_tcp_loopback: rate / floors.tcp_loopback_bytes_per_second,
            of_direct_write: rate / floors.direct_write_bytes_per_second,
            of_direct_read: rate / floors.direct_read_bytes_per_second,
            of_memcpy: rate / floors.memcpy_bytes_per_second,
            service_p50_over_floor: self.service_time.map(|time| time.p50_us / floor),
            latency_p99_over_floor: tail.map(|time| time.p99_us / floor),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![format!(
            "{}: {} in {} records, {} batches ({:.1} s measured)",
            self.command,
            bytes_per_second(self.bytes_per_second),
            per_second(self.records_per_second),
            per_second(self.batches_per_second),
            self.seconds,
        )];
        for (name, times) in [
            ("latency from the intended send time", &self.latency_intended),
            ("service time", &self.service_time),
        ] {
            let Some(times) = times else { continue };
            let all = [times.p50_us, times.p90_us, times.p99_us, times.p999_us, times.p9999_us];
            let [p50, p90, p99, p999, p9999] = all.map(microseconds);
            lines.push(format!(
                "{name}: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, p99.99 {p9999}"
            ));
        }
        let server = self.cpu.server_ns_per_kib;
        lines.push(format!(
            "processor: generator {:.0} ns/KiB, server {}",
            self.cpu.client_ns_per_kib,
            server.map_or_else(|| "unknown".to_owned(), |ns| format!("{ns:.0} ns/KiB")),
        ));
        if let (Some(floors), Some(shares)) = (&self.floors, &self.shares) {
            lines.push(floors.text());
            lines.push(format!(
                "shares: {:.0} % of TCP loopback, {:.0} % of direct writes, {:.0} % of direct reads",
                shares.of_tcp_loopback * 100.0,
                shares.of_direct_write * 100.0,
                shares.of_direct_read * 100.0,
            ));
        }
        lines.push(format!(
            "verified: {} batches, {} problems, {} unacknowledged, {} recognised retries",
            self.verified_batches,
            self.problems.len(),
            self.unacknowledged_records,
            self.duplicates,
        ));
        lines.extend(self.problems.iter().map(|problem| format!("problem: {problem}")));
        lines.join("\n")
    }
}

impl Floors {
    /// For people.
    pub fn text(&self) -> String {
        format!(
            "floors: memcpy {}, CRC32C {}, TCP loopback {} (writes of {} KiB), direct write {}, \
             direct read {}, write + fdatasync p50 {}, TCP round trip p50 {}",
            bytes_per_second(self.memcpy_bytes_per_second),
            bytes_per_second(self.crc32c_bytes_per_second),
            bytes_per_second(self.tcp_loopback_bytes_per_second),
            self.tcp_loopback_best_write_bytes / 1024,
            bytes_per_second(self.direct_write_bytes_per_second),
            bytes_per_second(self.direct_read_bytes_per_second),
            microseconds(self.write_fdatasync.p50_us),
            microseconds(self.tcp_round_trip.p50_us),
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        args::{Cli, Command},
        latency::Recorder,
        load::Measured,
    };

    pub(crate) fn floors() -> Floors {
        let us = |p50_us| Percentiles { count: 1, p50_us, ..Percentiles::default() };
        Floors {
            memcpy_bytes_per_second: 20e9,
            crc32c_bytes_per_second: 30e9,
            tcp_loopback_bytes_per_second: 4e9,
            tcp_loopback_best_write_bytes: 262_144,
            direct_write_bytes_per_second: 3e9,
            direct_read_bytes_per_second: 2e9,
            write_fdatasync: us(80.0),
            tcp_round_trip: us(20.0),
        }
    }

    pub(crate) fn summary() -> Summary {
        let line = ["forebay-loadgen", "produce", "--rate", "200k"];
        let Command::Produce(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not produce");
        };
        let mut service = Recorder::new();
        service.record(Duration::from_micros(150));
        let outcome = Outcome {
            records: 2000,
            bytes: 2_048_000,
            batches: 8,
            service: Some(service),
            measured: Some(Measured {
                time: Duration::from_secs(2),
                client_cpu: Duration::from_secs(1),
                server_cpu: Some(Duration::from_millis(500)),
            }),
            ..Outcome::default()
        };
        Summary::new("produce", 1, &args, &outcome, Some(floors()))
    }

    #[test]
    fn field_names_are_the_promised_ones() {
        let json = serde_json::to_value(summary()).unwrap();
        let mut names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "batches",
                "batches_per_second",
                "bytes",
                "bytes_per_second",
                "command",
                "cpu",
                "duplicates",
                "floors",
                "latency_intended",
                "problems",
                "records",
                "records_per_second",
                "seconds",
                "service_time",
                "settings",
                "shares",
                "started_at_ms",
                "unacknowledged_records",
                "verified_batches",
            ]
        );
        assert_eq!(json["bytes_per_second"], 1_024_000.0);
        assert_eq!(json["settings"]["rate"], 200_000.0);
        assert!(json["service_time"]["p99_us"].is_number());
        assert!(json["floors"]["tcp_loopback_bytes_per_second"].is_number());
        assert_eq!(json["cpu"]["server_ns_per_kib"], 250_000.0);
    }

    #[test]
    fn shares_are_results_over_floors() {
        let shares = summary().shares.unwrap();
        assert!((shares.of_tcp_loopback - 1_024_000.0 / 4e9).abs() < 1e-12);
        assert!((shares.service_p50_over_floor.unwrap() - 1.5).abs() < 0.01);
    }

    #[test]
    fn a_summary_can_be_read_back() {
        let text = serde_json::to_string(&summary()).unwrap();
        let read: Summary = serde_json::from_str(&text).unwrap();
        assert_eq!(read.records, 2000);
    }
}
