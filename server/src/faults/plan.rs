//! Which messages meet which fault: a list, and a decision for each message. Pure.
//!
//! A message meets the oldest fault that it fits and that has not had all its messages. It counts there, and
//! nowhere else.

use std::time::Duration;

use forebay_format::NodeId;

/// Faults that are kept, those that are over included.
pub(super) const FAULTS_MAX: usize = 64;

/// Which way a message goes, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    In,
    Out,
}

/// Which ways a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directions {
    In,
    Out,
    Both,
}

impl Directions {
    fn include(self, way: Way) -> bool {
        match self {
            Self::In => way == Way::In,
            Self::Out => way == Way::Out,
            Self::Both => true,
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Messages are late by this much.
    Delay { peer: NodeId, directions: Directions, by: Duration },
    /// Messages are kept back until the last of them is there.
    Pause { peer: NodeId, directions: Directions },
    /// Messages are swallowed.
    Drop { peer: NodeId, directions: Directions },
    /// fdatasync fails.
    Fsync,
}

impl FaultKind {
    fn fits(self, peer: NodeId, way: Way) -> bool {
        match self {
            Self::Delay { peer: of, directions, .. }
            | Self::Pause { peer: of, directions }
            | Self::Drop { peer: of, directions } => of == peer && directions.include(way),
            Self::Fsync => false,
        }
    }
}

/// A fault that somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FaultSpec {
    pub(crate) kind: FaultKind,
    /// For how many messages, or calls of fdatasync.
    pub(crate) count: u32,
}

/// A fault that was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) id: u64,
    pub(crate) spec: FaultSpec,
    /// How many of its messages are still to come.
    pub(crate) left: u32,
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Pass,
    /// It is swallowed.
    Drop,
    /// It waits for this long, and what comes behind it too.
    Delay(Duration),
    /// It waits as long as this fault keeps messages back.
    KeepBack(u64),
}

/// A fault cannot be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected at most {FAULTS_MAX} faults that are not over, found as many already")]
pub(crate) struct InjectError;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Invariant: at most [`FAULTS_MAX`], ids ascending.
    faults: Vec<Fault>,
    last: u64,
}

impl Plan {
    /// Adds a fault. When there are many, the oldest that is over is forgotten. Of the calls of fdatasync that
    /// were to fail before, so many are to come.
    pub(super) fn inject(
        &mut self,
        spec: FaultSpec,
        syncs_left: u32,
    ) -> Result<Fault, InjectError> {
        self.count_syncs(syncs_left);
        if self.faults.len() >= FAULTS_MAX {
            let over = self.faults.iter().position(|fault| fault.left == 0).ok_or(InjectError)?;
            self.faults.remove(over);
        }
        self.last += 1;
        let fault = Fault { id: self.last, spec, left: spec.count };
        self.faults.push(fault);
        Ok(fault)
    }

    /// All of them; of the calls of fdatasync that were to fail, so many are to come.
    pub(super) fn list(&mut self, syncs_left: u32) -> Vec<Fault> {
        self.count_syncs(syncs_left);
        self.faults.clone()
    }

    fn count_syncs(&mut self, mut syncs_left: u32) {
        // The newest first: they add up at the engine.
        for fault in self.faults.iter_mut().rev() {
            if fault.spec.kind == FaultKind::Fsync {
                fault.left = fault.spec.count.min(syncs_left);
                syncs_left -= fault.left;
            }
        }
    }

