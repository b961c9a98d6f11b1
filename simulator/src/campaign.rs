//! Many seeds, on several threads. Each seed is a world of its own, so that it does not matter which
//! thread runs it, or when.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use forebay_replication::Mutation;

use crate::faults::Coverage;
use crate::run::{Report, Run};

/// Seeds that one thread takes at a time.
const CHUNK: u64 = 50;

/// Seeds to run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// Which.
    pub seeds: Range<u64>,
    /// On how many threads.
    pub jobs: usize,
    /// A rule that is switched off.
    pub mutation: Option<Mutation>,
}

/// What came of some seeds.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many were run.
    pub seeds: u64,
    /// The ones with which something is wrong.
    pub failed: Vec<Report>,
    /// Which fault met which role, in all of them.
    pub coverage: Coverage,
    /// Events in all of them.
    pub events: u64,
    /// Faults in all of them.
    pub faults: u64,
    /// Client operations in all of them.
    pub operations: u64,
    /// The fewest events, faults and operations that one of them had.
    pub fewest: Option<[u64; 3]>,
}

impl Summary {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.coverage.merge(&report.coverage);
        self.events += report.events;
        self.faults += report.faults;
        self.operations += report.operations;
        let its = [report.events, report.faults, report.operations];
        let fewest = self.fewest.get_or_insert(its);
        for (least, its) in fewest.iter_mut().zip(its) {
            *least = its.min(*least);
        }
        if !report.is_clean() {
            self.failed.push(report);
        }
    }
}

impl Campaign {
    /// Runs all seeds. `done` is told of ranges as they end, in any order.
    pub fn run(&self, mut done: impl FnMut(Range<u64>, &Summary)) -> Summary {
        let next = AtomicU64::new(self.seeds.start);
        let mut summary = Summary::default();
        thread::scope(|scope| {
            let (results, chunks) = mpsc::sync_channel::<(Range<u64>, Vec<Report>)>(self.jobs);
            for _ in 0..self.jobs {
                let (results, next) = (results.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                        if start >= self.seeds.end {
                            break;
                        }
                        let chunk = start..self.seeds.end.min(start + CHUNK);
                        let mutation = self.mutation;
                        let reports = chunk.clone().map(|seed| Run { seed, mutation }.run());
                        if results.send((chunk.clone(), reports.collect())).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(results);
            for (chunk, reports) in chunks {
                for report in reports {
                    summary.add(report);
                }
                done(chunk, &summary);
            }
        });
        summary.failed.sort_unstable_by_key(|report| report.seed);
        summary
    }
}
