//! The loads themselves.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `plan` | which record goes where, and when it should be sent; pure |
//! | `window` | which part of a run is measured |
//! | `tally` | acknowledgements: counted, timed and verified |
//! | `pacer` | waiting until a record is due, finer than a millisecond |
//! | `produce`, `consume`, `e2e` | the three loads |
//! | `fill` | something to consume |
//! | `topic` | making the topic, and whether there is room for it |

mod consume;
mod e2e;
mod error;
mod fill;
mod pacer;
mod plan;
mod produce;
mod tally;
mod topic;
mod window;

pub use consume::consume;
pub use e2e::e2e;
pub use error::LoadError;
pub use fill::fill;
pub use plan::Plan;
pub use produce::produce;
pub use topic::{Topic, delete_if_same};
pub use window::{Measured, Window};

use crate::latency::Recorder;

/// What came out of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records in the measured window.
    pub records: u64,
    /// Bytes of values (producing) or of payloads (consuming) in the measured window.
    pub bytes: u64,
    /// Batches in the measured window.
    pub batches: u64,
    /// From the intended send time, when there was one.
    pub intended: Option<Recorder>,
    /// From handing over to the connection to the answer.
    pub service: Option<Recorder>,
    /// Retries that the server recognised.
    pub duplicates: u64,
    /// Accepted and never acknowledged.
    pub unacknowledged: u64,
    /// Batches whose offsets and checksums were looked at.
    pub verified_batches: u64,
    /// What was wrong, the first of each kind. Empty is good.
    pub problems: Vec<String>,
    /// The part that was measured.
    pub measured: Option<Measured>,
}
