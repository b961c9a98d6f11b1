//! Partitions of a stream that are read on other nodes: one call to each shard that has some of them, whose
//! messages go to the client as they come.
//!
//! A call is read from only when there is room for what it sends, and then by HTTP/2 sends no more.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use forebay_proto::v1;
use forebay_proto::v1::consume_response::Message as Wire;
use prost::Message;

use super::CONSUME;
use super::subscription::{Format, Subscription};
use crate::grpc::carry::{Call, CallEnd, Destination};
use crate::grpc::frame;
use crate::grpc::services::Services;

/// See the module.
#[derive(Default)]
pub(super) struct Carried {
    /// Each with the partitions that are read through it, and since which seek.
    calls: Vec<(Call, BTreeMap<u32, u64>)>,
    /// Which of them was asked last: they take turns.
    turn: usize,
    /// Partitions of calls that have ended, to be told of.
    lost: VecDeque<Carriage>,
}

/// What has come.
pub(super) enum Carriage {
    /// A message for the client: what it says, and as it came.
    Message { from: Destination, message: Wire, encoded: Bytes },
    /// The partition is not read any more.
    Lost { partition: u32, seek_id: u64, from: Destination, problem: String },
}

impl Carried {
    /// Reads a partition there.
    pub(super) fn open(
        &mut self,
        services: &Services,
        to: Destination,
        subscription: &Subscription,
        (partition, start, seek_id): (u32, v1::StartPosition, u64),
    ) {
        use v1::consume_request::Message as Wish;
        self.stop(partition);
        let seek = Wish::Seek(v1::Seek { partition, start: Some(start), seek_id });
        if let Some((call, partitions)) = self.calls.iter_mut().find(|(call, _)| call.to == to) {
            call.send(None, request(seek), None);
            partitions.insert(partition, seek_id);
            return;
        }
        let replicas = services.replicas.clone().expect("only among others is anything carried");
        let mut call = Call::new(replicas, to, CONSUME);
        let format = match subscription.format {
            Format::Raw => v1::RecordFormat::Raw,
            Format::Records => v1::RecordFormat::Records,
        };
        let subscribe = Wish::Subscribe(v1::Subscribe {
            topic: subscription.topic.topic.name.to_string(),
            topic_id: subscription.topic.topic.id.to_string(),
            partitions: vec![v1::PartitionStart { partition, start: Some(start) }],
            format: format.into(),
            ..v1::Subscribe::default()
        });
        call.send(None, request(subscribe), None);
        if seek_id != 0 {
            call.send(None, request(seek), None);
        }
        self.calls.push((call, [(partition, seek_id)].into()));
    }

    /// Reads a partition there no more. What still comes of it is dropped.
    pub(super) fn stop(&mut self, partition: u32) {
        for (_, partitions) in &mut self.calls {
            partitions.remove(&partition);
        }
        self.calls.retain(|(_, partitions)| !partitions.is_empty());
    }

    /// What comes next.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Carriage> {
        let mut pending = 0;
        loop {
            if let Some(lost) = self.lost.pop_front() {
                return Poll::Ready(lost);
            }
            if pending >= self.calls.len() {
                return Poll::Pending;
            }
            self.turn = (self.turn + 1) % self.calls.len();
            let (call, partitions) = &mut self.calls[self.turn];
            let from = call.to;
            match call.poll_message(cx) {
                Poll::Pending => pending += 1,
                Poll::Ready(Ok(encoded)) => {
                    let Some(message) = decode(&encoded) else { continue };
                    if !partition_of(&message).is_some_and(|one| partitions.contains_key(&one)) {
                        continue;
                    }
                    if let Wire::Error(error) = &message {
                        partitions.remove(&error.partition);
                    }
                    return Poll::Ready(Carriage::Message { from, message, encoded });
                }
                Poll::Ready(Err((end, _))) => {
                    let (_, partitions) = self.calls.swap_remove(self.turn);
                    let problem = match end {
                        CallEnd::Said(status) => status.message().to_owned(),
                        CallEnd::Broken(problem) => problem,
                    };
                    self.lost.extend(partitions.into_iter().map(|(partition, seek_id)| {
                        Carriage::Lost { partition, seek_id, from, problem: problem.clone() }
                    }));
                }
            }
        }
    }
}

fn decode(encoded: &Bytes) -> Option<Wire> {
    v1::ConsumeResponse::decode(encoded.clone()).ok()?.message
}

/// `None`: it is for whoever asked the other node, and not for its client.
fn partition_of(message: &Wire) -> Option<u32> {
    Some(match message {
        Wire::Batches(it) => it.partition,
        Wire::Records(it) => it.partition,
        Wire::Watermark(it) => it.partition,
        Wire::Error(it) => it.partition,
        Wire::Positioned(it) => it.partition,
        Wire::Draining(_) => return None,
    })
}

fn request(message: v1::consume_request::Message) -> Bytes {
    let mut frame = BytesMut::new();
    let start = frame::begin_message(&mut frame);
    let request = v1::ConsumeRequest { message: Some(message) };
    request.encode(&mut frame).expect("a buffer grows as it needs to");
    frame::end_message(&mut frame, start, 0);
    frame.freeze()
}
