//! The request body of a produce stream. HTTP/2 asks it for the next DATA frame when there is room,
//! and it takes the next batches out of the outbox then: there is no queue in between, and what has
//! not been asked for can still grow.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::time::Instant;

use super::{outbox::Outbox, shared::Shared};
use crate::{
    connection::Piece,
    wire::{BatchMessage, PREFIX_BYTES_MAX},
};

/// Smaller batches are copied, several into one frame: HTTP/2 costs more per frame than a copy of so
/// many bytes, and servers end connections that send many tiny frames.
const COPIED_BATCH_BYTES_MAX: usize = 16 * 1024;
/// A frame of copied batches is sent when it has so many bytes.
const COPIED_FRAME_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct ProduceBody {
    shared: Arc<Shared>,
    session: usize,
    stream: u64,
    /// Sent first.
    open: Option<Bytes>,
    scratch: BytesMut,
}

impl ProduceBody {
    pub(super) fn new(shared: Arc<Shared>, session: usize, stream: u64) -> Self {
        let open = Some(shared.open_message.clone());
        Self { shared, session, stream, open, scratch: BytesMut::new() }
    }

    /// The next frame, or `None` when there is nothing to send now.
    fn next_frame(&mut self, outbox: &mut Outbox) -> Option<Piece> {
        let now = Instant::now();
        let scratch = &mut self.scratch;
        while let Some((partition, request_id, sealed)) = outbox.take(self.session, now) {
            let message = BatchMessage {
                request_id,
                partition,
                concern: self.shared.concern,
                timeout_ms: self.shared.timeout_ms,
                batch_bytes: sealed.bytes.len(),
            };
            let copied = sealed.bytes.len() <= COPIED_BATCH_BYTES_MAX;
            if scratch.is_empty() {
                // Room for all that may be copied into this frame, so that it never moves.
                let copied_max = COPIED_FRAME_BYTES + COPIED_BATCH_BYTES_MAX;
                scratch.reserve(PREFIX_BYTES_MAX + if copied { copied_max } else { 0 });
            }
            message.encode_prefix(scratch);
            let rest = sealed.bytes.split_into(scratch);
            if !copied {
                return Some(scratch.split().freeze().chain(rest));
            }
            scratch.extend_from_slice(&rest);
            if scratch.len() >= COPIED_FRAME_BYTES {
                break;
            }
        }
        (!scratch.is_empty()).then(|| scratch.split().freeze().chain(Bytes::new()))
    }
}

impl Body for ProduceBody {
    type Data = Piece;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, Infallible>>> {
        let this = &mut *self;
        if let Some(open) = this.open.take() {
            return Poll::Ready(Some(Ok(Frame::data(open.chain(Bytes::new())))));
        }
        let shared = Arc::clone(&this.shared);
        shared.outbox.with(|outbox| {
            if !outbox.is_current(this.session, this.stream) {
                return Poll::Ready(None);
            }
            let Some(piece) = this.next_frame(outbox) else {
                outbox.wait(this.session, cx.waker());
                return Poll::Pending;
            };
            Poll::Ready(Some(Ok(Frame::data(piece))))
        })
    }
}
