//! What kind of world a seed has. Every seed draws its own mixture: a world that has a little of everything
//! rarely has much of anything, and some mistakes show only where one thing is heavy and another
//! is absent. Two in five seeds draw from everything, the others are of a [`Temper`].

use forebay_replication::Config;

use crate::faults::FaultKind;
use crate::random::Random;

/// What a world has much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    /// A bit of everything.
    Mixed,
    /// Nodes are cut off one after the other, while clients reach all of them: logs part.
    Parted,
    /// Leaders lose their lease and do not get to know; disks and messages are slow: zombies.
    Haunted,
    /// Processes and whole clusters lose power, most of all where something was promised just now.
    Crashing,
    /// What the metadata store answers comes late, and now and then nothing reaches it: leases run out.
    Expiring,
    /// The metadata store is slow, silent about transactions, and restored from old snapshots.
    Forgetful,
    /// Disks are lost and members change.
    Moving,
    /// Disks are set back behind everybody's back, which is more than anybody promises to survive. All that
    /// counts is that nobody cuts what it knows to be committed.
    Sabotaged,
}

/// How a seed's world is made.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) temper: Temper,
    pub(crate) nodes: u32,
    /// How many of them hold the partition at first.
    pub(crate) voters: usize,
    pub(crate) config: Config,
    pub(crate) lease_ttl_ms: u64,
    pub(crate) network: NetworkProfile,
    /// An fsync takes up to so long.
    pub(crate) fsync_ms_max: u64,
    /// A request takes up to so long to the metadata store...
    pub(crate) store_ms_max: u64,
    /// ...and an answer to come back.
    pub(crate) store_answer_ms_max: u64,
    pub(crate) clients: ClientProfile,
    pub(crate) operator: OperatorProfile,
    /// In so many of a thousand cases a process dies just after it has promised or acknowledged something.
    pub(crate) death_after_promise_per_mille: u64,
    /// How likely each fault is, compared with the others.
    pub(crate) faults: Vec<(FaultKind, u64)>,
    /// From one fault to the next it takes up to so long.
    pub(crate) fault_gap_ms_max: u64,
    pub(crate) faults_wanted: u64,
    /// A process that crashed stays down for up to so long.
    pub(crate) down_ms_max: u64,
    /// A fault that ends by itself lasts up to so long.
    pub(crate) fault_ms_max: u64,
}

/// What the network does all the time, without any fault.
#[derive(Debug, Clone)]
pub(crate) struct NetworkProfile {
    pub(crate) delay_ms_max: u64,
    /// Messages on one link may overtake each other.
    pub(crate) reorders: bool,
    pub(crate) lost_per_mille: u64,
    pub(crate) doubled_per_mille: u64,
}

/// What clients do.
#[derive(Debug, Clone)]
pub(crate) struct ClientProfile {
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    /// Between two turns of a client.
    pub(crate) pause_ms_max: u64,
    /// Batches that all producers together send before the end.
    pub(crate) batches_wanted: u64,
    /// Weights of the write concerns none, leader, quorum, all, and a number.
    pub(crate) concerns: [u64; 5],
    /// Batches that an idempotent producer has in flight.
    pub(crate) window: usize,
    /// An answer is waited for up to so long.
    pub(crate) patience_ms: u64,
    pub(crate) answer_lost_per_mille: u64,
}

/// What the operator does.
#[derive(Debug, Clone)]
pub(crate) struct OperatorProfile {
    /// Between two commands. `None`: never does anything unasked.
    pub(crate) pause_ms_max: Option<u64>,
    pub(crate) transfer: u64,
    pub(crate) reassign: u64,
    pub(crate) copies: u64,
    pub(crate) advance_log_start: u64,
    pub(crate) elect_unclean: u64,
    /// In so many of a thousand turns it looks whether metadata wait to be confirmed.
    pub(crate) confirms_per_mille: u64,
}

