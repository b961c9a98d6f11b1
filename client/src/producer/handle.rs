//! The producer as its user sees it.

use std::{sync::Arc, time::Duration};

use forebay_format::{PartitionIndex, ProducerEpoch, ProducerId};
use thiserror::Error;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::Status;

use super::{
    AppendError, DeliveryError, DeliveryFailure, DeliveryReport, PreparedBatch, ProducerOptions,
    Record, RecordAck, SendError, Ticket,
    outbox::{Outbox, Placed},
    partition::Waiter,
    session::open_once,
    shared::Shared,
    supervisor,
};
use crate::{
    admin::MetadataError, asking::Unreachable, call::CallEnded, client::Client, clock,
    metadata::ClusterMetadata, refusal::Refusal,
};

/// How long the server may take to make a topic.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no producer.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The topic's partitions are not known.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// There is no such topic, and the server did not make it.
    #[error("topic {topic} does not exist")]
    NoTopic {
        /// Its name.
        topic: String,
        /// Why the server did not make it, if it said so.
        #[source]
        refusal: Option<Box<Refusal>>,
    },
}

/// Sends records to the partitions of one topic.
///
/// Records are gathered into batches. A batch stays in memory until the server has acknowledged it,
/// and is sent again after every lost connection, server restart and refusal that is worth another
/// try. An idempotent producer (the default) never writes a record twice, and the records of a
/// partition in the order in which it accepted them.
///
/// Dropping it gives up what is not acknowledged: `flush` first.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    tasks: JoinHandle<()>,
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.tasks.abort();
        self.shared.outbox.with(Outbox::abandon);
    }
}

impl Producer {
    pub(crate) async fn open(
        client: Client,
        topic: String,
        options: ProducerOptions,
        reporter: impl FnMut(DeliveryReport) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let options = options.checked();
        let identity = options.idempotent.then(|| match &options.resume {
            Some(resume) => (resume.id, resume.epoch),
            None => (ProducerId::random(), ProducerEpoch::ZERO),
        });
        let cluster = partitions_of(&client, &topic).await?;
        let count = cluster.topic(&topic).map_or(0, |topic| topic.partitions.len());
        let shared = Arc::new(Shared::new(client, topic, options, Box::new(reporter), identity));
        shared.outbox.with(|outbox| outbox.grow(count));
        let tasks = tokio::spawn(supervisor::run(Arc::clone(&shared), cluster));
        Ok(Self { shared, tasks })
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        let count = self.shared.outbox.with(|outbox| outbox.partition_count());
        u32::try_from(count).expect("partitions are u32")
    }

    /// Accepts a record if there is room. Nothing is durable yet.
    ///
    /// # Errors
    /// [`SendError::Full`] when too much is not acknowledged; the others are for good.
    #[inline]
    pub fn try_send(&self, record: &Record<'_>) -> Result<Ticket, SendError> {
        let input = record.input(record.timestamp.unwrap_or_else(clock::wall_time));
        let placed = self.shared.outbox.with(|outbox| outbox.accept(record, &input))?;
        self.follow_up(placed);
        Ok(placed.ticket)
    }

    /// Accepts a record, waiting for room while too much is not acknowledged. Nothing is durable
    /// when this returns.
    ///
    /// # Errors
    /// As for [`Self::try_send`], without [`SendError::Full`].
    #[inline]
    pub async fn send(&self, record: &Record<'_>) -> Result<Ticket, SendError> {
        self.accept(|outbox| {
            let input = record.input(record.timestamp.unwrap_or_else(clock::wall_time));
            outbox.accept(record, &input)
        })
        .await
    }

    /// Accepts a batch that was built elsewhere, behind everything accepted so far. Its bytes go to
    /// the socket without a copy.
    ///
    /// # Errors
    /// As for [`Self::send`].
    pub async fn send_batch(
        &self,
        partition: PartitionIndex,
        batch: &PreparedBatch,
    ) -> Result<Ticket, SendError> {
        self.accept(|outbox| outbox.accept_batch(partition, batch)).await
    }

