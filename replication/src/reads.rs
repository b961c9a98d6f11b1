//! R13: reads below the committed mark, from any replica, on one lineage.
//!
//! A replica that was left behind, even a leader that does not know it yet, serves a true prefix: what is
//! committed stays. A reader says which epoch the last record it read was of. That tells apart a replica
//! that is merely behind the reader (wait, or go elsewhere; never reset) from a log in which the reader's
//! record is not, because an unclean election has dropped it.

use forebay_format::{Epoch, NodeId, Offset};

use crate::action::ReadAnswer;
use crate::event::ReadRequest;
use crate::lineage::parted_at;
use crate::local::Local;
use crate::mutation::Mutation;

/// What this replica can say to a reader.
pub(crate) fn answer(local: &Local, leader: Option<NodeId>, request: &ReadRequest) -> ReadAnswer {
    let state = local.log.state();
    let upto =
        if local.broken(Mutation::R13ReadsAboveCommitted) { state.end } else { local.committed() };
    if let Some(from) = parted(local, request) {
        return ReadAnswer::DataLoss { from, upto: request.offset };
    }
    if request.offset < state.log_start {
        return ReadAnswer::BelowLogStart { log_start: state.log_start };
    }
    // A reader of a newer epoch is ahead, wherever its offset lies: after an unclean election, what this log
    // holds there may be what was given up.
    let ahead = request.epoch > state.position().epoch;
    if request.offset < upto && (!ahead || local.broken(Mutation::R13LineageIgnored)) {
        return ReadAnswer::Readable { upto };
    }
    ReadAnswer::Ahead { committed: upto, leader }
}

/// Where the reader's lineage has left this log's, if it has.
fn parted(local: &Local, request: &ReadRequest) -> Option<Offset> {
    let log = local.log.state();
    let last = log.position().epoch;
    // A reader without a past has no lineage; of one that has read a newer epoch nothing is known here.
    let comparable = request.epoch != Epoch::ZERO && request.epoch <= last;
    if !comparable || local.broken(Mutation::R13LineageIgnored) {
        return None;
    }
    let from = parted_at(&log.epochs, request.epoch, request.offset)?;
    // This log may itself be about to be cut. Only what it has committed proves a loss.
    (from < local.committed()).then_some(from)
}
