//! R3: drives the lease machine of this node: time and signs of life in, grants and keep-alives out.
//! When and whether, the machine says; this carries it out.

use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use forebay_replication::lease::{Lease, LeaseInput, LeaseOutput};
use forebay_replication::{Config, LeaseEvent};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::connection::Connection;
use super::grant::{GrantError, Granter, Life};
use super::keep_alive::keep_alive;
use super::outage::wait;
use crate::clock;

/// How often the machine is told the time. A TTL is two seconds at least.
const TICK: Duration = Duration::from_millis(100);

/// Signs of life that wait for the machine. One that finds no room is repeated soon.
const INPUTS_MAX: usize = 1024;

/// Keep-alives that wait to be sent. The machine has one in flight.
const KEEP_ALIVES_MAX: usize = 16;

/// How the machine is told that disk and shards live. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct SignsOfLife(Sender<LeaseInput>);

impl SignsOfLife {
    pub(super) fn send(&self, sign: LeaseInput) {
        self.0.try_send(sign).ok();
    }
}

/// The lease of this node, and who carries out what its machine wants.
pub(super) struct LeaseDriver {
    machine: Lease,
    connection: Connection,
    inputs: Receiver<LeaseInput>,
    signs: SignsOfLife,
    life: Arc<watch::Sender<Option<Life>>>,
    /// Absent while it is at work.
    granter: Option<Granter>,
    grants: JoinSet<(Granter, Result<Life, GrantError>)>,
    /// Grants that failed in a row.
    failed: u32,
    /// Whether people were told why.
    told: bool,
    /// The machine is told only now that a grant has failed: it would ask again at once.
    failed_until: Option<tokio::time::Instant>,
    /// Of the present lease. Ends with it.
    keeper: Option<(Sender<u64>, JoinSet<()>)>,
    /// A life that began and of which the machine has said nothing yet.
    begun: Option<Life>,
}

impl LeaseDriver {
    /// A driver, the way to tell it of life, and where the present life is seen.
    pub(super) fn new(
        config: Config,
        shards: usize,
        granter: Granter,
    ) -> (Self, SignsOfLife, watch::Receiver<Option<Life>>) {
        let (sender, inputs) = async_channel::bounded(INPUTS_MAX);
        let signs = SignsOfLife(sender);
        let (life, seen) = watch::channel(None);
        let driver = Self {
            machine: Lease::new(config, shards),
            connection: granter.connection.clone(),
            inputs,
            signs: signs.clone(),
            life: Arc::new(life),
            granter: Some(granter),
            grants: JoinSet::new(),
            failed: 0,
            told: false,
            failed_until: None,
            keeper: None,
            begun: None,
        };
        (driver, signs, seen)
    }

