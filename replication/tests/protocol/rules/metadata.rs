//! R2: epochs, transactions of unknown outcome, metadata that went back, planned transfer.

use forebay_format::{Epoch, Offset};
use forebay_replication::metadata::{Observation, ObservationSource, Revision, TransactionKind};
use forebay_replication::{
    Alarm, Command, CommandRefusal, Config, Event, Message, Mutation, Part, Token, WriteConcern,
    WriteRefusal,
};

use super::{acked, alarms, broken, refused};
use crate::script::{Script, id};
use crate::world::{Ask, Told, World};

/// R2: the store is restored from a snapshot that is older than the last take-over.
fn with_metadata_that_went_back(config: Config) -> Script {
    let mut script = Script::three(config);
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
    script
}

#[test]
fn metadata_that_went_back_stop_writes_until_an_operator_confirms() {
    let trusting = with_metadata_that_went_back(broken(Mutation::R2RolledBackMetadataAccepted));
    assert!(trusting.world.leader().is_some());
    let mut script = with_metadata_that_went_back(Config::default());
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

/// R2: what is late from before the store went back makes it look right for a moment.
#[test]
fn metadata_that_went_back_are_reported_again_after_a_late_word_of_what_was_before() {
    let mut script = Script::three(Config::default());
    let snapshot = script.world.store.clone();
    script.command(1, 100, Command::Transfer { to: Some(id(2)) });
    script.pass(3_000);
    // Much more had happened to other keys than since.
    let late = script.world.store.observe(ObservationSource::Watch);
    let late = Observation { revision: Revision::new(1_000), ..late };
    script.world.store = snapshot;
    script.world.store.leader = None;
    for node in [1, 2, 3] {
        script.world.grant(id(node));
    }
    script.pass(10_000);
    let reports = |script: &Script| {
        let of = |told: &&Told| matches!(told, Told::Alarm(node, Alarm::MetadataRolledBack { .. }) if *node == id(3));
        script.world.told.iter().filter(of).count()
    };
    assert_eq!(reports(&script), 1);
    script.world.handle(id(3), Event::Observed(Box::new(late)));
    script.command(3, 101, Command::ConfirmMetadata);
    let answer = Told::Command(Token(101), Err(CommandRefusal::NothingToConfirm));
    assert!(script.world.told.contains(&answer), "it looks right");
    script.pass(10_000);
    assert_eq!(reports(&script), 2, "it is not, and an operator has to know");
}

/// R2, R7: the store has taken n3 into the set, and the answer got lost. Then n3 is out of reach. Returns
/// whether a write for `all` is answered without it, while it is not known who is in the set.
fn answered_while_the_swap_is_unknown(config: Config) -> bool {
    let mut script = Script::three(config);
    script.isolate(3);
    script.pass(13_000);
    script.heal();
    let swaps = |world: &World| match world.nodes[0].asks.first() {
        Some(Ask::Transact(_, it)) => it.kind == TransactionKind::InSyncSet,
        _ => false,
    };
    script.step_until(swaps);
    script.world.metadata(0, true);
    script.cut_off_store(1);
    script.isolate(3);
    let set = script.world.store.state.as_ref().map(|state| state.value.isr.len());
    assert_eq!(set, Some(3));
    script.propose(1, 5, WriteConcern::All);
    script.settle();
    acked(&script, 5).is_some()
}

#[test]
fn transaction_of_unknown_outcome_may_have_happened() {
    assert!(!answered_while_the_swap_is_unknown(Config::default()));
    assert!(answered_while_the_swap_is_unknown(broken(Mutation::R2UnknownTakenForConflict)));
}

/// R2: nothing is left in the store but who was assigned the partition. It does not begin again, and an operator
/// has a replica put back what it remembers.
#[test]
fn emptied_metadata_are_noticed_and_put_back_as_they_are_remembered() {
    let mut script = Script::three(Config::default());
    script.propose(1, 5, WriteConcern::Quorum);
    script.pass(1_000);
    let before = script.world.store.state.clone().expect("a state").value;
    script.empty_store();
    // Some have been down, and remember it all the same.
    script.crash(2);
    script.restart(2);
    script.world.unclean = true;
    script.pass(20_000);
    assert_eq!(script.world.store.state, None, "a partition that has been does not begin again");
    assert_eq!(script.world.leader(), None);
    let seen = before.version;
    assert_eq!(alarms(&script), [Alarm::MetadataRolledBack { seen, found: 0 }; 3]);
    script.world.unclean = false;
    script.command(2, 100, Command::ConfirmMetadata);
    script.pass(10_000);
    let after = script.world.store.state.clone().expect("a state").value;
    assert_eq!(after.replicas, before.replicas);
    let leader = script.world.leader().expect("somebody leads again").1;
    script.propose(leader.get(), 6, WriteConcern::Quorum);
    script.settle();
    assert_eq!(acked(&script, 6), Some(Offset::new(1)));
}

/// R2, R12: the store has the voters of before a change. Those of after it are the right ones: an election by
/// the others would lose what they never got.
#[test]
fn confirmed_metadata_have_the_voters_that_were_remembered() {
    let mut script = Script::nodes_of(4, 3, Config::default());
    script.run_until(|world| world.leader().is_some());
    let snapshot = script.world.store.clone();
    script.command(1, 100, Command::Reassign { to: vec![id(4), id(2), id(3)] });
    script.pass(10_000);
    script.world.store = snapshot;
    script.world.store.leader = None;
    script.world.unclean = true;
    for node in [1, 2, 3, 4] {
        script.world.grant(id(node));
    }
    script.pass(10_000);
    assert_eq!(script.world.leader(), None);
    script.command(4, 101, Command::ConfirmMetadata);
    script.pass(10_000);
    let state = script.world.store.state.clone().expect("a state").value;
    let nodes: Vec<_> = state.replicas.iter().map(|member| member.node).collect();
    assert_eq!(nodes, [id(4), id(2), id(3)]);
    assert!(script.world.leader().is_some_and(|(_, node)| node != id(1)));
}

/// R2: a peer has told of a newer state, and a watch that lags shows one in between. That is no alarm; what is
/// read after that is.
#[test]
fn watch_that_lags_is_no_alarm() {
    let mut script = Script::three(Config::default());
    let fence = Message::Fence { epoch: Epoch::new(1), established: true, state_version: 9 };
    script.world.handle(id(2), Event::Message(id(1), fence));
    let mut seen = script.world.store.observe(ObservationSource::Watch);
    if let Some(state) = &mut seen.state {
        state.value.version = 5;
    }
    script.world.handle(id(2), Event::Observed(Box::new(seen)));
    assert_eq!(alarms(&script), []);
    script.settle();
    let found = Alarm::MetadataRolledBack { seen: 9, found: 2 };
    assert_eq!(alarms(&script), [found; 2], "n2, and the leader that it told");
}

/// n1 has taken over, and has not heard of it.
fn with_a_take_over_that_is_under_way() -> (Script, Event) {
    let mut script = Script::nodes(3, Config::default());
    let takes_over = |world: &World| match world.nodes[0].asks.first() {
        Some(Ask::Transact(_, it)) => it.kind == TransactionKind::TakeOver,
        _ => false,
    };
    script.step_until(takes_over);
    let Ask::Transact(number, transaction) = script.world.nodes[0].asks.remove(0) else {
        panic!("it takes over");
    };
    let outcome = script.world.store.transact(id(1), &transaction);
    (script, Event::Transacted(number, outcome))
}

fn part_of_n1(script: &Script) -> Part {
    script.world.nodes[0].replica.as_ref().expect("n1 is up").part()
}

/// R2: what n1 knows of the metadata is older than what it was told of.
#[test]
fn nobody_fences_with_metadata_that_are_known_to_be_old() {
    let newer = |established| {
        let epoch = if established { Epoch::new(2) } else { Epoch::ZERO };
        Event::Message(id(2), Message::Fence { epoch, established, state_version: 9 })
    };
    // It follows the leader of a later epoch, and hears of its own take-over after that.
    let (mut script, outcome) = with_a_take_over_that_is_under_way();
    script.cut_off_store(1);
    script.world.handle(id(1), newer(true));
    script.world.handle(id(1), outcome);
    assert_eq!(part_of_n1(&script), Part::Follower);
    // It is a candidate, and hears of them as such.
    let (mut script, outcome) = with_a_take_over_that_is_under_way();
    script.cut_off_store(1);
    script.isolate(1);
    script.world.handle(id(1), outcome);
    assert_eq!(part_of_n1(&script), Part::Candidate(Epoch::new(1)));
    script.world.handle(id(1), newer(false));
    script.lose_messages();
    script.pass(3_000);
    assert_eq!(script.world.wire, []);
}

/// R2: n1 has taken over, its lease has ended, and both are told: the outcome last.
#[test]
fn late_word_of_a_transaction_does_not_bring_back_what_was_before() {
    let (mut script, outcome) = with_a_take_over_that_is_under_way();
    script.revoke(1);
    let seen = script.world.store.observe(ObservationSource::Watch);
    script.world.handle(id(1), Event::Observed(Box::new(seen)));
    script.world.handle(id(1), outcome);
    assert_eq!(part_of_n1(&script), Part::Follower, "the key went with the lease");
    script.cut_off(1);
    script.pass(10_000);
    assert_eq!(script.world.leader().map(|(_, node)| node), Some(id(2)));
}

/// R2: the store went back to epoch 1, and n3, which has not heard of epoch 2, takes that over once more.
/// In which epoch does it lead?
fn epoch_taken_twice(config: Config) -> Option<u64> {
    let mut script = Script::three(config);
    let snapshot = script.world.store.clone();
    script.isolate(3);
    script.cut_off(3);
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

#[test]
fn planned_transfer_loses_nothing_and_names_the_successor() {
    let mut script = Script::three(Config::default());
    script.propose(1, 5, WriteConcern::Quorum);
    script.command(1, 100, Command::Transfer { to: Some(id(3)) });
    script.propose(1, 6, WriteConcern::Quorum);
    assert_eq!(refused(&script, 6), Some(WriteRefusal::NotServing));
    script.pass(900);
    assert_eq!(script.world.leader().map(|(_, node)| node), Some(id(3)));
    assert!(script.world.told.contains(&Told::Command(Token(100), Ok(()))));
    assert_eq!(acked(&script, 5), Some(Offset::ZERO));
}

#[test]
fn transfer_that_the_watch_tells_of_first_is_done_and_not_given_up() {
    let mut script = Script::three(Config::default());
    script.cut_off_store(1);
    script.command(1, 100, Command::Transfer { to: Some(id(3)) });
    let asks = std::mem::take(&mut script.world.nodes[0].asks);
    let transacted = asks.into_iter().find_map(|ask| match ask {
        Ask::Transact(number, transaction) => Some((number, transaction)),
        Ask::Read(_) => None,
    });
    let (number, transaction) = transacted.expect("it hands over");
    assert_eq!(transaction.kind, TransactionKind::HandOver);
    let outcome = script.world.store.transact(id(1), &transaction);
    let seen = script.world.store.observe(ObservationSource::Watch);
    script.world.handle(id(1), Event::Observed(Box::new(seen)));
    assert_eq!(part_of_n1(&script), Part::Follower);
    script.world.handle(id(1), Event::Transacted(number, outcome));
    script.settle();
    assert!(script.world.told.contains(&Told::Command(Token(100), Ok(()))));
}

/// R2: followers look by themselves again and again. A leader goes by the watch.
#[test]
fn leader_whose_key_is_in_the_snapshot_stops_too_when_metadata_go_back() {
    let mut script = Script::three(Config::default());
    let snapshot = script.world.store.clone();
    // n3 leaves the in-sync set.
    script.isolate(3);
    script.pass(20_000);
    assert_ne!(script.world.store.state, snapshot.state);
    script.world.store = snapshot;
    let seen = script.world.store.observe(ObservationSource::Watch);
    script.world.handle(id(1), Event::Observed(Box::new(seen)));
    script.settle();
    script.propose(1, 5, WriteConcern::Quorum);
    assert_eq!(refused(&script, 5), Some(WriteRefusal::MetadataRolledBack));
}