impl Profile {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let temper = random.weighted(&[
            (Temper::Mixed, 41),
            (Temper::Parted, 12),
            (Temper::Haunted, 12),
            (Temper::Crashing, 8),
            (Temper::Expiring, 6),
            (Temper::Forgetful, 11),
            (Temper::Moving, 8),
            (Temper::Sabotaged, 2),
        ]);
        let nodes = random.weighted(&[(3, 5), (4, 2), (5, 3)]);
        let voters = match nodes {
            3 => 3,
            4 => random.weighted(&[(3, 3), (4, 1)]),
            _ => random.weighted(&[(3, 2), (5, 3)]),
        };
        let store_ms_max = *random.pick(&[5, 20, 100, 600]);
        let lease_ttl_ms = *random.pick(&[2_000, 3_000, 5_000]);
        let mut profile = Self {
            temper,
            nodes,
            voters,
            config: config(random),
            lease_ttl_ms,
            network: NetworkProfile {
                delay_ms_max: *random.pick(&[2, 5, 20, 100]),
                reorders: random.coin(),
                lost_per_mille: *random.pick(&[0, 0, 2, 20]),
                doubled_per_mille: *random.pick(&[0, 0, 5, 30]),
            },
            fsync_ms_max: *random.pick(&[2, 10, 40, 150]),
            store_ms_max,
            store_answer_ms_max: store_ms_max,
            clients: clients(random),
            operator: operator(random),
            death_after_promise_per_mille: *random.pick(&[0, 0, 1, 3]),
            faults: faults(temper, random),
            fault_gap_ms_max: *random.pick(&[300, 1_000, 3_000]),
            faults_wanted: random.between(6, 20),
            down_ms_max: *random.pick(&[300, 3_000, 12_000]),
            fault_ms_max: *random.pick(&[1_000, 5_000, 15_000]),
        };
        profile.lean(random);
        profile
    }

    /// What else belongs to a temper, besides its faults.
    fn lean(&mut self, random: &mut Random) {
        let busy = |clients: &mut ClientProfile| {
            clients.pause_ms_max = 150;
            clients.window = 4;
            clients.patience_ms = 500;
        };
        match self.temper {
            Temper::Mixed | Temper::Sabotaged => {}
            Temper::Parted => {
                busy(&mut self.clients);
                self.fault_gap_ms_max = 800;
                self.fault_ms_max = *random.pick(&[4_000, 8_000]);
                self.config.live_timeout_ms = 10_000;
                if random.per_mille(700) {
                    (self.nodes, self.voters) = (3, 3);
                }
                self.fault_gap_ms_max = *random.pick(&[800, 3_000]);
                self.faults_wanted = random.between(15, 40);
            }
            Temper::Haunted => {
                busy(&mut self.clients);
                self.clients.concerns = [0, 3, 3, 1, 2];
                // Three nodes: a rival that does not reach one of them has the zombie itself in its quorum.
                (self.nodes, self.voters, self.lease_ttl_ms) = (3, 3, 5_000);
                self.network.reorders = false;
                self.network.delay_ms_max = 20;
                self.fsync_ms_max = *random.pick(&[10, 40, 150]);
                self.store_ms_max = *random.pick(&[20, 20, 1_000]);
                self.store_answer_ms_max = self.store_ms_max;
                self.config.live_timeout_ms = 10_000;
                self.config.metadata_poll_ms = 5_000;
                self.fault_gap_ms_max = 1_500;
                self.faults_wanted = random.between(15, 40);
            }
            Temper::Crashing => {
                busy(&mut self.clients);
                self.death_after_promise_per_mille = *random.pick(&[10, 40]);
                self.config.mark_copy_ms = 1_000;
                self.down_ms_max = 300;
            }
            Temper::Expiring => {
                busy(&mut self.clients);
                self.clients.concerns = [0, 3, 2, 1, 1];
                // A third of the lease is what a keep-alive has to be answered in, a quarter is the margin: an
                // answer that comes between the two is the one that counts.
                self.lease_ttl_ms = 5_000;
                (self.store_ms_max, self.store_answer_ms_max) = (20, 1_900);
                self.config.heartbeat_ms = 200;
                self.fault_gap_ms_max = 3_000;
                self.fault_ms_max = 15_000;
                self.faults_wanted = random.between(15, 30);
            }
            Temper::Forgetful => {
                // Whoever waits for that is not caught up in time.
                self.config.resign_after_ms = 100_000;
                self.config.isr_lag_timeout_ms = 1_500;
                self.clients.concerns = [0, 1, 1, 5, 1];
                self.operator.reassign = 0;
                self.operator.copies = 0;
                self.store_ms_max = *random.pick(&[20, 100, 600]);
                self.store_answer_ms_max = self.store_ms_max;
                self.operator.confirms_per_mille = 200;
                self.faults_wanted = random.between(15, 40);
            }
            Temper::Moving => {
                self.operator.pause_ms_max = Some(2_000);
                self.operator.reassign = 8;
                self.config.batches_per_message_max = *random.pick(&[1, 3]);
                self.faults_wanted = random.between(15, 40);
            }
        }
    }
}

