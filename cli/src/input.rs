//! Standard input in large pieces that end where a record ends.
//!
//! A thread of its own reads, because reading a file or a terminal blocks. It holds at most
//! [`PIECES_AHEAD`] pieces that nobody has taken.

use std::{io, os::fd::AsFd};

use rustix::{buffer::spare_capacity, io::Errno};
use tokio::sync::mpsc;

/// Pieces that may wait to be taken.
const PIECES_AHEAD: usize = 4;

/// What is read at once. Larger records make a larger piece.
const PIECE_BYTES: usize = 1 << 20;

/// A run of whole records, or what went wrong.
pub(crate) type Piece = io::Result<Vec<u8>>;

/// Starts to read. `last_end` says where the last whole record of some bytes ends. The last piece may end
/// without a record's end. A record of more than `record_bytes_max` bytes is an error, before it has
/// filled the memory.
pub(crate) fn pieces(
    input: impl AsFd + Send + 'static,
    record_bytes_max: usize,
    last_end: impl Fn(&[u8]) -> Option<usize> + Send + 'static,
) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    std::thread::spawn(move || {
        // Nobody waits for this thread: when its receiver has gone, it stops.
        if let Err(error) = read_all(input, record_bytes_max, last_end, &sender) {
            let _nobody_listens = sender.blocking_send(Err(error));
        }
    });
    receiver
}

fn read_all(
    input: impl AsFd,
    record_bytes_max: usize,
    last_end: impl Fn(&[u8]) -> Option<usize>,
    sender: &mpsc::Sender<Piece>,
) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    loop {
        let searched = piece.len();
        if read_some(&input, &mut piece)? == 0 {
            if !piece.is_empty() {
                let _nobody_listens = sender.blocking_send(Ok(piece));
            }
            return Ok(());
        }
        // An end that is several bytes long may begin in what was searched before.
        let Some(end) = last_end(&piece) else {
            if searched > record_bytes_max {
                return Err(io::Error::other(format!(
                    "a record is longer than {record_bytes_max} bytes, and none may be"
                )));
            }
            continue;
        };
        let mut next = Vec::with_capacity(PIECE_BYTES.max(piece.len() - end));
        next.extend_from_slice(&piece[end..]);
        piece.truncate(end);
        if sender.blocking_send(Ok(std::mem::replace(&mut piece, next))).is_err() {
            return Ok(());
        }
    }
}

/// Reads once, at most to the end of the space that the piece has. 0 at the end of the input.
fn read_some(input: impl AsFd, piece: &mut Vec<u8>) -> io::Result<usize> {
    if piece.len() == piece.capacity() {
        piece.reserve(PIECE_BYTES);
    }
    loop {
        match rustix::io::read(&input, spare_capacity(piece)) {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    /// What comes out when `bytes` are read by lines.
    fn read_by_lines(bytes: &[u8], record_bytes_max: usize) -> Vec<Piece> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let last_newline = |bytes: &[u8]| memchr::memrchr(b'\n', bytes).map(|at| at + 1);
        let mut receiver = pieces(file, record_bytes_max, last_newline);
        std::iter::from_fn(|| receiver.blocking_recv()).collect()
    }

    #[test]
    fn pieces_end_where_a_record_ends_and_lose_nothing() {
        let lines: Vec<u8> =
            (0..400_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        assert!(lines.len() > 3 * PIECE_BYTES, "several pieces");
        let pieces: Vec<_> = read_by_lines(&lines, 100).into_iter().map(Result::unwrap).collect();
        assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
        assert_eq!(pieces.concat(), lines);
    }

    #[test]
    fn a_record_larger_than_a_piece_is_read_whole() {
        let long = vec![b'x'; 3 * PIECE_BYTES];
        let pieces = read_by_lines(&long, 4 * PIECE_BYTES);
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].as_ref().unwrap(), &long, "the last record needs no newline");
    }

    #[test]
    fn a_record_beyond_the_limit_is_an_error_and_not_a_full_memory() {
        let pieces = read_by_lines(&vec![b'x'; 3 * PIECE_BYTES], PIECE_BYTES);
        let error = pieces[0].as_ref().unwrap_err().to_string();
        assert_eq!(error, "a record is longer than 1048576 bytes, and none may be");
    }

    #[test]
    fn no_input_is_no_piece() {
        assert!(read_by_lines(b"", 100).is_empty());
    }
}
