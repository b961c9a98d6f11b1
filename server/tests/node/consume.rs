//! The consume stream: where it starts, what it sends, and how it is held back.

use forebay_proto::v1;
use forebay_proto::v1::consume_response::Message;
use forebay_proto::v1::start_position::Position;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Server, batch, block_on, from_start, values};

fn at(position: Position) -> v1::StartPosition {
    v1::StartPosition { epoch: 0, position: Some(position) }
}

fn at_offset(partition: u32, offset: u64) -> v1::PartitionStart {
    v1::PartitionStart { partition, start: Some(at(Position::Offset(offset))) }
}

/// A topic with one partition and `count` batches of two records: `a0 b0 a1 b1 …`.
async fn filled(server: &Server, topic: &str, count: u64) {
    let mut producer = server.produce(topic).await;
    for id in 0..count {
        let (a, b) = (format!("a{id}"), format!("b{id}"));
        producer.raw(id, batch(&[a.as_bytes(), b.as_bytes()])).await;
    }
    for _ in 0..count {
        producer.ack().await;
    }
}

#[test]
fn a_consumer_at_the_end_gets_what_comes_later() {
    block_on(async {
        let server = Server::start();
        filled(&server, "tail", 3).await;
        let latest = v1::Subscribe {
            start: Some(at(Position::Anchor(v1::Anchor::Latest.into()))),
            ..from_start("tail", v1::RecordFormat::Raw)
        };
        let mut consumer = server.consume(latest).await;
        let Message::Positioned(positioned) = consumer.next().await else { panic!("no position") };
        assert_eq!(positioned.offset, 6);
        let Message::Watermark(watermark) = consumer.next().await else { panic!("no watermark") };
        assert_eq!((watermark.earliest_offset, watermark.committed_offset), (0, 6));
        let mut producer = server.produce("tail").await;
        producer.raw(1, batch(&[b"new"])).await;
        let Message::Batches(batches) = consumer.next().await else { panic!("no batches") };
        assert_eq!(values(&batches.raw_batches), [(6, b"new".to_vec())]);
        assert_eq!(batches.committed_offset, 7);
        let Message::Watermark(watermark) = consumer.next().await else { panic!("no watermark") };
        assert_eq!(watermark.committed_offset, 7);
        producer.ack().await;
    });
}

#[test]
fn plain_records_begin_exactly_at_the_offset_asked_for() {
    block_on(async {
        let server = Server::start();
        filled(&server, "middle", 4).await;
        let subscribe = v1::Subscribe {
            partitions: vec![at_offset(0, 3)],
            ..from_start("middle", v1::RecordFormat::Records)
        };
        let mut consumer = server.consume(subscribe).await;
        let found: Vec<Vec<u8>> = consumer.until_end(1).await.into_values().collect();
        assert_eq!(found, [&b"b1"[..], b"a2", b"b2", b"a3", b"b3"]);
    });
}

#[test]
fn an_offset_outside_the_log_is_answered_in_place_with_the_range() {
    block_on(async {
        let server = Server::start();
        server.create_topic("range", 3).await;
        let mut producer = server.produce("range").await;
        producer.raw(1, batch(&[b"x"])).await;
        producer.ack().await;
        let subscribe = v1::Subscribe {
            partitions: vec![at_offset(0, 9), at_offset(1, 0), at_offset(7, 0)],
            ..from_start("range", v1::RecordFormat::Raw)
        };
        let mut consumer = server.consume(subscribe).await;
        let mut errors = Vec::new();
        let mut others = 0;
        while errors.len() < 2 || others < 2 {
            match consumer.next().await {
                Message::Error(error) => {
                    assert_eq!(error.seek_id, 0);
                    errors.push((error.partition, error.error.expect("one")));
                }
                Message::Positioned(v1::Positioned { partition: 1, .. })
                | Message::Watermark(v1::Watermark { partition: 1, .. }) => others += 1,
                other => panic!("unexpected: {other:?}"),
            }
        }
        errors.sort_by_key(|(partition, _)| *partition);
        let [(0, outside), (7, unknown)] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!(Code::from(outside.code), Code::OutOfRange);
        assert_eq!((&*outside.metadata["earliest"], &*outside.metadata["latest"]), ("0", "1"));
        assert_eq!(unknown.metadata["partitions"], "3");
        assert_eq!(
            (Code::from(unknown.code), &*unknown.reason),
            (Code::NotFound, "PARTITION_UNKNOWN")
        );
        // A seek that leads out of the log says which it was.
        let seek = v1::Seek { partition: 0, start: Some(at(Position::Offset(7))), seek_id: 4 };
        consumer.send(v1::consume_request::Message::Seek(seek)).await;
        let Message::Error(error) = consumer.next().await else { panic!("no error") };
        assert_eq!((error.partition, error.seek_id), (0, 4));
        // It comes back with a seek.
        let seek = v1::Seek { partition: 0, start: Some(at(Position::Offset(0))), seek_id: 5 };
        consumer.send(v1::consume_request::Message::Seek(seek)).await;
        let Message::Positioned(positioned) = consumer.next().await else { panic!("no position") };
        assert_eq!((positioned.partition, positioned.offset, positioned.seek_id), (0, 0, 5));
        assert!(matches!(consumer.next().await, Message::Batches(_)));
    });
}

