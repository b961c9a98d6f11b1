//! Whether a cluster is as it should be, told from what its nodes say. Pure.

use std::collections::BTreeMap;

use forebay_format::{NodeId, PartitionId};
use forebay_proto::v1::{ReplicaRole, ReplicaStatus};

use super::changes::list;
use crate::leadership::Standing;

/// Concerns that are told one by one.
const CONCERNS_MAX: usize = 100;

/// A node, as it is found.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeFinding {
    /// It has a lease, as etcd says.
    pub(crate) registered: bool,
    /// It has answered just now.
    pub(crate) answers: bool,
    /// For how long it has not answered heartbeats, if that is known.
    pub(crate) silent_ms: Option<u64>,
    /// Shards of it that do not answer.
    pub(crate) silent_shards: u32,
    /// It has a lease, as it says itself.
    pub(crate) has_lease: bool,
    /// What it says of its replicas.
    pub(crate) replicas: BTreeMap<PartitionId, ReplicaStatus>,
}

/// A partition, and who is to hold it.
#[derive(Debug, Clone)]
pub(crate) struct PartitionFinding {
    pub(crate) id: PartitionId,
    pub(crate) topic: String,
    pub(crate) standing: Standing,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Concern {
    /// Stable, for programs.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
    pub(crate) node: Option<NodeId>,
    /// Topic and index.
    pub(crate) partition: Option<(String, u32)>,
    severity: Severity,
}

/// What is told first when there is much to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    /// The cause of others.
    Node,
    Alarm,
    /// Nobody can write.
    Unavailable,
    Degraded,
}

/// What it all comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What is wrong, worst first.
    pub(crate) concerns: Vec<Concern>,
    /// Further ones.
    pub(crate) left_out: usize,
    pub(crate) without_leader: u32,
    pub(crate) under_replicated: u32,
}

type Nodes = BTreeMap<NodeId, NodeFinding>;

/// Judges the nodes, and the partitions with their replicas. A node that is alone has no replicas to speak
/// of: it leads all of its partitions.
pub(crate) fn judge(nodes: &Nodes, partitions: &[PartitionFinding]) -> Verdict {
    let mut verdict = Verdict::default();
    let clustered = nodes.len() > 1 || nodes.values().any(|node| !node.replicas.is_empty());
    for (node, finding) in nodes {
        verdict.concerns.extend(of_node(*node, finding, clustered));
    }
    for partition in partitions {
        verdict.of_partition(nodes, partition, clustered);
    }
    verdict.concerns.sort_by_key(|concern| concern.severity);
    verdict.left_out = verdict.concerns.len().saturating_sub(CONCERNS_MAX);
    verdict.concerns.truncate(CONCERNS_MAX);
    verdict
}

fn of_node(node: NodeId, finding: &NodeFinding, clustered: bool) -> Option<Concern> {
    let concern = |reason, message| {
        let (node, partition, severity) = (Some(node), None, Severity::Node);
        Some(Concern { reason, message, node, partition, severity })
    };
    if !finding.answers {
        return concern("NODE_SILENT", silence(node, Some(finding)));
    }
    if clustered && !finding.has_lease {
        return concern("NO_LEASE", format!("node {node} has no lease in etcd, and leads nothing"));
    }
    if finding.silent_shards > 0 {
        let message = format!("{} shards of node {node} do not answer", finding.silent_shards);
        return concern("SHARD_SILENT", message);
    }
    None
}

/// `node 3 does not answer since 12 s`.
fn silence(node: NodeId, finding: Option<&NodeFinding>) -> String {
    match finding.and_then(|finding| finding.silent_ms) {
        Some(ms) if ms >= 1000 => format!("node {node} does not answer since {} s", ms / 1000),
        Some(_) | None => format!("node {node} does not answer"),
    }
}

