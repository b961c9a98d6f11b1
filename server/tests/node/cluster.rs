//! Topics and metadata.

use std::collections::HashMap;

use forebay_format::limits::TOPICS_MAX;
use forebay_proto::v1;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Server, batch, block_on, channel};

fn create(name: &str, partitions: u32) -> v1::CreateTopicRequest {
    v1::CreateTopicRequest { name: name.into(), partitions, ..Default::default() }
}

#[test]
fn topics_are_made_listed_described_and_deleted() {
    block_on(async {
        let server = Server::start();
        let mut cluster = server.cluster().await;
        let settings = HashMap::from([("retention_size".to_owned(), "4GiB".to_owned())]);
        let request = v1::CreateTopicRequest { settings: settings.clone(), ..create("orders", 3) };
        let created = cluster.create_topic(request).await.expect("created").into_inner();
        let topic = created.topic.expect("a topic");
        assert_eq!((topic.name.as_str(), topic.partitions.len()), ("orders", 3));
        assert_eq!(topic.topic_id.len(), 32);

        let again = cluster.create_topic(create("orders", 1)).await.expect_err("there already");
        assert_eq!(again.code(), Code::AlreadyExists);
        let info = again.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("TOPIC_EXISTS", "forebay"));

        let mut producer = server.produce("orders").await;
        producer.raw(1, batch(&[b"a", b"b"])).await;
        producer.ack().await;
        let request = v1::DescribeTopicRequest { name: "orders".into() };
        let described = cluster.describe_topic(request).await.expect("described").into_inner();
        assert_eq!((described.settings, described.replication_factor), (settings, 1));
        let statuses = described.partitions;
        let ends: Vec<u64> = statuses.iter().map(|status| status.committed_offset).collect();
        assert_eq!(ends, [2, 0, 0]);
        assert!(statuses[0].size_bytes > 0 && statuses.iter().all(|s| s.state == "ok"));

        let delete = v1::DeleteTopicRequest { name: "orders".into() };
        cluster.delete_topic(delete.clone()).await.expect("deleted");
        let gone = cluster.delete_topic(delete).await.expect_err("gone");
        assert_eq!(gone.code(), Code::NotFound);
        producer.raw(2, batch(&[b"c"])).await;
        assert_eq!(producer.error().await.1.reason, "PARTITION_UNKNOWN");
        let list = cluster.list_topics(v1::ListTopicsRequest {}).await.expect("a list");
        assert!(list.into_inner().topics.is_empty());

        let made = cluster.create_topic(create("orders", 1)).await.expect("made again");
        assert_ne!(made.into_inner().topic.expect("a topic").topic_id, topic.topic_id);
    });
}

#[test]
fn bad_topics_are_refused_with_the_field_that_is_wrong() {
    block_on(async {
        let server = Server::start();
        let mut cluster = server.cluster().await;
        let setting = |name: &str, value: &str| v1::CreateTopicRequest {
            settings: HashMap::from([(name.to_owned(), value.to_owned())]),
            ..create("t", 1)
        };
        let cases = [
            (create("", 1), "topic"),
            (create("a/b", 1), "topic"),
            (create("..", 1), "topic"),
            (create("t", 10_001), "partitions"),
            (
                v1::CreateTopicRequest { replication_factor: 3, ..create("t", 1) },
                "replication_factor",
            ),
            (setting("retention_sizes", "4GiB"), "settings"),
            (setting("retention_size", "4GB"), "settings"),
            (setting("retention_size", "0B"), "settings"),
            (setting("write_concern", "2"), "settings"),
        ];
        for (request, field) in cases {
            let status = cluster.create_topic(request).await.expect_err(field);
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            let violations = status.get_details_bad_request().expect(field).field_violations;
            assert_eq!(violations[0].field, field, "{status:?}");
        }
    });
}

#[test]
fn a_node_on_all_addresses_sends_nobody_to_themselves() {
    block_on(async {
        let server = Server::start_with(&[("network.listen", "0.0.0.0:0")]);
        server.create_topic("here", 4).await;
        let request = v1::GetMetadataRequest { topics: vec!["here".into()] };
        let metadata = server.cluster().await.get_metadata(request).await.expect("metadata");
        let metadata = metadata.into_inner();
        assert_eq!(metadata.nodes[0].address, "");
        assert!(metadata.nodes[0].shard_addresses.is_empty());
        assert!(metadata.topics[0].partitions.iter().all(|partition| partition.shard < 2));
    });
}

#[test]
fn metadata_leads_to_the_owning_shard() {
    block_on(async {
        let server = Server::start();
        server.create_topic("spread", 8).await;
        let request = v1::GetMetadataRequest { topics: vec!["spread".into()] };
        let metadata = server.cluster().await.get_metadata(request).await.expect("metadata");
        let metadata = metadata.into_inner();
        let node = &metadata.nodes[0];
        assert_eq!(node.address, server.addresses().grpc.to_string());
        let shards: Vec<String> =
            server.addresses().shards.iter().map(ToString::to_string).collect();
        assert_eq!(node.shard_addresses, shards);
        let partitions = &metadata.topics[0].partitions;
        assert_eq!(partitions.len(), 8);
        assert!((0..2).all(|shard| partitions.iter().any(|p| p.shard == shard)));
        for partition in partitions {
            assert_eq!((partition.leader, &partition.in_sync[..]), (Some(node.node_id), &[1][..]));
            assert!(partition.epoch > 0);
        }
        // Every shard answers on its own port.
        for address in &server.addresses().shards {
            let channel = channel(*address).await;
            let mut cluster = v1::cluster_service_client::ClusterServiceClient::new(channel);
            let topics = cluster.list_topics(v1::ListTopicsRequest {}).await.expect("a list");
            assert_eq!(topics.into_inner().topics.len(), 1);
        }
        // However often a topic is named, it is told once.
        let request = v1::GetMetadataRequest { topics: vec!["spread".into(); 100_000] };
        let metadata = server.cluster().await.get_metadata(request).await.expect("metadata");
        assert_eq!(metadata.into_inner().topics.len(), 1);
        let topics = (0..=TOPICS_MAX).map(|index| format!("t{index}")).collect();
        let request = v1::GetMetadataRequest { topics };
        let refused = server.cluster().await.get_metadata(request).await.expect_err("too many");
        assert_eq!(refused.code(), Code::InvalidArgument);
        // A producer asks before it makes the topic.
        let request = v1::GetMetadataRequest { topics: vec!["missing".into(), "spread".into()] };
        let metadata = server.cluster().await.get_metadata(request).await.expect("metadata");
        let names: Vec<String> = metadata.into_inner().topics.into_iter().map(|t| t.name).collect();
        assert_eq!(names, ["spread"]);
    });
}