#[test]
fn a_seek_reads_again_from_there() {
    block_on(async {
        let server = Server::start();
        filled(&server, "seek", 3).await;
        let mut consumer = server.consume(from_start("seek", v1::RecordFormat::Records)).await;
        assert_eq!(consumer.until_end(1).await.len(), 6);
        let seek = v1::Seek { partition: 0, start: Some(at(Position::Offset(4))), seek_id: 1 };
        consumer.send(v1::consume_request::Message::Seek(seek)).await;
        let found: Vec<_> = consumer.until_end(1).await.into_iter().collect();
        assert_eq!(found, [((0, 4), b"a2".to_vec()), ((0, 5), b"b2".to_vec())]);
    });
}

#[test]
fn without_credit_nothing_more_is_sent() {
    block_on(async {
        // One shard: what another one sends ahead comes in pieces of its own size.
        let server = Server::start_with(&[("node.shards", "1")]);
        let mut producer = server.produce("credit").await;
        let value = vec![3; 100_000];
        for id in 0..10 {
            producer.raw(id, batch(&[&value])).await;
            producer.ack().await;
        }
        let subscribe =
            v1::Subscribe { credit_bytes: 1, ..from_start("credit", v1::RecordFormat::Raw) };
        let mut consumer = server.consume(subscribe).await;
        let mut received = 0;
        assert!(matches!(consumer.next().await, Message::Positioned(_)));
        while received < 10 {
            let Message::Batches(batches) = consumer.next().await else { panic!("no batches") };
            let found = values(&batches.raw_batches);
            assert_eq!(found[0].0, received);
            assert_eq!(found.len(), 1, "credit for less than a batch lets one batch through");
            received += 1;
            let bytes = batches.raw_batches.len() as u64;
            consumer.send(v1::consume_request::Message::Credit(v1::Credit { bytes })).await;
        }
        assert!(matches!(consumer.next().await, Message::Watermark(_)));
    });
}

#[test]
fn many_partitions_on_many_shards_come_through_one_stream() {
    block_on(async {
        let server = Server::start();
        server.create_topic("wide", 16).await;
        let mut producer = server.produce("wide").await;
        for request_id in 0..160_u64 {
            let partition = u32::try_from(request_id % 16).expect("small");
            let value = request_id.to_string();
            producer
                .batch(v1::ProduceBatch {
                    request_id,
                    partition,
                    content: Some(v1::produce_batch::Content::RawBatch(batch(&[value.as_bytes()]))),
                    ..Default::default()
                })
                .await;
        }
        for _ in 0..160 {
            producer.ack().await;
        }
        let mut consumer = server.consume(from_start("wide", v1::RecordFormat::Raw)).await;
        let found = consumer.until_end(16).await;
        assert_eq!(found.len(), 160);
        for partition in 0..16_u64 {
            for offset in 0..10 {
                let place = (u32::try_from(partition).expect("small"), offset);
                assert_eq!(found[&place], (offset * 16 + partition).to_string().into_bytes());
            }
        }
    });
}

#[test]
fn partitions_that_are_long_to_read_take_turns_and_lose_nothing() {
    const BATCHES: u64 = 18;
    block_on(async {
        let server = Server::start_with(&[("node.shards", "1")]);
        server.create_topic("long", 6).await;
        let mut producer = server.produce("long").await;
        let value = vec![5; 1_000_000];
        for partition in 0..6 {
            for _ in 0..BATCHES {
                let content = Some(v1::produce_batch::Content::RawBatch(batch(&[&value])));
                producer.batch(v1::ProduceBatch { partition, content, ..Default::default() }).await;
                producer.ack().await;
            }
        }
        let mut consumer = server.consume(from_start("long", v1::RecordFormat::Raw)).await;
        let mut next = [0; 6];
        while next != [BATCHES; 6] {
            let Message::Batches(batches) = consumer.next().await else { continue };
            let partition = batches.partition as usize;
            for (offset, found) in values(&batches.raw_batches) {
                assert_eq!((offset, found.len()), (next[partition], value.len()));
                next[partition] += 1;
            }
            // A turn is 16 MiB.
            let going = next.iter().filter(|next| (1..16).contains(*next)).count();
            assert!(going <= 4, "only a few are read at a time: {next:?}");
        }
    });
}

