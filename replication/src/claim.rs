//! R1 and R2: when a replica that follows takes over, and by which transaction.
//!
//! ```text
//!              leader key absent             its turn has come
//!  watching ───────────────────▶ waiting ──────────────────────▶ take-over sent ─▶ candidate
//!      ▲                            │ key is there                    │ conflict
//!      └────────────────────────────┴─────────────────────────────────┘
//! ```
//!
//! Who waits how long is a courtesy that saves conflicts. Only the transaction decides, and even that
//! only who may *try*: safety is the fence's.

use forebay_format::NodeId;

use crate::action::Actions;
use crate::local::Local;
use crate::metadata::{LeaderGuard, LeaderWrite, PartitionState, Transaction, TransactionKind};
use crate::soundness::is_sound_set;
use crate::time::Instant;

/// The claim of a replica to lead.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claim {
    /// Since when the leader key is known to be absent.
    vacant_since: Option<Instant>,
    /// After it has given up by itself, or met a conflict, it does nothing until then.
    not_before: Instant,
    /// When the metadata are read again, whatever a watch says.
    next_poll: Instant,
    /// When its turn comes, if the key is absent.
    due: Option<Instant>,
}

impl Claim {
    /// Nothing is known yet: the metadata are read at the first event.
    pub(crate) fn new(not_before: Instant) -> Self {
        Self { vacant_since: None, not_before, next_poll: Instant::ZERO, due: None }
    }

    /// When it wants to be woken.
    pub(crate) fn deadline(&self) -> Instant {
        self.due.map_or(self.next_poll, |due| due.min(self.next_poll))
    }

    /// Its transaction met a conflict. Whatever the cause (it may be a lease that the store has ended and
    /// this node still believes in), it is not tried again at once.
    pub(crate) fn back_off(&mut self, local: &Local) {
        self.not_before = self.not_before.max(local.now.plus_ms(local.config.heartbeat_ms));
    }

    /// Looks at metadata, lease and time, and does what they call for.
    pub(crate) fn consider(&mut self, local: &mut Local, actions: &mut Actions) {
        self.due = None;
        if local.now >= self.next_poll {
            self.next_poll = local.now.plus_ms(local.config.metadata_poll_ms);
            local.coordination.read(local.now, actions);
        }
        let nobody = local.coordination.leader().is_none();
        self.vacant_since = nobody.then(|| self.vacant_since.unwrap_or(local.now));
        let ready = local.coordination.is_known()
            && !local.coordination.is_busy()
            && local.valid_lease().is_some();
        if !ready {
            return;
        }
        if local.now < self.not_before {
            self.due = Some(self.not_before);
            return;
        }
        // R2: metadata that went back are an operator's business. Also where nothing is left of them: a
        // partition that has been does not begin again.
        if local.is_rolled_back() {
            return;
        }
        let Some(state) = local.coordination.state() else {
            begin_partition(local, actions);
            return;
        };
        let mine = local.holds_leader_key();
        let electable = local.is_voter() && !local.is_halted();
        if mine && !electable {
            let state = state.with_successor(None);
            local.submit_as_leader(TransactionKind::HandOver, LeaderWrite::Delete, state, actions);
        } else if mine {
            // Its key outlived its leadership: the same leader, in a new epoch.
            let state = state.with_leader(local.node, local.next_epoch(state));
            local.submit_as_leader(TransactionKind::RaiseEpoch, LeaderWrite::Keep, state, actions);
        } else if let Some(since) = self.vacant_since.filter(|_| electable) {
            let delay = turn_ms(local, state);
            let due = since.plus_ms(delay);
            if local.now < due {
                self.due = Some(due);
            } else {
                take_over(local, actions);
            }
        }
    }
}

/// How long this replica lets others try first, in milliseconds.
fn turn_ms(local: &Local, state: &PartitionState) -> u64 {
    let me = local.node;
    if state.successor == Some(me) {
        return 0;
    }
    let head_start = state.successor.map_or(0, |_| local.config.successor_head_start_ms);
    // Members of the in-sync set first: they have the least to fetch.
    let is_member = |node: NodeId| state.isr.contains(&node);
    let before = state.replicas.iter().take_while(|member| member.node != me);
    let rank = if is_member(me) {
        before.filter(|member| is_member(member.node)).count()
    } else {
        state.isr.len() + before.filter(|member| !is_member(member.node)).count()
    };
    let steps = u64::try_from(rank).unwrap_or(u64::MAX);
    head_start.saturating_add(steps.saturating_mul(local.config.candidate_stagger_ms))
}

/// R2: if the leader key is absent, the state is as it was read, and this node's key the one it created,
/// then leader and state with the next epoch are put.
fn take_over(local: &mut Local, actions: &mut Actions) {
    let Some(lease) = local.lease else { return };
    let Some(state) = local.coordination.state() else { return };
    let transaction = Transaction {
        kind: TransactionKind::TakeOver,
        guard: local.guard(lease, LeaderGuard::Absent),
        leader: LeaderWrite::Put(local.leader_key(lease)),
        state: Some(state.with_leader(local.node, local.next_epoch(state))),
        report: None,
    };
    local.coordination.submit(transaction, actions);
}

/// R1: reports this replica; the first assigned node writes the state when all have reported.
fn begin_partition(local: &mut Local, actions: &mut Actions) {
    let Some(lease) = local.lease else { return };
    let (assigned, reported) = (local.coordination.assigned(), local.coordination.reported());
    let own = local.member();
    let mut transaction = Transaction {
        kind: TransactionKind::Report,
        guard: local.guard(lease, LeaderGuard::Any),
        leader: LeaderWrite::Keep,
        state: None,
        report: Some(own),
    };
    if assigned.contains(&own.node) && !reported.contains(&own) {
        local.coordination.submit(transaction, actions);
        return;
    }
    let of = |node: &NodeId| reported.iter().find(|member| member.node == *node).copied();
    let members: Option<Vec<_>> = assigned.iter().map(of).collect();
    if let Some(members) = members
        && assigned.first() == Some(&own.node)
        && is_sound_set(assigned)
    {
        transaction.kind = TransactionKind::FirstState;
        transaction.state = Some(PartitionState::first(members));
        transaction.report = None;
        local.coordination.submit(transaction, actions);
    }
}
