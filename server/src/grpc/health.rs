//! grpc.health.v1: for each service, and for the node as a whole. Set by the control thread, asked of any
//! shard.

use forebay_proto::v1::admin_service_server::SERVICE_NAME as ADMIN;
use forebay_proto::v1::cluster_service_server::SERVICE_NAME as CLUSTER;
use forebay_proto::v1::consumer_service_server::SERVICE_NAME as CONSUMER;
use forebay_proto::v1::producer_service_server::SERVICE_NAME as PRODUCER;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};

/// The node's health, shared by all shards.
#[derive(Debug, Clone)]
pub(crate) struct Health(HealthReporter);

impl Health {
    /// Not serving yet.
    pub(crate) async fn new() -> Self {
        let health = Self(HealthReporter::new());
        health.set(ServingStatus::NotServing).await;
        health
    }

    /// Every service answers.
    pub(crate) async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// No service takes new work.
    pub(crate) async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// The service that tells.
    pub(super) fn service(&self) -> HealthServer<impl HealthApi> {
        HealthServer::new(HealthService::from_health_reporter(self.0.clone()))
    }

    async fn set(&self, status: ServingStatus) {
        for service in ["", PRODUCER, CONSUMER, CLUSTER, ADMIN] {
            self.0.set_service_status(service, status).await;
        }
    }
}
