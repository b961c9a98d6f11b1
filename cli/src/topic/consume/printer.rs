//! One record after the other on standard output, by a pattern, as JSON or as YAML.

use base64::prelude::{BASE64_STANDARD, Engine};
use forebay_client::{Offset, PartitionIndex, RecordRef};
use serde::Serialize;

use crate::{
    arguments::Consume,
    failure::Failure,
    output::{self, Format, Stdout},
    pattern::render::{Printable, Renderer},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Printer {
    topic: String,
    style: Style,
    stdout: Stdout,
}

#[derive(Debug)]
enum Style {
    Pattern(Renderer),
    Json,
    Yaml,
}

/// A record in JSON. Bytes that are not UTF-8 stand in the fields whose names end in `_base64`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: u32,
    offset: u64,
    timestamp_ms: i64,
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<HeaderLine<'a>>,
}

#[derive(Debug, Serialize)]
struct HeaderLine<'a> {
    name: &'a str,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl Printer {
    pub(super) fn new(consume: &Consume) -> Result<Self, Failure> {
        let style = match consume.print.format {
            Format::Text | Format::Wide => {
                let renderer = Renderer::new(&consume.pattern);
                Style::Pattern(renderer.map_err(|error| {
                    Failure::usage(format!(
                        "the pattern `{}` cannot be printed: {error}",
                        consume.pattern
                    ))
                })?)
            }
            Format::Json => Style::Json,
            Format::Yaml => Style::Yaml,
        };
        Ok(Self { topic: consume.topic.clone(), style, stdout: Stdout::new()? })
    }

    /// Adds a record to what is to be written.
    pub(super) fn print(
        &mut self,
        partition: PartitionIndex,
        offset: Offset,
        record: &RecordRef<'_>,
    ) {
        let out = self.stdout.buffer();
        match &self.style {
            Style::Pattern(renderer) => {
                let headers: Vec<_> = if renderer.wants_headers() {
                    record.headers.clone().collect()
                } else {
                    Vec::new()
                };
                let printable = Printable {
                    topic: &self.topic,
                    partition: partition.get(),
                    offset: offset.get(),
                    timestamp_ms: record.timestamp.get(),
                    key: record.key,
                    value: record.value,
                    headers: &headers,
                };
                renderer.render(&printable, out);
            }
            Style::Json => {
                let line = Line::new(&self.topic, partition, offset, record);
                serde_json::to_writer(&mut *out, &line).expect("a Vec takes every byte");
                out.push(b'\n');
            }
            Style::Yaml => {
                let line = Line::new(&self.topic, partition, offset, record);
                out.extend_from_slice(format!("---\n{}", output::yaml(&line)).as_bytes());
            }
        }
    }

    /// Whether it is time to write.
    pub(super) fn is_full(&self) -> bool {
        self.stdout.is_full()
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush()
    }
}

impl<'a> Line<'a> {
    fn new(
        topic: &'a str,
        partition: PartitionIndex,
        offset: Offset,
        record: &RecordRef<'a>,
    ) -> Self {
        let (key, key_base64) = text_or_base64(record.key);
        let (value, value_base64) = text_or_base64(record.value);
        let header = |(name, value): (&'a str, &'a [u8])| {
            let (value, value_base64) = text_or_base64(Some(value));
            HeaderLine { name, value, value_base64 }
        };
        Self {
            topic,
            partition: partition.get(),
            offset: offset.get(),
            timestamp_ms: record.timestamp.get(),
            key,
            key_base64,
            value,
            value_base64,
            headers: record.headers.clone().map(header).collect(),
        }
    }
}

/// Bytes as text, or else in base64.
fn text_or_base64(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(_)) => (None, bytes.map(|bytes| BASE64_STANDARD.encode(bytes))),
    }
}
