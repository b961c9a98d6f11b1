//! The produce stream: what is taken, what is refused in place, and what ends the stream.

use bytes::Bytes;
use forebay_format::limits::{BATCH_BYTES_MAX, HEADER_BYTES, RECORDS_PER_BATCH_MAX};
use forebay_format::{ProducerEpoch, ProducerId, ProducerStamp, Sequence};
use forebay_proto::v1;
use forebay_proto::v1::WriteConcern as Concern;
use forebay_proto::v1::consume_response::Message;
use forebay_proto::v1::produce_batch::Content;
use tonic::Code;

use crate::support::{Producer, Server, batch, batch_of, block_on, from_start, record};

#[test]
fn raw_batches_come_back_as_they_were_with_offsets_in_order() {
    block_on(async {
        let server = Server::start();
        let mut producer = server.produce("orders").await;
        for request_id in 0..50_u64 {
            producer.raw(request_id, batch(&[b"one", b"", b"three"])).await;
        }
        for request_id in 0..50_u64 {
            let (found, ack) = producer.ack().await;
            assert_eq!(found, request_id);
            assert_eq!((ack.base_offset, ack.record_count), (request_id * 3, 3));
            assert_eq!((ack.durable_replicas, ack.replicas, ack.duplicate), (1, 1, false));
            assert!(ack.epoch > 0 && ack.append_time_ms > 0);
        }
        producer.finish().await.expect("a good end");

        let mut consumer = server.consume(from_start("orders", v1::RecordFormat::Raw)).await;
        let found = consumer.until_end(1).await;
        assert_eq!(found.len(), 150);
        assert_eq!(found[&(0, 148)], b"");
        assert_eq!(found[&(0, 149)], b"three");
    });
}

#[test]
fn plain_records_come_back_as_plain_records() {
    block_on(async {
        let server = Server::start();
        let mut producer = server.produce("plain").await;
        let full = v1::Record {
            key: Some("k".into()),
            value: Some("v".into()),
            headers: vec![v1::Header { name: "trace".into(), value: "7".into() }],
            timestamp_ms: 1234,
        };
        let records = vec![full, record(b""), v1::Record::default()];
        let list = v1::RecordList { records, first_sequence: 0 };
        let content = Some(Content::Records(list));
        producer.batch(v1::ProduceBatch { content, ..Default::default() }).await;
        assert_eq!(producer.ack().await.1.record_count, 3);

        let mut consumer = server.consume(from_start("plain", v1::RecordFormat::Unspecified)).await;
        let Message::Positioned(positioned) = consumer.next().await else { panic!("no position") };
        assert_eq!((positioned.offset, positioned.seek_id), (0, 0));
        let Message::Records(found) = consumer.next().await else { panic!("no records") };
        assert_eq!(found.committed_offset, 3);
        let [full, empty, nothing] = &found.records[..] else { panic!("{found:?}") };
        assert_eq!((full.offset, full.timestamp_ms), (0, 1234));
        assert_eq!(
            (full.key.as_deref(), full.value.as_deref()),
            (Some(&b"k"[..]), Some(&b"v"[..]))
        );
        assert_eq!(full.headers[0].name, "trace");
        assert_eq!((empty.key.as_deref(), empty.value.as_deref()), (None, Some(&b""[..])));
        assert!(empty.timestamp_ms > 1_600_000_000_000, "the server's clock");
        assert_eq!((nothing.offset, &nothing.value), (2, &None));
    });
}

