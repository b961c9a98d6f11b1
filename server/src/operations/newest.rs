//! Which replica remembers the newest state of a partition whose metadata went back. Pure.

use std::collections::BTreeMap;

use forebay_format::{NodeId, PartitionId};

use super::changes::list;
use super::verdict::NodeFinding;

/// The alarm of a replica that has something to confirm.
const ROLLED_BACK: &str = "METADATA_ROLLED_BACK";

/// Why no replica is to be believed unasked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NewestError {
    #[error("there is nothing to confirm: no replica says that the metadata went back{}", missing(.silent))]
    NothingToConfirm { silent: Vec<NodeId> },
    /// What was newest would be lost.
    #[error(
        "replicas have seen version {seen} of the state, and none that could confirm it remembers more than version \
         {remembered}{}; bring the others back, or name the node that is to be believed",
        missing(.silent)
    )]
    Forgotten { seen: u64, remembered: u64, silent: Vec<NodeId> },
}

fn missing(silent: &[NodeId]) -> String {
    match silent {
        [] => String::new(),
        [_] => format!("; {} does not answer", list(silent)),
        _ => format!("; {} do not answer", list(silent)),
    }
}

/// The node whose replica itself remembers the newest state that any replica has seen. To have heard of it is not
/// enough: what is confirmed is what is remembered. `holders` are to have a replica of the partition.
///
/// # Errors
/// See [`NewestError`].
pub(crate) fn remembers_newest(
    nodes: &BTreeMap<NodeId, NodeFinding>,
    partition: PartitionId,
    holders: &[NodeId],
) -> Result<NodeId, NewestError> {
    let answers = |node: &&NodeId| nodes.get(node).is_some_and(|finding| finding.answers);
    let silent = || holders.iter().filter(|node| !answers(node)).copied().collect();
    let replicas = || {
        nodes.iter().filter_map(|(node, finding)| Some((*node, finding.replicas.get(&partition)?)))
    };
    let alarmed = replicas().filter(|(_, replica)| replica.alarm_reason == ROLLED_BACK);
    let newest = alarmed.max_by_key(|(_, replica)| replica.remembered_state_version);
    let (node, newest) =
        newest.ok_or_else(|| NewestError::NothingToConfirm { silent: silent() })?;
    let remembered = newest.remembered_state_version;
    let seen = replicas()
        .map(|(_, replica)| replica.seen_state_version.max(replica.remembered_state_version))
        .max()
        .unwrap_or_default();
    if remembered < seen {
        return Err(NewestError::Forgotten { seen, remembered, silent: silent() });
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use forebay_format::{PartitionIndex, TopicId};
    use forebay_proto::v1::ReplicaStatus;

    use super::*;

    const PLACE: PartitionId = PartitionId::new(TopicId::ZERO, PartitionIndex::new(2));

    fn id(number: u32) -> NodeId {
        NodeId::new(number)
    }

    /// Nodes with replicas that remember and have seen these versions.
    fn nodes(replicas: &[(u32, u64, u64, &str)]) -> BTreeMap<NodeId, NodeFinding> {
        let finding = |&(node, remembered, seen, alarm): &(u32, u64, u64, &str)| {
            let replica = ReplicaStatus {
                alarm_reason: alarm.to_owned(),
                remembered_state_version: remembered,
                seen_state_version: seen,
                ..Default::default()
            };
            let replicas = BTreeMap::from([(PLACE, replica)]);
            (id(node), NodeFinding { answers: true, replicas, ..Default::default() })
        };
        replicas.iter().map(finding).collect()
    }

    fn newest(replicas: &[(u32, u64, u64, &str)]) -> Result<NodeId, NewestError> {
        remembers_newest(&nodes(replicas), PLACE, &[1, 2, 3].map(id))
    }

    #[test]
    fn one_that_remembers_is_believed_and_not_one_that_has_heard() {
        let found = [(1, 12, 12, ROLLED_BACK), (2, 12, 12, ""), (3, 10, 12, ROLLED_BACK)];
        assert_eq!(newest(&found), Ok(id(1)));
    }

    #[test]
    fn nobody_is_believed_when_the_newest_is_remembered_by_none_that_could_confirm_it() {
        let silent = vec![id(1)];
        let error = NewestError::Forgotten { seen: 12, remembered: 10, silent: silent.clone() };
        let heard = [(2, 9, 12, ROLLED_BACK), (3, 10, 12, ROLLED_BACK)];
        assert_eq!(newest(&heard), Err(error.clone()));
        assert!(error.to_string().contains("node 1 does not answer"), "{error}");
        // It takes part in nothing, or has not noticed yet.
        for alarm in ["CHAIN_BROKEN", ""] {
            assert_eq!(newest(&[(2, 12, 0, alarm), (3, 10, 10, ROLLED_BACK)]), Err(error.clone()));
        }
        assert_eq!(
            newest(&[(2, 5, 0, ""), (3, 5, 0, "")]),
            Err(NewestError::NothingToConfirm { silent })
        );
    }
}
