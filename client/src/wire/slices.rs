//! Bytes in several pieces, as they came from the socket.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// A run of bytes in one or more pieces, none of which is copied when the run is cut.
///
/// Invariant: no piece is empty; `len` is the sum of their lengths.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slices {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Slices {
    /// Adds a piece at the end.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Bytes in all pieces.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The pieces in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }

    /// Cuts off the first `count` bytes. Panics when there are fewer.
    #[must_use]
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        assert!(count <= self.len, "cannot cut {count} of {} bytes", self.len);
        let mut head = Self::default();
        while head.len < count {
            let missing = count - head.len;
            let first = self.pieces.front_mut().expect("len counts the bytes of the pieces");
            let piece = if first.len() > missing {
                first.split_to(missing)
            } else {
                self.pieces.pop_front().expect("just looked at")
            };
            self.len -= piece.len();
            head.push(piece);
        }
        head
    }

    /// Copies the first bytes into `out` without taking them. False when there are too few.
    pub(crate) fn peek(&self, out: &mut [u8]) -> bool {
        if out.len() > self.len {
            return false;
        }
        let mut at = 0;
        for piece in &self.pieces {
            let count = piece.len().min(out.len() - at);
            out[at..at + count].copy_from_slice(&piece[..count]);
            at += count;
            if at == out.len() {
                break;
            }
        }
        true
    }

    /// The bytes in one piece; copied only when they were in several.
    pub(crate) fn into_contiguous(mut self) -> Bytes {
        if self.pieces.len() <= 1 {
            return self.pieces.pop_front().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.len);
        for piece in &self.pieces {
            whole.extend_from_slice(piece);
        }
        whole.freeze()
    }
}

impl From<Bytes> for Slices {
    fn from(piece: Bytes) -> Self {
        let mut slices = Self::default();
        slices.push(piece);
        slices
    }
}

impl Buf for Slices {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "cannot pass {count} of {} bytes", self.len);
        self.len -= count;
        while count > 0 {
            let first = self.pieces.front_mut().expect("len counts the bytes of the pieces");
            if first.len() > count {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(bytes: &[u8], lengths: &[usize]) -> Slices {
        let mut slices = Slices::default();
        let mut rest = bytes;
        for &length in lengths {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            slices.push(Bytes::copy_from_slice(piece));
            rest = after;
        }
        slices.push(Bytes::copy_from_slice(rest));
        slices
    }

    proptest! {
        #[test]
        fn cutting_and_passing_lose_no_byte(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            lengths in proptest::collection::vec(0..20_usize, 0..8),
            cut in 0..100_usize,
            pass in 0..100_usize,
        ) {
            let cut = cut.min(bytes.len());
            let mut slices = in_pieces(&bytes, &lengths);
            let mut peeked = vec![0; cut];
            prop_assert!(slices.peek(&mut peeked));
            prop_assert_eq!(&peeked, &bytes[..cut]);
            let head = slices.split_to(cut);
            prop_assert_eq!(&head.into_contiguous()[..], &bytes[..cut]);
            let pass = pass.min(bytes.len() - cut);
            slices.advance(pass);
            prop_assert_eq!(slices.len(), bytes.len() - cut - pass);
            prop_assert_eq!(&slices.into_contiguous()[..], &bytes[cut + pass..]);
        }
    }
}
