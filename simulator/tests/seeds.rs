//! What every run of the tests simulates: seeds with every rule in force, and with each rule off.

use forebay_replication::Mutation;
use forebay_simulator::{Campaign, Run, Summary};

const SEEDS: u64 = 2_000;

/// Seeds in which the absence of a rule has to be noticed.
const SEEDS_PER_MUTATION: u64 = 2_000;

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn run(seeds: std::ops::Range<u64>, mutation: Option<Mutation>) -> Summary {
    Campaign { seeds, jobs: jobs(), mutation }.run(|_, _| {})
}

#[test]
fn seeds_keep_every_invariant_and_meet_every_fault_in_every_role() {
    let summary = run(0..SEEDS, None);
    let failed: Vec<_> = summary
        .failed
        .iter()
        .map(|report| (report.seed, report.complaints().into_iter().next()))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(summary.seeds, SEEDS);
    let [events, faults, operations] = summary.fewest.expect("seeds were run");
    assert!(events >= 2_000, "a seed had only {events} events");
    assert!(faults >= 5, "a seed had only {faults} faults");
    assert!(operations >= 200, "a seed had only {operations} client operations");
    let missing = summary.coverage.missing();
    assert!(missing.is_empty(), "never met: {missing:?}\n{}", summary.coverage);
}

#[test]
fn absence_of_each_rule_is_noticed() {
    let unnoticed = |mutation: &Mutation| {
        let mut seeds = (0..SEEDS_PER_MUTATION).step_by(50);
        seeds.all(|first| run(first..first + 50, Some(*mutation)).failed.is_empty())
    };
    let unnoticed: Vec<_> = Mutation::ALL.into_iter().filter(unnoticed).collect();
    assert!(unnoticed.is_empty(), "nobody noticed that these were off: {unnoticed:?}");
}

#[test]
fn seed_decides_everything() {
    let mut fingerprints = Vec::new();
    for seed in 0..5 {
        let (once, again) = (Run::seed(seed).replay(), Run::seed(seed).replay());
        assert_eq!(once.transcript.fingerprint(), again.transcript.fingerprint(), "seed {seed}");
        assert!(once.transcript.text().lines().count() > 2_000, "seed {seed}");
        let unwatched = Run::seed(seed).run();
        assert_eq!(
            (once.events, once.faults, once.operations),
            (unwatched.events, unwatched.faults, unwatched.operations),
            "keeping a transcript changes nothing"
        );
        fingerprints.push(once.transcript.fingerprint());
    }
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 5, "seeds differ");
}
