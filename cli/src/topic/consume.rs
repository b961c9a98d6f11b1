//! `forebay topic consume`: records become standard output.
//!
//! The client reads, verifies, and gets over lost connections. Here is where reading begins and ends, and
//! how a record is printed.

mod ends;
mod printer;

use forebay_client::{
    Client, ConsumeError, ConsumedBatch, Consumer, ConsumerOptions, Event, Offset, PartitionIndex,
    PartitionStatus, StartAt, SubscribeError, TimestampMs,
};

use self::{ends::Ends, printer::Printer};
use crate::{
    arguments::Consume,
    client::connect,
    clock,
    failure::Failure,
    range::{From, Range, To},
    trouble,
};

pub(super) async fn run(consume: Consume) -> Result<(), Failure> {
    let printer = Printer::new(&consume)?;
    if consume.count == Some(0) {
        return Ok(());
    }
    let client = connect(&consume.connect)?;
    let partitions = Partitions::find(&client, &consume).await?;
    let mut reader = Reader {
        ends: partitions.ends(consume.range.to),
        left: consume.count,
        consumer: open(&client, &consume, &partitions).await?,
        printer,
    };
    let read = reader.read().await;
    // What was read before something went wrong is printed.
    read.and(reader.printer.flush())
}

/// The partitions that are read, and what they hold now.
struct Partitions {
    now: Vec<PartitionStatus>,
}

impl Partitions {
    async fn find(client: &Client, consume: &Consume) -> Result<Self, Failure> {
        let described = client.admin().describe_topic(&consume.topic).await;
        let mut now = described.map_err(|error| trouble::describing(&error))?.partitions;
        let chosen = &consume.partitions;
        let exists = |one: u32| now.iter().any(|status| status.partition.get() == one);
        if let Some(unknown) = chosen.iter().find(|one| !exists(**one)) {
            let (topic, count) = (&consume.topic, now.len());
            return Err(Failure::error(format!(
                "{topic} has no partition {unknown}; it has {count}, counted from 0"
            )));
        }
        now.retain(|status| chosen.is_empty() || chosen.contains(&status.partition.get()));
        Ok(Self { now })
    }

    fn ends(&self, to: To) -> Ends {
        match to {
            To::Never => Ends::Never,
            To::TodaysEnd => {
                Ends::at(self.now.iter().map(|status| (status.partition, status.committed)))
            }
            To::Offset(end) => {
                Ends::at(self.now.iter().map(|status| (status.partition, Offset::new(end))))
            }
        }
    }

    /// Where each partition begins.
    fn starts(&self, range: Range) -> Result<Vec<(PartitionIndex, Option<StartAt>)>, Failure> {
        let start = |status: &PartitionStatus| {
            Ok(match range.from {
                From::Start => StartAt::Earliest,
                From::End => StartAt::Latest,
                From::Offset(offset) => StartAt::Offset(Offset::new(offset)),
                From::AfterStart(count) => {
                    let Some(offset) = status.earliest.get().checked_add(count) else {
                        return Err(Failure::usage(format!("no partition has {count} records")));
                    };
                    StartAt::Offset(Offset::new(offset))
                }
                From::BeforeEnd(count) => {
                    let before = status.committed.get().saturating_sub(count);
                    StartAt::Offset(Offset::new(before).max(status.earliest))
                }
                From::Ago(ago) => {
                    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                    StartAt::Timestamp(TimestampMs::new(clock::now_ms().saturating_sub(ago)))
                }
                From::TimestampMs(time) => StartAt::Timestamp(TimestampMs::new(time)),
            })
        };
        self.now.iter().map(|status| Ok((status.partition, Some(start(status)?)))).collect()
    }
}

async fn open(
    client: &Client,
    consume: &Consume,
    partitions: &Partitions,
) -> Result<Consumer, Failure> {
    let options = ConsumerOptions {
        partitions: partitions.starts(consume.range)?,
        read_from: consume.from,
        ..ConsumerOptions::default()
    };
    client.consumer(&consume.topic, options).await.map_err(|error| match error {
        SubscribeError::Metadata(error) => trouble::metadata(&error),
        SubscribeError::NoTopic { topic } => trouble::no_such_topic(&topic),
        error @ SubscribeError::NoSuchPartition { .. } => trouble::refused(&error),
    })
}

/// Reads and prints until there is enough.
struct Reader {
    consumer: Consumer,
    ends: Ends,
    /// Records still to be printed; `None`: no limit.
    left: Option<u64>,
    printer: Printer,
}

impl Reader {
    async fn read(&mut self) -> Result<(), Failure> {
        while !self.ends.are_reached() && self.left != Some(0) {
            // Printed at once when there is nothing more to gather.
            let ready = tokio::select! {
                biased;
                event = self.consumer.next() => Some(event),
                () = std::future::ready(()) => None,
            };
            let event = if let Some(event) = ready {
                event
            } else {
                self.printer.flush()?;
                self.consumer.next().await
            };
            match event.map_err(|error| stopped(&error))? {
                Event::Batch(batch) => self.print(&batch)?,
                Event::CaughtUp { partition, committed, .. } => {
                    self.ends.reach(partition, committed);
                }
            }
            if self.printer.is_full() {
                self.printer.flush()?;
            }
        }
        Ok(())
    }

    fn print(&mut self, batch: &ConsumedBatch) -> Result<(), Failure> {
        let partition = batch.partition();
        let end = self.ends.of(partition);
        let unreadable = |error| trouble::refused(&error);
        for record in batch.records().map_err(unreadable)? {
            let (offset, record) = record.map_err(unreadable)?;
            if end.is_some_and(|end| offset >= end) || self.left == Some(0) {
                break;
            }
            self.printer.print(partition, offset, &record);
            self.left = self.left.map(|left| left - 1);
        }
        self.ends.reach(partition, batch.next_offset());
        Ok(())
    }
}

/// A partition that can be read no further.
fn stopped(error: &ConsumeError) -> Failure {
    match error {
        ConsumeError::OutOfRange { partition, wanted, earliest, latest, .. } => {
            let number = |offset: &Option<Offset>| {
                offset.map_or("?".to_owned(), |offset| offset.to_string())
            };
            Failure::error(format!(
                "offset {} is not in partition {partition}, which holds {} to {} (exclusive)",
                number(wanted),
                number(earliest),
                number(latest)
            ))
            .hint("`-o start` begins with the first record that there is, `-o end` with the next one to come.")
        }
        error => trouble::refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_behind_the_last_offset_there_can_be_is_refused() {
        let status = PartitionStatus {
            partition: PartitionIndex::new(0),
            earliest: Offset::new(5),
            committed: Offset::new(9),
            size_bytes: 0,
            segments: 1,
            state: "ok".to_owned(),
        };
        let partitions = Partitions { now: vec![status] };
        let starts =
            |count| partitions.starts(Range { from: From::AfterStart(count), to: To::Never }).ok();
        let first = StartAt::Offset(Offset::new(7));
        assert_eq!(starts(2), Some(vec![(PartitionIndex::new(0), Some(first))]));
        assert_eq!(starts(u64::MAX), None);
    }
}