fn config(random: &mut Random) -> Config {
    let timeout_ms = *random.pick(&[1_500, 4_000, 10_000]);
    Config {
        min_replicas: random.weighted(&[(0, 4), (3, 1)]),
        live_timeout_ms: timeout_ms,
        isr_lag_timeout_ms: timeout_ms,
        heartbeat_ms: *random.pick(&[200, 500]),
        metadata_poll_ms: *random.pick(&[1_000, 5_000]),
        resign_after_ms: *random.pick(&[5_000, 20_000]),
        mark_copy_ms: *random.pick(&[50, 1_000]),
        batches_per_message_max: *random.pick(&[1, 3, 64]),
        ..Config::default()
    }
}

fn clients(random: &mut Random) -> ClientProfile {
    let concerns = match random.below(4) {
        0 => [0, 0, 1, 0, 0],
        1 => [0, 4, 1, 1, 1],
        2 => [0, 1, 1, 4, 2],
        _ => [1, 2, 4, 2, 2],
    };
    ClientProfile {
        producers: random.place(3) + 2,
        consumers: random.place(3) + 2,
        pause_ms_max: *random.pick(&[150, 400, 900]),
        batches_wanted: random.between(130, 200),
        concerns,
        window: random.place(4) + 1,
        patience_ms: *random.pick(&[500, 2_000, 5_000]),
        answer_lost_per_mille: *random.pick(&[0, 10, 80]),
    }
}

fn operator(random: &mut Random) -> OperatorProfile {
    let mut often = |choices: &[u64]| *random.pick(choices);
    OperatorProfile {
        transfer: often(&[0, 1, 4]),
        reassign: often(&[0, 1, 1, 8]),
        copies: often(&[0, 0, 1]),
        advance_log_start: often(&[0, 1, 4]),
        elect_unclean: often(&[0, 0, 0, 1]),
        confirms_per_mille: 1_000,
        pause_ms_max: match random.below(4) {
            0 => None,
            1 => Some(2_000),
            _ => Some(8_000),
        },
    }
}

/// What each temper has besides a few faults of every kind.
fn faults(temper: Temper, random: &mut Random) -> Vec<(FaultKind, u64)> {
    use FaultKind as Kind;
    let much: &[(FaultKind, u64)] = match temper {
        // A third of the kinds is absent, some are heavy; and there is always something to do.
        Temper::Mixed => {
            let weight = |kind: &FaultKind| (*kind, *random.pick(&[0, 1, 1, 2, 2, 6]));
            let mixed: Vec<_> = FaultKind::ALL.iter().map(weight).collect();
            return [mixed, vec![(Kind::Crash, 1)]].concat();
        }
        Temper::Parted => &[(Kind::Isolated, 60), (Kind::LinkCut, 20), (Kind::LinkCutOneWay, 20)],
        Temper::Haunted => &[
            (Kind::LeaseEndsEarly, 80),
            (Kind::LeaseEndsLate, 10),
            (Kind::WatchLags, 30),
            (Kind::StoreUnreachable, 10),
            (Kind::DiskSlow, 30),
            (Kind::MessagesDelayed, 20),
            (Kind::Pause, 20),
        ],
        Temper::Expiring => &[
            (Kind::StoreUnreachable, 80),
            (Kind::LeaseEndsLate, 10),
            (Kind::Pause, 10),
            (Kind::ClockJump, 5),
        ],
        Temper::Crashing => &[(Kind::Crash, 40), (Kind::PowerCut, 40), (Kind::DiskSlow, 20)],
        Temper::Forgetful => &[
            (Kind::StoreRestored, 40),
            (Kind::TransactionsUnknown, 40),
            (Kind::WatchLags, 20),
            (Kind::LinkCut, 20),
            (Kind::Isolated, 30),
            (Kind::LeaseEndsEarly, 20),
        ],
        Temper::Moving => &[(Kind::DiskLost, 40), (Kind::BitFlip, 20), (Kind::Isolated, 20)],
        Temper::Sabotaged => &[(Kind::Crash, 20)],
    };
    let few = FaultKind::ALL.iter().map(|kind| (*kind, 1));
    few.chain(much.iter().copied()).collect()
}
