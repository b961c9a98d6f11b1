//! Bytes of a stream as they arrived, in the pieces that they arrived in.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

/// A batch's payload, in the pieces that it arrived in.
pub(in crate::grpc) type Pieces = SmallVec<[Bytes; 2]>;

/// Bytes that have arrived, as they arrived.
#[derive(Debug, Default)]
pub(in crate::grpc) struct Chunks {
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        let mut chunks = Self::default();
        chunks.push(bytes);
        chunks
    }
}

impl Chunks {
    /// Bytes that are there.
    pub(in crate::grpc) fn len(&self) -> usize {
        self.len
    }

    pub(in crate::grpc) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Copies the first bytes without taking them; all of `target` must be there.
    pub(in crate::grpc) fn peek<'a>(&'a self, target: &'a mut [u8]) -> &'a [u8] {
        let wanted = target.len();
        match self.chunks.front() {
            Some(front) if front.len() >= wanted => &front[..wanted],
            _ => {
                let mut at = 0;
                for chunk in &self.chunks {
                    let part = chunk.len().min(wanted - at);
                    target[at..at + part].copy_from_slice(&chunk[..part]);
                    at += part;
                }
                target
            }
        }
    }

    pub(in crate::grpc) fn skip(&mut self, mut bytes: usize) {
        self.len -= bytes;
        while bytes > 0 {
            let front = self.chunks.front_mut().expect("as many bytes as were counted");
            let part = front.len().min(bytes);
            front.advance(part);
            bytes -= part;
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    pub(in crate::grpc) fn copy_to(&mut self, target: &mut [u8]) {
        let bytes = target.len();
        let found = self.peek(target);
        // `peek` may have answered with the chunk itself.
        if found.as_ptr() != target.as_ptr() {
            let chunk = self.chunks.front().expect("just peeked at");
            target.copy_from_slice(&chunk[..bytes]);
        }
        self.skip(bytes);
    }

    /// Takes the next bytes as they lie.
    pub(in crate::grpc) fn take(&mut self, mut bytes: usize) -> Pieces {
        self.len -= bytes;
        let mut taken = Pieces::new();
        while bytes > 0 {
            let front = self.chunks.front_mut().expect("as many bytes as were counted");
            if front.len() <= bytes {
                bytes -= front.len();
                taken.extend(self.chunks.pop_front());
            } else {
                taken.push(front.split_to(bytes));
                bytes = 0;
            }
        }
        taken
    }

    /// Takes the next bytes in one piece; copies when they lie in several.
    pub(in crate::grpc) fn take_together(&mut self, bytes: usize) -> Bytes {
        let mut pieces = self.take(bytes);
        if pieces.len() <= 1 {
            return pieces.pop().unwrap_or_default();
        }
        let mut together = BytesMut::with_capacity(bytes);
        pieces.iter().for_each(|piece| together.extend_from_slice(piece));
        together.freeze()
    }
}
