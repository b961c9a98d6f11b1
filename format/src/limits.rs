//! Every limit of the format, with its unit in its name. Settings may be lower, never higher.

/// A producer that appended nothing for this long, by the leaders' append times, is forgotten when
/// they pass the next full hour: 7 days in milliseconds.
pub const PRODUCER_EXPIRY_MS: i64 = 7 * 24 * 3600 * 1000;

/// Producers are looked through for old ones when the append time passes a multiple of this: an hour in
/// milliseconds. A place in the log that every replica finds alike, unlike the end of a segment.
pub const PRODUCER_EXPIRY_STEP_MS: i64 = 3600 * 1000;

/// Bytes of a batch header: client, leader and local fields.
pub const HEADER_BYTES: usize = 112;

/// Bytes of the header that the client writes; the rest of its header is zero.
pub const CLIENT_HEADER_BYTES: usize = 64;

/// A batch, header included, unless server or topic say otherwise.
pub const BATCH_BYTES_DEFAULT: usize = 1024 * 1024;

/// A batch, header included, whatever the settings say: a stock gRPC client refuses messages over
/// 4 MiB and must still be able to read it.
pub const BATCH_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The payload of a batch, as it travels (compressed, if it is).
pub const PAYLOAD_BYTES_MAX: usize = BATCH_BYTES_MAX - HEADER_BYTES;

/// Records in one batch. Bounds what a reader of a compressed batch has to be ready for.
pub const RECORDS_PER_BATCH_MAX: u32 = 1 << 18;

/// The key of a record.
pub const KEY_BYTES_MAX: usize = 64 * 1024;

/// Headers of one record.
pub const HEADERS_PER_RECORD_MAX: usize = 256;

/// The name of a record's header, in bytes of UTF-8.
pub const RECORD_HEADER_NAME_BYTES_MAX: usize = 1024;

/// The name of a topic.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Topics of a cluster.
pub const TOPICS_MAX: usize = 10_000;

/// Partitions of a topic.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 10_000;

/// Batches of one producer and partition that may wait for their answer. As many are remembered, so
/// that whatever a producer still has to retry is recognised.
pub const IN_FLIGHT_PER_PRODUCER_MAX: usize = 64;

/// Batches of one producer and partition that the producer table remembers.
pub const BATCHES_REMEMBERED_PER_PRODUCER: usize = 64;

/// Producer ids that one partition remembers. Beyond, the one that appended longest ago is forgotten.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 1024;

/// The unit of direct I/O, and of what a power loss leaves old or new.
pub const BLOCK_BYTES: usize = 4096;

/// A segment file: positions in an index entry have 32 bits.
pub const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Epochs in the table of a segment header; the latest ones are kept.
pub const EPOCHS_PER_SEGMENT_HEADER_MAX: usize = 200;

/// Partition replicas in one data directory.
pub const PARTITIONS_PER_NODE_MAX: usize = 100_000;

// What a producer may still retry must still be remembered.
const _: () = assert!(IN_FLIGHT_PER_PRODUCER_MAX <= BATCHES_REMEMBERED_PER_PRODUCER);
const _: () = assert!(BATCH_BYTES_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX + 64 * 1024 < 4 * 1024 * 1024);
const _: () = assert!(SEGMENT_BYTES_MAX + BATCH_BYTES_MAX as u64 <= u32::MAX as u64);
const _: () = assert!(KEY_BYTES_MAX < BATCH_BYTES_DEFAULT);
