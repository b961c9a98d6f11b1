//! Whole batches, back to back as they are stored: what a consumer gets and `segment dump` reads.

use crate::batch::{BatchError, BatchHeader, Codec, PayloadCrc};
use crate::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use crate::record::Records;

/// A stored batch, borrowed from the run it came in. Header and payload are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    /// The header.
    pub header: BatchHeader,
    /// The payload, as it is stored.
    pub payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`, header and payload checksums verified, and what follows.
    ///
    /// # Errors
    /// [`BatchError::Length`] when the batch goes on beyond `bytes`; anything else when it is
    /// damaged.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), BatchError> {
        let Some((front, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Length { found: bytes.len(), expected: HEADER_BYTES });
        };
        let header = BatchHeader::decode(front)?;
        let Some((payload, rest)) = rest.split_at_checked(header.client.payload_len()) else {
            let expected = header.batch_bytes();
            return Err(BatchError::Length { found: bytes.len(), expected });
        };
        verify_payload(front, payload, header.client.payload_crc)?;
        Ok((Self { header, payload }, rest))
    }

    /// The records. A control batch has none.
    ///
    /// # Errors
    /// [`BatchError::Compressed`]: decompress [`Self::payload`] and give it to [`Records::new`].
    pub fn records(&self) -> Result<Records<'a>, BatchError> {
        let client = &self.header.client;
        if client.control {
            return Ok(Records::new(&[], 0, client.first_timestamp));
        }
        match client.codec {
            Codec::None => {
                Ok(Records::new(self.payload, client.record_count, client.first_timestamp))
            }
            found => Err(BatchError::Compressed { found }),
        }
    }
}

fn verify_payload(
    header: &[u8; HEADER_BYTES],
    payload: &[u8],
    expected: u32,
) -> Result<(), BatchError> {
    let front: &[u8; CLIENT_HEADER_BYTES] =
        header.first_chunk().expect("a header is longer than its client's part");
    let mut crc = PayloadCrc::start(front);
    crc.update(payload);
    let found = crc.finish();
    if found != expected {
        return Err(BatchError::PayloadCrc { found, expected });
    }
    Ok(())
}

/// Splits a run into its batches. After an error there is nothing more.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The batches of `run`, which starts with one and should end with one.
    pub const fn new(run: &'a [u8]) -> Self {
        Self { rest: run }
    }

    /// What has not been split off yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Batch::split(self.rest) {
            Ok((batch, rest)) => {
                self.rest = rest;
                Some(Ok(batch))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}