#[test]
fn bad_batches_are_answered_in_place_and_the_stream_goes_on() {
    block_on(async {
        let server = Server::start();
        server.create_topic("strict", 2).await;
        let mut producer = server.produce("strict").await;
        let good = batch(&[b"good"]);
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.to_vec();
            change(&mut bytes);
            Bytes::from(bytes)
        };
        let raw = |raw: Bytes| v1::ProduceBatch {
            content: Some(Content::RawBatch(raw)),
            ..Default::default()
        };
        let concern = |write_concern, write_concern_replicas| v1::ProduceBatch {
            write_concern,
            write_concern_replicas,
            ..raw(good.clone())
        };
        let cases: Vec<(v1::ProduceBatch, Code, &str)> = vec![
            (raw(broken(&|b| b[HEADER_BYTES] ^= 1)), Code::InvalidArgument, "BATCH_CHECKSUM"),
            (raw(broken(&|b| b[0] ^= 1)), Code::InvalidArgument, "BATCH_MALFORMED"),
            (raw(broken(&|b| b[4] = 9)), Code::InvalidArgument, "BATCH_VERSION"),
            (raw(broken(&|b| b.push(0))), Code::InvalidArgument, "BATCH_MALFORMED"),
            (raw(broken(&|b| b[70] = 1)), Code::InvalidArgument, "BATCH_MALFORMED"),
            (raw(Bytes::from_static(b"short")), Code::InvalidArgument, "BATCH_MALFORMED"),
            (raw(Bytes::new()), Code::InvalidArgument, "BATCH_MALFORMED"),
            (v1::ProduceBatch::default(), Code::InvalidArgument, "INVALID_REQUEST"),
            (
                v1::ProduceBatch { partition: 2, ..raw(good.clone()) },
                Code::NotFound,
                "PARTITION_UNKNOWN",
            ),
            (concern(77, 0), Code::InvalidArgument, "INVALID_REQUEST"),
            (
                concern(v1::WriteConcern::Replicas.into(), 2),
                Code::InvalidArgument,
                "TOO_FEW_REPLICAS",
            ),
            (raw(batch(&[&vec![1; 1 << 20]])), Code::InvalidArgument, "BATCH_TOO_LARGE"),
        ];
        for (request_id, (request, code, reason)) in (1..).zip(cases) {
            producer.batch(v1::ProduceBatch { request_id, ..request }).await;
            let (found, error) = producer.error().await;
            assert_eq!(found, request_id);
            assert_eq!(
                (Code::from(error.code), error.reason.as_str()),
                (code, reason),
                "{error:?}"
            );
            assert!(!error.message.is_empty());
        }
        producer.raw(99, good.clone()).await;
        assert_eq!(producer.ack().await.1.base_offset, 0, "nothing of all that was appended");
        producer.finish().await.expect("a good end");
    });
}

#[test]
fn a_flood_of_tiny_bad_batches_is_answered_in_order_beside_others() {
    const FLOOD: u64 = 50_000;
    block_on(async {
        let server = Server::start_with(&[("node.shards", "1")]);
        let mut flood = server.produce("flood").await;
        for request_id in 0..FLOOD {
            let partition = u32::from(request_id % 2 == 0);
            flood.batch(v1::ProduceBatch { request_id, partition, ..Default::default() }).await;
        }
        let mut other = server.produce("flood").await;
        other.raw(1, batch(&[b"x"])).await;
        other.ack().await;
        for request_id in 0..FLOOD {
            let (found, error) = flood.error().await;
            assert_eq!(found, request_id);
            let code = if found % 2 == 0 { Code::NotFound } else { Code::InvalidArgument };
            assert_eq!(Code::from(error.code), code);
        }
        flood.raw(FLOOD, batch(&[b"x"])).await;
        assert_eq!(flood.ack().await.0, FLOOD);
    });
}

#[test]
fn too_many_plain_records_are_refused_in_place() {
    block_on(async {
        let server = Server::start();
        let mut producer = server.produce("many").await;
        let records = vec![v1::Record::default(); RECORDS_PER_BATCH_MAX as usize + 1];
        let content = Some(Content::Records(v1::RecordList { records, first_sequence: 0 }));
        producer.batch(v1::ProduceBatch { request_id: 5, content, ..Default::default() }).await;
        let (id, error) = producer.error().await;
        assert_eq!((id, &*error.reason), (5, "BATCH_TOO_LARGE"));
        assert_eq!(error.metadata["limit"], RECORDS_PER_BATCH_MAX.to_string());
        producer.raw(6, batch(&[b"x"])).await;
        assert_eq!(producer.ack().await.0, 6);
    });
}

