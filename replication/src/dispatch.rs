//! Which machine of a replica a message is for, and R4 ★: what is older than the promise is refused.

use forebay_format::{Epoch, NodeId, Position};

use crate::action::Actions;
use crate::election::Candidate;
use crate::fence::{Fence, Judgement};
use crate::follower::{Appending, Matching, serve_fetch};
use crate::leader::Leader;
use crate::local::Local;
use crate::message::Message;
use crate::mutation::Mutation;
use crate::replica::{Replica, Role};
use crate::soundness::is_sound_message;
use crate::time::Instant;

impl Replica {
    pub(crate) fn on_message(&mut self, from: NodeId, message: Message, actions: &mut Actions) {
        if self.local.is_halted() || !is_sound_message(&message) {
            return;
        }
        match message {
            Message::Fence { epoch, established, state_version } => {
                self.on_fence(from, (epoch, established), actions);
                self.local.saw_state_version(state_version, actions);
            }
            Message::Fetch { .. }
            | Message::Match { .. }
            | Message::Start { .. }
            | Message::Append { .. } => self.on_order(from, message, actions),
            Message::Fenced { .. }
            | Message::Refused { .. }
            | Message::Fetched { .. }
            | Message::Appended { .. }
            | Message::NotMatched { .. } => self.on_reply(from, message, actions),
        }
    }

    /// R4 ★: promises, or refuses. Whatever this replica led or followed before is over.
    fn on_fence(
        &mut self,
        from: NodeId,
        (epoch, established): (Epoch, bool),
        actions: &mut Actions,
    ) {
        match Fence::judge(&mut self.local, from, epoch, established) {
            Judgement::Refused => {
                let promised = self.local.meta.promised();
                actions.send(from, Message::Refused { epoch, promised });
            }
            Judgement::Promised { newer } => {
                let leads = matches!(self.role, Role::Leader(_));
                let goes_on = leads && self.local.broken(Mutation::R4OwnFsyncAfterFence);
                // One that is established had Q promises, so nobody else is elected in its epoch.
                if (newer || established) && !goes_on {
                    self.step_down(Instant::ZERO, actions);
                }
                if let Role::Follower(follower) = &mut self.role
                    && newer
                {
                    follower.on_promised(&self.local);
                }
            }
        }
    }

    /// What a leader or candidate tells this replica to do.
    fn on_order(&mut self, from: NodeId, message: Message, actions: &mut Actions) {
        let (epoch, promised) = (message.epoch(), self.local.meta.promised());
        let old = epoch < promised;
        if old && !self.local.broken(Mutation::R4OldAppendsAccepted) {
            actions.send(from, Message::Refused { epoch, promised });
            return;
        }
        // Above the promise: its fence is still to come. Under way: it will be repeated.
        if epoch > promised || (self.local.fence.is_pending() && !old) {
            return;
        }
        let leader = (from, epoch);
        match (message, &mut self.role) {
            (Message::Fetch { replica, after, .. }, Role::Follower(_))
                if replica == self.local.meta.replica() && !self.local.log.is_rewriting() =>
            {
                serve_fetch(&self.local, leader, after, actions);
            }
            (Message::Match { asked, common, unclean, .. }, Role::Follower(follower)) => {
                let found = Matching { asked, common, unclean };
                follower.on_match(&mut self.local, leader, &found, actions);
            }
            (Message::Start { asked, at, .. }, Role::Follower(follower)) => {
                follower.on_start(&mut self.local, leader, (asked, at), actions);
            }
            (Message::Start { asked, at, .. }, Role::Candidate(candidate))
                if candidate.epoch() == epoch =>
            {
                candidate.on_start(&mut self.local, (from, asked), at, actions);
            }
            (
                Message::Append { after, batches, committed, log_start, state_version, .. },
                Role::Follower(follower),
            ) => {
                let append = Appending { after, batches, committed, log_start };
                follower.on_append(&mut self.local, leader, append, actions);
                self.local.saw_state_version(state_version, actions);
            }
            _ => {}
        }
    }

    /// What another replica answers this one as its leader or candidate.
    fn on_reply(&mut self, from: NodeId, message: Message, actions: &mut Actions) {
        // R2: somebody has promised a higher epoch than the one that is led, so there is one.
        if let (Role::Leader(leader), Message::Refused { epoch, promised }) = (&self.role, &message)
            && leader.epoch() == *epoch
            && promised > epoch
        {
            self.step_down(Instant::ZERO, actions);
            self.local.coordination.read_anew(self.local.now, actions);
            return;
        }
        match &mut self.role {
            Role::Candidate(candidate) if candidate.epoch() == message.epoch() => {
                if reply_to_candidate(candidate, &mut self.local, (from, message), actions) {
                    self.lead(actions);
                }
            }
            Role::Follower(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => {
                reply_to_leader(leader, &mut self.local, (from, message), actions);
            }
        }
    }
}

/// Returns whether the candidate is elected by it.
fn reply_to_candidate(
    candidate: &mut Candidate,
    local: &mut Local,
    (from, message): (NodeId, Message),
    actions: &mut Actions,
) -> bool {
    match message {
        Message::Fenced { report, .. } => {
            return candidate.on_fenced(local, (from, *report), actions);
        }
        Message::Refused { promised, .. } => candidate.on_refused(local, promised, actions),
        Message::Fetched { replica, after, batches, .. } => {
            candidate.on_fetched(local, (from, replica), (after, batches), actions);
        }
        _ => {}
    }
    false
}

fn reply_to_leader(
    leader: &mut Leader,
    local: &mut Local,
    (from, message): (NodeId, Message),
    actions: &mut Actions,
) {
    let epoch = message.epoch();
    // ★ What was acknowledged to an older epoch, even this node's own, counts for nothing in this one.
    let counts_old = epoch < leader.epoch() && local.broken(Mutation::R4OldAcksCounted);
    if epoch != leader.epoch() && !counts_old {
        return;
    }
    match message {
        Message::Fenced { report, .. } => leader.on_fenced(local, from, &report, actions),
        Message::Appended { replica, appended, durable, .. } if counts_old => {
            let lift = |position: Position| Position::new(leader.epoch(), position.end);
            let acknowledged = (replica, lift(appended), lift(durable));
            leader.on_appended(local, from, acknowledged, actions);
        }
        Message::Appended { replica, appended, durable, .. } => {
            leader.on_appended(local, from, (replica, appended, durable), actions);
        }
        Message::NotMatched { .. } => leader.on_not_matched(local, from, actions),
        _ => {}
    }
}
