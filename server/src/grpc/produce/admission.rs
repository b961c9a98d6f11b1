//! From a batch of a stream that knows its topic to one that can be appended, and what it waits for.

use std::rc::Rc;
use std::time::{Duration, Instant};

use forebay_engine::{PartitionRef, Reservation, ReserveError};
use forebay_format::{PartitionId, PartitionIndex};
use futures_util::future::LocalBoxFuture;

use super::concern::{self, Concern};
use super::in_flight::{InFlight, Lane, Waiting};
use super::open::Identity;
use super::prepare;
use super::request::Batch;
use crate::catalog::ServedTopic;
use crate::grpc::connection::InFlightTurn;
use crate::grpc::status::{Failure, Refusal};

/// For batches that do not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A stream that knows its topic.
pub(super) struct Open {
    topic: Rc<ServedTopic>,
    identity: Identity,
    /// By partition; those that were used.
    partitions: Vec<Option<PartitionRef>>,
    /// A batch that waits for room. The stream is not read from meanwhile.
    pub(super) blocked: Option<Blocked>,
}

pub(super) struct Blocked {
    pub(super) batch: Prepared,
    pub(super) partition: PartitionRef,
    pub(super) wait: Wait,
}

/// A batch that can be appended.
pub(super) struct Prepared {
    pub(super) waiting: Waiting,
    pub(super) incoming: forebay_engine::IncomingBatch,
}

pub(super) enum Wait {
    /// For answers to other batches of the connection.
    Connection(InFlightTurn),
    /// For the answers to batches of the same partition, which went elsewhere.
    Answers,
    /// For memory or disk space of the log.
    Log(LocalBoxFuture<'static, Result<Reservation, ReserveError>>),
}

impl Wait {
    pub(super) fn for_log(partition: &PartitionRef, bytes: usize) -> Self {
        let partition = partition.clone();
        Self::Log(Box::pin(async move { partition.reserve(bytes).await }))
    }

    /// Whether the batch has its room among those of the connection, which is to be given back.
    pub(super) fn has_room_of_connection(&self) -> bool {
        !matches!(self, Self::Connection(_))
    }
}

impl Open {
    pub(super) fn new(topic: Rc<ServedTopic>, identity: Identity) -> Self {
        Self { topic, identity, partitions: Vec::new(), blocked: None }
    }

    /// Checks a batch, and finds its partition. A refusal comes with the lane's concern.
    pub(super) fn prepare(
        &mut self,
        batch: Batch,
        now: Instant,
        draining: bool,
    ) -> Result<(PartitionRef, Prepared), (Concern, Box<Failure>)> {
        let Batch { fields, content } = batch;
        let concern = concern::requested(
            fields.write_concern,
            fields.write_concern_replicas,
            self.topic.settings.write_concern,
        )
        .and_then(|wanted| concern::resolve(wanted, self.topic.topic.replication_factor))
        .map_err(|refusal| (Concern::AtOnce, Box::new(refusal.into())))?;
        let refused = |failure: Failure| (concern, Box::new(failure));
        if draining {
            return Err(refused(Refusal::Stopping.into()));
        }
        let partition = self.partition(fields.partition).map_err(|r| refused(r.into()))?;
        let limit = self.topic.settings.max_batch_size.as_usize();
        let mut incoming = prepare::batch(content, &self.identity, limit).map_err(refused)?;
        if !partition.is_local() {
            prepare::let_go_of_frames(&mut incoming);
        }
        let timeout = match fields.timeout_ms {
            0 => TIMEOUT,
            millis => Duration::from_millis(millis.into()),
        };
        let waiting = Waiting {
            request_id: fields.request_id,
            lane: Lane { partition: fields.partition, concern },
            bytes: incoming.batch_bytes(),
            deadline: now + timeout,
        };
        Ok((partition, Prepared { waiting, incoming }))
    }

    /// Whether a batch waits for answers that have come.
    pub(super) fn waits_for_answers<R>(&self, in_flight: &InFlight<R>) -> bool {
        self.blocked.as_ref().is_some_and(|Blocked { batch, wait, .. }| {
            matches!(wait, Wait::Answers) && !in_flight.waits_for(batch.waiting.lane.partition)
        })
    }

    /// What a partition of the stream's topic is called everywhere.
    pub(super) fn partition_id(&self, index: u32) -> PartitionId {
        PartitionId::new(self.topic.topic.id, PartitionIndex::new(index))
    }

    fn partition(&mut self, index: u32) -> Result<PartitionRef, Refusal> {
        let partitions = self.topic.topic.partitions;
        if index >= partitions {
            let topic = self.topic.topic.name.clone();
            return Err(Refusal::UnknownPartition { topic, partition: index, partitions });
        }
        let at = index as usize;
        if self.partitions.len() <= at {
            self.partitions.resize_with(at + 1, || None);
        }
        if let Some(known) = &self.partitions[at] {
            return Ok(known.clone());
        }
        let found = self.topic.partition(index).expect("below the count");
        // One that is not here may come.
        if found.may_be_here() {
            self.partitions[at] = Some(found.clone());
        }
        Ok(found)
    }
}