#[test]
fn every_write_concern_that_one_replica_can_meet_is_answered() {
    block_on(async {
        let server = Server::start();
        let mut producer = server.produce("concerns").await;
        let concerns =
            [Concern::None, Concern::Leader, Concern::Quorum, Concern::All, Concern::Replicas];
        for concern in concerns {
            producer
                .batch(v1::ProduceBatch {
                    write_concern: concern.into(),
                    write_concern_replicas: 1,
                    content: Some(Content::RawBatch(batch(&[b"x"]))),
                    ..Default::default()
                })
                .await;
            let (_, ack) = producer.ack().await;
            let durable = u32::from(concern != Concern::None);
            assert_eq!(ack.durable_replicas, durable, "{concern:?}");
        }
    });
}

#[test]
fn a_batch_of_3_mib_is_taken_where_the_topic_allows_it() {
    block_on(async {
        let server = Server::start_with(&[("topics.max_batch_size", "3MiB")]);
        let mut producer = server.produce("large").await;
        let value = vec![7; BATCH_BYTES_MAX - HEADER_BYTES - 11];
        let largest = batch(&[&value]);
        assert_eq!(largest.len(), BATCH_BYTES_MAX);
        producer.raw(1, largest.clone()).await;
        producer.raw(2, largest).await;
        assert_eq!(producer.ack().await.1.base_offset, 0);
        assert_eq!(producer.ack().await.1.base_offset, 1);
        for format in [v1::RecordFormat::Raw, v1::RecordFormat::Records] {
            let mut consumer = server.consume(from_start("large", format)).await;
            let found = consumer.until_end(1).await;
            assert_eq!(found.len(), 2);
            assert!(found[&(0, 1)] == value);
        }
    });
}

#[test]
fn a_raw_batch_over_4_mib_is_answered_in_place() {
    block_on(async {
        let server = Server::start();
        let mut producer = server.produce("limits").await;
        producer.raw(1, Bytes::from(vec![0; 5 << 20])).await;
        producer.raw(2, batch(&[b"after"])).await;
        let (id, error) = producer.error().await;
        assert_eq!((id, Code::from(error.code)), (1, Code::InvalidArgument));
        assert_eq!(error.reason, "BATCH_TOO_LARGE");
        assert_eq!(
            (&*error.metadata["limit"], &*error.metadata["field"]),
            ("1048576", "raw_batch")
        );
        assert_eq!(producer.ack().await.0, 2);
    });
}

#[test]
fn a_message_over_4_mib_ends_the_stream_after_the_batches_before_it() {
    block_on(async {
        let server = Server::start();
        let channel = server.channel().await;
        let open = || v1::ProduceOpen { topic: "limits".into(), ..Default::default() };
        let mut other = Producer::connect(channel.clone()).await;
        other.send(v1::produce_request::Message::Open(open())).await;
        let mut producer = Producer::connect(channel).await;
        producer.send(v1::produce_request::Message::Open(open())).await;
        producer.raw(1, batch(&[b"before"])).await;
        let records = vec![record(&vec![0; 5 << 20])];
        let content = Some(Content::Records(v1::RecordList { records, first_sequence: 0 }));
        producer.batch(v1::ProduceBatch { request_id: 2, content, ..Default::default() }).await;
        assert_eq!(producer.ack().await.0, 1);
        let status = producer.responses.message().await.expect_err("too large");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains("4194304"), "{status:?}");
        // The connection's other streams are served.
        other.raw(1, batch(&[b"after"])).await;
        assert_eq!(other.ack().await.1.base_offset, 1);
    });
}

#[test]
fn a_stream_is_opened_first_and_once() {
    block_on(async {
        let server = Server::start();
        server.create_topic("t", 1).await;
        let mut producer = Producer::connect(server.channel().await).await;
        producer.raw(1, batch(&[b"x"])).await;
        let status = producer.responses.message().await.expect_err("not opened");
        assert_eq!(status.code(), Code::InvalidArgument);

        let mut producer = server.produce("t").await;
        let again = v1::ProduceOpen { topic: "t".into(), ..Default::default() };
        producer.send(v1::produce_request::Message::Open(again)).await;
        let status = producer.responses.message().await.expect_err("opened twice");
        assert_eq!(status.code(), Code::InvalidArgument);
    });
}

