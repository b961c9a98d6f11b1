//! Records that nobody wrote, or that are there twice. The checker asks that of producers with an identity only, because
//! others may send again; here no client does, so that every value is sent exactly once.

use std::collections::BTreeSet;

use forebay_checker::{Event, FinalReplica, History, Value};
use forebay_format::NodeId;

/// What is wrong with the logs at the end of a history, in words.
pub(crate) fn strays(history: &History) -> Vec<String> {
    let mut sent = BTreeSet::new();
    let mut found = Vec::new();
    for (_, _, event) in history.iter() {
        match event {
            Event::Produce(produce) => sent.extend(produce.values.iter().copied()),
            Event::Ended { replicas, .. } => {
                found.extend(replicas.iter().flat_map(|replica| of(replica, &sent)));
            }
            _ => {}
        }
    }
    found
}

fn of(replica: &FinalReplica, sent: &BTreeSet<Value>) -> Vec<String> {
    let FinalReplica { node, log, .. } = replica;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for record in &log.records {
        if !sent.contains(&record.value) {
            found.push(told(
                *node,
                record.offset,
                record.value,
                "was sent by nobody to this partition",
            ));
        } else if !seen.insert(record.value) {
            found.push(told(
                *node,
                record.offset,
                record.value,
                "was sent once and is there twice",
            ));
        }
    }
    found
}

fn told(node: NodeId, offset: forebay_format::Offset, Value(value): Value, what: &str) -> String {
    format!("node {node} has at {offset} the value {value}, which {what}")
}

#[cfg(test)]
mod tests {
    use forebay_checker::{AttemptId, LogView, Produce, Record, WriteConcern};
    use forebay_format::{Epoch, Offset};

    use super::*;

    fn history(sent: &[u64], there: &[u64]) -> History {
        let mut history = History::new();
        let values = sent.iter().copied().map(Value).collect();
        let (attempt, concern) = (AttemptId(1), WriteConcern::Quorum);
        history.push(1, Event::Produce(Produce { attempt, values, concern, stamp: None }));
        let records = (0..).zip(there).map(|(offset, value)| Record {
            offset: Offset::new(offset),
            epoch: Epoch::new(1),
            value: Value(*value),
        });
        let end = Offset::new(there.len() as u64);
        let log = LogView { log_start: Offset::ZERO, committed: end, records: records.collect() };
        let replicas = vec![FinalReplica { node: NodeId::new(1), end, log }];
        history.push(2, Event::Ended { bound_ms: 0, replicas });
        history
    }

    #[test]
    fn what_was_sent_once_is_there_once_and_nothing_else_is() {
        assert_eq!(strays(&history(&[5, 6, 7], &[5, 7])), [""; 0]);
        let twice = strays(&history(&[5, 6], &[5, 6, 5]));
        assert!(twice.len() == 1 && twice[0].contains("at 2 the value 5"), "{twice:?}");
        let foreign = strays(&history(&[5], &[5, 9]));
        assert!(foreign.len() == 1 && foreign[0].contains("sent by nobody"), "{foreign:?}");
    }
}
