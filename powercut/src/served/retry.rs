//! What a client does that outlives the power cut: it sends again, as the same producer, what had
//! not been acknowledged. Which batches these were is known from the recording, where they were
//! acknowledged later. Pure.

use std::collections::BTreeMap;

use super::fact::{Fact, Incarnation};
use super::record::StreamId;
use super::stream::Sender;
use crate::disk::Position;
use crate::subject::Stamped;

/// So many batches are sent again per stream. The server remembers more of each producer.
const BATCHES_PER_STREAM: usize = 6;

/// A producer to be taken up.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) incarnation: Incarnation,
    /// Where it stands: everything before was acknowledged before the cut.
    pub(super) sender: Sender,
    /// Partitions with the record counts of their next batches, in order.
    pub(super) batches: Vec<(u32, Vec<u32>)>,
}

/// The producers that had something under way at the cut, or might have had.
pub(super) fn retries(facts: &[Stamped<Fact>], cut: Position) -> Vec<Retry> {
    let mut acknowledged: BTreeMap<StreamId, u64> = BTreeMap::new();
    let mut later: BTreeMap<StreamId, BTreeMap<u64, u32>> = BTreeMap::new();
    for Stamped { at, fact } in facts {
        let Fact::Appended { stream, first, count, .. } = fact else { continue };
        if *at <= cut {
            acknowledged.insert(*stream, first + u64::from(*count));
        } else {
            later.entry(*stream).or_default().insert(*first, *count);
        }
    }
    let mut retries = Vec::new();
    for Stamped { at, fact } in facts {
        let Fact::ProducerOpened { producer, incarnation, streams } = fact else { continue };
        if *at > cut {
            continue;
        }
        let at_cut = |stream| acknowledged.get(&stream).copied().unwrap_or_default();
        let batches: Vec<(u32, Vec<u32>)> = (0..)
            .zip(streams)
            .map(|(partition, stream)| {
                let batches = later.get(stream).map(|later| next_batches(later, at_cut(*stream)));
                (partition, batches.unwrap_or_default())
            })
            .filter(|(_, batches)| !batches.is_empty())
            .collect();
        if !batches.is_empty() {
            let streams = streams.iter().map(|stream| (*stream, at_cut(*stream))).collect();
            let sender = Sender { producer: *producer, streams };
            retries.push(Retry { incarnation: *incarnation, sender, batches });
        }
    }
    retries
}

fn next_batches(later: &BTreeMap<u64, u32>, mut next: u64) -> Vec<u32> {
    let mut counts = Vec::new();
    while let Some(count) = later.get(&next).filter(|_| counts.len() < BATCHES_PER_STREAM) {
        counts.push(*count);
        next += u64::from(*count);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_after_the_cut_is_sent_again_in_the_same_batches() {
        let incarnation = Incarnation(0);
        let appended =
            |stream, first, count| Fact::Appended { stream, first, count, base_offset: 0 };
        let facts = [
            Fact::ProducerOpened { producer: 9, incarnation, streams: vec![2, 4] },
            appended(2, 0, 5),
            appended(2, 5, 3),
            appended(4, 0, 1),
            appended(2, 8, 2),
        ];
        let facts: Vec<Stamped<Fact>> =
            (0..).zip(facts).map(|(at, fact)| Stamped { at: Position::new(at), fact }).collect();
        let [retry] = &retries(&facts, Position::new(1))[..] else { panic!("one producer") };
        assert_eq!(retry.sender.streams, [(2, 5), (4, 0)]);
        assert_eq!(retry.batches, [(0, vec![3, 2]), (1, vec![1])]);
        assert_eq!(retries(&facts, Position::new(4)).len(), 0);
    }
}
