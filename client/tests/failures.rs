//! Producer and consumer over connections that break and servers that refuse.
#![expect(clippy::disallowed_types, reason = "the fake is no shard, and blocks nobody")]

mod fake;

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use fake::{ConsumeCall, Fake, Fault, Then};
use forebay_client::{
    AppendError, Client, Consumer, ConsumerOptions, CreateTopicError, DeliveryFailure,
    DeliveryReport, Event, MetadataError, NewTopic, OpenError, OutOfRange, ProducerEpoch,
    ProducerId, ProducerOptions, Record, Resume, StartAt, TimestampMs,
};
use forebay_format::{Offset, PartitionIndex};
use forebay_proto::v1::{
    self, consume_request::Message as Wish, consume_response::Message as Told,
    start_position::Position,
};
use tonic::Code;

/// Small batches, so that many of them are under way.
fn small_batches() -> ProducerOptions {
    ProducerOptions {
        batch_bytes: 300,
        linger: Duration::from_millis(1),
        in_flight: 64,
        buffer_bytes: 64 * 1024,
        ..ProducerOptions::default()
    }
}

async fn produce(fake: &Fake, records: Range<u64>) -> Vec<(u64, u64)> {
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let acks = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&acks);
    let report = move |report: DeliveryReport| {
        let ack = report.expect("every batch gets through in the end");
        let place = (ack.first_sequence, ack.base_offset.get());
        seen.lock().expect("not poisoned").push(place);
    };
    let producer =
        client.producer_with_reports("t", small_batches(), report).await.expect("topic is made");
    for number in records {
        producer.send(&Record::of(number.to_string().as_bytes())).await.expect("accepted");
    }
    producer.flush().await.expect("all acknowledged");
    drop(producer);
    let acks = acks.lock().expect("not poisoned");
    acks.clone()
}

fn numbers(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| number.to_string().into_bytes()).collect()
}

async fn every_record_is_there_once_and_in_order(plan: impl FnMut(u64) -> Fault + Send + 'static) {
    let fake = Fake::start(plan).await;
    let acks = produce(&fake, 0..3000).await;
    assert!(fake.values("t", 0) == numbers(3000), "lost, doubled or out of order");
    assert!(acks.iter().all(|(sequence, offset)| sequence == offset), "wrong offsets");
    assert!(acks.is_sorted(), "reports out of order");
}