    /// Forgets all of them; says how many there were.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(&mut self.faults).len()
    }

    /// What is to happen to a message. It counts.
    pub(super) fn decide(&mut self, peer: NodeId, way: Way) -> Effect {
        let fits = |fault: &&mut Fault| fault.left > 0 && fault.spec.kind.fits(peer, way);
        let Some(fault) = self.faults.iter_mut().find(fits) else { return Effect::Pass };
        fault.left -= 1;
        match fault.spec.kind {
            FaultKind::Delay { by, .. } => Effect::Delay(by),
            FaultKind::Pause { .. } => Effect::KeepBack(fault.id),
            FaultKind::Drop { .. } => Effect::Drop,
            FaultKind::Fsync => Effect::Pass,
        }
    }

    /// Whether messages that met this fault are to wait still: not all have come, and it was not cleared.
    pub(super) fn keeps_back(&self, id: u64) -> bool {
        self.faults.iter().any(|fault| fault.id == id && fault.left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NodeId = NodeId::new(1);
    const TWO: NodeId = NodeId::new(2);

    fn drops(directions: Directions, count: u32) -> FaultSpec {
        FaultSpec { kind: FaultKind::Drop { peer: TWO, directions }, count }
    }

    fn pauses(count: u32) -> FaultSpec {
        FaultSpec { kind: FaultKind::Pause { peer: TWO, directions: Directions::Both }, count }
    }

    #[test]
    fn fault_meets_the_messages_of_its_peer_and_direction_and_of_nobody_else() {
        use Effect::{Drop, Pass};
        for (directions, peer, way, expected) in [
            (Directions::In, TWO, Way::In, Drop),
            (Directions::In, TWO, Way::Out, Pass),
            (Directions::Out, TWO, Way::Out, Drop),
            (Directions::Out, TWO, Way::In, Pass),
            (Directions::Both, TWO, Way::In, Drop),
            (Directions::Both, TWO, Way::Out, Drop),
            (Directions::Both, ONE, Way::In, Pass),
        ] {
            let mut plan = Plan::default();
            plan.inject(drops(directions, 9), 0).expect("room");
            assert_eq!(plan.decide(peer, way), expected, "{directions:?} {peer} {way:?}");
        }
    }

    #[test]
    fn fault_is_over_when_it_has_had_its_messages_and_the_next_one_follows() {
        let mut plan = Plan::default();
        let by = Duration::from_millis(50);
        let delay = FaultKind::Delay { peer: TWO, directions: Directions::Out, by };
        plan.inject(drops(Directions::Out, 2), 0).expect("room");
        plan.inject(FaultSpec { kind: delay, count: 1 }, 0).expect("room");
        let effects: Vec<_> = (0..4).map(|_| plan.decide(TWO, Way::Out)).collect();
        assert_eq!(
            effects,
            [Effect::Drop, Effect::Drop, Effect::Delay(by), Effect::Pass],
            "in the order of injection"
        );
        assert!(plan.list(0).iter().all(|fault| fault.left == 0), "they are shown still");
    }

    #[test]
    fn pause_keeps_back_until_its_last_message_or_until_it_is_cleared() {
        let mut plan = Plan::default();
        let fault = plan.inject(pauses(2), 0).expect("room").id;
        assert_eq!(plan.decide(TWO, Way::Out), Effect::KeepBack(fault));
        assert!(plan.keeps_back(fault));
        assert_eq!(plan.decide(TWO, Way::In), Effect::KeepBack(fault));
        assert!(!plan.keeps_back(fault), "all are there");

        let fault = plan.inject(pauses(2), 0).expect("room").id;
        assert_eq!(plan.decide(TWO, Way::Out), Effect::KeepBack(fault));
        assert_eq!(plan.clear(), 2);
        assert!(!plan.keeps_back(fault));
        assert_eq!(plan.decide(TWO, Way::Out), Effect::Pass);
    }

    #[test]
    fn calls_of_fdatasync_that_are_to_fail_are_counted_by_the_engine() {
        let mut plan = Plan::default();
        for count in [2, 3] {
            plan.inject(FaultSpec { kind: FaultKind::Fsync, count }, 0).expect("room");
        }
        for (to_come, expected) in [(5, [2, 3]), (4, [1, 3]), (1, [0, 1]), (0, [0, 0])] {
            let left: Vec<_> = plan.list(to_come).iter().map(|fault| fault.left).collect();
            assert_eq!(left, expected, "{to_come} to come");
        }
        assert_eq!(plan.decide(TWO, Way::Out), Effect::Pass, "no message is meant");
    }

    #[test]
    fn those_that_are_over_make_room_for_others() {
        let mut plan = Plan::default();
        for _ in 0..FAULTS_MAX {
            plan.inject(drops(Directions::Out, 1), 0).expect("room");
        }
        assert_eq!(plan.inject(pauses(1), 0), Err(InjectError));
        assert_eq!(plan.decide(TWO, Way::Out), Effect::Drop);
        assert_eq!(plan.inject(pauses(1), 0).expect("room").id, FAULTS_MAX as u64 + 1);
        assert_eq!(plan.list(0).len(), FAULTS_MAX);
    }
    #[test]
    fn calls_of_fdatasync_that_have_failed_make_room_for_others_though_nobody_has_looked() {
        let mut plan = Plan::default();
        let fsync = FaultSpec { kind: FaultKind::Fsync, count: 1 };
        for earlier in 0..FAULTS_MAX {
            let to_come = u32::try_from(earlier).expect("few");
            plan.inject(fsync, to_come).expect("room");
        }
        let to_come = u32::try_from(FAULTS_MAX).expect("few");
        assert_eq!(plan.inject(fsync, to_come), Err(InjectError));
        assert_eq!(plan.inject(fsync, 0).expect("room").id, FAULTS_MAX as u64 + 1);
    }
}
