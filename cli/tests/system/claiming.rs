//! Nodes of a cluster that share one place for their data: each takes a directory of its own, and one that comes
//! back goes on with one that is free.

use rustix::process::Signal;

use super::support::{Etcd, Forebay, Node, Ports, fresh_folder};

/// A node of that cluster on this place, that answers.
fn node(etcd: &Etcd, place: &str) -> Node {
    Node::start_with(&[
        ("FOREBAY_NODE__DATA", place),
        ("FOREBAY_NODE__CLAIM_DATA", "true"),
        ("FOREBAY_CLUSTER__ETCD__ENDPOINTS", &etcd.endpoint()),
        ("FOREBAY_CLUSTER__ETCD__LEASE_TTL", "2s"),
    ])
}

/// What its banner says of the directory and of the number.
fn claimed(node: &mut Node) -> (String, String) {
    let said = node.says("  data ");
    let line = said.lines().find(|line| line.starts_with("  data")).expect("a line of the banner");
    let mut words = line.split_whitespace();
    let directory = words.nth(1).expect("a directory");
    let directory = directory.rsplit('/').next().expect("a name").to_owned();
    (directory, words.next_back().expect("a number").to_owned())
}

fn is(directory: &str, node: &str) -> (String, String) {
    (directory.to_owned(), node.to_owned())
}

#[test]
fn nodes_on_one_place_have_directories_and_ids_of_their_own_and_have_them_again() {
    let Some(etcd) = Etcd::start() else { return };
    let folder = fresh_folder();
    let place = folder.path().display().to_string();
    let (mut first, mut second) = (node(&etcd, &place), node(&etcd, &place));
    assert_eq!(claimed(&mut first), is("data-1", "1"));
    assert_eq!(claimed(&mut second), is("data-2", "2"));

    first.forebay(["topic", "create", "kept", "--replication-factor", "2"]).run().success();
    first.forebay(["topic", "produce", "kept", "--quiet"]).run_with(b"one\ntwo\n").success();

    // The first after kill -9, the second after an orderly end: each takes what is free.
    first.kill();
    first.start_again();
    assert_eq!(claimed(&mut first), is("data-1", "1"));
    let stopped = second.take();
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.wait().0, Some(0));
    let mut third = node(&etcd, &place);
    assert_eq!(claimed(&mut third), is("data-2", "2"), "whoever comes takes over what was left");
    second.start_again();
    assert_eq!(claimed(&mut second), is("data-3", "3"));

    // Acknowledged by whoever leads now, so that the end which is read to is the real one.
    third.forebay(["topic", "produce", "kept", "--quiet"]).run_with(b"three\n").success();
    let kept = third.forebay(["topic", "consume", "kept", "-o", ":end"]).run().success();
    assert_eq!(kept, b"one\ntwo\nthree\n");
}

#[test]
fn directory_of_another_cluster_is_named_and_not_passed_over() {
    let (Some(etcd), Some(other)) = (Etcd::start(), Etcd::start()) else { return };
    let folder = fresh_folder();
    let place = folder.path().display().to_string();
    drop(node(&etcd, &place));
    let (ports, endpoint) = (Ports::claim(), other.endpoint());
    let refused = Forebay::new(["serve", "--claim-data", "--data", &place, "--etcd", &endpoint])
        .arguments(["--listen", &ports.grpc().to_string(), "--http", &ports.http().to_string()])
        .run();
    assert!(refused.stderr.contains("to which the data directory belongs"), "{}", refused.stderr);
    assert_eq!(refused.code, Some(1));
}

#[test]
fn a_node_says_whether_it_serves_to_whoever_asks_on_its_http_port() {
    let mut node = Node::start();
    let ready = |node: &Node| Forebay::new(["ready", "--http", &node.http()]).run();
    assert_eq!(ready(&node).success(), b"");
    node.kill();
    let error = ready(&node).failure(4);
    assert!(error.contains(&node.http()), "{error}");
    Forebay::new(["ready", "--http", "nonsense"]).run().failure(2);
}
