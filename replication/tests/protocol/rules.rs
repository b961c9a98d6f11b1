//! One rule each, where a transcript would say less than a few assertions.

use forebay_format::{
    ClientHeader, Epoch, Offset, ProducerEpoch, ProducerError, ProducerId, Sequence,
};
use forebay_replication::{
    Alarm, Answer, Command, Config, Event, Message, Mutation, Position, ReadAnswer, WriteConcern,
    WriteRefusal, metadata::UncleanElection,
};

use crate::script::{Script, id};
use crate::world::{Told, World, record};

fn broken(rule: Mutation) -> Config {
    Config { mutation: Some(rule), ..Config::default() }
}

/// A record of a producer.
fn produced(crc: u32, sequence: u64) -> ClientHeader {
    ClientHeader {
        producer_id: ProducerId::from_u128(9),
        producer_epoch: ProducerEpoch::new(0),
        first_sequence: Sequence::new(sequence),
        ..record(crc)
    }
}

/// What writes were answered, in order.
fn answers(script: &Script) -> Vec<(u64, Answer)> {
    let answer = |told: &Told| match told {
        Told::Answer(token, answer) => Some((token.0, *answer)),
        _ => None,
    };
    script.world.told.iter().filter_map(answer).collect()
}

fn acked(script: &Script, token: u64) -> Option<Offset> {
    answers(script).iter().find_map(|(other, answer)| match answer {
        Answer::Acked { base_offset, .. } if *other == token => Some(*base_offset),
        _ => None,
    })
}

fn refused(script: &Script, token: u64) -> Option<WriteRefusal> {
    answers(script).iter().find_map(|(other, answer)| match answer {
        Answer::Refused(why) if *other == token => Some(*why),
        _ => None,
    })
}

