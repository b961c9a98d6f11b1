//! kill -9 in the middle of things: what was acknowledged is there, once, and in order.

use super::support::{Node, Random, corpus, produce_in_parts};

const CORPUS_BYTES: usize = 24 << 20;
const KILLS: usize = 3;

#[test]
fn one_producer_rides_over_kills_of_the_server_and_nothing_is_lost_doubled_or_out_of_order() {
    let corpus = corpus(CORPUS_BYTES, &mut Random::seeded(1));
    let mut node = Node::start();
    let produce = node.forebay(["topic", "produce", "corpus"]);
    let summary = produce_in_parts(produce, &corpus, KILLS + 1, |produce| {
        node.kill();
        assert!(produce.is_running(), "the producer does not end with the server");
        node.start_again();
    });

    let consumed = node.forebay(["topic", "consume", "corpus", "-o", ":end"]).run().success();
    assert!(consumed == [corpus.as_slice(), b"\n"].concat(), "other bytes came out; {summary}");
}

#[test]
fn keys_and_partitions_survive_a_kill_of_the_server() {
    let mut node = Node::start();
    node.forebay(["topic", "create", "keyed", "--partitions", "3"]).run().success();
    let input: Vec<u8> =
        (0..3000).flat_map(|n| format!("key{} {n}\n", n % 7).into_bytes()).collect();
    node.forebay(["topic", "produce", "keyed", "-f", r"%k %v\n", "--quiet"])
        .run_with(&input)
        .success();

    node.kill();
    node.start_again();

    let consume = ["topic", "consume", "keyed", "-o", ":end", "-f", r"%p %k %v\n"];
    let text = node.forebay(consume).run().success_text();
    let mut values_of_key = std::collections::BTreeMap::<&str, Vec<(&str, u32)>>::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let value = fields[2].parse().expect("a number");
        values_of_key.entry(fields[1]).or_default().push((fields[0], value));
    }
    assert_eq!(values_of_key.len(), 7);
    assert_eq!(values_of_key.values().map(Vec::len).sum::<usize>(), 3000);
    for (key, values) in values_of_key {
        assert!(
            values.iter().all(|(partition, _)| *partition == values[0].0),
            "{key} is in one partition"
        );
        assert!(values.is_sorted_by_key(|(_, value)| *value), "{key} keeps its order");
    }
}
