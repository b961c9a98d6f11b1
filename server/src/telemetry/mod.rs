//! What a node says about itself: logs, metrics, and the HTTP port that shows health and metrics.

mod cluster_metrics;
mod http;
mod http_connections;
mod logs;
mod metrics;

pub(crate) use cluster_metrics::ClusterMetrics;
pub(crate) use http::{HttpPort, HttpState, Readiness};
pub use logs::LogFilterError;
pub(crate) use logs::{is_text, start as start_logs};
pub(crate) use metrics::{Metrics, MetricsOfShard};
