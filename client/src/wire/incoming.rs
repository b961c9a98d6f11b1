//! The answering half of a call: whole gRPC messages out of HTTP/2 frames, and how the call ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http::{HeaderMap, StatusCode};
use hyper::{
    Response,
    body::{Body, Incoming},
};
use tonic::Status;

use super::{GRPC_PREFIX_BYTES, Slices, WireError};
use crate::refusal::Refusal;

/// A longer message does not come from a server of ours: a batch is at most 3 MiB.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How a call ended.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// The server has nothing more to say.
    Finished,
    /// The server ended the call with an error.
    Refused(Refusal),
    /// The connection broke, or what came is not gRPC.
    Broken(BrokenStream),
}

/// Why a stream of answers cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenStream {
    /// The connection broke.
    #[error("connection lost")]
    Connection(#[from] hyper::Error),
    /// The server sent something that is not a message.
    #[error("the server's answer cannot be read")]
    Wire(#[from] WireError),
    /// It ended within a message, or without a status.
    #[error("stream ended early")]
    EndedEarly,
    /// Not gRPC at all.
    #[error("HTTP status {0} instead of a gRPC answer")]
    Http(StatusCode),
}

/// Messages of one response.
#[derive(Debug)]
pub(crate) struct MessageReader {
    body: Incoming,
    received: Slices,
}

impl MessageReader {
    /// Takes the response apart.
    ///
    /// # Errors
    /// The end, when the server answered with nothing but an end.
    pub(crate) fn new(response: Response<Incoming>) -> Result<Self, StreamEnd> {
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(StreamEnd::Broken(BrokenStream::Http(head.status)));
        }
        if let Some(end) = end_of(&head.headers) {
            return Err(end);
        }
        Ok(Self { body, received: Slices::default() })
    }

    /// The next message's bytes, in the pieces they came in.
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Slices, StreamEnd>> {
        loop {
            match take_message(&mut self.received) {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(StreamEnd::Broken(error.into()))),
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.received.push(data),
                    Err(frame) => {
                        let end = frame.into_trailers().ok().as_ref().and_then(end_of);
                        return Poll::Ready(Err(end.unwrap_or_else(ended_early)));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(StreamEnd::Broken(error.into()))),
                None => return Poll::Ready(Err(ended_early())),
            }
        }
    }

    /// [`Self::poll_message`] as a future.
    pub(crate) async fn message(&mut self) -> Result<Slices, StreamEnd> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }
}

fn ended_early() -> StreamEnd {
    StreamEnd::Broken(BrokenStream::EndedEarly)
}

/// The end that headers or trailers announce, if they do.
fn end_of(headers: &HeaderMap) -> Option<StreamEnd> {
    let status = Status::from_header_map(headers)?;
    Some(match status.code() {
        tonic::Code::Ok => StreamEnd::Finished,
        _ => StreamEnd::Refused(Refusal::from(&status)),
    })
}

/// Cuts the next whole message off what was received.
fn take_message(received: &mut Slices) -> Result<Option<Slices>, WireError> {
    let mut prefix = [0; GRPC_PREFIX_BYTES];
    if !received.peek(&mut prefix) {
        return Ok(None);
    }
    let [compressed, length @ ..] = prefix;
    if compressed != 0 {
        return Err(WireError::Compressed);
    }
    let length = (&length[..]).get_u32() as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong { found: length, max: MESSAGE_BYTES_MAX });
    }
    if received.len() < GRPC_PREFIX_BYTES + length {
        return Ok(None);
    }
    received.advance(GRPC_PREFIX_BYTES);
    Ok(Some(received.split_to(length)))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes};

    use super::*;

    #[test]
    fn messages_come_out_whole_whatever_the_frames_were() {
        let mut wire = Vec::new();
        for (length, byte) in [(3_u32, b'a'), (0, b'b'), (300, b'c')] {
            wire.put_u8(0);
            wire.put_u32(length);
            wire.put_bytes(byte, length as usize);
        }
        for frame in 1..wire.len() {
            let mut received = Slices::default();
            let mut lengths = Vec::new();
            for piece in wire.chunks(frame) {
                received.push(Bytes::copy_from_slice(piece));
                while let Some(message) = take_message(&mut received).expect("well formed") {
                    lengths.push(message.len());
                }
            }
            assert_eq!(lengths, [3, 0, 300], "frames of {frame} bytes");
        }
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_before_it_is_gathered() {
        let mut received = Slices::from(Bytes::from_static(&[0, 0xff, 0, 0, 0]));
        assert!(matches!(take_message(&mut received), Err(WireError::TooLong { .. })));
        let mut received = Slices::from(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert!(matches!(take_message(&mut received), Err(WireError::Compressed)));
    }
}
