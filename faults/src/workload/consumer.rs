//! A consumer through the Rust client, which follows the leaders.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_checker::{ConsumerId, Event, Record};
use forebay_client::{Client, ConsumerOptions};
use forebay_format::{Epoch, Offset};

use super::idempotent::SOMEBODY;
use super::load::Surroundings;
use super::record::value_of;

const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// Reads a topic from its start until the load stops.
pub(super) async fn run(around: Arc<Surroundings>, client: Client, topic: usize) {
    let name = around.topics.all[topic].name.clone();
    let mut consumer = loop {
        if around.is_over() {
            return;
        }
        match client.consumer(&name, ConsumerOptions::default()).await {
            Ok(consumer) => break consumer,
            Err(_unreachable) => tokio::time::sleep(REOPEN_PAUSE).await,
        }
    };
    let mut places: BTreeMap<u32, (usize, ConsumerId)> = BTreeMap::new();
    for partition in 0..around.topics.all[topic].partitions {
        let Some(place) = around.topics.place(topic, partition) else { continue };
        let consumer = around.recorder.consumer();
        around.recorder.push(place, Event::ConsumerStarted { consumer, at: Offset::ZERO });
        places.insert(partition, (place, consumer));
    }
    loop {
        let next = tokio::select! {
            next = consumer.next_batch() => next,
            () = around.over() => return,
        };
        let batch = match next {
            Ok(batch) => batch,
            Err(error) => {
                // Nothing that happens here is worth giving up for.
                let text = crate::error::with_causes(&error);
                around.recorder.find(&format!("a consumer of the client gave up: {text}"));
                return;
            }
        };
        let Some((place, consumer)) = places.get(&batch.partition().get()) else { continue };
        let epoch = Epoch::new(batch.header().leader.epoch.get());
        let read: Result<Vec<Record>, _> = batch.records().and_then(|records| {
            let record = |one: Result<_, _>| {
                one.map(|(offset, record): (Offset, forebay_client::RecordRef<'_>)| Record {
                    offset,
                    epoch,
                    value: value_of(record.value),
                })
            };
            records.map(record).collect()
        });
        match read {
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                let event = Event::Read { consumer: *consumer, from: SOMEBODY, records };
                around.recorder.push(*place, event);
            }
            Err(error) => around.recorder.find(&format!("a consumer got a damaged batch: {error}")),
        }
    }
}