impl Verdict {
    fn of_partition(&mut self, nodes: &Nodes, partition: &PartitionFinding, clustered: bool) {
        let standing = &partition.standing;
        let place = format!("{}/{}", partition.topic, partition.id.partition);
        let concern = |severity, reason, message| Concern {
            reason,
            message,
            node: None,
            partition: Some((partition.topic.clone(), partition.id.partition.get())),
            severity,
        };
        self.alarms(nodes, partition, &place);
        if let Some(why) = no_leader(nodes, partition, clustered) {
            self.without_leader += 1;
            let message = format!("{place} {why}");
            self.concerns.push(concern(Severity::Unavailable, "NO_LEADER", message));
        }
        let voters = standing.voters.len();
        let answering = answering(nodes, &standing.voters);
        let missing: Vec<String> = standing
            .voters
            .iter()
            .filter(|node| !answering.contains(node) || !standing.in_sync.contains(node))
            .map(|node| why_not_in_sync(nodes, partition, *node))
            .collect();
        if answering.len() < voters / 2 + 1 && voters > 0 {
            let message = format!(
                "{place} takes no writes: {} of {voters} replicas {}, {} must",
                answering.len(),
                if answering.len() == 1 { "answers" } else { "answer" },
                voters / 2 + 1
            );
            self.concerns.push(concern(Severity::Unavailable, "READ_ONLY", message));
        }
        if !missing.is_empty() {
            let are = if missing.len() == 1 { "replica is" } else { "replicas are" };
            let (count, why) = (missing.len(), missing.join(", "));
            let message = match (count, voters) {
                (1, 1) => format!("{place}: its only replica is not in sync: {why}"),
                (1, _) => format!("{place}: 1 of {voters} replicas is not in sync: {why}"),
                _ => format!("{place}: {count} of {voters} {are} not in sync: {why}"),
            };
            self.concerns.push(concern(Severity::Degraded, "NOT_IN_SYNC", message));
        }
        if !standing.joining.is_empty() {
            let message =
                format!("{place}: {} still to be brought in as voters", list(&standing.joining));
            self.concerns.push(concern(Severity::Degraded, "VOTERS_MISSING", message));
        }
        self.under_replicated += u32::from(!missing.is_empty() || !standing.joining.is_empty());
    }

    /// What replicas themselves want people to look at.
    fn alarms(&mut self, nodes: &Nodes, partition: &PartitionFinding, place: &str) {
        for (node, finding) in nodes {
            let Some(replica) = finding.replicas.get(&partition.id) else { continue };
            let (reason, words) = if !replica.alarm.is_empty() {
                (reason_of(&replica.alarm_reason), replica.alarm.clone())
            } else if replica.role() == ReplicaRole::Closed {
                let words = "its log is being opened, or is out of service".to_owned();
                ("REPLICA_CLOSED", words)
            } else {
                continue;
            };
            self.concerns.push(Concern {
                reason,
                message: format!("{place}: {reason}: the replica on node {node}: {words}"),
                node: Some(*node),
                partition: Some((partition.topic.clone(), partition.id.partition.get())),
                severity: Severity::Alarm,
            });
        }
    }
}

/// The word of an alarm that came from another node.
fn reason_of(word: &str) -> &'static str {
    const KNOWN: [&str; 3] = ["METADATA_ROLLED_BACK", "CUT_BELOW_COMMITTED", "CHAIN_BROKEN"];
    KNOWN.into_iter().find(|known| *known == word).unwrap_or("ALARM")
}

fn answering(nodes: &Nodes, wanted: &[NodeId]) -> Vec<NodeId> {
    let answers = |node: &&NodeId| nodes.get(node).is_some_and(|finding| finding.answers);
    wanted.iter().filter(answers).copied().collect()
}

/// Why a partition has no leader that serves; `None` when it has one.
fn no_leader(nodes: &Nodes, partition: &PartitionFinding, clustered: bool) -> Option<String> {
    let Some(leader) = partition.standing.leader else {
        return Some(if partition.standing.voters.is_empty() {
            "has no leader: its replicas have not begun yet".to_owned()
        } else {
            "has no leader".to_owned()
        });
    };
    if !clustered {
        return None;
    }
    let Some(finding) = nodes.get(&leader).filter(|finding| finding.answers) else {
        return Some(format!("has a leader that is away: {}", silence(leader, nodes.get(&leader))));
    };
    match finding.replicas.get(&partition.id).map(ReplicaStatus::role) {
        Some(ReplicaRole::Leader) => None,
        _ => Some(format!("has no leader that serves: node {leader} is being elected")),
    }
}

