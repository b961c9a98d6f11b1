//! `forebay topic consume`: records become standard output.
//!
//! The client reads, verifies, and gets over lost connections. Here is where reading begins and ends, and
//! how a record is printed.

mod ends;
mod partitions;
mod printer;

use forebay_client::{
    Client, ConsumeError, ConsumedBatch, Consumer, ConsumerOptions, Event, Offset, SubscribeError,
};

use self::{ends::Ends, partitions::Partitions, printer::Printer};
use crate::{arguments::Consume, client::connect, failure::Failure, trouble};

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
