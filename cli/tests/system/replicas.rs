//! How many replicas a topic has, which of them are read, and how many must be there for a write.

use super::support::{Cluster, Node, Outcome, Random, corpus};

const CORPUS_BYTES: usize = 2 << 20;

/// Sends made-up text, and gives it back as it is to come out.
fn fill(cluster: &Cluster, topic: &str) -> Vec<u8> {
    let corpus = corpus(CORPUS_BYTES, &mut Random::seeded(5));
    cluster.forebay(["topic", "produce", topic, "--quiet"]).run_with(&corpus).success();
    [corpus.as_slice(), b"\n"].concat()
}

/// Reads up to today's end from this node first, through any.
fn read_from(cluster: &Cluster, topic: &str, node: usize) -> Vec<u8> {
    let from = (node + 1).to_string();
    cluster.forebay(["topic", "consume", topic, "-o", ":end", "--from", &from]).run().success()
}

fn numbers(value: &serde_json::Value) -> Vec<u64> {
    let numbers = value.as_array().expect("a list").iter();
    numbers.map(|one| one.as_u64().expect("a number")).collect()
}

#[test]
fn node_that_joins_later_gets_a_copy_of_what_every_node_has_and_serves_it() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let create = ["topic", "create", "wide", "--replication-factor", "all"];
    cluster.forebay(create).run().success();
    let expected = fill(&cluster, "wide");
    cluster.join();
    let described = loop {
        let described = cluster.describe("wide");
        if numbers(&described["partitions"][0]["replicas"]).contains(&4) {
            break described;
        }
    };
    assert_eq!(described["on_every_node"], true);
    // It neither votes nor is it in sync, in the sense of write concern `all`.
    assert!(!numbers(&described["partitions"][0]["in_sync"]).contains(&4), "{described}");
    assert!(read_from(&cluster, "wide", 3) == expected, "other bytes from the copy");
    // All that vote are gone: what the copy has is read on.
    let alone = |node: &Node| {
        let consume = ["topic", "consume", "wide", "-o", ":end", "--from", "any"];
        node.forebay(consume).run().success()
    };
    (0..3).for_each(|node| cluster.nodes[node].kill());
    assert!(alone(&cluster.nodes[3]) == expected, "other bytes from the copy alone");
    let text = cluster.nodes[3].forebay(["topic", "list"]).run().success_text();
    assert!(text.lines().any(|line| line.starts_with("wide") && line.contains("all")), "{text}");
}

#[test]
fn every_replica_gives_what_is_committed_and_a_node_without_one_fetches_it() {
    let Some(cluster) = Cluster::start(3) else { return };
    for (topic, factor) in [("three", "3"), ("one", "1")] {
        cluster.forebay(["topic", "create", topic, "--replication-factor", factor]).run().success();
        let expected = fill(&cluster, topic);
        for node in 0..3 {
            let read = read_from(&cluster, topic, node);
            assert!(read == expected, "{topic} from {}: {} bytes", node + 1, read.len());
        }
        let any = ["topic", "consume", topic, "-o", ":end", "--from", "any"];
        let read = cluster.forebay(any).run().success();
        assert!(read == expected, "{topic} from any: {} bytes", read.len());
    }
}

#[test]
fn file_comes_out_whole_of_the_one_replica_that_is_left() {
    use rustix::process::Signal;
    let Some(mut cluster) = Cluster::start(3) else { return };
    cluster.forebay(["topic", "create", "corpus"]).run().success();
    let expected = fill(&cluster, "corpus");
    let leader = cluster.leader("corpus");
    let [stopped, left] = [1, 2].map(|step| (leader + step) % 3);
    // Its mark has reached the end.
    assert!(read_from(&cluster, "corpus", left) == expected);
    cluster.nodes[leader].kill();
    cluster.nodes[stopped].signal(Signal::STOP);
    let consume = ["topic", "consume", "corpus", "-o", ":end"];
    let read = cluster.nodes[left].forebay(consume).run().success();
    cluster.nodes[stopped].signal(Signal::CONT);
    assert!(read == expected, "other bytes");
}

fn produce(cluster: &Cluster, topic: &str) -> Outcome {
    let arguments = ["topic", "produce", topic, "--timeout", "4s", "--quiet"];
    cluster.forebay(arguments).run_with(b"a record\n")
}

#[test]
fn fewer_replicas_than_the_topic_wants_make_it_read_only_until_they_are_back() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let create = ["topic", "create", "strict", "--set"];
    for (value, expected) in [("1", "expected 2, the majority"), ("4", "found 4")] {
        let setting = format!("min_replicas={value}");
        let refused = cluster.forebay(create).arguments([setting]).run();
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{refused:?}");
    }
    let strict = ["min_replicas=3", "--set", "write_concern=all"];
    cluster.forebay(create).arguments(strict).run().success();
    produce(&cluster, "strict").success();
    let away = (cluster.leader("strict") + 1) % 3;
    cluster.nodes[away].kill();
    let refused = loop {
        let refused = produce(&cluster, "strict");
        // What was under way when it went has no known outcome, and is no refusal.
        if refused.stderr.contains("READ_ONLY") {
            break refused;
        }
    };
    assert_ne!(refused.code, Some(0), "{refused:?}");
    cluster.forebay(["topic", "consume", "strict", "-o", ":end"]).run().success();
    cluster.nodes[away].start_again();
    while produce(&cluster, "strict").code != Some(0) {}
}

#[test]
fn what_the_nodes_want_of_every_topic_leaves_small_ones_writable() {
    let settings =
        [("FOREBAY_TOPICS__MIN_REPLICAS", "3"), ("FOREBAY_TOPICS__WRITE_CONCERN", "leader")];
    let Some(mut cluster) = Cluster::start_with(3, &settings) else { return };
    for factor in ["1", "3"] {
        let create = ["topic", "create", factor, "--replication-factor", factor];
        cluster.forebay(create).run().success();
        produce(&cluster, factor).success();
    }
    let leaders = [cluster.leader("1"), cluster.leader("3")];
    let away = (0..3).find(|node| !leaders.contains(node)).expect("a third one");
    cluster.nodes[away].kill();
    produce(&cluster, "1").success();
    while !produce(&cluster, "3").stderr.contains("READ_ONLY") {}
}