/// R5: n1's log is the longest, n3's is of a newer epoch and has what was committed. What goes wrong?
fn longest_log_against_newest_epoch(config: Config) -> Option<String> {
    let mut script = Script::three(config);
    script.isolate(1);
    for crc in [11, 12, 13] {
        script.propose(1, crc, WriteConcern::Quorum);
    }
    script.settle();
    script.lose_messages();
    script.crash(1);
    script.revoke(1);
    script.heal();
    script.run_until(|world| world.leader().is_some());
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

/// R9: a leader whose log parts from n2's below what n2 knows to be committed. No such leader can be
/// elected; whatever brought it about, n2 keeps what it has and says so.
fn told_to_cut_what_is_committed(config: Config) -> (Vec<Alarm>, Offset) {
    let script = cut_to_nothing(config, &[]);
    let alarm = |told: &Told| match told {
        Told::Alarm(_, alarm) => Some(*alarm),
        _ => None,
    };
    let replica = script.world.nodes[1].replica.as_ref().expect("n2 is up");
    (script.world.told.iter().filter_map(alarm).collect(), replica.log().end)
}

/// n2 holds a committed record, and is told that its log parts from n3's before that.
fn cut_to_nothing(config: Config, unclean: &[UncleanElection]) -> Script {
    let mut script = Script::three(config);
    script.propose(1, 5, WriteConcern::Quorum);
    script.pass(1_000);
    script.isolate(1);
    script.isolate(3);
    let replica = script.world.nodes[1].replica.as_ref().expect("n2 is up");
    let (asked, epoch) = (replica.log().position(), Epoch::new(50));
    let fence = Message::Fence { epoch, established: true, state_version: 0 };
    script.world.handle(id(2), Event::Message(id(3), fence));
    script.settle();
    let common = Position::new(Epoch::new(1), Offset::ZERO);
    // A leader repeats what is not answered.
    for _ in 0..2 {
        let parts = Message::Match { epoch, asked, common, unclean: unclean.to_vec() };
        script.world.handle(id(2), Event::Message(id(3), parts));
        script.settle();
    }
    script
}

#[test]
fn cut_below_committed_is_an_alarm_and_nothing_is_cut() {
    let (alarms, end) = told_to_cut_what_is_committed(Config::default());
    assert!(matches!(alarms[..], [Alarm::CutBelowCommitted { .. }]), "{alarms:?}");
    assert_eq!(end, Offset::new(1));
    let (alarms, end) = told_to_cut_what_is_committed(broken(Mutation::R9CutBelowCommitted));
    assert_eq!((alarms, end), (vec![], Offset::ZERO));
}

/// R9, R6: or records that are written behind the cut would count as committed after a crash.
#[test]
fn cut_of_an_unclean_election_takes_the_remembered_mark_along() {
    let kept = Position::new(Epoch::new(1), Offset::ZERO);
    let election = UncleanElection { epoch: Epoch::new(49), kept, lost_upto: Offset::new(1) };
    let mut script = cut_to_nothing(Config::default(), &[election]);
    script.world.crash(id(2));
    let recovered = script.world.nodes[1].disk.recover();
    assert_eq!((recovered.log.end, recovered.meta.committed), (Offset::ZERO, Offset::ZERO));
}

/// R2: the store is restored from a snapshot that is older than the last take-over.
#[test]
fn metadata_that_went_back_stop_writes_until_an_operator_confirms() {
    let mut script = Script::three(Config::default());
    let snapshot = script.world.store.clone();
    script.command(1, 100, Command::Transfer { to: Some(id(2)) });
    script.pass(3_000);
    assert_eq!(script.world.leader().map(|(_, node)| node), Some(id(2)));
    script.world.store = snapshot;
    script.world.store.leader = None;
    for node in [1, 2, 3] {
        script.world.grant(id(node));
    }
    script.pass(10_000);
    assert_eq!(script.world.leader(), None, "nobody is elected by old metadata");
    for node in [1, 2, 3] {
        script.command(node, 200 + u64::from(node), Command::ConfirmMetadata);
        script.pass(1_000);
    }
    script.pass(10_000);
    let (epoch, leader) = script.world.leader().expect("somebody leads again");
    assert!(epoch > Epoch::new(2), "above every promise");
    script.propose(leader.get(), 5, WriteConcern::Quorum);
    script.settle();
    assert!(acked(&script, 5).is_some());
}

/// R2: the store went back to epoch 1, and n3, which has not heard of epoch 2, takes that over once more.
/// In which epoch does it lead?
fn epoch_taken_twice(config: Config) -> Option<u64> {
    let mut script = Script::three(config);
    let snapshot = script.world.store.clone();
    script.isolate(3);
    script.command(1, 100, Command::Transfer { to: Some(id(2)) });
    script.pass(3_000);
    assert_eq!(script.world.leader(), Some((Epoch::new(2), id(2))));
    script.world.store = snapshot;
    script.world.store.leader = None;
    script.lose_messages();
    script.heal();
    for node in [1, 2, 3] {
        script.world.grant(id(node));
    }
    script.cut_off_store(1);
    script.cut_off_store(2);
    script.pass(6_000);
    script.command(3, 101, Command::ConfirmMetadata);
    script.pass(6_000);
    script.world.leader().filter(|(_, node)| *node == id(3)).map(|(epoch, _)| epoch.get())
}

#[test]
fn epoch_is_raised_above_every_promise_and_promised_to_one_candidate_only() {
    assert_eq!(epoch_taken_twice(Config::default()), Some(3));
    assert_eq!(epoch_taken_twice(broken(Mutation::R2EpochNotRaised)), None);
    assert_eq!(epoch_taken_twice(broken(Mutation::R2EpochPromisedTwice)), Some(2));
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

/// Log start: the leader is told to drop what nobody else has.
fn log_start_of_what_is_not_committed(config: Config) -> Offset {
    let mut script = Script::three(config);
    script.isolate(1);
    for crc in [11, 12, 13] {
        script.propose(1, crc, WriteConcern::Quorum);
    }
    script.settle();
    script.command(1, 100, Command::AdvanceLogStart { to: Offset::new(3) });
    script.world.nodes[0].replica.as_ref().expect("n1 is up").log().log_start
}

#[test]
fn log_start_stays_below_what_is_committed() {
    assert_eq!(log_start_of_what_is_not_committed(Config::default()), Offset::ZERO);
    let broken = broken(Mutation::LogStartPastCommitted);
    assert_eq!(log_start_of_what_is_not_committed(broken), Offset::new(3));
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

/// R7: n3 is out of reach when a write for `all` comes. Returns whether the write was answered before
/// the store had taken n3 out of the set.
fn answered_before_the_swap(config: Config) -> bool {
    let mut script = Script::three(config);
    script.isolate(3);
    script.propose(1, 5, WriteConcern::All);
    script.pass(9_000);
    assert_eq!(acked(&script, 5), None, "n3 is in the set");
    // The store does not answer n1 any more, but its lease is renewed by hand.
    script.cut_off_store(1);
    script.pass(3_000);
    let before = acked(&script, 5).is_some();
    script.heal_store();
    script.pass(2_000);
    let state = script.world.store.state.as_ref().map(|state| state.value.isr.clone());
    assert_eq!(state, Some(vec![id(1), id(2)]));
    assert_eq!(acked(&script, 5), Some(Offset::ZERO), "the swap is done");
    before
}

#[test]
fn all_is_answered_without_a_member_only_after_the_swap() {
    assert!(!answered_before_the_swap(Config::default()));
    assert!(answered_before_the_swap(broken(Mutation::R7AllBeforeSwap)), "the test sees it");
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

#[test]
fn planned_transfer_loses_nothing_and_names_the_successor() {
    let mut script = Script::three(Config::default());
    script.propose(1, 5, WriteConcern::Quorum);
    script.command(1, 100, Command::Transfer { to: Some(id(3)) });
    script.propose(1, 6, WriteConcern::Quorum);
    assert_eq!(refused(&script, 6), Some(WriteRefusal::NotServing));
    script.pass(900);
    assert_eq!(script.world.leader().map(|(_, node)| node), Some(id(3)));
    assert!(script.world.told.contains(&Told::Command(forebay_replication::Token(100), Ok(()))));
    assert_eq!(acked(&script, 5), Some(Offset::ZERO));
}

#[test]
fn membership_changes_over_both_majorities() {
    let mut script = Script::nodes_of(4, 3, Config::default());
    script.run_until(|world| world.leader().is_some());
    script.propose(1, 5, WriteConcern::Quorum);
    script.pass(1_000);
    script.command(1, 100, Command::Reassign { to: vec![id(4), id(2), id(3)] });
    script.pass(10_000);
    let state = script.world.store.state.clone().expect("a state").value;
    let nodes: Vec<_> = state.replicas.iter().map(|member| member.node).collect();
    assert_eq!(nodes, [id(4), id(2), id(3)]);
    assert_eq!((state.next, state.target), (None, None));
    let leader = script.world.leader().expect("somebody leads").1;
    assert_ne!(leader, id(1), "it is no voter any more");
    script.propose(leader.get(), 6, WriteConcern::All);
    script.pass(10_000);
    assert_eq!(acked(&script, 6), Some(Offset::new(1)));
    assert_eq!(script.world.wrong, None);
}

#[test]
fn follower_that_ends_below_the_log_start_begins_there() {
    let mut script = Script::three(Config::default());
    script.crash(3);
    for crc in 10..20 {
        script.propose(1, crc, WriteConcern::Quorum);
    }
    script.pass(1_000);
    script.command(1, 100, Command::AdvanceLogStart { to: Offset::new(900) });
    script.pass(1_000);
    let start = |script: &Script, node: usize| {
        let replica = script.world.nodes[node].replica.as_ref().expect("it is up");
        (replica.log().log_start, replica.committed())
    };
    assert_eq!(start(&script, 0), (Offset::new(10), Offset::new(10)), "never past committed");
    script.propose(1, 20, WriteConcern::Quorum);
    script.restart(3);
    script.pass(2_000);
    assert_eq!(start(&script, 2), (Offset::new(10), Offset::new(11)));
    assert_eq!(script.world.wrong, None);
}
