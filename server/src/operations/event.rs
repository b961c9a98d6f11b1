//! Something that has happened to a cluster, as one node saw it.

use forebay_format::{NodeId, PartitionId};
use forebay_proto::v1::ClusterEventKind;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: ClusterEventKind,
    pub(crate) subject: Subject,
    /// With kind and subject the same wherever the event was seen, and never again: an epoch, a version, or an
    /// incarnation. `None`: only this node can see it.
    pub(crate) number: Option<u64>,
    /// For people.
    pub(crate) message: String,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Subject {
    pub(crate) node: Option<NodeId>,
    pub(crate) partition: Option<PartitionId>,
}

impl Subject {
    pub(crate) fn node(node: NodeId) -> Self {
        Self { node: Some(node), partition: None }
    }

    pub(crate) fn partition(partition: PartitionId, node: Option<NodeId>) -> Self {
        Self { node, partition: Some(partition) }
    }
}

impl Event {
    /// The same for one event wherever it was seen. `seen` tells apart what one node alone has seen.
    pub(super) fn id(&self, seen: impl FnOnce() -> String) -> String {
        let kind = self.kind.as_str_name().trim_start_matches("CLUSTER_EVENT_KIND_");
        let node = self.subject.node.map_or_else(String::new, |node| format!(".n{node}"));
        let place = self.subject.partition.map_or_else(String::new, |partition| {
            format!(".{}/{}", partition.topic, partition.partition)
        });
        let number = self.number.map_or_else(seen, |number| number.to_string());
        format!("{}{node}{place}.{number}", kind.to_lowercase())
    }
}
