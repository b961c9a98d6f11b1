//! What a topic asks of its replicas, besides what their logs are told.

use forebay_engine::LogSettings;
use forebay_replication::Config;
use forebay_replication::placement::ReplicationFactor;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) log: LogSettings,
    /// With fewer live replicas a partition takes no writes (R8).
    pub(crate) min_replicas: MinReplicas,
    /// How many replicas there shall be.
    pub(crate) factor: ReplicationFactor,
}

/// Who has said how many replicas must be live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MinReplicas {
    /// The topic: that many, whatever becomes of its voters.
    OfTopic(u32),
    /// The node, for topics of every size: no more than there are.
    OfNode(u32),
}

impl MinReplicas {
    /// How many must be live of so many voters. A majority always must, which the protocol sees to.
    fn of(self, voters: usize) -> usize {
        match self {
            Self::OfTopic(replicas) => replicas as usize,
            Self::OfNode(replicas) => voters.min(replicas as usize),
        }
    }
}

impl Terms {
    /// The protocol's settings for a partition of the topic that has so many voters.
    pub(super) fn protocol(&self, node: &Config, voters: usize) -> Config {
        Config { min_replicas: self.min_replicas.of(voters), ..node.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_says_makes_no_small_topic_read_only() {
        for (min_replicas, voters, expected) in [
            (MinReplicas::OfNode(2), 1, 1),
            (MinReplicas::OfNode(2), 3, 2),
            (MinReplicas::OfNode(5), 3, 3),
            (MinReplicas::OfTopic(3), 3, 3),
            // A topic that asked for it takes no writes when its voters have become fewer.
            (MinReplicas::OfTopic(3), 2, 3),
        ] {
            assert_eq!(min_replicas.of(voters), expected, "{min_replicas:?} of {voters}");
        }
    }
}
