//! Three nodes that lose nothing acknowledged when one of them goes away.

use rustix::process::Signal;

use super::support::{Cluster, Random, corpus, produce_in_parts};

const CORPUS_BYTES: usize = 12 << 20;
const KILLS: usize = 3;

/// Sends made-up text through one producer. Between its parts, when the first batch of a part is acknowledged
/// and later ones are under way, `trouble` comes to the node that leads.
fn produce_through(cluster: &mut Cluster, mut trouble: impl FnMut(&mut Cluster, usize)) {
    let corpus = corpus(CORPUS_BYTES, &mut Random::seeded(3));
    cluster.forebay(["topic", "create", "corpus"]).run().success();
    let produce = cluster.forebay(["topic", "produce", "corpus"]);
    let summary = produce_in_parts(produce, &corpus, KILLS + 1, |_| {
        let leader = cluster.leader("corpus");
        trouble(cluster, leader);
    });
    let consumed = cluster.forebay(["topic", "consume", "corpus", "-o", ":end"]).run().success();
    assert!(consumed == [corpus.as_slice(), b"\n"].concat(), "other bytes came out; {summary}");
}

#[test]
fn one_producer_rides_over_kills_of_the_leader_and_nothing_is_lost_doubled_or_out_of_order() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let mut gone: Option<usize> = None;
    produce_through(&mut cluster, |cluster, leader| {
        // Two of three are there at any time, and the one that comes back has to catch up.
        if let Some(node) = gone.replace(leader) {
            cluster.nodes[node].start_again();
        }
        cluster.nodes[leader].kill();
    });
}

#[test]
fn leader_that_stands_still_past_its_lease_comes_back_to_no_harm() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    produce_through(&mut cluster, |cluster, leader| {
        cluster.nodes[leader].signal(Signal::STOP);
        while cluster.leader_but("corpus", leader) == leader {}
        cluster.nodes[leader].signal(Signal::CONT);
    });
}

#[test]
fn leader_that_stops_hands_over_and_a_rolling_restart_is_not_noticed() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    produce_through(&mut cluster, |cluster, leader| {
        let node = cluster.nodes[leader].take();
        node.signal(Signal::TERM);
        let (code, said) = node.wait();
        assert_eq!(code, Some(0), "{said}");
        cluster.nodes[leader].start_again();
    });
}
