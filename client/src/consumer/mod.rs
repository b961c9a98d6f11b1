//! Consuming: batches of some partitions of a topic, verified, in order, without gaps, over lost
//! connections and restarts.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `batch` | one verified batch, in the pieces it came in |
//! | `position` | what may come next in a partition; pure |
//! | `stream` | one stream from one address |
//! | `sessions` | all streams, and which of them reads which partition |
//! | `handle` | the consumer: what the streams deliver put in order, and where partitions are |

mod batch;
mod error;
mod handle;
mod options;
mod position;
mod sessions;
mod stream;

pub use batch::{ConsumedBatch, ConsumedRecords};
pub use error::{ConsumeError, SubscribeError};
pub use handle::{Consumer, Event};
pub use options::{ConsumerOptions, OutOfRange, ReadFrom, StartAt};
