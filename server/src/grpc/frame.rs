//! gRPC over HTTP/2 as our own streams write it: response headers, trailers. Messages are `net`'s, which
//! writes those to other nodes too.

use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use tonic::Status;

use super::status::Failure;
pub(super) use crate::net::{PREFIX_BYTES, begin_message, end_message};
use crate::net::{Piece, ResponseBody, StreamBody};

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
