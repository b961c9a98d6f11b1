//! kill -9 in the middle of things: what was acknowledged is there, once, and in order.

use std::io::Write;

use super::support::{Node, Random, Running, corpus};

const CORPUS_BYTES: usize = 24 << 20;
const KILLS: usize = 3;

/// The exclusive end of the offsets in a line such as `orders/0 @41-@57  durable on …`.
fn acknowledged_end(line: &str) -> u64 {
    let (_, last) = line.split_once("-@").expect("a range of offsets");
    let digits = last.split_whitespace().next().expect("an offset");
    digits.parse::<u64>().expect("an offset") + 1
}

/// Reads acknowledgements until `records` records are acknowledged.
fn wait_for_acknowledged(produce: &mut Running, records: u64) {
    while acknowledged_end(&produce.line()) < records {}
}

#[test]
fn one_producer_rides_over_kills_of_the_server_and_nothing_is_lost_doubled_or_out_of_order() {
    let corpus = corpus(CORPUS_BYTES, &mut Random::seeded(1));
    let mut node = Node::start();
    let mut produce = node.forebay(["topic", "produce", "corpus"]).start();
    let mut stdin = produce.stdin();

    // A part of the corpus per life of the server. The server is killed as soon as the first batch of a part
    // is acknowledged, so that later ones of it are under way.
    let parts = KILLS + 1;
    let mut sent = 0;
    for part in 0..parts {
        let end = if part + 1 == parts { corpus.len() } else { corpus.len() / parts * (part + 1) };
        let before = lines(&corpus[..sent]);
        let bytes = corpus[sent..end].to_vec();
        sent = end;
        let writer = std::thread::spawn(move || {
            stdin.write_all(&bytes).expect("the producer reads on");
            stdin
        });
        if part + 1 < parts {
            wait_for_acknowledged(&mut produce, before + 1);
            node.kill();
            assert!(produce.is_running(), "the producer does not end with the server");
            node.start_again();
        }
        stdin = writer.join().expect("a thread that only writes");
    }
    drop(stdin);
    let outcome = produce.wait();
    let summary = outcome.success_text();

    let consumed = node.forebay(["topic", "consume", "corpus", "-o", ":end"]).run().success();
    assert!(consumed == [corpus.as_slice(), b"\n"].concat(), "other bytes came out; {summary}");
}

fn lines(bytes: &[u8]) -> u64 {
    let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
    u64::try_from(lines).expect("a small number")
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