    /// Drives until it is dropped.
    pub(super) async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let input = tokio::select! {
                Ok(input) = self.inputs.recv() => input,
                Some(Ok((granter, life))) = self.grants.join_next() => {
                    self.granter = Some(granter);
                    match self.on_granted(life) {
                        Some(input) => input,
                        None => continue,
                    }
                }
                _ = ticks.tick() => self.on_tick(),
            };
            let mut outputs = Vec::new();
            self.machine.handle(input, clock::boottime(), &mut outputs);
            for output in outputs {
                self.carry_out(output);
            }
        }
    }

    fn on_tick(&mut self) -> LeaseInput {
        match self.failed_until.take_if(|until| *until <= tokio::time::Instant::now()) {
            Some(_) => LeaseInput::Failed,
            None => LeaseInput::Tick,
        }
    }

    fn on_granted(&mut self, granted: Result<Life, GrantError>) -> Option<LeaseInput> {
        match granted {
            Ok(life) => {
                tracing::info!(incarnation = %life.incarnation, ttl_ms = life.ttl_ms, "the node has a lease");
                self.failed = 0;
                self.told = false;
                let Life { sent_at, ttl_ms, incarnation, node_created, .. } = life;
                self.begun = Some(life);
                Some(LeaseInput::Granted { sent_at, ttl_ms, incarnation, node_created })
            }
            Err(error) => {
                // An etcd that is away has been told of already.
                match &error {
                    GrantError::Etcd(error) if error.is_of_member() => {}
                    _ if !std::mem::replace(&mut self.told, true) => {
                        tracing::warn!(%error, "the node has no lease; it is tried on and on");
                    }
                    _ => tracing::debug!(%error, "the node still has no lease"),
                }
                self.failed_until = Some(tokio::time::Instant::now() + wait(self.failed));
                self.failed = self.failed.saturating_add(1);
                None
            }
        }
    }

    fn carry_out(&mut self, output: LeaseOutput) {
        match output {
            // While one is at work, a second would revoke what the first is granted.
            LeaseOutput::Grant => {
                if let Some(mut granter) = self.granter.take() {
                    self.grants.spawn(async move {
                        let granted = granter.grant().await;
                        (granter, granted)
                    });
                }
            }
            LeaseOutput::KeepAlive { number } => {
                if let Some((numbers, _)) = &self.keeper {
                    numbers.try_send(number).ok();
                }
            }
            LeaseOutput::Tell(event) => self.tell(event),
        }
    }

    fn tell(&mut self, event: LeaseEvent) {
        match event {
            LeaseEvent::Granted { until, .. } => {
                let Some(life) = self.begun.take() else { return };
                let (numbers, asked) = async_channel::bounded(KEEP_ALIVES_MAX);
                let mut task = JoinSet::new();
                let connection = self.connection.clone();
                task.spawn(keep_alive(connection, life.lease, asked, self.signs.0.clone()));
                self.keeper = Some((numbers, task));
                self.life.send_replace(Some(Life { until, ..life }));
            }
            LeaseEvent::Renewed { until } => {
                self.life.send_if_modified(|life| {
                    life.as_mut().is_some_and(|life| {
                        life.until = until;
                        true
                    })
                });
            }
            LeaseEvent::Lost => {
                tracing::warn!("the node's lease is gone; it leads nothing until it has another");
                self.keeper = None;
                self.life.send_replace(None);
            }
        }
    }
}

/// What a replica is told when the life that it knows of becomes another. Renewals in between are of no
/// interest; a life that ended is.
pub(super) fn events(before: Option<&Life>, after: Option<&Life>) -> Vec<LeaseEvent> {
    let granted = |life: &Life| LeaseEvent::Granted {
        incarnation: life.incarnation,
        node_created: life.node_created,
        until: life.until,
    };
    match (before, after) {
        (None, Some(life)) => vec![granted(life)],
        (Some(_), None) => vec![LeaseEvent::Lost],
        (Some(old), Some(new)) if old.incarnation != new.incarnation => {
            vec![LeaseEvent::Lost, granted(new)]
        }
        (Some(old), Some(new)) if old.until != new.until => {
            vec![LeaseEvent::Renewed { until: new.until }]
        }
        (Some(_), Some(_)) | (None, None) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use forebay_replication::Instant;
    use forebay_replication::metadata::{Incarnation, Revision};

    use super::*;

    fn life(incarnation: u64, until: u64) -> Life {
        Life {
            lease: 1,
            ttl_ms: 1,
            incarnation: Incarnation::new(incarnation),
            node_created: Revision::new(incarnation),
            node_value: vec![],
            sent_at: Instant::ZERO,
            until: Instant::from_ms(until),
        }
    }

    #[test]
    fn replicas_hear_of_every_life_that_ended_and_of_the_newest_deadline() {
        let (old, renewed, new) = (life(1, 10), life(1, 20), life(2, 30));
        let granted = LeaseEvent::Granted {
            incarnation: Incarnation::new(2),
            node_created: Revision::new(2),
            until: Instant::from_ms(30),
        };
        assert_eq!(
            events(Some(&old), Some(&renewed)),
            [LeaseEvent::Renewed { until: renewed.until }]
        );
        assert_eq!(events(Some(&old), Some(&new)), [LeaseEvent::Lost, granted]);
        assert_eq!(events(None, Some(&new)), [granted]);
        assert_eq!(events(Some(&old), None), [LeaseEvent::Lost]);
        assert_eq!(events(Some(&old), Some(&old)), []);
    }
}
