//! I4: no gap in offsets. A log has every offset from its start to its mark, once and in order, and
//! a mark moves over every offset between.

use forebay_format::{NodeId, Offset};

use crate::history::{Event, History, LogView, Record};
use crate::violation::{Invariant, Violation};

pub(crate) fn check(history: &History, found: &mut Vec<Violation>) {
    for (index, _, event) in history.iter() {
        let mut judge = |node: NodeId, from: Offset, to: Offset, records: &[Record]| {
            if let Some(what) = gap(from, to, records) {
                let what = format!("node {node}: {what}");
                found.push(Violation::new(Invariant::I4, what, history, [index, index]));
            }
        };
        match event {
            // A mark that falls is judged by I8.
            Event::Committed { node, from, to, records } if from <= to => {
                judge(*node, *from, *to, records);
            }
            Event::LogSeen { node, log } => judge_log(&mut judge, *node, log),
            Event::Ended { replicas, .. } => {
                for replica in replicas {
                    judge_log(&mut judge, replica.node, &replica.log);
                }
            }
            _ => {}
        }
    }
}

fn judge_log(
    judge: &mut impl FnMut(NodeId, Offset, Offset, &[Record]),
    node: NodeId,
    log: &LogView,
) {
    judge(node, log.log_start, log.committed, &log.records);
}

/// What is wrong with `records` as all of `from..to`.
fn gap(from: Offset, to: Offset, records: &[Record]) -> Option<String> {
    let mut expected = from;
    for record in records {
        if record.offset != expected {
            return Some(format!("offset {} where {expected} should be", record.offset));
        }
        expected += 1;
    }
    (expected != to).then(|| format!("records end at {expected}, not at the mark {to}"))
}