    #[inline]
    async fn accept(
        &self,
        mut accept: impl FnMut(&mut Outbox) -> Result<Placed, SendError>,
    ) -> Result<Ticket, SendError> {
        loop {
            match self.shared.outbox.with(&mut accept) {
                Ok(placed) => {
                    self.follow_up(placed);
                    if placed.yield_now {
                        tokio::task::yield_now().await;
                    }
                    return Ok(placed.ticket);
                }
                Err(SendError::Full { .. }) => self.wait_for_room().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one record at once and waits until it is acknowledged: it is then on as many replicas'
    /// stable storage as the answer says.
    ///
    /// # Errors
    /// When it was not accepted, or not acknowledged.
    pub async fn append(&self, record: &Record<'_>) -> Result<RecordAck, AppendError> {
        let (answer, answered) = oneshot::channel();
        let mut answer = Some(answer);
        let ticket = self
            .accept(|outbox| {
                let input = record.input(record.timestamp.unwrap_or_else(clock::wall_time));
                let placed = outbox.accept(record, &input)?;
                if let Some(answer) = answer.take() {
                    let sequence = placed.ticket.sequence;
                    outbox.wait_for(placed.ticket, Waiter { sequence, answer });
                }
                Ok(placed)
            })
            .await?;
        let closed = |_gone| Err(Arc::new(DeliveryFailure::Closed));
        answered
            .await
            .unwrap_or_else(closed)
            .map_err(|cause| AppendError::Delivery { ticket, cause })
    }

    /// Sends everything accepted so far and waits until all of it is acknowledged or has failed for
    /// good. What is accepted meanwhile is not waited for.
    ///
    /// # Errors
    /// The first failure since the producer was made, with its cause.
    pub async fn flush(&self) -> Result<(), DeliveryError> {
        let mut targets = self.shared.outbox.with(|outbox| {
            outbox.make_all_due();
            outbox.targets()
        });
        loop {
            let mut progress = std::pin::pin!(self.shared.progress.notified());
            progress.as_mut().enable();
            self.shared.outbox.with(|outbox| outbox.drop_reached(&mut targets));
            if targets.is_empty() {
                break;
            }
            progress.await;
        }
        self.shared.outbox.with(|outbox| outbox.first_error().cloned()).map_or(Ok(()), Err)
    }

    /// Bytes of batches that were accepted and are not acknowledged.
    pub fn buffered_bytes(&self) -> usize {
        self.shared.outbox.with(|outbox| outbox.buffered_bytes())
    }

    /// Takes no more records, and waits like [`Self::flush`].
    ///
    /// # Errors
    /// As for [`Self::flush`].
    pub async fn close(self) -> Result<(), DeliveryError> {
        self.shared.outbox.with(Outbox::close);
        self.flush().await
    }

    /// Waits like [`Self::flush`], at most so long; what is still under way then fails.
    ///
    /// # Errors
    /// As for [`Self::flush`].
    pub async fn close_within(self, patience: Duration) -> Result<(), DeliveryError> {
        self.shared.outbox.with(Outbox::close);
        if tokio::time::timeout(patience, self.flush()).await.is_err() {
            let cause = Arc::new(DeliveryFailure::Closed);
            self.shared.outbox.with(|outbox| outbox.fail_all(&cause));
            self.shared.report();
        }
        self.flush().await
    }

    #[inline]
    fn follow_up(&self, placed: Placed) {
        if placed.timer_changed {
            self.shared.timers.notify_one();
        }
    }

    #[cold]
    async fn wait_for_room(&self) {
        let mut progress = std::pin::pin!(self.shared.progress.notified());
        progress.as_mut().enable();
        if self.shared.outbox.with(Outbox::must_wait_for_room) {
            progress.await;
        }
    }
}

/// Metadata in which the topic occurs. A topic that does not exist is made by opening a produce
/// stream on it, where the server allows that.
async fn partitions_of(client: &Client, topic: &str) -> Result<ClusterMetadata, OpenError> {
    let found = client.admin().metadata(&[topic]).await?;
    if found.topic(topic).is_some_and(|topic| !topic.partitions.is_empty()) {
        return Ok(found);
    }
    let address = client.last_endpoint();
    let opened = tokio::time::timeout(OPEN_TIMEOUT, open_once(client, &address, topic)).await;
    let found = client.admin().metadata(&[topic]).await?;
    if found.topic(topic).is_some_and(|topic| !topic.partitions.is_empty()) {
        return Ok(found);
    }
    let unreachable = |status| {
        let tried = vec![(address, status)];
        Err(OpenError::Metadata(MetadataError::Unreachable(Unreachable { tried })))
    };
    let refusal = match opened {
        Ok(Ok(())) => None,
        Ok(Err(CallEnded::Refused(refusal))) if refusal.is_retriable() => {
            return unreachable(Status::new(refusal.code, refusal.to_string()));
        }
        Ok(Err(CallEnded::Refused(refusal))) => Some(Box::new(refusal)),
        Ok(Err(broken)) => return unreachable(Status::from_error(Box::new(broken))),
        Err(_elapsed) => return unreachable(Status::unavailable("no answer in time")),
    };
    Err(OpenError::NoTopic { topic: topic.to_owned(), refusal })
}
