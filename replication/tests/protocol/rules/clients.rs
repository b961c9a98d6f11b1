//! R8, R10 and R13: what writers and readers are answered.

use forebay_format::{ClientHeader, Offset, ProducerEpoch, ProducerError, ProducerId, Sequence};
use forebay_replication::{Command, Config, Mutation, ReadAnswer, WriteConcern, WriteRefusal};

use super::{acked, broken, refused};
use crate::script::{Script, id};
use crate::world::record;

/// A record of a producer.
fn produced(crc: u32, sequence: u64) -> ClientHeader {
    ClientHeader {
        producer_id: ProducerId::from_u128(9),
        producer_epoch: ProducerEpoch::new(0),
        first_sequence: Sequence::new(sequence),
        ..record(crc)
    }
}

/// R8: nobody is live but the leader. Returns what a write was answered.
fn without_a_live_quorum(config: Config) -> Option<WriteRefusal> {
    let mut script = Script::three(config);
    script.isolate(1);
    script.pass(11_000);
    script.propose(1, 5, WriteConcern::Quorum);
    let found = refused(&script, 5);
    script.heal();
    script.pass(2_000);
    script.propose(1, 6, WriteConcern::Quorum);
    script.settle();
    assert!(acked(&script, 6).is_some(), "writes are back by themselves");
    found
}

#[test]
fn below_quorum_writes_are_refused_before_they_are_appended() {
    let found = without_a_live_quorum(Config::default());
    assert_eq!(found, Some(WriteRefusal::ReadOnly { live: 1, needed: 2 }));
    assert_eq!(without_a_live_quorum(broken(Mutation::R8AdmitsWithoutQuorum)), None);
}

/// R8, R5: whoever wants three live replicas does not want a write on the one that an unclean election has left. It
/// is written to again when the others vote again.
#[test]
fn min_replicas_hold_for_the_only_voter_after_an_unclean_election_too() {
    let mut script = Script::three(Config { min_replicas: 3, ..Config::default() });
    for node in [1, 2] {
        script.crash(node);
        script.revoke(node);
    }
    script.pass(5_000);
    script.world.unclean = true;
    script.command(3, 100, Command::ElectUnclean);
    script.pass(5_000);
    assert_eq!(script.world.leader().map(|(_, node)| node), Some(id(3)));
    script.propose(3, 5, WriteConcern::Quorum);
    assert_eq!(refused(&script, 5), Some(WriteRefusal::ReadOnly { live: 1, needed: 3 }));
    script.restart(1);
    script.restart(2);
    script.pass(5_000);
    script.propose(3, 6, WriteConcern::Quorum);
    script.settle();
    assert!(acked(&script, 6).is_some());
}

/// R8, R11: of three voters one is down, and another has lost its disk and does not get what it lacks. It
/// answers, but nothing that counts.
#[test]
fn learner_in_the_place_of_a_voter_is_not_live() {
    let mut script = Script::three(Config::default());
    script.propose(1, 5, WriteConcern::Quorum);
    script.pass(1_000);
    script.crash(2);
    script.crash(3);
    script.world.lose_disk(id(2));
    script.restart(2);
    script.hang(2);
    script.pass(12_000);
    script.propose(1, 6, WriteConcern::Quorum);
    assert_eq!(refused(&script, 6), Some(WriteRefusal::ReadOnly { live: 1, needed: 2 }));
    script.pass(40_000);
    let leader = script.world.leader().map(|(_, node)| node);
    assert_eq!(leader, Some(id(1)), "nobody else can make a voter of it");
    script.heal();
    script.pass(2_000);
    script.propose(1, 7, WriteConcern::Quorum);
    script.settle();
    assert_eq!(acked(&script, 7), Some(Offset::new(1)));
}

/// R10: a write is retried at the next leader. Returns where the retry was.
fn retried_after_failover(config: Config) -> Option<Offset> {
    let mut script = Script::three(config);
    script.world.propose_batch(id(1), 70, produced(70, 0), WriteConcern::Quorum);
    script.pass(1_000);
    assert_eq!(acked(&script, 70), Some(Offset::ZERO));
    script.crash(1);
    script.revoke(1);
    script.run_until(|world| world.leader().is_some());
    script.world.unclean = true;
    script.world.propose_batch(id(2), 71, produced(70, 0), WriteConcern::Quorum);
    script.settle();
    acked(&script, 71)
}

