//! Stored batches as plain records, page by page: a page is one message, made when there is room for it.

use bytes::Bytes;
use forebay_engine::Run;
use forebay_format::{Batch, Epoch, Offset, RecordRef, Records};
use forebay_proto::v1;
use prost::Message;

use crate::grpc::status::Failure;

/// A page ends with the record that makes it this large. One record alone may be larger, up to what fits
/// into a batch, which is below the 4 MiB that clients take.
const PAGE_BYTES: usize = 256 * 1024;

/// A run that is being given out as records.
pub(super) struct Pages {
    /// What is left of the run, beginning with a batch.
    run: Bytes,
    /// The batch that is being given out.
    batch: Option<Rest>,
    /// The first offset that the client wants.
    from: Offset,
    /// Of the last record that was given out.
    epoch: Epoch,
}

/// What is left of a batch.
struct Rest {
    payload: Bytes,
    count: u32,
    offset: Offset,
    epoch: Epoch,
    first_timestamp: forebay_format::TimestampMs,
}

impl Pages {
    pub(super) fn new(run: &Run, from: Offset) -> Self {
        let run = match &run.slices[..] {
            [slice] => slice.clone(),
            slices => slices.concat().into(),
        };
        Self { run, batch: None, from, epoch: Epoch::ZERO }
    }

    /// Of the last record that was given out.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next records; empty at the end.
    ///
    /// # Errors
    /// A batch that cannot be given out as records. There is nothing more then.
    pub(super) fn next_page(&mut self) -> Result<Vec<v1::ConsumedRecord>, Failure> {
        let mut page = Page { records: Vec::new(), bytes: 0 };
        while page.bytes < PAGE_BYTES {
            match self.batch.take() {
                Some(rest) if rest.count > 0 => {
                    let (epoch, before) = (rest.epoch, page.records.len());
                    self.batch = Some(rest.give_out(self.from, &mut page)?);
                    if page.records.len() > before {
                        self.epoch = epoch;
                    }
                }
                _ if self.run.is_empty() => break,
                _ => self.next_batch()?,
            }
        }
        Ok(page.records)
    }

    fn next_batch(&mut self) -> Result<(), Failure> {
        let (batch, rest) = Batch::split(&self.run)?;
        let header = batch.header;
        let payload = self.run.slice_ref(batch.payload);
        batch.records()?;
        self.run = self.run.slice_ref(rest);
        self.batch = Some(Rest {
            payload,
            count: header.client.record_count,
            offset: header.leader.base_offset,
            epoch: header.leader.epoch,
            first_timestamp: header.client.first_timestamp,
        });
        Ok(())
    }
}

struct Page {
    records: Vec<v1::ConsumedRecord>,
    bytes: usize,
}

impl Rest {
    /// Moves records to the page until it is full. What is left comes back.
    fn give_out(self, from: Offset, page: &mut Page) -> Result<Self, Failure> {
        let Self { payload, mut count, mut offset, epoch, first_timestamp } = self;
        let mut records = Records::new(&payload, count, first_timestamp);
        while page.bytes < PAGE_BYTES
            && let Some(record) = records.next()
        {
            let record = record?;
            if offset >= from {
                let record = consumed(offset, &record, &payload);
                page.bytes += record.encoded_len() + 4;
                page.records.push(record);
            }
            offset += 1;
            count -= 1;
        }
        let payload = payload.slice_ref(records.rest());
        Ok(Self { payload, count, offset, epoch, first_timestamp })
    }
}

fn consumed(offset: Offset, record: &RecordRef<'_>, payload: &Bytes) -> v1::ConsumedRecord {
    let header = |(name, value): (&str, &[u8])| v1::Header {
        name: name.to_owned(),
        value: payload.slice_ref(value),
    };
    v1::ConsumedRecord {
        offset: offset.get(),
        timestamp_ms: record.timestamp.get(),
        key: record.key.map(|key| payload.slice_ref(key)),
        value: record.value.map(|value| payload.slice_ref(value)),
        headers: record.headers.clone().map(header).collect(),
    }
}

#[cfg(test)]
mod tests {
    use forebay_format::limits::HEADER_BYTES;
    use forebay_format::{
        BatchBuilder, Epoch, LeaderFields, ProducerStamp, RecordInput, TimestampMs, stamp_leader,
    };

    use super::*;

    /// A stored batch of records with these values.
    fn batch(base_offset: u64, values: &[&[u8]]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(1 << 20);
        for value in values {
            let headers: &[(&str, &[u8])] = &[("name", b"header")];
            let key = Some(&b"key"[..]);
            let timestamp = TimestampMs::new(77);
            builder
                .push(&RecordInput { timestamp, key, value: Some(value), headers })
                .expect("fits");
        }
        let mut bytes = builder.finish(ProducerStamp::NONE).to_vec();
        let header: &mut [u8; HEADER_BYTES] = bytes.first_chunk_mut().expect("a header");
        stamp_leader(
            header,
            &LeaderFields {
                base_offset: Offset::new(base_offset),
                epoch: Epoch::new(1),
                append_time: TimestampMs::new(99),
                previous_header_crc: 0,
            },
        );
        bytes
    }

    fn pages(run: Vec<u8>, from: u64) -> Pages {
        Pages { run: run.into(), batch: None, from: Offset::new(from), epoch: Epoch::ZERO }
    }

    #[test]
    fn records_before_the_wanted_offset_are_left_out() {
        let run = [batch(10, &[b"a", b"b", b"c"]), batch(13, &[b"d"])].concat();
        let mut pages = pages(run, 12);
        let page = pages.next_page().expect("records");
        let found: Vec<(u64, &[u8])> =
            page.iter().map(|r| (r.offset, r.value.as_deref().expect("a value"))).collect();
        assert_eq!(found, [(12, &b"c"[..]), (13, &b"d"[..])]);
        assert_eq!(pages.epoch(), Epoch::new(1));
        let record = &page[0];
        assert_eq!((record.timestamp_ms, record.key.as_deref()), (77, Some(&b"key"[..])));
        assert_eq!(record.headers[0].name, "name");
        assert!(pages.next_page().expect("the end").is_empty());
    }

    #[test]
    fn a_large_run_is_given_out_in_pages_without_loss() {
        let value = vec![1; 1000];
        let values = vec![&value[..]; 700];
        let run = [batch(0, &values), batch(700, &values)].concat();
        let mut pages = pages(run, 0);
        let mut offsets = Vec::new();
        let mut count = 0;
        loop {
            let page = pages.next_page().expect("records");
            if page.is_empty() {
                break;
            }
            let response = v1::RecordBatch { records: page, ..v1::RecordBatch::default() };
            assert!(response.encoded_len() < 2 * PAGE_BYTES);
            offsets.extend(response.records.iter().map(|record| record.offset));
            count += 1;
        }
        assert!(count > 4, "{count} pages");
        assert_eq!(offsets, (0..1400).collect::<Vec<u64>>());
    }

    #[test]
    fn a_damaged_batch_is_an_error_and_no_records() {
        let mut run = batch(0, &[b"a"]);
        *run.last_mut().expect("bytes") ^= 1;
        assert_eq!(pages(run, 0).next_page().expect_err("damaged").reason, "BATCH_CHECKSUM");
    }
}
