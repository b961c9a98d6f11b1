//! The batch that an epoch begins with.

use forebay_format::{ClientHeader, Control, TimestampMs};

/// The client's part of an epoch-start batch, as [`Control::encode`] writes it.
pub fn epoch_start(time: TimestampMs) -> ClientHeader {
    ClientHeader::decode(&Control::EpochStart.encode(time)).expect("what was encoded just now")
}