#[test]
fn retry_after_failover_is_a_duplicate_with_the_offset_of_the_first_time() {
    assert_eq!(retried_after_failover(Config::default()), Some(Offset::ZERO));
    let second = retried_after_failover(broken(Mutation::R10TableNotReplicated));
    assert_eq!(second, Some(Offset::new(1)), "a second copy");
}

/// R10: a retry meets its original while that is not committed. Returns whether it was answered.
fn duplicate_answered_early(config: Config) -> bool {
    let mut script = Script::three(config);
    script.isolate(1);
    script.world.propose_batch(id(1), 70, produced(70, 0), WriteConcern::LEADER);
    script.settle();
    script.world.propose_batch(id(1), 71, produced(70, 0), WriteConcern::LEADER);
    script.settle();
    assert!(acked(&script, 70).is_some(), "on the leader's disk, as was asked");
    acked(&script, 71).is_some()
}

#[test]
fn duplicate_waits_until_the_original_is_committed() {
    assert!(!duplicate_answered_early(Config::default()));
    assert!(duplicate_answered_early(broken(Mutation::R10DuplicateBeforeCommit)));
}

#[test]
fn same_sequence_with_other_content_is_refused() {
    let retry = |config| {
        let mut script = Script::three(config);
        script.world.propose_batch(id(1), 70, produced(70, 0), WriteConcern::Quorum);
        script.world.propose_batch(id(1), 71, produced(71, 0), WriteConcern::Quorum);
        script.world.unclean = true;
        script.settle();
        refused(&script, 71)
    };
    let found = retry(Config::default());
    let reused =
        matches!(found, Some(WriteRefusal::Producer(ProducerError::SequenceReused { .. })));
    assert!(reused, "{found:?}");
    assert_eq!(retry(broken(Mutation::R10CrcNotCompared)), None);
}

#[test]
fn more_replicas_than_voters_are_refused_and_fewer_than_quorum_answered_by_the_leader_alone() {
    let mut script = Script::three(Config::default());
    script.isolate(1);
    script.propose(1, 4, WriteConcern::Replicas(4));
    script.propose(1, 5, WriteConcern::LEADER);
    script.propose(1, 6, WriteConcern::Replicas(2));
    script.settle();
    assert_eq!(refused(&script, 4), Some(WriteRefusal::TooManyReplicas { voters: 3 }));
    assert_eq!(acked(&script, 5), Some(Offset::ZERO));
    assert_eq!(acked(&script, 6), None, "two are a quorum");
}

#[test]
fn reader_ahead_of_a_replica_waits_and_sees_nothing_that_is_not_committed() {
    let read = |config| {
        let mut script = Script::three(config);
        script.isolate(1);
        script.propose(1, 5, WriteConcern::Quorum);
        script.settle();
        script.read(1, 0, 0)
    };
    let found = read(Config::default());
    assert_eq!(found, ReadAnswer::Ahead { committed: Offset::ZERO, leader: Some(id(1)) });
    let found = read(broken(Mutation::R13ReadsAboveCommitted));
    assert_eq!(found, ReadAnswer::Readable { upto: Offset::new(1) });
}

/// R13: n1 and n2 committed a record, and do not know that n3 was elected without them, and wrote another
/// one. Nor does a reader of n3's record go on with theirs.
#[test]
fn reader_of_a_newer_epoch_is_ahead_whatever_its_offset() {
    let read = |config| {
        let mut script = Script::three(config);
        for crc in [5, 6] {
            script.propose(1, crc, WriteConcern::Quorum);
        }
        script.settle();
        // It has read one record, of epoch 3.
        script.read(1, 3, 1)
    };
    let found = read(Config::default());
    assert_eq!(found, ReadAnswer::Ahead { committed: Offset::new(2), leader: Some(id(1)) });
    let found = read(broken(Mutation::R13LineageIgnored));
    assert_eq!(found, ReadAnswer::Readable { upto: Offset::new(2) });
}
