//! gRPC messages within a body: each has its length before it.

use bytes::{BufMut, BytesMut};

/// What precedes a message: whether it is compressed, and its length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Begins a message whose length is not known yet. [`end_message`] takes the result.
pub(crate) fn begin_message(buffer: &mut BytesMut) -> usize {
    let start = buffer.len();
    buffer.put_bytes(0, PREFIX_BYTES);
    start
}

/// Ends the message that was begun at `start`. `more` bytes of it follow outside the buffer.
#[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
pub(crate) fn end_message(buffer: &mut BytesMut, start: usize, more: usize) {
    let length = buffer.len() - start - PREFIX_BYTES + more;
    let length = u32::try_from(length).expect("messages are far smaller than 4 GiB");
    buffer[start + 1..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}
