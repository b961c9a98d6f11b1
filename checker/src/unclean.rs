//! Which offsets an operator gave up, when a leader was elected without a quorum.

use forebay_format::{Epoch, Offset};

use crate::history::{Event, History};

/// The ranges that were announced as lost, each with the place of its election in the history and the
/// epoch that began with it.
#[derive(Debug, Default)]
pub(crate) struct UncleanRanges {
    elections: Vec<(usize, Epoch, Offset)>,
}

impl UncleanRanges {
    pub(crate) fn of(history: &History) -> Self {
        let elections = history.iter().filter_map(|(index, _, event)| match event {
            Event::UncleanElection { epoch, lost_from } => Some((index, *epoch, *lost_from)),
            _ => None,
        });
        Self { elections: elections.collect() }
    }

    /// Whether what stood at `offset` may have been given up by any election.
    pub(crate) fn cover(&self, offset: Offset) -> bool {
        self.elections.iter().any(|(.., from)| *from <= offset)
    }

    /// Whether what was acknowledged at `offset` by a leader of `epoch` may have been given up. That
    /// leader may answer for a while after the election, which has asked nobody.
    pub(crate) fn cover_since(&self, epoch: Epoch, offset: Offset) -> bool {
        self.elections.iter().any(|(_, begun, from)| *begun > epoch && *from <= offset)
    }

    /// Whether there was any before place `index` of the history.
    pub(crate) fn any_before(&self, index: usize) -> bool {
        self.elections.iter().any(|(at, ..)| *at < index)
    }

    /// Whether an election before place `index` gave up what stood at `offset`.
    pub(crate) fn cover_before(&self, index: usize, offset: Offset) -> bool {
        self.elections.iter().any(|(at, _, from)| *at < index && *from <= offset)
    }
}
