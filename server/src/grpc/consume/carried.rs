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
    /// Each with the partitions that are read through it.
    calls: Vec<(Call, BTreeMap<u32, Reading>)>,
    /// How often calls were told to seek. Their seeks are counted by us: a client may use a number twice.
    seeks: u64,
    /// Which of them was asked last: they take turns.
    turn: usize,
    /// Partitions of calls that have ended, to be told of.
    lost: VecDeque<Carriage>,
}

/// A partition that is read through a call.
struct Reading {
    /// The client's seek; 0: its subscription.
    seek_id: u64,
    /// That of the call; 0: the call's subscription.
    sought: u64,
    /// Where it begins, as long as the other node has not said that it stands there: whatever comes before is of
    /// an earlier seek.
    start: Option<v1::StartPosition>,
}

/// What has come.
pub(super) enum Carriage {
    /// A message for the client: what it says, with the client's own seek, and as it came.
    Message { from: Destination, message: Wire, encoded: Bytes },
    /// The partition is not read any more. With a start, nothing of it has come.
    Lost {
        partition: u32,
        seek_id: u64,
        start: Option<v1::StartPosition>,
        from: Destination,
        problem: String,
    },
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
        if let Some((call, partitions)) = self.calls.iter_mut().find(|(call, _)| call.to == to) {
            self.seeks += 1;
            let sought = self.seeks;
            let seek = v1::Seek { partition, start: Some(start), seek_id: sought };
            call.send(None, request(Wish::Seek(seek)), None);
            partitions.insert(partition, Reading { seek_id, sought, start: Some(start) });
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
        let reading = Reading { seek_id, sought: 0, start: Some(start) };
        self.calls.push((call, [(partition, reading)].into()));
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
        if let Some(lost) = self.lost.pop_front() {
            return Poll::Ready(lost);
        }
        for _ in 0..self.calls.len() {
            self.turn = (self.turn + 1) % self.calls.len();
            let (call, partitions) = &mut self.calls[self.turn];
            let from = call.to;
            // Until it has nothing more: a call that was ready does not wake anybody.
            while let Poll::Ready(next) = call.poll_message(cx) {
                let problem = match next {
                    Ok(encoded) => match decode(&encoded) {
                        Ok(None) => continue,
                        Ok(Some(message)) => {
                            let Some(message) = take(partitions, message) else { continue };
                            if partitions.is_empty() {
                                self.calls.swap_remove(self.turn);
                            }
                            return Poll::Ready(Carriage::Message { from, message, encoded });
                        }
                        Err(problem) => problem.to_string(),
                    },
                    Err((CallEnd::Said(status), _)) => status.message().to_owned(),
                    Err((CallEnd::Broken(problem), _)) => problem,
                };
                return self.lose(self.turn, &problem);
            }
        }
        Poll::Pending
    }

    /// A call has ended, and what was read through it is not any more.
    fn lose(&mut self, at: usize, problem: &str) -> Poll<Carriage> {
        let (Call { to: from, .. }, partitions) = self.calls.swap_remove(at);
        self.lost.extend(partitions.into_iter().map(|(partition, reading)| {
            let Reading { seek_id, start, .. } = reading;
            Carriage::Lost { partition, seek_id, start, from, problem: problem.to_owned() }
        }));
        let lost = self.lost.pop_front();
        Poll::Ready(lost.expect("no call is kept without a partition"))
    }
}

/// What the client is to be told of a message. `None`: it is of an earlier seek, or of a partition that is not
/// read there any more.
fn take(partitions: &mut BTreeMap<u32, Reading>, message: Wire) -> Option<Wire> {
    let partition = partition_of(&message)?;
    let reading = partitions.get_mut(&partition)?;
    match message {
        Wire::Positioned(it) => {
            let seek_id = reading.seek_id;
            (it.seek_id == reading.sought).then(|| {
                reading.start = None;
                Wire::Positioned(v1::Positioned { seek_id, ..it })
            })
        }
        Wire::Error(it) => {
            let seek_id = reading.seek_id;
            (it.seek_id == reading.sought).then(|| {
                partitions.remove(&partition);
                Wire::Error(v1::PartitionError { seek_id, ..it })
            })
        }
        message => reading.start.is_none().then_some(message),
    }
}

fn decode(encoded: &Bytes) -> Result<Option<Wire>, prost::DecodeError> {
    v1::ConsumeResponse::decode(encoded.clone()).map(|response| response.message)
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::grpc::carry::Other;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn reading(seek_id: u64, sought: u64) -> Reading {
        Reading { seek_id, sought, start: Some(v1::StartPosition::default()) }
    }

    fn to(node: u32) -> Destination {
        Destination { node: forebay_format::NodeId::new(node), shard: 0 }
    }

    fn says(other: &Other, message: Wire) {
        other.says(&v1::ConsumeResponse { message: Some(message) });
    }

    fn positioned(seek_id: u64) -> Wire {
        Wire::Positioned(v1::Positioned { partition: 1, seek_id, ..Default::default() })
    }

    fn watermark(committed_offset: u64) -> Wire {
        Wire::Watermark(v1::Watermark { partition: 1, earliest_offset: 0, committed_offset })
    }

    fn error(seek_id: u64) -> Wire {
        Wire::Error(v1::PartitionError { partition: 1, error: None, seek_id })
    }

    /// Everything that is there.
    fn polled(carried: &mut Carried, waker: &Waker) -> Vec<Option<Wire>> {
        let count = Cell::new(0);
        let next = || {
            count.set(count.get() + 1);
            assert!(count.get() < 99, "an end");
            match carried.poll(&mut Context::from_waker(waker)) {
                Poll::Ready(Carriage::Message { message, .. }) => Some(Some(message)),
                Poll::Ready(Carriage::Lost { .. }) => Some(None),
                Poll::Pending => None,
            }
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_comes_behind_something_that_is_for_nobody_wakes_the_stream() {
        for idle_is_first in [false, true] {
            let (idle, other) = (Other::default(), Other::default());
            let mut carried = Carried::default();
            carried.calls.push((idle.call(to(2)), [(0, reading(0, 0))].into()));
            carried.calls.push((other.call(to(3)), [(1, reading(0, 0))].into()));
            if !idle_is_first {
                carried.calls.swap(0, 1);
            }
            says(&other, Wire::Draining(v1::Draining::default()));
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            assert_eq!(polled(&mut carried, &waker), []);
            other.ends(None);
            assert_eq!(woken.0.load(Ordering::Relaxed), 1, "{idle_is_first}");
            assert_eq!(polled(&mut carried, &waker), [None], "the partition is lost");
            assert_eq!(carried.calls.len(), 1);
        }
    }

    #[test]
    fn what_comes_before_a_seek_was_heard_is_dropped_and_the_client_sees_its_own_number() {
        let other = Other::default();
        let mut carried = Carried::default();
        let readings = [(0, reading(0, 0)), (1, reading(7, 2))];
        carried.calls.push((other.call(to(2)), readings.into()));
        says(&other, watermark(1));
        says(&other, positioned(1));
        says(&other, watermark(2));
        says(&other, error(1));
        says(&other, positioned(2));
        says(&other, watermark(3));
        says(&other, error(0));
        says(&other, error(2));
        says(&other, watermark(4));
        let found = polled(&mut carried, Waker::noop());
        assert_eq!(found, [positioned(7), watermark(3), error(7)].map(Some));
        let (_, left) = &carried.calls[0];
        assert!(left.keys().eq([&0]));
    }
}
