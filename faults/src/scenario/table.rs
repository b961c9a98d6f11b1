//! The scenarios. Each begins when writes are acknowledged everywhere, and is healed and judged when its steps
//! are done.

use super::step::Role::{Follower, Leader, OtherFollower};
use super::step::Side::{Etcd, Only, Others};
use super::step::Step::{
    BreakDisk, CompactEtcd, ConfirmMetadata, Cut, EmptyDisk, FailFsync, FillDisk, Flip, Kill,
    KillAll, KillEtcd, Mend, Pause, Recast, RepairDisk, RestoreSnapshot, Resume, RevokeLease,
    SaveSnapshot, StartEtcd, StartStopped, Stop, UntilAcknowledged, UntilAnotherLeads, UntilBehind,
    UntilCaughtUp, UntilEnded, UntilRefused, UntilWritten, Wipe,
};
use super::step::{Needs, Scenario, Step};

const THREE: Needs = Needs { nodes: 3, links: false, disks: false, command: None };
const FIVE: Needs = Needs { nodes: 5, ..THREE };
const LINKS: Needs = Needs { links: true, ..THREE };
const DISKS: Needs = Needs { disks: true, ..THREE };

/// What clients are told where etcd went back: by a leader, and where nobody leads any more.
const ROLLED_BACK: &[&str] = &["METADATA_ROLLED_BACK", "NO_LEADER"];
/// A log with so many has a middle.
const RECORDS_TO_FLIP: u64 = 200;

const fn scenario(
    name: &'static str,
    claim: &'static str,
    needs: Needs,
    steps: &'static [Step],
) -> Scenario {
    Scenario { name, claim, needs, steps, ends_read_only: false }
}

