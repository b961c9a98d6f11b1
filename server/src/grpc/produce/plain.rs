//! How many plain records a message holds, found without decoding them.
//!
//! A record of two bytes becomes an object of a hundred, and a message of four megabytes may hold two
//! million of them. So they are counted first, by walking over the fields.

use bytes::Buf;
use forebay_format::limits::RECORDS_PER_BATCH_MAX;
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::fields::Fields;

/// Numbers of the fields on the way to a record's headers.
mod number {
    pub(super) const BATCH: u32 = 2;
    pub(super) const RECORD_LIST: u32 = 7;
    pub(super) const RECORD: u32 = 1;
    pub(super) const HEADER: u32 = 3;
}

/// The numbers of the batch in a `ProduceRequest`, if it has more records, or more headers of records,
/// than are taken. Nothing otherwise, and nothing for any other message.
///
/// # Errors
/// Bytes that prost would not decode either.
pub(super) fn fields_if_too_many(message: &[u8]) -> Result<Option<Fields>, DecodeError> {
    let mut found = Found::default();
    walk(message, |field| match field {
        Field::Bytes(number::BATCH, batch) => found.batch(batch),
        _ => Ok(()),
    })?;
    let most = found.records.max(found.headers);
    Ok((most > RECORDS_PER_BATCH_MAX as usize).then_some(found.fields))
}

#[derive(Default)]
struct Found {
    fields: Fields,
    records: usize,
    headers: usize,
}

impl Found {
    fn batch(&mut self, batch: &[u8]) -> Result<(), DecodeError> {
        walk(batch, |field| match field {
            Field::Number(number, value) => {
                self.fields.set(number, value);
                Ok(())
            }
            Field::Bytes(number::RECORD_LIST, list) => walk(list, |field| match field {
                Field::Bytes(number::RECORD, record) => self.record(record),
                _ => Ok(()),
            }),
            Field::Bytes(..) => Ok(()),
        })
    }

    fn record(&mut self, record: &[u8]) -> Result<(), DecodeError> {
        self.records += 1;
        walk(record, |field| {
            self.headers += usize::from(matches!(field, Field::Bytes(number::HEADER, _)));
            Ok(())
        })
    }
}

/// A field of one of the two types that matter here.
enum Field<'a> {
    Number(u32, u64),
    Bytes(u32, &'a [u8]),
}

/// Shows the fields of a message one after the other.
fn walk<'a>(
    mut rest: &'a [u8],
    mut see: impl FnMut(Field<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while rest.has_remaining() {
        let (number, wire_type) = decode_key(&mut rest)?;
        match wire_type {
            WireType::Varint => see(Field::Number(number, decode_varint(&mut rest)?))?,
            WireType::LengthDelimited => {
                let mut after = rest;
                let length = usize::try_from(decode_varint(&mut after)?).unwrap_or(usize::MAX);
                if let Some((bytes, _)) = after.split_at_checked(length) {
                    see(Field::Bytes(number, bytes))?;
                }
                // Says what is wrong with one that is too short.
                skip_field(wire_type, number, &mut rest, context())?;
            }
            other => skip_field(other, number, &mut rest, context())?,
        }
    }
    Ok(())
}

fn context() -> DecodeContext {
    DecodeContext::default()
}
