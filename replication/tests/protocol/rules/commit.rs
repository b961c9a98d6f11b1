//! R3 to R6: leases, old acknowledgements, whose log is adopted, what is committed.

use forebay_format::{Epoch, Offset};
use forebay_replication::{Config, Event, Message, Mutation, WriteConcern};

use super::{acked, broken};
use crate::script::{Script, id};
use crate::world::{Envelope, World};

/// R4: n3 acknowledged three records of epoch 1, which then got lost everywhere else. n1 leads again and writes
/// three others, which nobody else has. Returns whether the old acknowledgement makes them count.
fn counted_by_an_old_acknowledgement(config: Config) -> bool {
    let mut script = Script::three(config);
    script.isolate(2);
    script.hold(3, 1);
    script.hang(1);
    for crc in [11, 12, 13] {
        script.propose(1, crc, WriteConcern::Quorum);
    }
    script.settle();
    let of_three = |envelope: &&Envelope| {
        envelope.from == id(3) && matches!(envelope.message, Message::Appended { .. })
    };
    let old = script.world.wire.iter().rfind(of_three).expect("it is held").message.clone();
    script.lose_messages();
    // n1 had synced nothing, and is elected by n2.
    script.crash(1);
    script.heal();
    script.isolate(3);
    script.cut_off(2);
    script.restart(1);
    script.run_until(|world| world.leader().is_some_and(|(epoch, _)| epoch == Epoch::new(2)));
    // n3 says who it is, and gets no further.
    script.heal();
    script.hang(3);
    script.isolate(2);
    script.pass(1_000);
    for crc in [21, 22, 23] {
        script.propose(1, crc, WriteConcern::Quorum);
    }
    script.settle();
    assert_eq!(acked(&script, 23), None);
    script.world.handle(id(1), Event::Message(id(3), old));
    acked(&script, 23).is_some()
}

#[test]
fn acknowledgement_of_an_older_epoch_counts_for_nothing() {
    assert!(!counted_by_an_old_acknowledgement(Config::default()));
    assert!(counted_by_an_old_acknowledgement(broken(Mutation::R4OldAcksCounted)));
}

/// R5: n1's log is the longest, n3's is of a newer epoch and has what was committed. What goes wrong?
fn longest_log_against_newest_epoch(config: Config) -> Option<String> {
    let mut script = Script::three(config);
    script.first_leader_dies_with([11, 12, 13]);
    script.propose(2, 21, WriteConcern::Quorum);
    script.settle();
    assert_eq!(acked(&script, 21), Some(Offset::ZERO));
    script.crash(2);
    script.revoke(2);
    script.restart(1);
    script.pass(5_000);
    script.world.wrong
}

#[test]
fn newest_epoch_wins_over_the_longest_log() {
    assert_eq!(longest_log_against_newest_epoch(Config::default()), None);
    let found = longest_log_against_newest_epoch(broken(Mutation::R5LengthAlone));
    assert!(found.is_some(), "the committed write is gone, or an alarm says so");
}

/// R3, R6: a write for the leader's disk alone becomes durable when the lease is over by the leader's own
/// clock, as after a long pause. Is it answered?
fn answered_without_a_lease(config: Config) -> bool {
    let mut script = Script::three(config);
    script.isolate(1);
    script.propose(1, 5, WriteConcern::LEADER);
    script.world.now = script.world.now.plus_ms(20_000);
    script.settle();
    acked(&script, 5).is_some()
}

#[test]
fn answer_below_quorum_looks_at_the_lease() {
    assert!(!answered_without_a_lease(Config::default()));
    assert!(answered_without_a_lease(broken(Mutation::R6LeaseNotChecked)));
}

/// R6: n1 leads again and brings a write of its first epoch to n3. Two of three have it, but n2 has the
/// first batch of epoch 2. What goes wrong when n2 leads next?
fn old_epoch_counted(mutation: Option<Mutation>) -> Option<String> {
    // One batch at a time, so that n3 can have the write alone.
    let config = Config { mutation, batches_per_message_max: 1, ..Config::default() };
    let mut script = Script::three(config);
    script.isolate(1);
    script.propose(1, 5, WriteConcern::LEADER);
    script.settle();
    script.lose_messages();
    // n2 takes over with n3, and nobody hears of its first batch.
    script.cut_off(1);
    script.revoke(1);
    let has = |world: &World, node: usize, epoch: u64, count: usize| {
        let batches = world.nodes[node].disk.batches();
        batches.iter().filter(|batch| batch.leader.epoch == Epoch::new(epoch)).count() == count
    };
    script.step_until(|world| has(world, 1, 2, 1));
    script.hold(2, 3);
    script.settle();
    script.lose_messages();
    // n1 leads again with n3, which gets the write, and not yet the first batch of epoch 3.
    script.heal();
    script.isolate(2);
    script.cut_off(2);
    script.cut_off(3);
    script.revoke(2);
    script.world.grant(id(1));
    script.step_until(|world| has(world, 2, 1, 2));
    script.hold(1, 3);
    script.settle();
    script.lose_messages();
    // n2 leads with n3.
    script.heal();
    script.isolate(1);
    script.cut_off(1);
    script.cut_off(3);
    script.revoke(1);
    script.world.grant(id(2));
    script.pass(2_000);
    assert_eq!(script.world.leader().map(|(_, node)| node), Some(id(2)));
    script.world.wrong
}

#[test]
fn write_of_an_older_epoch_is_not_committed_by_counting() {
    assert_eq!(old_epoch_counted(None), None);
    let found = old_epoch_counted(Some(Mutation::R6OldEpochCommitted));
    assert!(found.is_some(), "it was readable at n1, and is gone");
}
