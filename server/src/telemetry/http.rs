//! The HTTP port, on the control thread: `/metrics`, `/healthz`, `/readyz`, `/version`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::cluster_metrics::ClusterMetrics;
use super::http_connections::HttpListener;
use super::metrics::Metrics;

/// How far the node is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<AtomicU8>);

impl Readiness {
    const READY: u8 = 1;
    const DRAINING: u8 = 2;

    /// It serves.
    pub(crate) fn ready(&self) {
        self.0.store(Self::READY, Ordering::Relaxed);
    }

    /// It is about to stop.
    pub(crate) fn draining(&self) {
        self.0.store(Self::DRAINING, Ordering::Relaxed);
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.0.load(Ordering::Relaxed) {
            Self::READY => (StatusCode::OK, "ready\n"),
            Self::DRAINING => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        }
    }
}

/// What the port shows.
#[derive(Debug)]
pub(crate) struct HttpState {
    pub(crate) metrics: Metrics,
    pub(crate) cluster: ClusterMetrics,
    pub(crate) readiness: Readiness,
    pub(crate) cluster_id: String,
    pub(crate) node_id: u32,
}

/// The port, once bound.
#[derive(Debug)]
pub(crate) struct HttpPort(TcpListener);

impl HttpPort {
    /// Takes over a socket that listens. Must be called on the control thread.
    pub(crate) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self)
    }

    /// Serves until the task is dropped.
    pub(crate) async fn serve(self, state: Arc<HttpState>) {
        if let Err(error) = axum::serve(HttpListener::new(self.0), router(state)).await {
            tracing::error!(%error, "the HTTP port is not served any more");
        }
    }
}

fn router(state: Arc<HttpState>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        // Liveness: that this thread answers is all there is to say.
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .fallback(unknown)
        .with_state(state)
}

async fn metrics(State(state): State<Arc<HttpState>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let page = state.metrics.page(state.cluster.look().await);
    ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response()
}

async fn readyz(State(state): State<Arc<HttpState>>) -> (StatusCode, &'static str) {
    state.readiness.answer()
}

async fn version(State(state): State<Arc<HttpState>>) -> Json<serde_json::Value> {
    Json(serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cluster_id": state.cluster_id,
        "node_id": state.node_id,
    }))
}

async fn unknown(uri: Uri) -> (StatusCode, String) {
    let hint = "there are /metrics, /healthz, /readyz and /version; records go over gRPC";
    (StatusCode::NOT_FOUND, format!("there is no {} here: {hint}\n", uri.path()))
}
