//! What every replica holds, read from its own node.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_checker::FinalReplica;
use forebay_format::{NodeId, Offset};

use crate::error::with_causes;
use crate::observe::States;
use crate::workload::{Marks, Topics, marks_of, records_of};

/// As many records are much.
const RECORDS_BEHIND: u64 = 200;
const POLL: Duration = Duration::from_millis(50);

/// Waits until every replica has at least what any of its partition had committed when this was called, and all are
/// in sync. What was behind last, in words; as an error when that takes longer than `patience`.
pub(crate) async fn all_caught_up(
    nodes: &[(u32, String)],
    topics: &Topics,
    states: &States,
    patience: Duration,
) -> Result<String, String> {
    let mut behind = String::new();
    let caught_up = async {
        for place in 0..topics.partitions.len() {
            // It only grows, and not any more when nobody writes.
            let mut target = Offset::ZERO;
            let mut seen = BTreeSet::new();
            loop {
                let Err(what) =
                    is_level(nodes, (topics, place), states, (&mut target, &mut seen)).await
                else {
                    break;
                };
                behind = what;
                tokio::time::sleep(POLL).await;
            }
        }
    };
    match tokio::time::timeout(patience, caught_up).await {
        Ok(()) => Ok(behind),
        Err(_elapsed) => Err(behind),
    }
}

/// Whether a partition has caught up with `target`, the highest mark that each of its nodes was first seen with; what
/// is behind otherwise.
async fn is_level(
    nodes: &[(u32, String)],
    (topics, place): (&Topics, usize),
    states: &States,
    (target, seen): (&mut Offset, &mut BTreeSet<u32>),
) -> Result<(), String> {
    let (topic, partition) = (topics.of(place), &topics.partitions[place]);
    let name = format!("{}/{}", topic.name, partition.index);
    let mut marks: Vec<(u32, Marks)> = Vec::new();
    for (id, address) in nodes.iter().filter(|(id, _)| partition.replicas.contains(id)) {
        let asked = marks_of(address, &topic.name, partition.index.get()).await;
        let mark = asked.map_err(|error| format!("{name}: node {id}: {}", with_causes(&error)))?;
        if seen.insert(*id) {
            *target = mark.committed.max(*target);
        }
        marks.push((*id, mark));
    }
    for (id, mark) in marks {
        if mark.committed < *target {
            return Err(format!("{name}: node {id} stands at {}, not {target}", mark.committed));
        }
    }
    let state = states.newest().map(|newest| newest[place].clone());
    let state = state.ok_or_else(|| format!("{name} has no state"))?;
    let factor = partition.replicas.len();
    if state.in_sync.len() != factor || state.voters.len() != factor || state.next_voters.is_some()
    {
        return Err(format!("{name}: in sync are {:?} of {factor}", state.in_sync));
    }
    Ok(())
}

/// Waits until a node lacks so much of the first partition that others have.
pub(crate) async fn falls_behind(nodes: &[(u32, String)], topics: &Topics, node: u32) {
    let (topic, index) = (topics.of(0), topics.partitions[0].index.get());
    loop {
        let (mut its, mut highest) = (None, Offset::ZERO);
        for (id, address) in nodes {
            let Ok(marks) = marks_of(address, &topic.name, index).await else { continue };
            highest = highest.max(marks.committed);
            if *id == node {
                its = Some(marks.committed);
            }
        }
        if its.is_some_and(|its| its + RECORDS_BEHIND <= highest) {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// All replicas of a partition with all that is committed there. A node that cannot be read is told of, and has
/// nothing.
pub(crate) async fn final_replicas(
    nodes: &[(u32, String)],
    topics: &Topics,
    place: usize,
) -> (Vec<FinalReplica>, Vec<String>) {
    let (topic, partition) = (topics.of(place), &topics.partitions[place]);
    let index = partition.index.get();
    let (mut replicas, mut unread) = (Vec::new(), Vec::new());
    for (id, address) in nodes.iter().filter(|(id, _)| partition.replicas.contains(id)) {
        let read = async {
            let marks = marks_of(address, &topic.name, index).await?;
            records_of(address, &topic.name, index, marks).await
        };
        match read.await {
            // Where its log ends beyond the mark cannot be asked.
            Ok(log) => {
                let end: Offset = log.committed;
                replicas.push(FinalReplica { node: NodeId::new(*id), end, log });
            }
            Err(error) => {
                unread.push(format!("{}/{index}: node {id}: {}", topic.name, with_causes(&error)));
            }
        }
    }
    (replicas, unread)
}
