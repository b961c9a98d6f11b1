//! Reading one node's own log, whoever leads: a consumer that sits at that node, and the marks and the whole log
//! of a replica at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_checker::{ConsumerId, Event, LogView, Record};
use forebay_format::{NodeId, Offset};
use forebay_proto::v1::consume_response::Message;
use forebay_proto::v1::consumer_service_client::ConsumerServiceClient;
use forebay_proto::v1::{
    Anchor, ConsumeRequest, ConsumeResponse, PartitionStart, RawBatches, RecordFormat,
    StartPosition, Subscribe, consume_request, start_position::Position,
};
use tokio_stream::{StreamExt, iter, pending};
use tonic::metadata::MetadataValue;
use tonic::{Request, Streaming};

use super::addresses::channel;
use super::load::Surroundings;
use super::record::records_in;
use crate::error::RigError;

/// Asks a node to answer itself, and not to carry the call to the leader.
const NO_CARRY: &str = "forebay-no-carry";

const REOPEN_PAUSE: Duration = Duration::from_millis(200);
/// How long a node may take to answer when it should.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where the log of a replica begins, and where it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) log_start: Offset,
    pub(crate) committed: Offset,
}

/// A stream of batches of some partitions of a topic, from this node alone.
pub(crate) async fn consume_direct(
    address: &str,
    topic: &str,
    starts: &[(u32, Position)],
) -> Result<Streaming<ConsumeResponse>, tonic::Status> {
    let start = |(partition, position): &(u32, Position)| PartitionStart {
        partition: *partition,
        start: Some(StartPosition { position: Some(*position), epoch: 0 }),
    };
    let subscribe = Subscribe {
        topic: topic.to_owned(),
        partitions: starts.iter().map(start).collect(),
        format: RecordFormat::Raw.into(),
        ..Subscribe::default()
    };
    let first = ConsumeRequest { message: Some(consume_request::Message::Subscribe(subscribe)) };
    // The end of the wishes is not the end of the stream, but other servers may think so.
    let mut request = Request::new(iter([first]).chain(pending()));
    request.metadata_mut().insert(NO_CARRY, MetadataValue::from_static("1"));
    let answer = ConsumerServiceClient::new(channel(address))
        .max_decoding_message_size(usize::MAX)
        .consume(request)
        .await?;
    Ok(answer.into_inner())
}

/// Reads everything that one node has of a topic, until the load stops.
pub(super) async fn run(around: Arc<Surroundings>, topic: usize, node: (u32, String)) {
    let (id, address) = node;
    let topics = Arc::clone(&around.topics);
    let places: Vec<usize> = (0..topics.partitions.len())
        .filter(|place| {
            let partition = &topics.partitions[*place];
            partition.topic == topic && partition.replicas.contains(&id)
        })
        .collect();
    if places.is_empty() {
        return;
    }
    let mut reader = Reader { around: &around, node: NodeId::new(id), next: BTreeMap::new() };
    for place in places {
        let consumer = around.recorder.consumer();
        let partition = topics.partitions[place].index.get();
        around.recorder.push(place, Event::ConsumerStarted { consumer, at: Offset::ZERO });
        reader.next.insert(partition, (place, consumer, Offset::ZERO));
    }
    while !around.is_over() {
        let starts: Vec<(u32, Position)> = reader
            .next
            .iter()
            .map(|(partition, (.., next))| (*partition, Position::Offset(next.get())))
            .collect();
        let name = &topics.all[topic].name;
        if let Ok(stream) = consume_direct(&address, name, &starts).await {
            tokio::select! {
                () = reader.read(stream) => {}
                () = around.over() => return,
            }
        }
        tokio::time::sleep(REOPEN_PAUSE).await;
    }
}

struct Reader<'a> {
    around: &'a Surroundings,
    node: NodeId,
    /// By partition: its place, the consumer, and what it wants next.
    next: BTreeMap<u32, (usize, ConsumerId, Offset)>,
}

