//! The numbers of a batch, read by hand where they stand before a raw batch.

/// Fields before the raw batch, at most: two tags with lengths, and five numbers with tags.
pub(super) const FIELDS_BYTES_MAX: usize = 2 * 6 + 5 * 11;

/// Its numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) request_id: u64,
    pub(super) partition: u32,
    pub(super) write_concern: i32,
    pub(super) write_concern_replicas: u32,
    pub(super) timeout_ms: u32,
}

impl Fields {
    /// Sets the field of this number as prost would. Other numbers are none of these.
    pub(super) fn set(&mut self, number: u32, value: u64) {
        let low = || u32::try_from(value & u64::from(u32::MAX)).expect("32 bits");
        match number {
            1 => self.request_id = value,
            2 => self.partition = low(),
            3 => self.write_concern = low().cast_signed(),
            4 => self.write_concern_replicas = low(),
            5 => self.timeout_ms = low(),
            _ => {}
        }
    }
}

/// Tags of the fields, with their wire types.
mod tag {
    pub(super) const BATCH: u8 = 2 << 3 | 2;
    pub(super) const REQUEST_ID: u8 = 1 << 3;
    pub(super) const PARTITION: u8 = 2 << 3;
    pub(super) const WRITE_CONCERN: u8 = 3 << 3;
    pub(super) const WRITE_CONCERN_REPLICAS: u8 = 4 << 3;
    pub(super) const TIMEOUT_MS: u8 = 5 << 3;
    pub(super) const RAW_BATCH: u8 = 6 << 3 | 2;
}

/// Reads the start of a message of `length` bytes that ends with a raw batch: the fields before it, and
/// how many bytes they take up. Nothing, when the message looks different in any way.
pub(super) fn read_fields(start: &[u8], length: usize) -> Option<(Fields, usize)> {
    let mut cursor = Cursor { bytes: start, at: 0 };
    if cursor.byte()? != tag::BATCH || cursor.length()? != length - cursor.at {
        return None;
    }
    let mut fields = Fields::default();
    loop {
        match cursor.byte()? {
            tag::REQUEST_ID => fields.request_id = cursor.varint()?,
            tag::PARTITION => fields.partition = cursor.small()?,
            tag::WRITE_CONCERN => fields.write_concern = cursor.small()?.try_into().ok()?,
            tag::WRITE_CONCERN_REPLICAS => fields.write_concern_replicas = cursor.small()?,
            tag::TIMEOUT_MS => fields.timeout_ms = cursor.small()?,
            tag::RAW_BATCH => {
                return (cursor.length()? == length - cursor.at).then_some((fields, cursor.at));
            }
            _ => return None,
        }
    }
}

/// Reads protobuf's variable-length numbers.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline]
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        let last = self.byte()?;
        (last <= 1).then(|| value | u64::from(last) << 63)
    }

    /// A number of 32 bits. What does not fit is left to prost.
    #[inline]
    fn small(&mut self) -> Option<u32> {
        self.varint()?.try_into().ok()
    }

    #[inline]
    fn length(&mut self) -> Option<usize> {
        self.varint()?.try_into().ok()
    }
}
