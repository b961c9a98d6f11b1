//! R9 and log start: what may be cut, and where a log begins.

use forebay_format::{ClientHeader, Epoch, EpochStart, LeaderFields, Offset};
use forebay_replication::metadata::UncleanElection;
use forebay_replication::{
    Alarm, BatchMeta, Command, Config, Event, Message, Mutation, Part, Position, WriteConcern,
};

use super::{alarms, broken};
use crate::script::{Script, id};
use crate::world::{Told, record};

/// R9: a leader whose log parts from n2's below what n2 knows to be committed. No such leader can be
/// elected; whatever brought it about, n2 keeps what it has and says so.
fn told_to_cut_what_is_committed(config: Config) -> (Vec<Alarm>, Offset) {
    let script = cut_to_nothing(config, &[]);
    let replica = script.world.nodes[1].replica.as_ref().expect("n2 is up");
    (alarms(&script), replica.log().end)
}

/// n2 holds a committed record, and is told that its log parts from n3's before that.
fn cut_to_nothing(config: Config, unclean: &[UncleanElection]) -> Script {
    let mut script = Script::three(config);
    script.propose(1, 5, WriteConcern::Quorum);
    script.pass(1_000);
    let common = Position::new(Epoch::new(1), Offset::ZERO);
    cut_by_another_leader(&mut script, common, unclean);
    script
}