pub(crate) const SCENARIOS: [Scenario; 24] = [
    scenario(
        "leader-killed",
        "a leader that is killed loses nothing acknowledged, and another takes over",
        THREE,
        &[Kill(&[Leader]), UntilWritten, StartStopped, UntilCaughtUp, Recast, Kill(&[Leader])],
    ),
    scenario(
        "follower-killed",
        "a follower that is killed holds up no quorum write, and catches up",
        THREE,
        &[Kill(&[Follower]), UntilWritten, StartStopped],
    ),
    scenario(
        "all-killed",
        "a cluster that is killed as a whole comes back with all that it acknowledged",
        THREE,
        &[KillAll, StartStopped, UntilWritten],
    ),
    scenario(
        "two-of-five-killed",
        "two of five, the leader among them, may be killed at once",
        FIVE,
        &[Kill(&[Leader, Follower]), UntilWritten, StartStopped],
    ),
    scenario(
        "leader-paused",
        "a leader that stands still past its lease comes back to no harm",
        THREE,
        &[Pause(Leader), UntilAnotherLeads(Leader), UntilWritten, Resume, UntilWritten],
    ),
    scenario(
        "leader-cut-from-followers",
        "a leader that reaches etcd but no follower acknowledges nothing, and goes on when it does",
        LINKS,
        &[
            Cut(Only(Leader), Others),
            Cut(Others, Only(Leader)),
            UntilRefused(&["INDETERMINATE"]),
            Mend,
            UntilWritten,
        ],
    ),
    scenario(
        "leader-cut-from-etcd",
        "a leader that reaches its followers but not etcd steps down, and another takes over",
        LINKS,
        &[
            Cut(Only(Leader), Etcd),
            Cut(Etcd, Only(Leader)),
            UntilAnotherLeads(Leader),
            UntilWritten,
        ],
    ),
    scenario(
        "leader-not-heard",
        "a leader that hears its followers and is not heard by them does no harm",
        LINKS,
        &[Cut(Only(Leader), Others), UntilRefused(&["INDETERMINATE"]), Mend, UntilWritten],
    ),
    scenario(
        "leader-deaf",
        "a leader that is heard by its followers and does not hear them does no harm",
        LINKS,
        &[Cut(Others, Only(Leader)), UntilRefused(&["INDETERMINATE"]), Mend, UntilWritten],
    ),
    scenario(
        "follower-cut-off",
        "a follower that nobody reaches holds up no quorum write, and catches up",
        LINKS,
        &[
            Cut(Only(Leader), Only(Follower)),
            Cut(Only(OtherFollower), Only(Follower)),
            Cut(Etcd, Only(Follower)),
            UntilWritten,
        ],
    ),
    scenario(
        "lease-revoked",
        "a lease that etcd revokes while its leader lives costs nothing but an election",
        THREE,
        &[RevokeLease(Leader), UntilAnotherLeads(Leader), UntilWritten],
    ),
    scenario(
        "etcd-restarted",
        "etcd may go away: what it comes back to is a cluster that goes on",
        THREE,
        &[KillEtcd, UntilRefused(&["NO_LEADER"]), StartEtcd, UntilWritten],
    ),
    scenario(
        "etcd-compacted",
        "watches that etcd has compacted away are begun anew",
        THREE,
        &[
            Pause(Follower),
            RevokeLease(Leader),
            UntilAnotherLeads(Leader),
            CompactEtcd,
            Resume,
            UntilWritten,
        ],
    ),
    scenario(
        "etcd-restored",
        "an etcd that was restored from before an election takes writes again when an operator confirms",
        Needs { command: Some("confirm-metadata"), ..THREE },
        &[
            SaveSnapshot,
            Kill(&[Leader]),
            UntilWritten,
            StartStopped,
            UntilCaughtUp,
            KillEtcd,
            RestoreSnapshot,
            StartEtcd,
            UntilRefused(ROLLED_BACK),
            ConfirmMetadata,
            UntilWritten,
        ],
    ),
    Scenario {
        ends_read_only: true,
        ..scenario(
            "etcd-restored-unconfirmed",
            "an etcd that was restored from before an election takes no writes, and loses nothing",
            THREE,
            &[
                SaveSnapshot,
                Kill(&[Leader]),
                UntilWritten,
                StartStopped,
                UntilCaughtUp,
                KillEtcd,
                RestoreSnapshot,
                StartEtcd,
                UntilRefused(ROLLED_BACK),
            ],
        )
    },
    scenario(
        "follower-wiped",
        "a follower may lose its disk while another node is killed, and is a learner until it has all",
        THREE,
        &[Kill(&[Follower]), Wipe(Follower), Kill(&[Leader]), StartStopped, UntilWritten],
    ),
    scenario(
        "leader-wiped",
        "a leader may lose its disk: it comes back as a learner",
        THREE,
        &[Kill(&[Leader]), Wipe(Leader), UntilWritten, StartStopped, UntilCaughtUp],
    ),
    scenario(
        "leader-flipped",
        "a leader with a damaged segment puts it aside, and begins anew as a learner",
        THREE,
        &[
            UntilAcknowledged(RECORDS_TO_FLIP),
            Kill(&[Leader]),
            Flip(Leader),
            UntilWritten,
            StartStopped,
            UntilCaughtUp,
        ],
    ),
    scenario(
        "follower-flipped",
        "a follower with a damaged segment puts it aside, and begins anew as a learner",
        THREE,
        &[
            UntilAcknowledged(RECORDS_TO_FLIP),
            Kill(&[Follower]),
            Flip(Follower),
            UntilWritten,
            StartStopped,
            UntilCaughtUp,
        ],
    ),
    scenario(
        "leader-disk-full",
        "a leader without room refuses what it does not take, and goes on when it has room",
        DISKS,
        &[FillDisk(Leader), UntilRefused(&["DISK_FULL"]), EmptyDisk(Leader), UntilWritten],
    ),
    scenario(
        "follower-disk-full",
        "a follower without room holds up no quorum write, and catches up when it has room",
        DISKS,
        &[FillDisk(Follower), UntilBehind(Follower), EmptyDisk(Follower), UntilCaughtUp],
    ),
    scenario(
        "leader-disk-fails",
        "a leader whose disk fails ends rather than lead, and another takes over",
        DISKS,
        &[
            BreakDisk(Leader),
            UntilEnded(Leader),
            UntilWritten,
            RepairDisk(Leader),
            StartStopped,
            UntilCaughtUp,
        ],
    ),
    scenario(
        "leader-fsync-fails",
        "a leader whose fsync fails ends rather than try it again, and another takes over",
        Needs { command: Some("fault"), ..THREE },
        &[FailFsync(Leader), UntilEnded(Leader), UntilWritten, StartStopped, UntilCaughtUp],
    ),
    scenario(
        "rolling-restart",
        "nodes may be stopped and started one after the other under load",
        THREE,
        &[
            Stop(Leader),
            StartStopped,
            UntilCaughtUp,
            Stop(Follower),
            StartStopped,
            UntilCaughtUp,
            Stop(OtherFollower),
            StartStopped,
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_does_something() {
        for (place, scenario) in SCENARIOS.iter().enumerate() {
            let same = SCENARIOS[..place].iter().find(|other| other.name == scenario.name);
            assert!(same.is_none(), "{}", scenario.name);
            let faults = scenario.steps.iter().filter_map(|step| step.fault());
            assert!(faults.count() > 0, "{}", scenario.name);
        }
    }

    #[test]
    fn what_needs_links_or_disks_says_so() {
        for scenario in &SCENARIOS {
            let cuts = scenario.steps.iter().any(|step| matches!(step, Cut(..)));
            let disk = |step: &Step| matches!(step, FillDisk(_) | BreakDisk(_));
            assert_eq!(cuts, scenario.needs.links, "{}", scenario.name);
            assert_eq!(scenario.steps.iter().any(disk), scenario.needs.disks, "{}", scenario.name);
        }
    }
}
