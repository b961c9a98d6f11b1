//! What Forebay puts on disk and on the wire, as plain types: ids and numbers, the record batch and
//! its codec, checksums, limits, segment headers, indexes and the producer table.
//!
//! There is no I/O, clock or thread in here, and no state that outlives a call except the
//! producer table and the state of a log, which are pure values. `docs/FORMAT.md` draws every byte; the golden tests pin them.
//! Bytes are never trusted: each `decode` returns an error that says what was found and expected.

pub mod batch;
pub mod batches;
pub mod builder;
pub mod checksum;
pub mod clean;
pub mod control;
pub mod epochs;
pub mod file_error;
mod frame;
pub mod ids;
pub mod index;
mod le;
pub mod limits;
pub mod log_state;
pub mod names;
pub mod numbers;
pub mod partition_meta;
pub mod position;
pub mod producers;
pub mod record;
pub mod record_counter;
pub mod segment;
pub mod topic_name;
mod varint;

pub use batch::{
    BatchError, BatchHeader, BatchMeta, ClientHeader, Codec, LeaderFields, LocalFields, PayloadCrc,
    stamp_leader, stamp_local,
};
pub use batches::{Batch, Batches};
pub use builder::{BatchBuilder, ProducerStamp, PushError, RecordInput};
pub use clean::{CleanEntry, CleanFile};
pub use control::Control;
pub use epochs::{EpochStart, EpochTable};
pub use file_error::{FileError, FileKind};
pub use ids::{
    ClusterId, NodeId, ParseIdError, PartitionId, PartitionIndex, ProducerId, ReplicaId, TopicId,
};
pub use index::{Index, IndexEntries, IndexEntry, IndexFull, IndexSummary, IndexWriter};
pub use log_state::LogState;
pub use numbers::{Epoch, FilePosition, Offset, ProducerEpoch, SegmentSalt, Sequence, TimestampMs};
pub use partition_meta::{PartitionMeta, PendingCut};
pub use position::Position;
pub use producers::{
    Admission, ProducerError, ProducerTable, RememberedBatch, SnapshotPoint, decode_snapshot,
};
pub use record::{RecordHeaders, RecordRef, Records};
pub use record_counter::{RecordCounter, count_records};
pub use segment::{SegmentHeader, SegmentIdentity};
pub use topic_name::{TopicName, TopicNameError};