impl Reader<'_> {
    /// Until the stream ends, or says that one of its partitions does not go on.
    async fn read(&mut self, mut stream: Streaming<ConsumeResponse>) {
        while let Ok(Some(answer)) = stream.message().await {
            match answer.message {
                Some(Message::Batches(batches)) => self.take(&batches),
                Some(Message::Error(_)) => return,
                _ => {}
            }
        }
    }

    fn take(&mut self, batches: &RawBatches) {
        let Some((place, consumer, next)) = self.next.get_mut(&batches.partition) else { return };
        let recorder = &self.around.recorder;
        match records_in(&batches.raw_batches, *next) {
            Ok(records) => {
                let Some(last) = records.last() else { return };
                *next = last.offset + 1;
                let (consumer, from) = (*consumer, self.node);
                recorder.push(*place, Event::Read { consumer, from, records });
            }
            Err(error) => {
                recorder.find(&format!("node {} sent a batch that is damaged: {error}", self.node));
            }
        }
    }
}

/// The marks of a replica, as its node says them.
pub(crate) async fn marks_of(
    address: &str,
    topic: &str,
    partition: u32,
) -> Result<Marks, RigError> {
    let asked = async {
        let latest = Position::Anchor(Anchor::Latest.into());
        let mut stream = consume_direct(address, topic, &[(partition, latest)]).await?;
        while let Some(answer) = stream.message().await? {
            match answer.message {
                Some(Message::Watermark(mark)) => {
                    return Ok(Marks {
                        log_start: Offset::new(mark.earliest_offset),
                        committed: Offset::new(mark.committed_offset),
                    });
                }
                Some(Message::Error(error)) => {
                    let error = error.error.unwrap_or_default();
                    return Err(tonic::Status::unknown(format!(
                        "{} ({})",
                        error.message, error.reason
                    )));
                }
                _ => {}
            }
        }
        Err(tonic::Status::unknown("the stream has ended"))
    };
    let answer =
        crate::error::within(ANSWER_WITHIN, format!("{address} says its marks"), asked).await?;
    answer.map_err(RigError::at(format!("{address} does not say its marks")))
}

/// The committed log of a replica, read from its node.
pub(crate) async fn records_of(
    address: &str,
    topic: &str,
    partition: u32,
    marks: Marks,
) -> Result<LogView, RigError> {
    let Marks { log_start, committed } = marks;
    let read = async {
        let mut records: Vec<Record> = Vec::new();
        let mut next = log_start;
        if next == committed {
            return Ok(records);
        }
        let start = Position::Offset(next.get());
        let mut stream = consume_direct(address, topic, &[(partition, start)])
            .await
            .map_err(RigError::at("cannot read a replica"))?;
        while next < committed {
            // As long as something comes, it may take as long as it wants.
            let answer = tokio::time::timeout(ANSWER_WITHIN, stream.message()).await;
            let answer = answer.map_err(RigError::at("a replica does not go on"))?;
            let answer = answer.map_err(RigError::at("cannot read a replica"))?;
            let Some(answer) = answer else {
                return Err(RigError::Unusable("the stream has ended".to_owned()));
            };
            match answer.message {
                Some(Message::Batches(batches)) => {
                    let mut more = records_in(&batches.raw_batches, next)
                        .map_err(RigError::at("a replica sent a batch that is damaged"))?;
                    more.retain(|record| record.offset < committed);
                    next = more.last().map_or(next, |last| last.offset + 1);
                    records.append(&mut more);
                }
                Some(Message::Error(error)) => {
                    let error = error.error.unwrap_or_default();
                    return Err(RigError::Unusable(format!(
                        "{} ({})",
                        error.message, error.reason
                    )));
                }
                _ => {}
            }
        }
        Ok(records)
    };
    let records = read.await.map_err(RigError::at(format!(
        "{topic}/{partition} cannot be read from {address}, {log_start} to {committed}"
    )))?;
    Ok(LogView { log_start, committed, records })
}
