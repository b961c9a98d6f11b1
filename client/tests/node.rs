//! The client against a real node, in this process, on the disk that the build is on.

use std::time::Duration;

use forebay_client::{
    Client, ConsumeError, Consumer, ConsumerOptions, CreateTopicError, DeleteTopicError,
    DescribeTopicError, Event, NewTopic, OutOfRange, ProducerOptions, Record, StartAt,
    SubscribeError,
};
use forebay_format::{Offset, PartitionIndex, TimestampMs};
use forebay_server::{
    Node,
    config::{Address, ByteSize, Config, ShardCount},
};
use tempfile::TempDir;

/// A node that can be stopped and started again under the same address.
struct Served {
    node: Option<Node>,
    config: Config,
    _data: TempDir,
}

impl Served {
    fn start(shards: u32) -> Self {
        // tmpfs cannot do direct I/O.
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a disk");
        let mut config = Config::default();
        config.node.data = data.path().join("data");
        config.node.shards = ShardCount::Fixed(shards);
        config.network.listen = Address::new("127.0.0.1", ports(shards));
        config.network.http = Address::new("127.0.0.1", 0);
        config.storage.disk_reserve = ByteSize::new(0);
        let node = Node::start(config.clone()).expect("it starts");
        Self { node: Some(node), config, _data: data }
    }

    /// Stops the node, off the test's thread: its clients need that to hear of it.
    async fn stop(&mut self) {
        let node = self.node.take().expect("it runs");
        let stopped = tokio::task::spawn_blocking(move || node.stop());
        stopped.await.expect("no panic").expect("it stops");
    }

    async fn start_again(&mut self) {
        let config = self.config.clone();
        let started = tokio::task::spawn_blocking(move || Node::start(config));
        self.node = Some(started.await.expect("no panic").expect("it starts again"));
    }

    async fn client(&self) -> Client {
        Client::connect([self.config.network.listen.to_string()]).await.expect("it answers")
    }
}

