//! gRPC over HTTP/2 as our own streams write it: message prefixes, response headers, trailers.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use tonic::Status;

use super::status::Failure;
use crate::net::{Piece, ResponseBody, StreamBody};

/// What precedes a message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// Begins a message whose length is not known yet. [`end_message`] takes the result.
pub(super) fn begin_message(buffer: &mut BytesMut) -> usize {
    let start = buffer.len();
    buffer.put_bytes(0, PREFIX_BYTES);
    start
}

/// Ends the message that was begun at `start`. `more` bytes of it follow outside the buffer.
#[expect(clippy::big_endian_bytes, reason = "gRPC says so")]
pub(super) fn end_message(buffer: &mut BytesMut, start: usize, more: usize) {
    let length = buffer.len() - start - PREFIX_BYTES + more;
    let length = u32::try_from(length).expect("messages are far smaller than 4 GiB");
    buffer[start + 1..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// A response whose messages come from `body`.
pub(super) fn response(body: impl StreamBody + 'static) -> Response<ResponseBody> {
    const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
    let mut response = Response::new(ResponseBody::stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    response
}

/// The last frame of a stream that ends well, or with a failure.
pub(super) fn trailers(failure: Option<Failure>) -> Frame<Piece> {
    let status = failure.map_or_else(|| Status::ok(""), Failure::into_status);
    let mut trailers = HeaderMap::new();
    // Only a message that cannot be percent-encoded would be left out, and there is none.
    status.add_header(&mut trailers).ok();
    Frame::trailers(trailers)
}
