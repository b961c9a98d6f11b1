//! `topic produce`: what it reads, and what it says about it.

use std::io::Write;

use rustix::process::Signal;

use super::support::{Forebay, Node, Ports};

#[test]
fn each_acknowledged_batch_is_a_line_with_its_durability_and_the_sum_comes_last() {
    let node = Node::start();
    let text = node.forebay(["topic", "produce", "orders"]).run_with(b"a\nb\nc").success_text();
    let lines: Vec<&str> = text.lines().collect();
    // One batch, unless the end of the input takes a while.
    let [batches @ .., sum] = &lines[..] else { panic!("{text}") };
    let (first, last) = (batches[0], batches[batches.len() - 1]);
    assert!(first.starts_with("orders/0 @0-@") && last.contains("-@2  durable"), "{text}");
    for batch in batches {
        assert!(batch.contains("  durable on 1/1, epoch 1, ") && batch.ends_with("ms"), "{batch}");
    }
    assert!(sum.starts_with("3 records"), "{sum}");
    let quiet =
        node.forebay(["topic", "produce", "orders", "--quiet"]).run_with(b"d").success_text();
    assert!(quiet.starts_with("1 record,") && quiet.lines().count() == 1, "{quiet}");
}

#[test]
fn no_input_is_no_record_and_no_error() {
    let node = Node::start();
    let text = node.forebay(["topic", "produce", "orders"]).run_with(b"").success_text();
    assert!(text.starts_with("0 records"), "{text}");
}

#[test]
fn acknowledgements_in_json_are_one_object_per_line() {
    let node = Node::start();
    let produce = ["topic", "produce", "orders", "--format", "json"];
    let text = node.forebay(produce).run_with(b"a\nb\n").success_text();
    let objects: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [batch, sum] = &objects[..] else { panic!("{text}") };
    let names = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    assert_eq!(
        names(batch),
        [
            "base_offset",
            "duplicate",
            "durable_replicas",
            "epoch",
            "last_offset",
            "latency_seconds",
            "partition",
            "records",
            "replicas",
            "topic",
        ]
    );
    assert_eq!((&batch["base_offset"], &batch["last_offset"]), (&0.into(), &1.into()));
    assert_eq!(names(sum), ["batches", "bytes", "records", "seconds", "topic"]);
    assert_eq!(sum["records"], 2);
}

#[test]
fn a_record_that_does_not_match_the_pattern_is_named_by_its_number() {
    let node = Node::start();
    let produce = ["topic", "produce", "orders", "-f", r"%k:%v\n", "--quiet"];
    let outcome = node.forebay(produce).run_with(b"a:1\nb:2\nno colon\nd:4\n");
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("record 3") && outcome.stderr.contains("`:`"),
        "{}",
        outcome.stderr
    );
    let kept = node
        .forebay(["topic", "consume", "orders", "-o", ":end", "-f", r"%k=%v\n"])
        .run()
        .success();
    assert_eq!(kept, b"a=1\nb=2\n", "what came before it is acknowledged");
}

#[test]
fn a_pattern_that_cannot_be_read_with_is_a_usage_error() {
    let usage =
        Forebay::new(["topic", "produce", "orders", "-f", "%v"]).run_with(b"a\n").failure(2);
    assert!(usage.contains("must end with"), "{usage}");
}

#[test]
fn the_key_and_the_partition_can_be_given_for_all() {
    let node = Node::start();
    node.forebay(["topic", "create", "orders", "--partitions", "4"]).run().success();
    let produce = ["topic", "produce", "orders", "--partition", "3", "--key", "k", "--quiet"];
    node.forebay(produce).run_with(b"a\n").success();
    let consume = ["topic", "consume", "orders", "-o", ":end", "-f", "%p/%o %k=%v"];
    assert_eq!(node.forebay(consume).run().success(), b"3/0 k=a");
}

#[test]
fn a_partition_that_does_not_exist_is_an_error() {
    let node = Node::start();
    let produce = ["topic", "produce", "orders", "--partition", "9", "--quiet"];
    let outcome = node.forebay(produce).run_with(b"a\n");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("partition 9"), "{}", outcome.stderr);
}

#[test]
fn a_server_that_was_never_there_is_unreachable_and_not_waited_for() {
    let ports = Ports::claim();
    let produce = ["topic", "produce", "orders", "--endpoint", &ports.grpc().to_string()];
    let unreachable = Forebay::new(produce).run_with(b"a\n").failure(4);
    assert!(unreachable.contains("no endpoint answered"), "{unreachable}");
}

#[test]
fn a_record_beyond_the_largest_batch_is_refused_with_the_limit() {
    let node = Node::start();
    let outcome =
        node.forebay(["topic", "produce", "orders", "--quiet"]).run_with(&vec![b'x'; 4 << 20]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("bytes"), "{}", outcome.stderr);
}

#[test]
fn a_reader_of_the_acknowledgements_that_goes_away_is_an_error() {
    let node = Node::start();
    let mut produce = node.forebay(["topic", "produce", "numbers"]).start();
    let mut input = produce.stdin();
    let produce = produce.close_stdout();
    // It may have ended before all of this is read.
    let _broken_pipe = input.write_all(b"1\n2\n");
    drop(input);
    let outcome = produce.wait();
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("standard output was closed"), "{}", outcome.stderr);
}

#[test]
fn an_interrupted_producer_says_what_is_acknowledged() {
    let node = Node::start();
    let mut produce = node.forebay(["topic", "produce", "orders"]).start();
    // Open to the end: the command waits for more.
    let mut input = produce.stdin();
    input.write_all(b"a\nb\n").expect("the producer reads");
    produce.line_with("-@1  durable");
    produce.signal(Signal::INT);
    let outcome = produce.wait();
    drop(input);
    assert_eq!(outcome.code, Some(130), "{}", outcome.stderr);
    let text = String::from_utf8_lossy(&outcome.stdout);
    assert!(text.starts_with("2 records, "), "{text}");
}

#[test]
fn a_server_that_is_away_is_told_while_it_is_waited_for() {
    let mut node = Node::start();
    let mut produce = node.forebay(["topic", "produce", "orders", "--timeout", "2s"]).start();
    let mut input = produce.stdin();
    input.write_all(b"a\n").expect("the producer reads");
    produce.line_with("durable");
    node.kill();
    input.write_all(b"b\n").expect("the producer reads");
    drop(input);
    let outcome = produce.wait();
    assert_eq!(outcome.code, Some(4), "{}", outcome.stderr);
    let told: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.starts_with("trying again")).collect();
    let [told] = told[..] else { panic!("{}", outcome.stderr) };
    assert!(told.contains("cannot connect to "), "{told}");
}

#[test]
fn a_key_beside_a_pattern_that_has_one_is_a_usage_error() {
    let produce = ["topic", "produce", "orders", "-f", r"%k %v\n", "--key", "k"];
    let usage = Forebay::new(produce).run_with(b"a b\n").failure(2);
    assert!(usage.contains("--key"), "{usage}");
}