/// The first of as many free ports in a row as a node takes, below those that outgoing connections get: it is to be
/// free when the node starts again. Each test has a process, and so a place to look from, of its own.
fn ports(shards: u32) -> u16 {
    const FIRST: u32 = 10_000;
    const PLACES: u32 = 900;
    const PER_NODE: u32 = 10;
    assert!(shards < PER_NODE);
    let is_free = |port: u32| {
        u16::try_from(port)
            .is_ok_and(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    let places = (0..PLACES).map(|turn| (std::process::id() + turn) % PLACES);
    let mut firsts = places.map(|place| FIRST + place * PER_NODE);
    let first = firsts.find(|first| (*first..=first + shards).all(is_free)).expect("free ports");
    u16::try_from(first).expect("a port")
}

async fn produce(client: &Client, topic: &str, count: u64) {
    let producer = client.producer(topic, ProducerOptions::default()).await.expect("opens");
    for number in 0..count {
        producer.send(&Record::of(number.to_string().as_bytes())).await.expect("accepted");
    }
    producer.close().await.expect("acknowledged");
}

async fn consumer(client: &Client, topic: &str, start: StartAt) -> Consumer {
    let options = ConsumerOptions { start, ..ConsumerOptions::default() };
    client.consumer(topic, options).await.expect("subscribes")
}

/// Everything up to the end, of a topic with one partition, as offset and number.
async fn rest(consumer: &mut Consumer) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    loop {
        match consumer.next().await.expect("readable") {
            Event::Batch(batch) => {
                for record in batch.records().expect("not compressed") {
                    let (offset, record) = record.expect("well formed");
                    let value = std::str::from_utf8(record.value.expect("a value"));
                    let number = value.expect("digits").parse().expect("digits");
                    all.push((offset.get(), number));
                }
            }
            Event::CaughtUp { .. } => return all,
        }
    }
}

fn same(range: std::ops::Range<u64>) -> Vec<(u64, u64)> {
    range.map(|number| (number, number)).collect()
}

#[tokio::test]
async fn a_record_comes_back_with_all_its_parts() {
    let mut served = Served::start(2);
    let client = served.client().await;
    let topic = NewTopic { name: "t".to_owned(), partitions: Some(4), ..NewTopic::default() };
    client.admin().create_topic(topic).await.expect("created");
    let producer = client.producer("t", ProducerOptions::default()).await.expect("opens");
    let headers: &[(&str, &[u8])] = &[("kind", b"test"), ("empty", b"")];
    let timestamp = TimestampMs::new(1_700_000_000_123);
    for partition in 0..4 {
        let record = Record {
            partition: Some(PartitionIndex::new(partition)),
            key: Some(b"key"),
            value: None,
            headers,
            timestamp: Some(timestamp),
        };
        let ack = producer.append(&record).await.expect("acknowledged");
        assert_eq!((ack.partition.get(), ack.offset.get()), (partition, 0));
        assert_eq!((ack.durable_replicas, ack.replicas), (1, 1));
    }
    let mut consumer = consumer(&client, "t", StartAt::Earliest).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let batch = consumer.next_batch().await.expect("readable");
        for record in batch.records().expect("not compressed") {
            let (offset, record) = record.expect("well formed");
            assert_eq!((offset, record.timestamp), (Offset::ZERO, timestamp));
            assert_eq!((record.key, record.value), (Some(&b"key"[..]), None));
            assert!(record.headers.eq(headers.iter().copied()));
            seen.push(batch.partition().get());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_and_consumer_ride_over_a_node_that_stops_and_starts() {
    const ROUNDS: u64 = 3;
    const PER_ROUND: u64 = 20_000;
    let mut served = Served::start(2);
    let client = served.client().await;
    let options = ProducerOptions { batch_bytes: 4096, ..ProducerOptions::default() };
    let producer = client.producer("t", options).await.expect("made on first use");
    let mut consumer = consumer(&client, "t", StartAt::Earliest).await;
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        for number in round * PER_ROUND..(round + 1) * PER_ROUND {
            producer.send(&Record::of(number.to_string().as_bytes())).await.expect("accepted");
        }
        // With whatever is under way now.
        served.stop().await;
        served.start_again().await;
        all.extend(rest(&mut consumer).await);
    }
    producer.flush().await.expect("acknowledged");
    while all.len() < usize::try_from(ROUNDS * PER_ROUND).expect("small") {
        all.extend(rest(&mut consumer).await);
    }
    assert!(all == same(0..ROUNDS * PER_ROUND), "lost, doubled or out of order");
    served.stop().await;
}

#[tokio::test]
async fn reading_starts_where_it_was_asked_to() {
    let mut served = Served::start(1);
    let client = served.client().await;
    produce(&client, "t", 100).await;
    let mut from_offset = consumer(&client, "t", StartAt::Offset(Offset::new(40))).await;
    assert_eq!(rest(&mut from_offset).await, same(40..100));
    let long_ago = TimestampMs::new(1);
    let mut from_time = consumer(&client, "t", StartAt::Timestamp(long_ago)).await;
    assert_eq!(rest(&mut from_time).await, same(0..100));
    let mut from_end = consumer(&client, "t", StartAt::Latest).await;
    assert_eq!(rest(&mut from_end).await, []);
    let producer = client.producer("t", ProducerOptions::default()).await.expect("opens");
    producer.append(&Record::of(b"100")).await.expect("acknowledged");
    assert_eq!(rest(&mut from_end).await, same(100..101));
    served.stop().await;
}

#[tokio::test]
async fn a_seek_goes_on_from_there_and_shows_nothing_of_before() {
    let mut served = Served::start(1);
    let client = served.client().await;
    produce(&client, "t", 5000).await;
    let mut consumer = consumer(&client, "t", StartAt::Earliest).await;
    let partition = PartitionIndex::new(0);
    for start in [4990, 0, 2500] {
        consumer.seek(partition, StartAt::Offset(Offset::new(start)));
        assert_eq!(rest(&mut consumer).await, same(start..5000));
        assert_eq!(consumer.position(partition), Some(Offset::new(5000)));
    }
    served.stop().await;
}

/// More than the streams that a node allows on one connection.
const MANY: u64 = 300;
/// Far more than any of this takes; without an end, a call that never starts would hang the test.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn producers_and_consumers_that_are_dropped_leave_no_stream_behind() {
    let mut served = Served::start(1);
    let client = served.client().await;
    let all = async {
        for number in 0..MANY {
            let producer = client.producer("t", ProducerOptions::default()).await.expect("opens");
            let value = number.to_string();
            producer.append(&Record::of(value.as_bytes())).await.expect("acknowledged");
            drop(producer);
            let mut consumer = consumer(&client, "t", StartAt::Offset(Offset::new(number))).await;
            assert_eq!(rest(&mut consumer).await, same(number..number + 1));
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("streams are left");
    served.stop().await;
}

#[tokio::test]
async fn consumers_that_nobody_reads_hold_up_no_acknowledgement() {
    /// So much of each log waits unread: more than a stream's window.
    const BACKLOG_BYTES: usize = 12 << 20;
    const UNREAD: usize = 4;
    let mut served = Served::start(1);
    let client = served.client().await;
    let producer = client.producer("t", ProducerOptions::default()).await.expect("opens");
    let value = vec![b'x'; 64 << 10];
    for _ in 0..BACKLOG_BYTES / value.len() {
        producer.send(&Record::of(&value)).await.expect("accepted");
    }
    producer.flush().await.expect("acknowledged");
    let all = async {
        let mut unread = Vec::new();
        for _ in 0..UNREAD {
            let mut consumer = consumer(&client, "t", StartAt::Earliest).await;
            consumer.next_batch().await.expect("readable");
            unread.push(consumer);
        }
        // While these go back and forth, the streams fill up.
        for _ in 0..200 {
            producer.append(&Record::of(b"1")).await.expect("acknowledged");
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("an unread stream is in the way");
    served.stop().await;
}

#[tokio::test]
async fn an_offset_outside_of_the_log_is_told_with_what_there_is() {
    let mut served = Served::start(1);
    let client = served.client().await;
    produce(&client, "t", 10).await;
    let beyond = StartAt::Offset(Offset::new(11));
    let mut strict = consumer(&client, "t", beyond).await;
    match strict.next().await {
        Err(ConsumeError::OutOfRange { earliest, latest, wanted, .. }) => {
            assert_eq!((earliest, latest), (Some(Offset::ZERO), Some(Offset::new(10))));
            assert_eq!(wanted, Some(Offset::new(11)));
        }
        other => panic!("{other:?}"),
    }
    strict.seek(PartitionIndex::new(0), StartAt::Offset(Offset::new(9)));
    assert_eq!(rest(&mut strict).await, same(9..10));
    let options = ConsumerOptions {
        start: beyond,
        out_of_range: OutOfRange::Earliest,
        ..ConsumerOptions::default()
    };
    let mut lenient = client.consumer("t", options).await.expect("subscribes");
    assert_eq!(rest(&mut lenient).await, same(0..10));
    served.stop().await;
}

#[tokio::test]
async fn topics_are_made_listed_described_and_deleted() {
    let mut served = Served::start(1);
    let client = served.client().await;
    let admin = client.admin();
    let topic = NewTopic { name: "made".to_owned(), partitions: Some(3), ..NewTopic::default() };
    let made = admin.create_topic(topic.clone()).await.expect("created");
    assert_eq!((made.name.as_str(), made.partitions.len()), ("made", 3));
    let again = admin.create_topic(topic).await;
    assert!(matches!(again, Err(CreateTopicError::Exists { .. })), "{again:?}");
    let bad = NewTopic { name: "no/slash".to_owned(), ..NewTopic::default() };
    let bad = admin.create_topic(bad).await;
    assert!(matches!(bad, Err(CreateTopicError::Refused { .. })), "{bad:?}");

    produce(&client, "used", 7).await;
    let names: Vec<String> =
        admin.list_topics().await.expect("listed").into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["made", "used"]);
    let offsets = admin.offsets("used").await.expect("described");
    assert_eq!((offsets[0].earliest.get(), offsets[0].committed.get()), (0, 7));

    admin.delete_topic("made").await.expect("deleted");
    let gone = admin.delete_topic("made").await;
    assert!(matches!(gone, Err(DeleteTopicError::NotFound { .. })), "{gone:?}");
    let gone = admin.describe_topic("made").await;
    assert!(matches!(gone, Err(DescribeTopicError::NotFound { .. })), "{gone:?}");
    let gone = client.consumer("made", ConsumerOptions::default()).await;
    assert!(matches!(gone, Err(SubscribeError::NoTopic { .. })), "reading makes no topic");
    served.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_ends_its_producer_with_the_servers_words() {
    let mut served = Served::start(1);
    let client = served.client().await;
    let producer = client.producer("t", ProducerOptions::default()).await.expect("opens");
    producer.append(&Record::of(b"0")).await.expect("acknowledged");
    client.admin().delete_topic("t").await.expect("deleted");
    let patience = Duration::from_secs(20);
    let refused = tokio::time::timeout(patience, producer.append(&Record::of(b"1"))).await;
    let error = refused.expect("an answer").expect_err("the topic is gone");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains("UNKNOWN"), "{text}");
    served.stop().await;
}
