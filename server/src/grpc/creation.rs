//! From what a client asks for to a topic that can be made: what is left open is filled in, and what
//! cannot be is refused. Pure.

use std::collections::BTreeMap;

use forebay_format::TopicName;
use forebay_proto::v1;
use forebay_replication::placement::ReplicationFactor;
use forebay_replication::quorum::{VOTERS_MAX, majority};

use super::status::{Failure, Refusal};
use crate::config::{REPLICAS, TopicSettings, WriteConcern};
use crate::leadership::TopicDraft;

/// Where topics are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// For what a topic does not set.
    pub(super) defaults: &'a TopicSettings,
    /// Replicas where nobody has said how many.
    pub(super) replication_factor: u32,
    /// Nodes that live; `None` on a node that is alone.
    pub(super) nodes: Option<usize>,
}

/// What is to be made.
pub(super) fn draft(
    request: v1::CreateTopicRequest,
    place: Place<'_>,
) -> Result<TopicDraft, Failure> {
    let name = TopicName::new(&request.name)?;
    let settings: BTreeMap<_, _> = request.settings.into_iter().collect();
    let with_defaults = place.defaults.with(&settings)?;
    let wanted = match request.replication_factor {
        0 => place.replication_factor,
        wanted => wanted,
    };
    let (factor, replicas) = match place.nodes {
        Some(nodes) if request.on_every_node => (ReplicationFactor::All, nodes.max(1)),
        // The only node there is.
        None if request.on_every_node => (ReplicationFactor::Replicas(1), 1),
        _ => (ReplicationFactor::Replicas(wanted as usize), wanted as usize),
    };
    if place.nodes.is_none() && replicas > REPLICAS as usize {
        let message = format!("a single node keeps {REPLICAS} replica, not {replicas}");
        return Err(Refusal::Request { field: "replication_factor", message }.into());
    }
    let refused = |message| Err(Refusal::Request { field: "settings", message }.into());
    if let WriteConcern::Replicas(wanted) = with_defaults.write_concern
        && wanted as usize > replicas
    {
        return refused(format!(
            "write_concern: the topic has {replicas} replicas of each partition, not {wanted}"
        ));
    }
    let voters = replicas.min(VOTERS_MAX);
    let (least, found) = (majority(voters), with_defaults.min_replicas as usize);
    // What the node says is for topics of every size, and is not the client's fault.
    if settings.contains_key("min_replicas") && !(least..=voters).contains(&found) {
        return refused(format!(
            "min_replicas: expected {least}, the majority of {voters} replicas that vote, to {voters}, found {found}"
        ));
    }
    Ok(TopicDraft { name, partitions: request.partitions.max(1), factor, settings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(factor: u32, settings: &[(&str, &str)]) -> v1::CreateTopicRequest {
        v1::CreateTopicRequest {
            name: "orders".to_owned(),
            replication_factor: factor,
            settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Default::default()
        }
    }

    fn on(nodes: Option<usize>, request: v1::CreateTopicRequest) -> Result<TopicDraft, String> {
        let defaults = TopicSettings { min_replicas: 2, ..TopicSettings::default() };
        let place = Place {
            defaults: &defaults,
            replication_factor: if nodes.is_some() { 3 } else { 1 },
            nodes,
        };
        draft(request, place).map_err(|failure| failure.message)
    }

    fn factor(found: Result<TopicDraft, String>) -> ReplicationFactor {
        found.expect("a topic").factor
    }

    #[test]
    fn what_is_left_open_is_the_nodes_to_say() {
        let found = on(Some(5), request(0, &[])).expect("a topic");
        assert_eq!((found.partitions, found.factor), (1, ReplicationFactor::Replicas(3)));
        assert_eq!(factor(on(None, request(0, &[]))), ReplicationFactor::Replicas(1));
    }

    #[test]
    fn every_node_is_a_factor_of_its_own() {
        let everywhere = || v1::CreateTopicRequest { on_every_node: true, ..request(0, &[]) };
        assert_eq!(factor(on(Some(3), everywhere())), ReplicationFactor::All);
        assert_eq!(factor(on(None, everywhere())), ReplicationFactor::Replicas(1));
    }

    #[test]
    fn min_replicas_lies_between_the_majority_and_all_voters() {
        for (factor, min, fits) in
            [(3, "1", false), (3, "2", true), (3, "3", true), (3, "4", false), (1, "1", true)]
        {
            let found = on(Some(7), request(factor, &[("min_replicas", min)]));
            assert_eq!(found.is_ok(), fits, "{min} of {factor}: {found:?}");
        }
        // Five of them vote.
        assert!(on(Some(7), request(7, &[("min_replicas", "3")])).is_ok());
        let refused = on(Some(7), request(3, &[("min_replicas", "1")])).expect_err("too few");
        assert_eq!(
            refused,
            "min_replicas: expected 2, the majority of 3 replicas that vote, to 3, found 1"
        );
        assert!(on(Some(7), request(1, &[])).is_ok(), "the node's 2 is no refusal");
    }

    #[test]
    fn more_replicas_than_there_can_be_are_refused() {
        assert!(on(None, request(2, &[])).is_err());
        assert!(on(Some(3), request(3, &[("write_concern", "4")])).is_err());
        assert!(on(Some(3), request(3, &[("write_concern", "3")])).is_ok());
    }
}
