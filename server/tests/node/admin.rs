//! What a node that is alone tells the people who run it, and what it refuses them.

use bytes::Bytes;
use forebay_format::ClusterId;
use forebay_proto::v1;
use forebay_proto::v1::admin_service_client::AdminServiceClient;
use forebay_proto::v1::replication_service_client::ReplicationServiceClient;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Server, block_on};

#[test]
fn node_that_is_alone_is_healthy_and_says_what_it_has() {
    block_on(async {
        let server = Server::start();
        server.create_topic("orders", 3).await;
        let mut admin = AdminServiceClient::new(server.channel().await);
        let health = admin.get_health(v1::GetHealthRequest {}).await.expect("health").into_inner();
        assert!(health.healthy && health.concerns.is_empty(), "{health:?}");
        assert_eq!((health.nodes, health.nodes_answering, health.partitions), (1, 1, 3));
        let info = admin.get_info(v1::GetInfoRequest {}).await.expect("info").into_inner();
        let counts = (info.nodes, info.topics, info.partitions, info.replicas);
        assert_eq!((counts, info.clustered, info.lease_ttl_ms), ((1, 1, 3, 3), false, 0));
        let members = admin.list_members(v1::ListMembersRequest {}).await.expect("members");
        let [member] = &members.into_inner().members[..] else { panic!("one node") };
        assert_eq!((member.node_id, member.leads, member.shards), (1, 3, 2));
        assert!(member.answers && member.health() == v1::NodeHealth::Healthy, "{member:?}");
        let events = admin.list_events(v1::ListEventsRequest::default()).await.expect("events");
        assert!(events.into_inner().silent_nodes.is_empty());
        let metadata = server.cluster().await.get_metadata(v1::GetMetadataRequest::default()).await;
        let node = metadata.expect("metadata").into_inner().nodes.remove(0);
        assert_eq!(node.health(), v1::NodeHealth::Healthy);
    });
}

#[test]
fn node_that_is_alone_has_no_leaders_to_move() {
    block_on(async {
        let server = Server::start();
        server.create_topic("orders", 1).await;
        let mut admin = AdminServiceClient::new(server.channel().await);
        let topic = "orders".to_owned();
        let transfer = v1::TransferLeaderRequest { topic: topic.clone(), ..Default::default() };
        let force =
            v1::ForceLeaderRequest { topic: topic.clone(), node_id: 1, ..Default::default() };
        let confirm = v1::ConfirmMetadataRequest { topic, ..Default::default() };
        for refused in [
            admin.transfer_leader(transfer).await.expect_err("refused"),
            admin.force_leader(force).await.expect_err("refused"),
            admin.confirm_metadata(confirm).await.expect_err("refused"),
        ] {
            let info = refused.get_details_error_info().expect("an ErrorInfo");
            assert_eq!((refused.code(), &*info.reason), (Code::FailedPrecondition, "NODE_ALONE"));
        }
    });
}

#[test]
fn heartbeat_is_answered_to_whoever_means_this_node_of_this_cluster() {
    block_on(async {
        let server = Server::start();
        let mut admin = AdminServiceClient::new(server.channel().await);
        let info = admin.get_info(v1::GetInfoRequest {}).await.expect("info").into_inner();
        let cluster: ClusterId = info.cluster_id.parse().expect("an id");
        let mut peer = ReplicationServiceClient::new(server.channel().await);
        let hello = |cluster: ClusterId, to_node| {
            let cluster_id = Bytes::copy_from_slice(&cluster.to_bytes());
            let hello = v1::PeerHello { cluster_id, from_node: 2, to_node };
            v1::HeartbeatRequest { hello: Some(hello) }
        };
        peer.heartbeat(hello(cluster, 1)).await.expect("an answer");
        let other = ClusterId::from_bytes([7; 16]);
        for wrong in [hello(cluster, 3), hello(other, 1), v1::HeartbeatRequest { hello: None }] {
            let refused = peer.heartbeat(wrong).await.expect_err("refused");
            assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        }
    });
}