#[test]
fn a_bad_opening_ends_the_stream_with_the_cause() {
    block_on(async {
        let server = Server::start_with(&[("topics.auto_create", "false")]);
        let open = |topic: &str, producer_id: &[u8]| v1::ProduceOpen {
            topic: topic.into(),
            producer_id: producer_id.to_vec().into(),
            producer_epoch: 0,
            ..Default::default()
        };
        let cases = [
            (open("no such topic", b""), Code::InvalidArgument),
            (open("missing", b""), Code::NotFound),
            (open("missing", b"short"), Code::InvalidArgument),
        ];
        for (open, code) in cases {
            let mut producer = server.produce_as(open).await;
            let status = producer.responses.message().await.expect_err("refused");
            assert_eq!(status.code(), code, "{status:?}");
        }
    });
}

#[test]
fn a_retry_of_an_identified_producer_is_answered_with_the_first_offset() {
    block_on(async {
        let server = Server::start();
        let id = ProducerId::random();
        let open = v1::ProduceOpen {
            topic: "once".into(),
            producer_id: id.to_bytes().to_vec().into(),
            producer_epoch: 3,
            ..Default::default()
        };
        let stamp = |first_sequence| ProducerStamp {
            id,
            epoch: ProducerEpoch::new(3),
            first_sequence: Sequence::new(first_sequence),
        };
        let mut producer = server.produce_as(open).await;
        let (first, second) = (batch_of(stamp(0), &[b"a", b"b"]), batch_of(stamp(2), &[b"c"]));
        producer.raw(1, first).await;
        producer.raw(2, second.clone()).await;
        producer.raw(3, second).await;
        assert_eq!(producer.ack().await.1.base_offset, 0);
        assert_eq!(producer.ack().await.1.base_offset, 2);
        let (_, again) = producer.ack().await;
        assert_eq!((again.base_offset, again.duplicate), (2, true));

        producer.raw(4, batch_of(stamp(9), &[b"gap"])).await;
        let (_, error) = producer.error().await;
        assert_eq!(
            (Code::from(error.code), error.reason.as_str()),
            (Code::Aborted, "SEQUENCE_GAP")
        );
        assert_eq!(error.metadata["expected"], "3");
        producer.raw(5, batch(&[b"of nobody"])).await;
        assert_eq!(producer.error().await.1.reason, "INVALID_REQUEST");
    });
}

#[test]
fn what_takes_too_long_is_indeterminate_and_what_finds_no_room_was_not_appended() {
    block_on(async {
        let server = Server::start_with(&[
            ("network.in_flight_per_connection", "4MiB"),
            ("storage.fsync", "interval:1h"),
        ]);
        let mut producer = server.produce("slow").await;
        let value = vec![1; 500_000];
        let mut reasons = Vec::new();
        for request_id in 0..12 {
            let content = Some(Content::RawBatch(batch(&[&value])));
            let batch = v1::ProduceBatch {
                request_id,
                timeout_ms: 20,
                write_concern: Concern::Quorum.into(),
                content,
                ..Default::default()
            };
            producer.batch(batch).await;
            let (found, error) = producer.error().await;
            assert_eq!(found, request_id);
            reasons.push(error.reason);
        }
        // Eight fit, and stay until the log answers; there is no room for a ninth.
        let (indeterminate, refused) = reasons.split_at(8);
        assert!(indeterminate.iter().all(|reason| reason == "INDETERMINATE"), "{reasons:?}");
        assert!(refused.iter().all(|reason| reason == "TOO_MANY_IN_FLIGHT"), "{reasons:?}");
    });
}

#[test]
fn a_fast_producer_with_little_room_loses_nothing() {
    block_on(async {
        let server = Server::start_with(&[("network.in_flight_per_connection", "4MiB")]);
        let mut producer = server.produce("fast").await;
        let value = vec![1; 512 << 10];
        let big = batch(&[&value]);
        let requests = producer.requests.clone();
        let acks = async {
            for request_id in 0..200_u64 {
                let (found, ack) = producer.ack().await;
                assert_eq!((found, ack.base_offset), (request_id, request_id));
            }
        };
        let sends = async {
            for request_id in 0..200 {
                let content = Some(Content::RawBatch(big.clone()));
                let batch = v1::ProduceBatch { request_id, content, ..Default::default() };
                let message = Some(v1::produce_request::Message::Batch(batch));
                requests.send(v1::ProduceRequest { message }).await.expect("open");
            }
        };
        tokio::join!(sends, acks);
    });
}
