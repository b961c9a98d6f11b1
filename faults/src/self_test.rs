//! Whether the rig would notice: a majority of disks that forgets, which nothing can survive, has to be found.

use crate::scenario::Role::{Follower, Leader, OtherFollower};
use crate::scenario::Step::{CopyData, KillAll, PutBack, StartStopped, UntilWritten, Wipe};
use crate::scenario::{Needs, Scenario};

/// Two of three disks go back to what they held before, with the ids that vote, and the third is lost.
pub(crate) const FORGETFUL_MAJORITY: Scenario = Scenario {
    name: "forgetful-majority",
    claim: "(this one must be found out)",
    needs: Needs { nodes: 3, links: false, disks: false, command: None },
    steps: &[
        KillAll,
        CopyData(Leader),
        CopyData(Follower),
        StartStopped,
        UntilWritten,
        KillAll,
        PutBack(Leader),
        PutBack(Follower),
        Wipe(OtherFollower),
        StartStopped,
        UntilWritten,
    ],
    ends_read_only: false,
};
