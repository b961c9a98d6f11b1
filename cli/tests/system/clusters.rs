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

#[test]
fn node_that_starts_again_knows_its_topics_as_soon_as_it_answers() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    cluster.forebay(["topic", "create", "corpus"]).run().success();
    for _ in 0..KILLS {
        cluster.nodes[0].kill();
        cluster.nodes[0].start_again();
        let listed = cluster.nodes[0].forebay(["topic", "list"]).run().success_text();
        assert!(listed.contains("corpus"), "{listed}");
    }
}

#[test]
fn file_comes_out_whole_from_the_one_node_that_is_left() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let corpus = corpus(CORPUS_BYTES, &mut Random::seeded(4));
    cluster.forebay(["topic", "create", "file", "--replication-factor", "3"]).run().success();
    cluster.forebay(["topic", "produce", "file", "--quiet"]).run_with(&corpus).success();
    let lines = corpus.split(|byte| *byte == b'\n').count();
    let end = u64::try_from(lines).expect("a small number");
    for node in &cluster.nodes {
        while node.mark("file") < end {}
    }

    let leader = cluster.leader("file");
    let (left, stopped) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.nodes[leader].kill();
    cluster.nodes[stopped].signal(Signal::STOP);

    let consume = ["topic", "consume", "file", "-o", ":end"];
    let consumed = cluster.nodes[left].forebay(consume).run().success();
    assert!(consumed == [corpus.as_slice(), b"\n"].concat(), "other bytes came out");
}