fn why_not_in_sync(nodes: &Nodes, partition: &PartitionFinding, node: NodeId) -> String {
    let finding = nodes.get(&node);
    if !finding.is_some_and(|finding| finding.answers) {
        return silence(node, finding);
    }
    match lag_records(nodes, partition, node) {
        Some(lag) => format!("node {node} lacks {lag} records"),
        None => format!("node {node} is not in touch with a leader"),
    }
}

/// Records that the leader of a partition has and the replica on `node` has not on stable storage; `None` when
/// one of them does not say.
pub(crate) fn lag_records(
    nodes: &Nodes,
    partition: &PartitionFinding,
    node: NodeId,
) -> Option<u64> {
    let replica = |node: NodeId| nodes.get(&node)?.replicas.get(&partition.id);
    let leader = replica(partition.standing.leader?)?;
    let own = replica(node)?;
    (leader.role() == ReplicaRole::Leader).then(|| leader.end.saturating_sub(own.durable))
}

#[cfg(test)]
mod tests {
    use forebay_format::{Epoch, PartitionIndex, TopicId};

    use super::*;

    const PLACE: PartitionId = PartitionId::new(TopicId::ZERO, PartitionIndex::new(2));

    fn id(number: u32) -> NodeId {
        NodeId::new(number)
    }

    fn replica(role: ReplicaRole, durable: u64) -> ReplicaStatus {
        ReplicaStatus { role: role.into(), end: durable, durable, ..Default::default() }
    }

    fn node(role: ReplicaRole, durable: u64) -> NodeFinding {
        NodeFinding {
            registered: true,
            answers: true,
            has_lease: true,
            replicas: BTreeMap::from([(PLACE, replica(role, durable))]),
            ..Default::default()
        }
    }

    fn silent(ms: Option<u64>) -> NodeFinding {
        NodeFinding { silent_ms: ms, ..Default::default() }
    }

    /// Node 1 leads, 2 and 3 follow.
    fn three() -> Nodes {
        let roles = [ReplicaRole::Leader, ReplicaRole::Follower, ReplicaRole::Follower];
        (1..).zip(roles).map(|(number, role)| (id(number), node(role, 10))).collect()
    }

    fn partition(leader: Option<u32>, in_sync: &[u32]) -> PartitionFinding {
        let replicas: Vec<NodeId> = [1, 2, 3].map(id).to_vec();
        let standing = Standing {
            leader: leader.map(id),
            epoch: Epoch::new(4),
            voters: replicas.clone(),
            replicas,
            joining: vec![],
            in_sync: in_sync.iter().copied().map(id).collect(),
        };
        PartitionFinding { id: PLACE, topic: "orders".to_owned(), standing }
    }

    fn told(nodes: &Nodes, partition: PartitionFinding) -> Vec<(&'static str, String)> {
        let concerns = judge(nodes, &[partition]).concerns;
        concerns.into_iter().map(|concern| (concern.reason, concern.message)).collect()
    }

    #[test]
    fn nothing_is_said_when_nothing_is_wrong() {
        assert_eq!(judge(&three(), &[partition(Some(1), &[1, 2, 3])]), Verdict::default());
        // Alone: no replicas, and nobody else.
        let alone = NodeFinding { registered: true, answers: true, ..Default::default() };
        let mut led = partition(Some(1), &[1]);
        led.standing.voters = vec![id(1)];
        assert_eq!(judge(&BTreeMap::from([(id(1), alone)]), &[led]), Verdict::default());
    }

