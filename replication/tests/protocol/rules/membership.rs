//! R7 and R12: who is in the in-sync set, and who votes.

use forebay_format::Offset;
use forebay_replication::{Command, Config, Mutation, WriteConcern};

use super::{acked, broken};
use crate::script::{Script, id};
use crate::world::World;

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

/// R7: n3 is back in touch and does not sync what it missed. Is it ever in the set?
fn in_the_set_behind(config: Config) -> bool {
    let mut script = Script::three(config);
    script.isolate(3);
    script.propose(1, 5, WriteConcern::Quorum);
    script.pass(13_000);
    let has_three = |script: &Script| {
        script.world.store.state.as_ref().is_some_and(|state| state.value.isr.contains(&id(3)))
    };
    assert!(!has_three(&script), "it lags");
    script.lose_messages();
    script.heal();
    script.hang(3);
    (0..1_000).any(|_| {
        script.step_or_tick();
        has_three(&script)
    })
}

#[test]
fn member_enters_the_set_only_with_everything_committed() {
    assert!(!in_the_set_behind(Config::default()));
    assert!(in_the_set_behind(broken(Mutation::R7EntersBehind)));
}

/// R11: n3 has lost its disk. Whenever it has got one step further, another write is committed, so that it never
/// holds all that is committed by then. It need not: what came after it was met, n1 and n2 hold.
#[test]
fn learner_that_never_catches_up_with_the_load_is_entered_all_the_same() {
    let one_by_one = Config { batches_per_message_max: 1, ..Config::default() };
    let mut script = Script::three(one_by_one);
    for crc in 10..15 {
        script.propose(1, crc, WriteConcern::Quorum);
    }
    script.pass(1_000);
    script.crash(3);
    script.world.lose_disk(id(3));
    script.isolate(3);
    script.restart(3);
    // Until n1 asks it who it is.
    script.pass(6_000);
    let learner = |script: &Script| {
        let replica = script.world.nodes[2].replica.as_ref().expect("n3 is up");
        (replica.replica(), replica.durable().end)
    };
    let entered = |script: &Script| {
        let state = &script.world.store.state.as_ref().expect("a state").value;
        state.member(id(3)).map(|member| member.replica) == Some(learner(script).0)
    };
    for crc in 100..300 {
        script.isolate(3);
        script.propose(1, crc, WriteConcern::Quorum);
        script.settle();
        assert!(acked(&script, crc.into()).is_some());
        if entered(&script) {
            break;
        }
        let committed = script.world.nodes[0].replica.as_ref().expect("n1 is up").committed();
        assert!(learner(&script).1 < committed, "it never gets there");
        script.heal();
        script.step_or_tick();
    }
    assert!(entered(&script));
    let held = learner(&script).1;
    assert!(held >= Offset::new(5), "what was committed when it was met, and it has {held}");
    assert_eq!(script.world.wrong, None);
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

/// R12: n4 and n5 are to vote in the place of n2 and n3, which is not resolved, and are out of reach. Is a write
/// answered that n1, n2 and n3 have?
fn committed_by_the_old_majority(config: Config) -> bool {
    let mut script = Script::nodes_of(5, 3, config);
    script.run_until(|world| world.leader().is_some());
    script.command(1, 100, Command::Reassign { to: vec![id(1), id(4), id(5)] });
    let begun = |world: &World| {
        let state = world.nodes[0].replica.as_ref().and_then(|replica| replica.state());
        state.is_some_and(|state| state.next.is_some())
    };
    script.step_until(begun);
    script.cut_off_store(1);
    script.isolate(4);
    script.isolate(5);
    script.propose(1, 5, WriteConcern::Quorum);
    script.settle();
    acked(&script, 5).is_some()
}

#[test]
fn commit_needs_the_new_majority_too_while_a_change_is_unresolved() {
    assert!(!committed_by_the_old_majority(Config::default()));
    assert!(committed_by_the_old_majority(broken(Mutation::R12SingleMajority)));
}

/// R12: a node that is to vote never comes. The operator names another one instead, or nobody.
#[test]
fn change_that_has_not_begun_can_be_taken_back() {
    let mut script = Script::nodes_of(4, 3, Config::default());
    script.run_until(|world| world.leader().is_some());
    script.crash(4);
    let target = |script: &Script| script.world.store.state.clone().expect("a state").value.target;
    let (to, back) = (vec![id(1), id(2), id(4)], vec![id(3), id(1), id(2)]);
    script.command(1, 100, Command::Reassign { to: to.clone() });
    script.pass(10_000);
    assert_eq!(target(&script), Some(to.clone()), "it waits for n4");
    script.command(1, 101, Command::Reassign { to: vec![id(1), id(4)] });
    script.pass(1_000);
    assert_eq!(target(&script), Some(vec![id(1), id(4)]));
    // Also when a voter is down.
    script.crash(3);
    script.command(1, 102, Command::Reassign { to: back });
    script.pass(1_000);
    assert_eq!(target(&script), None);
    assert_eq!(script.world.store.state.expect("a state").value.replicas.len(), 3);
}