/// n3 tells n2, as the leader of epoch 50, that their logs part after `common`.
fn cut_by_another_leader(script: &mut Script, common: Position, unclean: &[UncleanElection]) {
    script.isolate(1);
    script.isolate(3);
    let replica = script.world.nodes[1].replica.as_ref().expect("n2 is up");
    let (asked, epoch) = (replica.log().position(), Epoch::new(50));
    let fence = Message::Fence { epoch, established: true, state_version: 0 };
    script.world.handle(id(2), Event::Message(id(3), fence));
    script.settle();
    // A leader repeats what is not answered.
    for _ in 0..2 {
        let parts = Message::Match { epoch, asked, common, unclean: unclean.to_vec() };
        script.world.handle(id(2), Event::Message(id(3), parts));
        script.settle();
    }
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

/// R9: each batch of a message must follow the one before, not only the first of them.
#[test]
fn batch_that_does_not_follow_the_one_before_is_an_alarm_and_nothing_is_appended() {
    let mut script = Script::three(Config::default());
    script.propose(1, 5, WriteConcern::Quorum);
    script.pass(1_000);
    let replica = script.world.nodes[1].replica.as_ref().expect("n2 is up");
    let (log, epoch) = (replica.log().clone(), Epoch::new(1));
    let batch = |base_offset: Offset, previous_header_crc| {
        let append_time = log.last_append_time;
        let fields = LeaderFields { base_offset, epoch, append_time, previous_header_crc };
        BatchMeta::stamp(record(6), fields)
    };
    let first = batch(log.end, log.last_header_crc);
    let gap = batch(first.next_offset() + 1, first.header_crc);
    let other = batch(first.next_offset(), first.header_crc ^ 1);
    for wrong in [gap, other] {
        let mut world = script.world.clone();
        let append = Message::Append {
            epoch,
            after: log.position(),
            batches: vec![first, wrong],
            committed: Position::ZERO,
            log_start: Offset::ZERO,
            state_version: 0,
        };
        world.handle(id(2), Event::Message(id(1), append));
        let at = log.position();
        assert_eq!(world.told.last(), Some(&Told::Alarm(id(2), Alarm::ChainBroken { at })));
        assert_eq!(world.nodes[1].disk.batches().len(), 2);
    }
}

/// R9, R6, log start: after an unclean election a log may part from the leader's below its own start. It
/// begins anew from nothing, and no mark of before may outlive that: after a crash, records that were written
/// since would count as committed, or as trimmed.
#[test]
fn log_that_begins_anew_from_nothing_takes_all_its_marks_along() {
    let mut script = Script::three(Config::default());
    for crc in 10..20 {
        script.propose(1, crc, WriteConcern::Quorum);
    }
    script.pass(1_000);
    script.command(1, 100, Command::AdvanceLogStart { to: Offset::new(8) });
    script.pass(1_000);
    let kept = Position::new(Epoch::new(1), Offset::new(5));
    let election = UncleanElection { epoch: Epoch::new(49), kept, lost_upto: Offset::new(10) };
    cut_by_another_leader(&mut script, kept, &[election]);
    let replica = script.world.nodes[1].replica.as_ref().expect("n2 is up");
    let marks = (replica.log().end, replica.log().log_start, replica.committed());
    assert_eq!(marks, (Offset::ZERO, Offset::ZERO, Offset::ZERO));
    script.world.crash(id(2));
    let meta = script.world.nodes[1].disk.recover().meta;
    assert_eq!((meta.committed, meta.log_start), (Offset::ZERO, Offset::ZERO));
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

/// Log start, R5: n3 has all of epoch 1. The log of the others begins behind the first batch of epoch 2, which takes
/// no offset: it ends where n3's ends, and n3 does not have it.
#[test]
fn candidate_that_lacks_only_a_first_batch_below_the_log_start_begins_behind_it() {
    let mut script = Script::three(Config::default());
    for crc in 10..13 {
        script.propose(1, crc, WriteConcern::All);
    }
    script.pass(1_000);
    script.crash(3);
    script.command(1, 100, Command::Transfer { to: Some(id(2)) });
    script.run_until(|world| world.leader().is_some_and(|(_, node)| node == id(2)));
    let three_records = ClientHeader { record_count: 3, ..record(13) };
    script.world.propose_batch(id(2), 13, three_records, WriteConcern::Quorum);
    script.pass(1_000);
    script.command(2, 101, Command::AdvanceLogStart { to: Offset::new(4) });
    script.pass(1_000);
    let behind = Position::new(Epoch::new(2), Offset::new(3));
    assert!(script.world.nodes.iter().take(2).all(|node| node.disk.stores_after(behind)));
    let at = Position::new(Epoch::new(1), Offset::new(3));
    assert!(script.world.nodes.iter().take(2).all(|node| !node.disk.stores_after(at)));
    for node in [1, 2] {
        script.crash(node);
        script.revoke(node);
    }
    script.restart(3);
    script.run_until(|world| {
        let replica = world.nodes[2].replica.as_ref();
        replica.is_some_and(|replica| matches!(replica.part(), Part::Candidate(_)))
    });
    script.restart(1);
    script.pass(3_000);
    assert_eq!(script.world.leader().map(|(_, node)| node), Some(id(3)));
    let end = script.world.nodes[2].replica.as_ref().map(|replica| replica.log().end);
    assert_eq!((end, script.world.wrong), (Some(Offset::new(6)), None));
}

/// Log start, R5: n2 has begun anew behind the first batch of epoch 49, and its log start is still there. A candidate
/// that has all but that batch is told, or it would ask in vain.
#[test]
fn candidate_that_ends_at_the_log_start_is_told_where_the_log_begins() {
    let mut script = Script::three(Config::default());
    script.propose(1, 5, WriteConcern::All);
    script.pass(1_000);
    let replica = script.world.nodes[1].replica.as_ref().expect("n2 is up");
    let (asked, own, mut at) = (replica.log().position(), replica.replica(), replica.log().clone());
    cut_by_another_leader(&mut script, asked, &[]);
    let start = at.end;
    assert!(at.epochs.push(EpochStart { epoch: Epoch::new(49), start }));
    at.log_start = start;
    let start = Message::Start { epoch: Epoch::new(50), asked, at: Box::new(at.clone()) };
    script.world.handle(id(2), Event::Message(id(3), start));
    script.settle();
    let log = script.world.nodes[1].replica.as_ref().expect("n2 is up").log();
    assert_eq!((log.position(), log.log_start), (at.position(), at.end));
    let epoch = Epoch::new(51);
    let fence = Message::Fence { epoch, established: false, state_version: 0 };
    script.world.handle(id(2), Event::Message(id(1), fence));
    script.settle();
    let fetch = Message::Fetch { epoch, replica: own, after: asked };
    script.world.handle(id(2), Event::Message(id(1), fetch));
    let told = |message: &Message| matches!(message, Message::Start { at: it, .. } if it.position() == at.position());
    assert!(script.world.wire.iter().any(|it| it.to == id(1) && told(&it.message)));
}
