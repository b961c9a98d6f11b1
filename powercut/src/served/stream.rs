//! A producer of the rig: streams of checkable records to the partitions of one topic, every
//! acknowledgement noted.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_client::{
    Client, DeliveryReport, MetadataError, OpenError, PartitionIndex, Producer, ProducerEpoch,
    ProducerId, ProducerOptions, Record, Resume, TimestampMs, WriteConcern,
};

use super::fact::{Fact, ProducerNumber, TopicPlan};
use super::record::{Content, StreamId};
use super::recorder::Recorder;
use crate::seed::Dice;
use crate::subject::RigError;

/// Little, so that acknowledgements are spread over the whole run.
const BUFFER_BYTES: usize = 512 << 10;
/// Records bear times after this, in order, so that sending one again makes the same bytes.
const FIRST_TIMESTAMP_MS: i64 = 1_800_000_000_000;

/// Between two attempts while the server is away.
const PAUSE: Duration = Duration::from_millis(20);

/// What the records of a stream are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    Small,
    Bulky,
}

/// Where a batch ends, if it is not full before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batching {
    /// Whenever the connection takes it.
    AsItComes,
    /// Where somebody waits for acknowledgements: a batch is exactly what was sent since.
    UntilAcknowledged,
}

/// Who sends, and how far it is.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) producer: ProducerNumber,
    /// By partition: the stream, and how many of its records were sent.
    pub(super) streams: Vec<(StreamId, u64)>,
}

impl Sender {
    /// A new one, noted before it sends anything.
    pub(super) fn new(
        recorder: &Recorder,
        topic: &TopicPlan,
        sizes: Sizes,
        dice: &mut Dice,
    ) -> Self {
        let producer = dice.next();
        let is_bulky = sizes == Sizes::Bulky;
        let streams: Vec<StreamId> =
            (0..topic.partitions).map(|_| Content::stream_id(dice, is_bulky)).collect();
        let incarnation = topic.incarnation;
        recorder.note(Fact::ProducerOpened { producer, incarnation, streams: streams.clone() });
        Self { producer, streams: streams.into_iter().map(|stream| (stream, 0)).collect() }
    }

    fn options(&self, batching: Batching) -> ProducerOptions {
        let concerns = [WriteConcern::Leader, WriteConcern::Quorum, WriteConcern::All];
        let next = (0..).zip(&self.streams);
        let next_sequences =
            next.map(|(partition, (_, sent))| (PartitionIndex::new(partition), *sent)).collect();
        let resume = Resume {
            id: ProducerId::from_u128(self.producer.into()),
            epoch: ProducerEpoch::ZERO,
            next_sequences,
        };
        ProducerOptions {
            write_concern: concerns[Dice::new(self.producer).index(concerns.len())],
            linger: match batching {
                Batching::AsItComes => Duration::ZERO,
                Batching::UntilAcknowledged => Duration::from_hours(1),
            },
            buffer_bytes: BUFFER_BYTES,
            resume: Some(resume),
            ..ProducerOptions::default()
        }
    }
}

/// A sender at work.
#[derive(Debug)]
pub(super) struct Streams {
    producer: Producer,
    seed: u64,
    sender: Sender,
}

impl Streams {
    /// Opens a producer on a topic that exists. It goes on where the sender is.
    pub(super) async fn open(
        client: &Client,
        recorder: &Recorder,
        topic: &str,
        seed: u64,
        (sender, batching): (Sender, Batching),
    ) -> Result<Self, RigError> {
        let of_partition: BTreeMap<u32, StreamId> =
            (0..).zip(sender.streams.iter().map(|(stream, _)| *stream)).collect();
        loop {
            let (recorder, of_partition) = (recorder.clone(), of_partition.clone());
            let report = move |report: DeliveryReport| note_ack(&recorder, &of_partition, &report);
            let options = sender.options(batching);
            match client.producer_with_reports(topic, options, report).await {
                Ok(producer) => return Ok(Self { producer, seed, sender }),
                // The server is being restarted. Nothing was sent yet.
                Err(OpenError::Metadata(MetadataError::Unreachable(_))) => {}
                Err(OpenError::Metadata(MetadataError::Refused(why))) if why.is_retriable() => {}
                Err(error) => return Err(RigError::at("cannot open a producer")(error)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends the next records of one partition, when there is room for them.
    pub(super) async fn send(&mut self, partition: u32, count: u64) -> Result<(), RigError> {
        let index = usize::try_from(partition).expect("32 bits fit a usize");
        let (stream, sent) = &mut self.sender.streams[index];
        for _ in 0..count {
            let content = Content::of(self.seed, *stream, *sent);
            let time = i64::try_from(*sent).expect("few records");
            let record = Record {
                partition: Some(PartitionIndex::new(partition)),
                key: content.key.as_deref(),
                value: Some(&content.value),
                headers: &[],
                timestamp: Some(TimestampMs::new(FIRST_TIMESTAMP_MS + time)),
            };
            let ticket = self.producer.send(&record).await;
            let ticket = ticket.map_err(RigError::at("a record was not accepted"))?;
            assert_eq!(ticket.sequence, *sent, "sequences count the records of a stream");
            *sent += 1;
        }
        Ok(())
    }

    /// Waits until everything sent so far is acknowledged.
    pub(super) async fn acknowledged(&self) -> Result<(), RigError> {
        self.producer.flush().await.map_err(RigError::at("records were not acknowledged"))
    }

    /// The same, and sends no more.
    pub(super) async fn finish(self) -> Result<(), RigError> {
        self.producer.close().await.map_err(RigError::at("records were not acknowledged"))
    }
}

fn note_ack(recorder: &Recorder, streams: &BTreeMap<u32, StreamId>, report: &DeliveryReport) {
    // A failure is heard of when the producer is closed.
    let Ok(ack) = report else { return };
    // Not promised, so not checked.
    if ack.durable_replicas == 0 {
        return;
    }
    recorder.note(Fact::Appended {
        stream: streams[&ack.partition.get()],
        first: ack.first_sequence,
        count: ack.record_count,
        base_offset: ack.base_offset.get(),
    });
}
