//! `topic consume`: where it begins, where it stops, and what it prints.

use rustix::process::Signal;

use super::support::{Node, Random, corpus};

/// A node whose topic `numbers` holds 0 to 9, one per line.
fn node_with_numbers() -> Node {
    let node = Node::start();
    node.forebay(["topic", "produce", "numbers", "--quiet"])
        .run_with(b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n")
        .success();
    node
}

/// What `topic consume numbers` prints with these arguments.
fn consumed<const N: usize>(node: &Node, arguments: [&str; N]) -> String {
    node.forebay(["topic", "consume", "numbers", "-f", "%v"])
        .arguments(arguments)
        .run()
        .success_text()
}

#[test]
fn every_byte_comes_out_as_it_went_in() {
    let node = Node::start();
    let corpus = corpus(4 << 20, &mut Random::seeded(2));
    node.forebay(["topic", "produce", "bytes", "--quiet"]).run_with(&corpus).success();
    let out = node.forebay(["topic", "consume", "bytes", "-o", ":end"]).run().success();
    assert!(
        out == [corpus.as_slice(), b"\n"].concat(),
        "{} bytes in, {} out",
        corpus.len(),
        out.len()
    );
}

#[test]
fn reading_begins_where_it_was_told_to() {
    let node = node_with_numbers();
    assert_eq!(consumed(&node, ["-o", ":end"]), "0123456789");
    assert_eq!(consumed(&node, ["-o", "start:end"]), "0123456789");
    assert_eq!(consumed(&node, ["-o", "7:end"]), "789");
    assert_eq!(consumed(&node, ["-o", "+8:end"]), "89");
    assert_eq!(consumed(&node, ["-o", "-3:end"]), "789");
    assert_eq!(consumed(&node, ["-o", "-30:end"]), "0123456789");
    assert_eq!(consumed(&node, ["-o", "3:6"]), "345");
    assert_eq!(consumed(&node, ["-o", "@-1h:end"]), "0123456789");
    assert_eq!(consumed(&node, ["-o", "end:end"]), "");
}

#[test]
fn reading_stops_after_the_count() {
    let node = node_with_numbers();
    assert_eq!(consumed(&node, ["-n", "4"]), "0123");
    assert_eq!(consumed(&node, ["-n", "2", "-o", "5"]), "56");
    assert_eq!(consumed(&node, ["-n", "0"]), "");
}

#[test]
fn an_offset_outside_the_log_is_an_error_that_tells_the_range() {
    let node = node_with_numbers();
    let error = node.forebay(["topic", "consume", "numbers", "-o", "99"]).run().failure(1);
    assert!(error.contains("99") && error.contains("10"), "{error}");
}

#[test]
fn a_consumer_at_the_end_waits_for_what_comes() {
    let node = node_with_numbers();
    let mut consume = node.forebay(["topic", "consume", "numbers", "-o", "start"]).start();
    for number in 0..10 {
        assert_eq!(consume.line(), number.to_string());
    }
    assert!(consume.is_running());
    node.forebay(["topic", "produce", "numbers", "--quiet"]).run_with(b"later\n").success();
    assert_eq!(consume.line(), "later");
    consume.signal(Signal::INT);
    assert_eq!(consume.wait().code, Some(130));
}

#[test]
fn a_consumer_rides_over_a_kill_of_the_server() {
    let mut node = node_with_numbers();
    let mut consume = node.forebay(["topic", "consume", "numbers"]).start();
    consume.line_with("9");
    node.kill();
    node.start_again();
    node.forebay(["topic", "produce", "numbers", "--quiet"]).run_with(b"later\n").success();
    assert_eq!(consume.line(), "later", "nothing comes twice");
    consume.signal(Signal::INT);
    assert_eq!(consume.wait().code, Some(130));
}

#[test]
fn chosen_partitions_are_read_and_no_others() {
    let node = Node::start();
    node.forebay(["topic", "create", "numbers", "--partitions", "4"]).run().success();
    for partition in ["0", "1", "2", "3"] {
        let produce = ["topic", "produce", "numbers", "--partition", partition, "--quiet"];
        node.forebay(produce).run_with(partition.as_bytes()).success();
    }
    let mut found: Vec<char> =
        consumed(&node, ["-o", ":end", "-p", "1", "-p", "3"]).chars().collect();
    found.sort_unstable();
    assert_eq!(found, ['1', '3']);
    let unknown = node.forebay(["topic", "consume", "numbers", "-p", "9"]).run().failure(1);
    assert!(unknown.contains('9'), "{unknown}");
}

#[test]
fn reading_never_makes_a_topic() {
    let node = Node::start();
    let missing = node.forebay(["topic", "consume", "nowhere"]).run().failure(1);
    assert!(missing.contains("there is no topic nowhere"), "{missing}");
    assert_eq!(
        node.forebay(["topic", "list", "--format", "json"]).run().success(),
        b"{\n  \"topics\": []\n}\n"
    );
}

#[test]
fn records_in_json_are_one_object_per_line_with_stable_names() {
    let node = Node::start();
    let produce = ["topic", "produce", "numbers", "-f", r"%k %v\n", "--quiet"];
    node.forebay(produce).run_with(b"k v\n \xff\n").success();
    let consume = ["topic", "consume", "numbers", "-o", ":end", "--format", "json"];
    let text = node.forebay(consume).run().success_text();
    let records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&String> = records[0].as_object().expect("an object").keys().collect();
    assert_eq!(names, ["headers", "key", "offset", "partition", "timestamp_ms", "topic", "value"]);
    assert_eq!((&records[0]["key"], &records[0]["value"]), (&"k".into(), &"v".into()));
    assert_eq!(records[1]["key"], serde_json::Value::Null);
    assert_eq!(records[1]["value_base64"], "/w==", "bytes that are not UTF-8");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let node = Node::start();
    let many: Vec<u8> = (0..200_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    node.forebay(["topic", "produce", "numbers", "--quiet"]).run_with(&many).success();
    let mut consume = node.forebay(["topic", "consume", "numbers"]).start();
    assert_eq!(consume.line(), "line 0");
    let outcome = consume.close_stdout().wait();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
}
