//! The textbook cases as transcripts. In a log, `[2]` is the first batch of epoch 2, which takes no
//! offset; a record is shown by its number.

use forebay_replication::{Config, ReadAnswer, WriteConcern};

use crate::script::Script;

#[test]
fn three_replicas_elect_append_commit_and_acknowledge() {
    let mut script = Script::nodes(3, Config::default());
    script.pass(1_000);
    script.propose(1, 7, WriteConcern::Quorum);
    script.settle();
    script.propose(1, 8, WriteConcern::All);
    script.pass(1_000);
    script.show();
    script.expect(
        "
        n1 stands for epoch 1
        n1 leads epoch 1
        client: write 7 to n1, Quorum
        client: write 7 is at 0 of epoch 1, durable on 2
        client: write 8 to n1, All
        client: write 8 is at 1 of epoch 1, durable on 3
        n1: [1] 7 8 | committed 2
        n2: [1] 7 8 | committed 2
        n3: [1] 7 8 | committed 2
        ",
    );
}

/// R4, R6: whoever was left behind acknowledges nothing, serves a true prefix, and is cut when it is back.
#[test]
fn zombie_leader() {
    let mut script = Script::three(Config::default());
    script.propose(1, 1, WriteConcern::Quorum);
    script.pass(1_000);
    script.note("n1 is cut off from the others and from the store, and its lease ends");
    script.isolate(1);
    script.cut_off(1);
    script.revoke(1);
    script.propose(1, 2, WriteConcern::Quorum);
    script.propose(1, 3, WriteConcern::LEADER);
    script.pass(1_000);
    script.propose(2, 4, WriteConcern::Quorum);
    script.pass(1_000);
    script.note("both serve what they have committed; a reader of n2 is told to wait at n1");
    script.read(1, 1, 0);
    script.read(2, 1, 1);
    script.read(1, 2, 2);
    script.show();
    script.note("n1 hears the others again, and its own clock ends its lease at last");
    script.heal();
    script.cut_off(1);
    script.pass(12_000);
    script.show();
    script.expect(
        "
        client: write 1 to n1, Quorum
        client: write 1 is at 0 of epoch 1, durable on 2
        -- n1 is cut off from the others and from the store, and its lease ends
        -- the store ends the lease of n1
        client: write 2 to n1, Quorum
        client: write 3 to n1, Replicas(1)
        client: write 3 is at 2 of epoch 1, durable on 1
        n2 stands for epoch 2
        n2 leads epoch 2
        client: write 4 to n2, Quorum
        client: write 4 is at 1 of epoch 2, durable on 2
        -- both serve what they have committed; a reader of n2 is told to wait at n1
        client: read n1 at 0 after epoch 1: up to 1
        client: read n2 at 1 after epoch 1: up to 2
        client: read n1 at 2 after epoch 2: ahead of 1
        n1: [1] 1 2 3 | committed 1
        n2: [1] 1 [2] 4 | committed 2
        n3: [1] 1 [2] 4 | committed 2
        -- n1 hears the others again, and its own clock ends its lease at last
        client: write 2 may be at 1
        n1 follows
        n1: [1] 1 [2] 4 | committed 2
        n2: [1] 1 [2] 4 | committed 2
        n3: [1] 1 [2] 4 | committed 2
        ",
    );
}

/// R11: an empty disk neither votes nor counts until it holds everything committed.
#[test]
fn lost_disk() {
    let mut script = Script::three(Config::default());
    script.propose(1, 1, WriteConcern::Quorum);
    script.pass(1_000);
    script.note("n3 is down while a write is committed on n1 and n2; then n2 loses its disk");
    script.crash(3);
    script.propose(1, 2, WriteConcern::Quorum);
    script.pass(1_000);
    script.crash(2);
    script.world.lose_disk(crate::script::id(2));
    script.note("n1 dies; n2, empty, and n3, which lacks the write, are a majority of nodes");
    script.crash(1);
    script.revoke(1);
    script.restart(2);
    script.restart(3);
    script.pass(5_000);
    script.propose(3, 3, WriteConcern::Quorum);
    script.show();
    script.note(
        "n1 is back: its log is the best of two voters, and n2 is entered once it has all of it",
    );
    script.restart(1);
    script.pass(5_000);
    script.propose(3, 4, WriteConcern::All);
    script.pass(5_000);
    script.show();
    script.expect(
        "
        client: write 1 to n1, Quorum
        client: write 1 is at 0 of epoch 1, durable on 2
        -- n3 is down while a write is committed on n1 and n2; then n2 loses its disk
        -- n3 crashes
        client: write 2 to n1, Quorum
        client: write 2 is at 1 of epoch 1, durable on 2
        -- n2 crashes
        -- n1 dies; n2, empty, and n3, which lacks the write, are a majority of nodes
        -- n1 crashes
        -- the store ends the lease of n1
        -- n2 restarts
        -- n3 restarts
        n3 stands for epoch 2
        client: write 3 to n3, Quorum
        client: write 3 is refused: NotServing
        n1: [1] 1 2 | down
        n2: | committed 0
        n3: [1] 1 | committed 1
        -- n1 is back: its log is the best of two voters, and n2 is entered once it has all of it
        -- n1 restarts
        n3 leads epoch 2
        client: write 4 to n3, All
        client: write 4 is at 2 of epoch 2, durable on 3
        n1: [1] 1 2 [2] 4 | committed 3
        n2: [1] 1 2 [2] 4 | committed 3
        n3: [1] 1 2 [2] 4 | committed 3
        ",
    );
}