#[tokio::test]
async fn connections_that_break_cost_no_record() {
    every_record_is_there_once_and_in_order(|arrival| match arrival % 71 {
        35 => Fault::CutAfterAppend,
        70 => Fault::CutBeforeAppend,
        _ => Fault::None,
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_costs_no_record() {
    every_record_is_there_once_and_in_order(|arrival| match arrival {
        // The very first ones among them: the producer is not known then.
        0..30 | 100..200 | 300 => Fault::DiskFull,
        _ => Fault::None,
    })
    .await;
}

#[tokio::test]
async fn unknown_outcomes_double_no_record() {
    every_record_is_there_once_and_in_order(|arrival| match arrival % 97 {
        40 | 41 => Fault::Indeterminate,
        _ => Fault::None,
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_killed_and_comes_back_costs_no_record() {
    let mut fake = Fake::start(|_| Fault::None).await;
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let producer = client.producer("t", small_batches()).await.expect("topic is made");
    for number in 0..2000_u64 {
        if matches!(number, 500 | 1100) {
            fake.kill().await;
            producer.try_send(&Record::of(number.to_string().as_bytes())).expect("there is room");
            fake.listen().await;
        } else {
            producer.send(&Record::of(number.to_string().as_bytes())).await.expect("accepted");
        }
    }
    producer.flush().await.expect("all acknowledged");
    assert!(fake.values("t", 0) == numbers(2000), "lost, doubled or out of order");
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_left_to_the_node_that_can() {
    let fake = Fake::start(|_| Fault::None).await;
    // Nobody listens on port 1.
    fake.lead_elsewhere("127.0.0.1:1");
    let acks = produce(&fake, 0..300).await;
    assert!(fake.values("t", 0) == numbers(300), "lost, doubled or out of order");
    assert!(acks.is_sorted(), "reports out of order");
    let no_carry = fake.no_carry();
    assert!(!no_carry.contains(&true), "it is to be carried: {no_carry:?}");
}

#[tokio::test]
async fn who_reaches_the_leader_is_not_carried() {
    let fake = Fake::start(|_| Fault::None).await;
    produce(&fake, 0..30).await;
    // The first stream only makes the topic.
    assert_eq!(fake.no_carry().last(), Some(&true));
}

#[tokio::test]
async fn a_resumed_producer_doubles_nothing_that_the_earlier_one_had_sent() {
    let fake = Fake::start(|_| Fault::None).await;
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let partition = PartitionIndex::new(0);
    let send = async |numbers: Range<u64>| {
        let resume = Resume {
            id: ProducerId::from_u128(77),
            epoch: ProducerEpoch::ZERO,
            next_sequences: [(partition, numbers.start)].into(),
        };
        let options = ProducerOptions { resume: Some(resume), ..small_batches() };
        let producer = client.producer("t", options).await.expect("topic is made");
        for number in numbers {
            let text = number.to_string();
            let timestamp = Some(TimestampMs::new(5));
            let record = Record { timestamp, ..Record::of(text.as_bytes()).to(partition) };
            producer.append(&record).await.expect("acknowledged, as new or as known");
        }
    };
    send(0..7).await;
    send(4..10).await;
    assert_eq!(fake.values("t", 0), numbers(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_on_several_threads_too() {
    every_record_is_there_once_and_in_order(|arrival| match arrival % 211 {
        100 => Fault::CutAfterAppend,
        _ => Fault::None,
    })
    .await;
}

#[tokio::test]
async fn a_refusal_for_good_names_the_records_and_ends_the_partition() {
    let fake = Fake::start(|arrival| if arrival == 1 { Fault::Invalid } else { Fault::None }).await;
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let producer = client.producer("t", small_batches()).await.expect("topic is made");
    let first = producer.append(&Record::of(b"good")).await.expect("acknowledged");
    assert_eq!(first.offset, Offset::new(0));
    let error = producer.append(&Record::of(b"bad")).await.expect_err("refused");
    let AppendError::Delivery { ticket, cause } = error else { panic!("{error}") };
    assert_eq!(ticket.sequence, 1);
    let DeliveryFailure::Refused(refusal) = &*cause else { panic!("{cause}") };
    assert_eq!(refusal.reason, "BATCH_TOO_LARGE");
    let error = producer.append(&Record::of(b"late")).await.expect_err("the partition is closed");
    assert!(matches!(error, AppendError::Send(_)), "{error}");
    let error = producer.flush().await.expect_err("flush remembers");
    assert_eq!((error.first_sequence, error.record_count), (1, 1));
}

#[tokio::test]
async fn a_delivery_deadline_ends_the_waiting() {
    let mut fake = Fake::start(|_| Fault::None).await;
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let options = ProducerOptions {
        delivery_deadline: Some(Duration::from_millis(300)),
        ..ProducerOptions::default()
    };
    let producer = client.producer("t", options).await.expect("topic is made");
    fake.kill().await;
    let error = producer.append(&Record::of(b"x")).await.expect_err("nobody is there");
    let AppendError::Delivery { cause, .. } = error else { panic!("{error}") };
    assert!(matches!(&*cause, DeliveryFailure::DeadlineExceeded { .. }), "{cause}");
}

#[tokio::test]
async fn records_go_to_the_partition_they_name_or_that_of_their_key() {
    let fake = Fake::start(|_| Fault::None).await;
    fake.create("t", 5);
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let producer = client.producer("t", small_batches()).await.expect("the topic exists");
    let named = Record::of(b"named").to(PartitionIndex::new(3));
    assert_eq!(producer.append(&named).await.expect("acked").partition.get(), 3);
    // murmur2("foobar") = -790332482 → 1357151166 without the sign, modulo 5.
    let keyed = Record::of(b"keyed").with_key(b"foobar");
    assert_eq!(producer.append(&keyed).await.expect("acked").partition.get(), 1);
    let nowhere = Record::of(b"x").to(PartitionIndex::new(5));
    assert!(producer.append(&nowhere).await.is_err());
}

#[tokio::test]
async fn a_consumer_goes_on_behind_the_last_record_over_broken_connections() {
    let mut fake = Fake::start(|_| Fault::None).await;
    produce(&fake, 0..10).await;
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let options =
        ConsumerOptions { start: StartAt::Offset(Offset::new(5)), ..ConsumerOptions::default() };
    let mut consumer = client.consumer("t", options).await.expect("the topic exists");
    let mut next = 5_u64;
    for (start, end) in [(10, 10), (10, 700), (700, 1400), (1400, 2000)] {
        produce(&fake, start..end).await;
        while next < end {
            let Event::Batch(batch) = consumer.next().await.expect("readable") else { continue };
            for record in batch.records().expect("not compressed") {
                let (offset, record) = record.expect("well formed");
                assert_eq!(offset.get(), next);
                assert_eq!(record.value, Some(next.to_string().as_bytes()));
                next += 1;
            }
        }
        // Nothing is left to be read from the connection that is now cut.
        fake.kill().await;
        fake.listen().await;
    }
}

/// A client that knows the fake under two names.
fn client_of_two_endpoints(fake: &Fake) -> Client {
    let address = fake.address();
    let other = address.replace("127.0.0.1", "localhost");
    Client::without_connecting([address, other]).expect("two addresses")
}

#[tokio::test]
async fn a_connection_that_breaks_during_a_call_is_no_refusal() {
    let fake = Fake::start(|_| Fault::None).await;
    fake.create("t", 1);
    fake.leave_unanswered("GetMetadata", Then::NotDone);
    let found = client_of_two_endpoints(&fake).admin().metadata(&["t"]).await;
    assert_eq!(found.expect("the other endpoint answers").topics.len(), 1);
    fake.leave_unanswered("GetMetadata", Then::NotDone);
    let alone = Client::without_connecting([fake.address()]).expect("an address");
    let error = alone.admin().metadata(&["t"]).await.expect_err("nobody answers");
    assert!(matches!(error, MetadataError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_not_asked_for_again() {
    let fake = Fake::start(|_| Fault::None).await;
    fake.leave_unanswered("CreateTopic", Then::Done);
    let topic = NewTopic { name: "t".to_owned(), ..NewTopic::default() };
    let client = client_of_two_endpoints(&fake);
    let error = client.admin().create_topic(topic).await.expect_err("nobody knows");
    assert!(matches!(error, CreateTopicError::Unreachable(_)), "{error}");
    assert!(fake.values("t", 0).is_empty(), "it was made");
}

#[tokio::test]
async fn a_change_goes_to_another_endpoint_when_the_first_is_not_there() {
    let mut dead = Fake::start(|_| Fault::None).await;
    dead.kill().await;
    let fake = Fake::start(|_| Fault::None).await;
    let client = Client::without_connecting([dead.address(), fake.address()]).expect("addresses");
    let topic = NewTopic { name: "t".to_owned(), ..NewTopic::default() };
    client.admin().create_topic(topic).await.expect("the other endpoint makes it");
}

#[tokio::test]
async fn a_producer_does_not_take_a_broken_connection_for_a_missing_topic() {
    let fake = Fake::start(|_| Fault::None).await;
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    fake.leave_unanswered("Produce", Then::NotDone);
    let error = client.producer("t", small_batches()).await.expect_err("nobody made it");
    assert!(matches!(error, OpenError::Metadata(MetadataError::Unreachable(_))), "{error}");
    // The answer alone was lost: the topic is there.
    fake.leave_unanswered("Produce", Then::Done);
    client.producer("t", small_batches()).await.expect("the topic was made");
}

const P0: PartitionIndex = PartitionIndex::new(0);

/// A consumer that is read all the time, and its first stream, which the test answers.
async fn consumer_by_hand(
    fake: &Fake,
    out_of_range: OutOfRange,
) -> (Consumer, tokio::sync::mpsc::Receiver<ConsumeCall>) {
    fake.create("t", 2);
    let calls = fake.consume_calls();
    let client = Client::connect([fake.address()]).await.expect("the fake answers");
    let options = ConsumerOptions { out_of_range, ..ConsumerOptions::default() };
    (client.consumer("t", options).await.expect("the topic exists"), calls)
}

fn stopped(partition: u32, code: Code, seek_id: u64) -> Told {
    let retry_after_ms = u32::from(code == Code::Unavailable);
    let reason = "TEST".to_owned();
    let error = v1::Error { code: code.into(), reason, retry_after_ms, ..Default::default() };
    Told::Error(v1::PartitionError { partition, error: Some(error), seek_id })
}

fn caught_up(partition: u32, committed_offset: u64) -> Told {
    Told::Watermark(v1::Watermark { partition, earliest_offset: 0, committed_offset })
}

fn seek_of(wish: Option<Wish>) -> v1::Seek {
    match wish {
        Some(Wish::Seek(seek)) => seek,
        other => panic!("no seek: {other:?}"),
    }
}

/// Reads until the end of a partition is told, and returns that end.
async fn end(consumer: &mut Consumer) -> (u32, u64) {
    loop {
        if let Event::CaughtUp { partition, committed, .. } = consumer.next().await.expect("fine") {
            return (partition.get(), committed.get());
        }
    }
}

#[tokio::test]
async fn a_partition_that_stops_for_a_while_goes_on_on_the_stream_of_the_others() {
    let fake = Fake::start(|_| Fault::None).await;
    let (mut consumer, mut calls) = consumer_by_hand(&fake, OutOfRange::Fail).await;
    let server = async {
        let mut call = calls.recv().await.expect("a stream");
        assert!(matches!(call.request().await, Some(Wish::Subscribe(_))));
        for round in 1..=3 {
            call.answer(stopped(0, Code::Unavailable, round - 1)).await;
            let seek = seek_of(call.request().await);
            let Position::Anchor(_) = seek.start.expect("set").position.expect("set") else {
                panic!("it had not begun");
            };
            assert_eq!((seek.partition, seek.seek_id), (0, round));
        }
        call.answer(Told::Positioned(v1::Positioned { seek_id: 3, ..Default::default() })).await;
        call.answer(caught_up(0, 7)).await;
        call
    };
    let (_call, end) = tokio::join!(server, end(&mut consumer));
    assert_eq!(end, (0, 7));
    assert!(calls.try_recv().is_err(), "another stream was opened");
}

#[tokio::test]
async fn a_stream_that_reads_nothing_any_more_is_closed() {
    let fake = Fake::start(|_| Fault::None).await;
    let (mut consumer, mut calls) = consumer_by_hand(&fake, OutOfRange::Fail).await;
    let server = async {
        let mut call = calls.recv().await.expect("a stream");
        assert!(matches!(call.request().await, Some(Wish::Subscribe(_))));
        for partition in [0, 1] {
            call.answer(stopped(partition, Code::DataLoss, 0)).await;
        }
        assert!(call.request().await.is_none(), "the stream is still asked for something");
    };
    let reader = async {
        for _ in [0, 1] {
            consumer.next().await.expect_err("it was stopped");
        }
        // Still there: it can be told to go on.
        consumer.position(P0)
    };
    tokio::join!(server, reader);
}

#[tokio::test]
async fn the_end_of_what_was_before_a_seek_does_not_end_the_partition() {
    let fake = Fake::start(|_| Fault::None).await;
    let (mut consumer, mut calls) = consumer_by_hand(&fake, OutOfRange::Fail).await;
    // On a stream that is still being opened: it is remembered.
    consumer.seek(P0, StartAt::Offset(Offset::new(5)));
    let server = async {
        let mut call = calls.recv().await.expect("a stream");
        let Some(Wish::Subscribe(subscribe)) = call.request().await else { panic!("no wish") };
        assert_eq!(subscribe.partitions.len(), 2);
        call.answer(stopped(0, Code::OutOfRange, 0)).await;
        let seek = seek_of(call.request().await);
        assert_eq!(seek.start.expect("set").position, Some(Position::Offset(5)));
        let seek_id = seek.seek_id;
        call.answer(Told::Positioned(v1::Positioned { offset: 5, seek_id, ..Default::default() }))
            .await;
        call.answer(caught_up(0, 9)).await;
        call
    };
    let (call, end) = tokio::join!(server, end(&mut consumer));
    assert_eq!(end, (0, 9));
    // The end of what it wants now is one.
    call.answer(stopped(0, Code::OutOfRange, 1)).await;
    consumer.next().await.expect_err("it was stopped");
    assert!(calls.try_recv().is_err(), "another stream was opened");
}

#[tokio::test]
async fn a_reader_that_is_overtaken_goes_on_at_the_earliest_record_on_the_same_stream() {
    let fake = Fake::start(|_| Fault::None).await;
    let (mut consumer, mut calls) = consumer_by_hand(&fake, OutOfRange::Earliest).await;
    let server = async {
        let mut call = calls.recv().await.expect("a stream");
        assert!(matches!(call.request().await, Some(Wish::Subscribe(_))));
        for round in 1..=3 {
            call.answer(stopped(1, Code::OutOfRange, round - 1)).await;
            let seek = seek_of(call.request().await);
            let offset = 10 * round;
            let seek_id = seek.seek_id;
            assert_eq!((seek.partition, seek_id), (1, round));
            call.answer(Told::Positioned(v1::Positioned {
                partition: 1,
                offset,
                seek_id,
                carried_to: None,
            }))
            .await;
        }
        call.answer(caught_up(1, 30)).await;
        call
    };
    let (_call, end) = tokio::join!(server, end(&mut consumer));
    assert_eq!(end, (1, 30));
    assert!(calls.try_recv().is_err(), "another stream was opened");
}
