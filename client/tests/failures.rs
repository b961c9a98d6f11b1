//! Producer and consumer over connections that break and servers that refuse.
#![expect(clippy::disallowed_types, reason = "the fake is no shard, and blocks nobody")]

mod fake;

use std::{
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use fake::{Fake, Fault};
use forebay_client::{
    AppendError, Client, ConsumerOptions, DeliveryFailure, DeliveryReport, Event, ProducerEpoch,
    ProducerId, ProducerOptions, Record, Resume, StartAt, TimestampMs,
};
use forebay_format::{Offset, PartitionIndex};

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