/// R9: logs that went on differently are cut where they part, not at the shorter length.
#[test]
fn divergent_tails() {
    let mut script = Script::three(Config::default());
    script.propose(1, 1, WriteConcern::Quorum);
    script.pass(1_000);
    script.note("n1 appends three that reach nobody, and crashes");
    script.first_leader_dies_with([11, 12, 13]);
    script.note("n2 appends two that reach nobody, and crashes");
    script.hold(2, 3);
    for number in [21, 22] {
        script.propose(2, number, WriteConcern::Quorum);
    }
    script.settle();
    script.lose_messages();
    script.crash(2);
    script.revoke(2);
    script.show();
    script.heal();
    script.note("n1 and n3 go on: n1's log is longer, n3's is of a newer epoch");
    script.restart(1);
    script.pass(5_000);
    script.propose(3, 3, WriteConcern::Quorum);
    script.pass(1_000);
    script.restart(2);
    script.pass(5_000);
    script.show();
    script.expect(
        "
        client: write 1 to n1, Quorum
        client: write 1 is at 0 of epoch 1, durable on 2
        -- n1 appends three that reach nobody, and crashes
        client: write 11 to n1, Quorum
        client: write 12 to n1, Quorum
        client: write 13 to n1, Quorum
        -- n1 crashes
        -- the store ends the lease of n1
        n2 stands for epoch 2
        n2 leads epoch 2
        -- n2 appends two that reach nobody, and crashes
        client: write 21 to n2, Quorum
        client: write 22 to n2, Quorum
        -- n2 crashes
        -- the store ends the lease of n2
        n1: [1] 1 11 12 13 | down
        n2: [1] 1 [2] 21 22 | down
        n3: [1] 1 [2] | committed 1
        -- n1 and n3 go on: n1's log is longer, n3's is of a newer epoch
        -- n1 restarts
        n1 stands for epoch 3
        n1 leads epoch 3
        client: write 3 to n3, Quorum
        client: write 3 is refused: NotLeader { leader: Some(NodeId(1)) }
        -- n2 restarts
        n1: [1] 1 [2] [3] | committed 1
        n2: [1] 1 [2] [3] | committed 1
        n3: [1] 1 [2] [3] | committed 1
        ",
    );
}

/// R4: an acknowledgement that was under way when the epoch ended is true, and harmless.
#[test]
fn acknowledgement_in_flight_at_failover() {
    let mut script = Script::three(Config::default());
    script.verbose = true;
    script.note("n3 hears nothing; the acknowledgement of n2 is held on the wire");
    script.hold(1, 3);
    script.hold(2, 1);
    script.propose(1, 1, WriteConcern::Quorum);
    script.settle();
    script.note("n2 takes over with n3 and starts its epoch; what it says to n1 is held, too");
    script.cut_off(1);
    script.revoke(1);
    script.pass(200);
    script.verbose = false;
    script.show();
    script.note("now the old acknowledgement arrives: the write is in epoch 2's log as well");
    script.heal();
    script.settle();
    script.pass(1_000);
    script.show();
    script.expect(
        "
        -- n3 hears nothing; the acknowledgement of n2 is held on the wire
        client: write 1 to n1, Quorum
        n1 > n2: append 1 after 1:0, committed 1:0
        n1: log Sync
        n2: log Sync
        -- n2 takes over with n3 and starts its epoch; what it says to n1 is held, too
        -- the store ends the lease of n1
        n2: TakeOver
        n2 stands for epoch 2
        n2 > n3: fence 2
        n2: meta durable, promise 1
        n2: meta durable, promise 2
        n3: meta durable, promise 1
        n3: meta durable, promise 2
        n3 > n2: fenced 2 at 1:0
        n2 > n3: 1:0 parts at 1:0
        n3 > n2: durable 1:0
        n2 > n3: append 2 after 1:0, committed 0:0
        n2: log Sync
        n3: log Sync
        n3 > n2: durable 2:1
        n2 leads epoch 2
        n2: meta durable, promise 2
        n1: [1] 1 | committed 0
        n2: [1] 1 [2] | committed 1
        n3: [1] 1 [2] | committed 0
        -- now the old acknowledgement arrives: the write is in epoch 2's log as well
        client: write 1 is at 0 of epoch 1, durable on 2
        n1 follows
        n1: [1] 1 [2] | committed 1
        n2: [1] 1 [2] | committed 1
        n3: [1] 1 [2] | committed 1
        ",
    );
}