    #[test]
    fn silent_follower_is_named_with_how_long_it_has_been_silent() {
        let mut nodes = three();
        nodes.insert(id(3), silent(Some(12_345)));
        // Whether the in-sync set has been changed by now or not.
        for in_sync in [&[1, 2][..], &[1, 2, 3]] {
            let found = told(&nodes, partition(Some(1), in_sync));
            let why = "node 3 does not answer since 12 s";
            let missing = format!("orders/2: 1 of 3 replicas is not in sync: {why}");
            assert_eq!(found, [("NODE_SILENT", why.to_owned()), ("NOT_IN_SYNC", missing)]);
        }
        let verdict = judge(&nodes, &[partition(Some(1), &[1, 2])]);
        assert_eq!((verdict.without_leader, verdict.under_replicated), (0, 1));
    }

    #[test]
    fn leader_that_is_away_and_a_lost_quorum_are_told_before_what_lags() {
        let mut nodes = three();
        nodes.insert(id(1), silent(None));
        nodes.insert(id(2), silent(Some(500)));
        let found = told(&nodes, partition(Some(1), &[1, 2, 3]));
        let expected = [
            ("NODE_SILENT", "node 1 does not answer"),
            ("NODE_SILENT", "node 2 does not answer"),
            ("NO_LEADER", "orders/2 has a leader that is away: node 1 does not answer"),
            ("READ_ONLY", "orders/2 takes no writes: 1 of 3 replicas answers, 2 must"),
            (
                "NOT_IN_SYNC",
                "orders/2: 2 of 3 replicas are not in sync: node 1 does not answer, node 2 does not answer",
            ),
        ];
        assert_eq!(found, expected.map(|(reason, message)| (reason, message.to_owned())));
    }

    #[test]
    fn follower_that_catches_up_is_told_by_what_it_lacks() {
        let mut nodes = three();
        nodes.insert(id(2), node(ReplicaRole::Follower, 7));
        let found = told(&nodes, partition(Some(1), &[1, 3]));
        let expected = "orders/2: 1 of 3 replicas is not in sync: node 2 lacks 3 records";
        assert_eq!(found, [("NOT_IN_SYNC", expected.to_owned())]);
    }

    #[test]
    fn elections_alarms_and_voters_to_come_are_concerns() {
        let mut nodes = three();
        nodes.insert(id(1), node(ReplicaRole::Candidate, 10));
        let found = told(&nodes, partition(Some(1), &[1, 2, 3]));
        let message = "orders/2 has no leader that serves: node 1 is being elected";
        assert_eq!(found, [("NO_LEADER", message.to_owned())]);

        let mut nodes = three();
        let rolled_back = ReplicaStatus {
            alarm: "etcd is older".to_owned(),
            alarm_reason: "METADATA_ROLLED_BACK".to_owned(),
            ..replica(ReplicaRole::Follower, 10)
        };
        nodes.get_mut(&id(2)).expect("a node").replicas.insert(PLACE, rolled_back);
        let found = told(&nodes, partition(Some(1), &[1, 2, 3]));
        let message = "orders/2: METADATA_ROLLED_BACK: the replica on node 2: etcd is older";
        assert_eq!(found, [("METADATA_ROLLED_BACK", message.to_owned())]);

        let mut forced = partition(Some(1), &[1]);
        forced.standing.voters = vec![id(1)];
        forced.standing.joining = vec![id(2), id(3)];
        let message = "orders/2: nodes 2, 3 still to be brought in as voters";
        assert_eq!(told(&three(), forced), [("VOTERS_MISSING", message.to_owned())]);
    }

    #[test]
    fn node_without_a_lease_is_a_concern_in_a_cluster() {
        let mut nodes = three();
        nodes.get_mut(&id(2)).expect("a node").has_lease = false;
        let found = told(&nodes, partition(Some(1), &[1, 2, 3]));
        assert_eq!(
            found[0],
            ("NO_LEASE", "node 2 has no lease in etcd, and leads nothing".to_owned())
        );
    }

    #[test]
    fn of_very_many_concerns_the_rest_is_counted() {
        let all = vec![partition(None, &[1, 2, 3]); 150];
        let verdict = judge(&three(), &all);
        assert_eq!((verdict.concerns.len(), verdict.left_out), (CONCERNS_MAX, 50));
        assert_eq!(verdict.without_leader, 150);
    }
}
