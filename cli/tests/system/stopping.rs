//! SIGTERM: a node ends in bounded time, whatever is connected, and what it acknowledged is there.

use std::io::Write;

use rustix::process::Signal;

use super::support::Node;

#[test]
fn sigterm_ends_a_node_with_open_streams_and_keeps_what_was_acknowledged() {
    // Far longer than the test may take: it ends in time only if it does not wait for its streams.
    let mut node = Node::start_with(&[("FOREBAY_NODE__DRAIN_TIMEOUT", "10m")]);
    let mut produce = node.forebay(["topic", "produce", "orders"]).start();
    let mut stdin = produce.stdin();
    stdin.write_all(b"before\n").expect("a pipe");
    produce.line_with("@0-@0");
    let mut consume = node.forebay(["topic", "consume", "orders"]).start();
    assert_eq!(consume.line(), "before");

    // Both streams are open and idle; the end of the process shows that they do not hold it up.
    let server = node.take();
    server.signal(Signal::TERM);
    let (code, said) = server.wait();
    assert_eq!(code, Some(0), "{said}");

    node.start_again();
    stdin.write_all(b"after\n").expect("a pipe");
    drop(stdin);
    assert_eq!(consume.line(), "after", "both clients go on with the next life of the node");
    produce.wait().success();
    consume.signal(Signal::INT);
    assert_eq!(consume.wait().code, Some(130));
}

#[test]
fn a_node_that_was_stopped_in_order_starts_without_recovery() {
    let mut node = Node::start();
    node.forebay(["topic", "produce", "orders", "--quiet"]).run_with(b"a\nb\n").success();
    let server = node.take();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0, Some(0));
    assert!(node.data().join("clean").exists(), "the list of what was closed in order");
    node.start_again();
    let kept = node.forebay(["topic", "consume", "orders", "-o", ":end"]).run().success();
    assert_eq!(kept, b"a\nb\n");
}
