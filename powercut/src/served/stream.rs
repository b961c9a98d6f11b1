//! A producer of the rig: streams of checkable records to the partitions of one topic, every
//! acknowledgement noted.

use std::collections::BTreeMap;

use forebay_client::{
    Client, DeliveryReport, PartitionIndex, Producer, ProducerOptions, Record, WriteConcern,
};

use super::fact::{Fact, Place, TopicPlan};
use super::record::{Content, StreamId};
use super::recorder::Recorder;
use crate::seed::Dice;
use crate::subject::RigError;

/// Little, so that acknowledgements are spread over the whole run.
const BUFFER_BYTES: usize = 512 << 10;

/// Sends records of its own to every partition of a topic.
#[derive(Debug)]
pub(super) struct Streams {
    producer: Producer,
    seed: u64,
    /// By partition: the stream, and how many of its records were sent.
    sent: Vec<(StreamId, u64)>,
}

/// What the records of a stream are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    Small,
    Bulk,
}

impl Streams {
    /// Opens a producer on a topic that exists.
    pub(super) async fn open(
        client: &Client,
        recorder: &Recorder,
        topic: &TopicPlan,
        seed: u64,
        (sizes, dice): (Sizes, &mut Dice),
    ) -> Result<Self, RigError> {
        let concerns = [WriteConcern::Leader, WriteConcern::Quorum, WriteConcern::All];
        let options = ProducerOptions {
            write_concern: concerns[dice.index(concerns.len())],
            linger: std::time::Duration::ZERO,
            buffer_bytes: BUFFER_BYTES,
            ..ProducerOptions::default()
        };
        let mut sent = Vec::new();
        let mut of_partition = BTreeMap::new();
        for partition in 0..topic.partitions {
            let stream = Content::stream_id(dice, sizes == Sizes::Bulk);
            let place = Place { incarnation: topic.incarnation, partition };
            recorder.note(Fact::StreamOpened { stream, place });
            of_partition.insert(partition, stream);
            sent.push((stream, 0));
        }
        let report = {
            let recorder = recorder.clone();
            move |report: DeliveryReport| note_ack(&recorder, &of_partition, &report)
        };
        let producer = client.producer_with_reports(&topic.name, options, report).await;
        let producer = producer.map_err(RigError::at("cannot open a producer"))?;
        Ok(Self { producer, seed, sent })
    }

    /// Sends the next records of one partition, when there is room for them.
    pub(super) async fn send(&mut self, partition: u32, count: u64) -> Result<(), RigError> {
        let index = usize::try_from(partition).expect("32 bits fit a usize");
        let (stream, sent) = &mut self.sent[index];
        for _ in 0..count {
            let content = Content::of(self.seed, *stream, *sent);
            let mut record = Record::of(&content.value).to(PartitionIndex::new(partition));
            record.key = content.key.as_deref();
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

fn note_ack(recorder: &Recorder, of_partition: &BTreeMap<u32, StreamId>, report: &DeliveryReport) {
    // A failure is heard of when the producer is closed.
    let Ok(ack) = report else { return };
    // Not promised, so not checked.
    if ack.durable_replicas == 0 {
        return;
    }
    recorder.note(Fact::Appended {
        stream: of_partition[&ack.partition.get()],
        first: ack.first_sequence,
        count: ack.record_count,
        base_offset: ack.base_offset.get(),
    });
}
