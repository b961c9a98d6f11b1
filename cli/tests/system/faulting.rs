//! Faults on purpose: a cluster takes each of them, loses nothing, and a disk that fails ends its node.

use std::io::Write;

use super::support::{Cluster, Forebay, Node, Random, corpus};

const ENABLED: (&str, &str) = ("FOREBAY_FAULTS__ENABLED", "true");
const TEXT_BYTES: usize = 1 << 20;

/// What a node says of its faults.
fn listed(node: &Node) -> serde_json::Value {
    let listed = node.forebay(["cluster", "fault", "list", "--format", "json"]).run().success();
    serde_json::from_slice(&listed).expect("JSON")
}

/// How many messages are to meet faults of this node still.
fn left(node: &Node) -> u64 {
    let listed = listed(node);
    let faults = listed["faults"].as_array().expect("a list");
    faults.iter().map(|fault| fault["left"].as_u64().expect("a number")).sum()
}

/// Injects a fault between a node and each of the others, for so many messages of each.
fn inject(cluster: &Cluster, node: usize, kind: &[&str], direction: &str, count: u32) {
    for peer in (0..cluster.nodes.len()).filter(|peer| *peer != node) {
        let (peer, count) = ((peer + 1).to_string(), count.to_string());
        let fault = cluster.nodes[node].forebay(["cluster", "fault"]).arguments(kind);
        let injected =
            fault.arguments(["--peer", &peer, "--direction", direction, "--count", &count]).run();
        assert!(injected.success_text().contains("messages"), "says what it has done");
    }
}

fn produce(cluster: &Cluster, text: &[u8]) {
    cluster.forebay(["topic", "produce", "text", "--quiet"]).run_with(text).success();
}

#[test]
fn messages_that_are_late_kept_back_or_swallowed_cost_time_and_nothing_else() {
    let Some(cluster) = Cluster::start_with(3, &[ENABLED]) else { return };
    cluster.forebay(["topic", "create", "text"]).run().success();
    let mut random = Random::seeded(11);
    let mut all = Vec::new();
    for (kind, direction, count) in [
        (&["delay", "--delay", "20ms"][..], "both", 20),
        (&["pause"], "out", 3),
        (&["pause"], "in", 2),
        (&["drop"], "out", 3),
        (&["drop"], "in", 3),
    ] {
        let leader = cluster.leader("text");
        inject(&cluster, leader, kind, direction, count);
        // More goes through until every message of the fault has come.
        while left(&cluster.nodes[leader]) > 0 {
            let mut text = corpus(TEXT_BYTES, &mut random);
            text.push(b'\n');
            produce(&cluster, &text);
            all.extend(text);
        }
    }
    let consumed = cluster.forebay(["topic", "consume", "text", "-o", ":end"]).run().success();
    assert!(consumed == all, "other bytes came out: {} of {}", consumed.len(), all.len());
}

#[test]
fn what_a_fault_keeps_back_goes_on_when_it_is_cleared() {
    let Some(cluster) = Cluster::start_with(3, &[ENABLED]) else { return };
    cluster.forebay(["topic", "create", "text"]).run().success();
    produce(&cluster, b"before\n");
    let leader = cluster.leader("text");
    inject(&cluster, leader, &["pause"], "out", 1_000_000);
    let mut produce = cluster.forebay(["topic", "produce", "text"]).start();
    produce.stdin().write_all(b"meanwhile\n").expect("a pipe");
    let node = &cluster.nodes[leader];
    while left(node) == 2_000_000 {}
    let cleared = node.forebay(["cluster", "fault", "clear"]).run().success_text();
    assert_eq!(cleared, "2 faults cleared\n");
    produce.line_with("durable on");
    produce.wait().success();
    assert!(listed(node)["faults"].as_array().expect("a list").is_empty());
    let consumed = cluster.forebay(["topic", "consume", "text", "-o", ":end"]).run().success();
    assert_eq!(consumed, b"before\nmeanwhile\n");
}

#[test]
fn disk_that_fails_an_fsync_ends_its_node_and_the_others_go_on() {
    let Some(mut cluster) = Cluster::start_with(3, &[ENABLED]) else { return };
    cluster.forebay(["topic", "create", "text"]).run().success();
    produce(&cluster, b"before\n");
    let leader = cluster.leader("text");
    let node = &cluster.nodes[leader];
    let injected = node.forebay(["cluster", "fault", "fsync", "--count", "1"]).run();
    assert_eq!(injected.success_text(), "fault 1: fsync, the next 1 calls of fdatasync\n");
    // Whatever was written behind the failure was not acknowledged by this node; the client sends it again.
    produce(&cluster, b"through it\n");
    let (code, said) = cluster.nodes[leader].take().wait();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAULT ON PURPOSE: fdatasync was told to fail"), "{said}");
    assert!(said.contains("FAULTS   enabled"), "the banner is loud: {said}");

    cluster.nodes[leader].start_again();
    produce(&cluster, b"after\n");
    let consumed = cluster.forebay(["topic", "consume", "text", "-o", ":end"]).run().success();
    assert_eq!(consumed, b"before\nthrough it\nafter\n");
}

#[test]
fn node_takes_faults_only_where_they_are_enabled_and_only_those_that_make_sense() {
    let plain = Node::start();
    let refused = plain.forebay(["cluster", "fault", "list"]).run().failure(1);
    assert!(refused.contains("faults.enabled"), "{refused}");

    let alone = Node::start_with(&[ENABLED]);
    let drop = ["cluster", "fault", "drop", "--peer", "2", "--count", "1"];
    let refused = alone.forebay(drop).run().failure(1);
    assert!(refused.contains("NODE_ALONE"), "{refused}");
    let two = format!("{},{}", plain.endpoint(), alone.endpoint());
    let refused = Forebay::new(drop).env("FOREBAY_ENDPOINT", two).run().failure(2);
    assert!(refused.contains("expected one endpoint, found 2"), "{refused}");
    alone.forebay(["cluster", "fault", "drop", "--peer", "2", "--count", "0"]).run().failure(2);
}
