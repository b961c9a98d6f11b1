//! Latencies: a histogram over everything, and one per second for the log.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::{
    Histogram,
    serialization::{V2DeflateSerializer, interval_log::IntervalLogWriterBuilder},
};
use serde::{Deserialize, Serialize};

/// Two minutes; what takes longer counts as that.
const LONGEST_NS: u64 = 120_000_000_000;
/// Significant digits: 0.1 %.
const DIGITS: u8 = 3;

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: f64,
    /// 90 %.
    pub p90_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// 99.99 %.
    pub p9999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// Counts latencies.
#[derive(Debug)]
pub struct Recorder {
    /// Everything but the present second.
    before: Histogram<u64>,
    second: Histogram<u64>,
    /// Start of the present second, since the measurement began.
    second_start: Duration,
    seconds: Vec<(Duration, Histogram<u64>)>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

fn histogram() -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, LONGEST_NS, DIGITS).expect("constant bounds are valid");
    // Growing is what costs; a latency beyond the bounds is cut to them.
    histogram.auto(false);
    histogram
}

impl Recorder {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self {
            before: histogram(),
            second: histogram(),
            second_start: Duration::ZERO,
            seconds: Vec::new(),
        }
    }

    /// Counts one.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.record_many(latency, 1);
    }

    /// Counts the same latency several times.
    #[inline]
    pub fn record_many(&mut self, latency: Duration, count: u64) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST_NS);
        self.second.saturating_record_n(nanoseconds.max(1), count);
    }

    /// Tells how long the measurement lasts by now; begins a new line of the log each second.
    pub fn tick(&mut self, since_start: Duration) {
        if since_start < self.second_start + Duration::from_secs(1) {
            return;
        }
        self.end_second();
        self.second_start = since_start;
    }

    fn end_second(&mut self) {
        let full = std::mem::replace(&mut self.second, histogram());
        self.before.add(&full).expect("all histograms have the same bounds");
        self.seconds.push((self.second_start, full));
    }

    fn all(&self) -> Histogram<u64> {
        let mut all = self.before.clone();
        all.add(&self.second).expect("all histograms have the same bounds");
        all
    }

    /// Adds everything that another one counted in the same seconds.
    pub fn merge(&mut self, mut other: Self) {
        other.end_second();
        self.end_second();
        self.before.add(&other.before).expect("all histograms have the same bounds");
        for (at, (start, histogram)) in other.seconds.into_iter().enumerate() {
            match self.seconds.get_mut(at) {
                Some((_, own)) => own.add(&histogram).expect("all have the same bounds"),
                None => self.seconds.push((start, histogram)),
            }
        }
    }

    /// The whole as percentiles.
    pub fn percentiles(&self) -> Percentiles {
        let all = self.all();
        let at = |quantile| microseconds(all.value_at_quantile(quantile));
        Percentiles {
            count: all.len(),
            mean_us: all.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: microseconds(all.max()),
        }
    }

    /// Points of the curve of latency over percentile: (share of slower ones as 1/(1 − q), µs).
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let all = self.all();
        if all.is_empty() {
            return Vec::new();
        }
        let values = all.iter_quantiles(5).filter(|value| value.quantile() < 1.0);
        values
            .map(|value| (1.0 / (1.0 - value.quantile()), microseconds(value.value_iterated_to())))
            .collect()
    }

    /// Writes an `HdrHistogram` log, a line per second, in nanoseconds.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_log(&mut self, out: &mut impl io::Write, started_at_ms: u64) -> io::Result<()> {
        self.end_second();
        let start: SystemTime = UNIX_EPOCH + Duration::from_millis(started_at_ms);
        let mut serializer = V2DeflateSerializer::new();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("forebay-loadgen, nanoseconds")
            .with_start_time(start)
            .with_base_time(start)
            .with_max_value_divisor(1e6)
            .begin_log_with(out, &mut serializer)?;
        for (start, histogram) in &self.seconds {
            log.write_histogram(histogram, *start, Duration::from_secs(1), None)
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "two minutes in nanoseconds fit 53 bits")]
fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let mut recorder = Recorder::new();
        for millisecond in 1..=1000 {
            recorder.record(Duration::from_millis(millisecond));
        }
        let percentiles = recorder.percentiles();
        assert_eq!(percentiles.count, 1000);
        assert!((percentiles.p50_us - 500_000.0).abs() < 1000.0, "{percentiles:?}");
        assert!((percentiles.p999_us - 999_000.0).abs() < 2000.0, "{percentiles:?}");
        assert!((percentiles.max_us - 1_000_000.0).abs() < 2000.0, "{percentiles:?}");
    }

    #[test]
    fn the_log_has_a_line_per_second_and_can_be_read_back() {
        let mut recorder = Recorder::new();
        for second in 0..3_u64 {
            recorder.tick(Duration::from_secs(second));
            recorder.record_many(Duration::from_micros(5), second + 1);
        }
        let mut bytes = Vec::new();
        recorder.write_log(&mut bytes, 1_700_000_000_000).unwrap();
        let log = hdrhistogram::serialization::interval_log::IntervalLogIterator::new(&bytes);
        let intervals = log
            .filter(|entry| {
                use hdrhistogram::serialization::interval_log::LogEntry;
                matches!(entry, Ok(LogEntry::Interval(_)))
            })
            .count();
        assert_eq!(intervals, 3);
    }
}