/// R3, R4: the store ends a lease early; two nodes believe that they lead, and one of them commits.
#[test]
fn lease_lost_early() {
    let mut script = Script::three(Config::default());
    script.note("n1 hears neither the store nor n2's fence");
    script.cut_off(1);
    script.hold(2, 1);
    script.revoke(1);
    script.run_until(|world| world.leader().is_some_and(|(epoch, _)| epoch.get() == 2));
    script.note("both serve; whoever has promised epoch 2 refuses what n1 sends");
    script.propose(1, 1, WriteConcern::Quorum);
    script.propose(2, 2, WriteConcern::Quorum);
    script.pass(1_000);
    script.note("n1 hears n2 again");
    script.heal();
    script.pass(1_000);
    script.show();
    script.expect(
        "
        -- n1 hears neither the store nor n2's fence
        -- the store ends the lease of n1
        n2 stands for epoch 2
        n2 leads epoch 2
        -- both serve; whoever has promised epoch 2 refuses what n1 sends
        client: write 1 to n1, Quorum
        client: write 2 to n2, Quorum
        client: write 1 may be at 0
        n1 follows
        client: write 2 is at 0 of epoch 2, durable on 2
        -- n1 hears n2 again
        n1: [1] [2] 2 | committed 1
        n2: [1] [2] 2 | committed 1
        n3: [1] [2] 2 | committed 1
        ",
    );
}

/// R13: after an unclean election a reader is told what it has read in vain.
#[test]
fn unclean_election_by_the_operator() {
    let mut script = Script::three(Config::default());
    script.note("n3 lags; n1 and n2 die for good");
    script.isolate(3);
    script.propose(1, 1, WriteConcern::Quorum);
    script.pass(1_000);
    script.lose_messages();
    script.crash(1);
    script.crash(2);
    script.revoke(1);
    script.revoke(2);
    script.heal();
    script.pass(5_000);
    script.command(3, 100, forebay_replication::Command::ElectUnclean);
    script.world.unclean = true;
    script.pass(1_000);
    script.propose(3, 2, WriteConcern::Quorum);
    script.pass(1_000);
    script.note("a reader that had read the lost record from n1");
    let found = script.read(3, 1, 1);
    assert!(matches!(found, ReadAnswer::DataLoss { .. }), "{found:?}");
    script.note("n1 is not dead after all: the record goes, because the election is on record");
    script.restart(1);
    script.restart(2);
    script.pass(10_000);
    script.show();
    script.expect(
        "
        -- n3 lags; n1 and n2 die for good
        client: write 1 to n1, Quorum
        client: write 1 is at 0 of epoch 1, durable on 2
        -- n1 crashes
        -- n2 crashes
        -- the store ends the lease of n1
        -- the store ends the lease of n2
        n3 stands for epoch 2
        operator: 100 to n3: ElectUnclean
        operator: 100: Ok(())
        n3 follows
        n3 stands for epoch 3
        n3 leads epoch 3
        client: write 2 to n3, Quorum
        client: write 2 is at 0 of epoch 3, durable on 1
        -- a reader that had read the lost record from n1
        client: read n3 at 1 after epoch 1: data loss 0..1
        -- n1 is not dead after all: the record goes, because the election is on record
        -- n1 restarts
        -- n2 restarts
        n1: [1] [3] 2 | committed 1
        n2: [1] [3] 2 | committed 1
        n3: [1] [3] 2 | committed 1
        ",
    );
}