#[test]
fn another_topic_of_the_same_name_is_neither_read_nor_produced_to() {
    block_on(async {
        let server = Server::start();
        server.create_topic("named", 1).await;
        let topics = server.cluster().await.list_topics(v1::ListTopicsRequest {}).await;
        let topic_id = topics.expect("a list").into_inner().topics[0].topic_id.clone();
        let other = "0".repeat(32);
        for (topic, topic_id, found) in
            [("named", &topic_id, true), ("named", &other, false), ("missing", &topic_id, false)]
        {
            let open = v1::ProduceOpen {
                topic: topic.into(),
                topic_id: topic_id.clone(),
                ..Default::default()
            };
            let producer = server.produce_as(open).await;
            let ended = producer.finish().await;
            assert_eq!(ended.is_ok(), found, "{ended:?}");
            let subscribe = v1::Subscribe {
                topic_id: topic_id.clone(),
                ..from_start(topic, v1::RecordFormat::Raw)
            };
            let mut consumer = server.consume(subscribe).await;
            let first = consumer.responses.message().await;
            assert_eq!(first.is_ok(), found, "{first:?}");
            if let Err(status) = first {
                assert_eq!(status.code(), Code::NotFound);
            }
        }
        let topics = server.cluster().await.list_topics(v1::ListTopicsRequest {}).await;
        assert_eq!(topics.expect("a list").into_inner().topics.len(), 1, "none was made");
    });
}

#[test]
fn a_flood_of_seeks_is_answered_seek_by_seek() {
    const FLOOD: u64 = 20_000;
    block_on(async {
        let server = Server::start();
        server.create_topic("seeks", 1).await;
        let mut consumer = server.consume(from_start("seeks", v1::RecordFormat::Raw)).await;
        for seek_id in 1..=FLOOD {
            let seek = v1::Seek { partition: 9, start: None, seek_id };
            consumer.send(v1::consume_request::Message::Seek(seek)).await;
        }
        let mut expected = 1;
        while expected <= FLOOD {
            let Message::Error(error) = consumer.next().await else { continue };
            assert_eq!((error.partition, error.seek_id), (9, expected));
            expected += 1;
        }
    });
}

#[test]
fn reading_never_makes_a_topic() {
    block_on(async {
        let server = Server::start();
        let mut consumer = server.consume(from_start("nowhere", v1::RecordFormat::Raw)).await;
        let status = consumer.responses.message().await.expect_err("no topic");
        assert_eq!(status.code(), Code::NotFound);
        let topics = server.cluster().await.list_topics(v1::ListTopicsRequest {}).await;
        assert!(topics.expect("a list").into_inner().topics.is_empty());
    });
}

#[test]
fn a_message_that_is_too_large_is_an_invalid_argument() {
    block_on(async {
        let server = Server::start();
        let subscribe = from_start(&"x".repeat(2 << 20), v1::RecordFormat::Raw);
        let mut consumer = server.consume(subscribe).await;
        let status = consumer.responses.message().await.expect_err("too large");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.reason, "MESSAGE_TOO_LARGE");
        // OUT_OF_RANGE, which is what the library says, is for offsets.
        let request = v1::DescribeTopicRequest { name: "x".repeat(5 << 20) };
        let status = server.cluster().await.describe_topic(request).await.expect_err("too large");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!(info.reason, "MESSAGE_TOO_LARGE");
    });
}

#[test]
fn a_bad_subscription_ends_the_stream_with_the_cause() {
    block_on(async {
        let server = Server::start();
        server.create_topic("t", 1).await;
        server.create_topic("two", 2).await;
        let twice = v1::Subscribe {
            partitions: vec![at_offset(0, 0), at_offset(0, 1)],
            ..from_start("two", v1::RecordFormat::Raw)
        };
        let more = v1::Subscribe {
            partitions: vec![at_offset(0, 0), at_offset(1, 1)],
            ..from_start("t", v1::RecordFormat::Raw)
        };
        let format = v1::Subscribe { format: 9, ..from_start("t", v1::RecordFormat::Raw) };
        let name = from_start("a/b", v1::RecordFormat::Raw);
        for subscribe in [twice, more, format, name] {
            let mut consumer = server.consume(subscribe).await;
            let status = consumer.responses.message().await.expect_err("refused");
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        }
    });
}
