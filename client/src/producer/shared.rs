//! What the parts of a producer share: the outbox behind its lock, and the ways to call each other.

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

use super::{ProducerOptions, outbox::Outbox, partition::Identity, report::DeliveryReport};
use crate::{client::Client, lock::Lock, wire::WireConcern};

/// Called with the outcome of every batch, in order within a partition.
pub(super) type Reporter = Box<dyn FnMut(DeliveryReport) + Send>;

/// See the module.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) topic: String,
    pub(super) concern: WireConcern,
    pub(super) timeout_ms: u32,
    /// First message of every stream.
    pub(super) open_message: Bytes,
    pub(super) outbox: Lock<Outbox>,
    /// Empty while somebody is reporting.
    reporter: Lock<Option<Reporter>>,
    /// Something was reported: there may be room, and a flush may be complete.
    pub(super) progress: Notify,
    /// The first timer is another one.
    pub(super) timers: Notify,
    /// Somebody doubts that partitions are where they are thought to be.
    pub(super) refresh: Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        client: Client,
        topic: String,
        options: ProducerOptions,
        reporter: Reporter,
        identity: Identity,
    ) -> Self {
        let timeout_ms = options
            .ack_timeout
            .map_or(0, |timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1));
        Self {
            open_message: crate::wire::encode_open(&topic, identity),
            concern: options.write_concern.on_the_wire(),
            timeout_ms,
            outbox: Lock::new(Outbox::new(options, identity)),
            client,
            topic,
            reporter: Lock::new(Some(reporter)),
            progress: Notify::new(),
            timers: Notify::new(),
            refresh: Notify::new(),
        }
    }

    /// Hands out what there is to report. Reports of one partition stay in order because one caller
    /// at a time hands them out; what others find meanwhile is left to that one.
    pub(super) fn report(&self) {
        loop {
            let reporter = self.reporter.with(Option::take);
            let Some(mut reporter) = reporter else { break };
            loop {
                let reports = self.outbox.with(Outbox::take_reports);
                if reports.is_empty() {
                    break;
                }
                reports.into_iter().for_each(&mut reporter);
            }
            self.reporter.with(|place| *place = Some(reporter));
            if !self.outbox.with(|outbox| outbox.has_reports()) {
                break;
            }
        }
        self.progress.notify_waiters();
    }

    /// Watches the timers until the producer is gone.
    pub(super) async fn run_timers(&self) {
        loop {
            let changed = self.timers.notified();
            let now = Instant::now();
            let next = self.outbox.with(|outbox| outbox.fire_timers(now));
            if self.outbox.with(|outbox| outbox.has_reports()) {
                self.report();
            }
            match next {
                None => changed.await,
                Some(next) => {
                    let _either = tokio::time::timeout_at(next, changed).await;
                }
            }
        }
    }
}
