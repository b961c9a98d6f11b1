//! Connections to other nodes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use glommio::net::TcpStream;
use http::{HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::client::conn::http2;

use super::body::ResponseBody;
use super::http_timer::LocalTimer;
use super::io::SocketIo;
use super::runtime::{LocalExecutor, spawn, timeout};

/// How long the other side may take to accept a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// A peer is asked whether it is still there this often,
const PING_EVERY: Duration = Duration::from_secs(2);

/// and given up when it has not answered for this long.
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// One DATA frame, as we take them.
const FRAME_BYTES: u32 = 256 * 1024;

/// What a request may have in the send buffer of its connection.
const SEND_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// A connection to another node. Ends when it is dropped and its calls are over.
pub(crate) struct PeerConnection {
    requests: http2::SendRequest<ResponseBody>,
    address: SocketAddr,
}

/// Why another node could not be called.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{address} does not answer")]
    Silent { address: SocketAddr },
    #[error("{address}: {source}")]
    Connect { address: SocketAddr, source: glommio::GlommioError<()> },
    #[error("{address}: {source}")]
    Http { address: SocketAddr, source: hyper::Error },
}

impl PeerConnection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there, or nobody answers in time.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, CallError> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = timeout(CONNECT_PATIENCE, connect)
            .await
            .ok_or(CallError::Silent { address })?
            .map_err(|source| CallError::Connect { address, source })?;
        let (requests, connection) = http2::Builder::new(LocalExecutor)
            .timer(LocalTimer)
            .max_frame_size(FRAME_BYTES)
            .adaptive_window(false)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(SocketIo::new(stream, Bytes::new()))
            .await
            .map_err(|source| CallError::Http { address, source })?;
        spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "connection to a node ended");
            }
        });
        Ok(Self { requests, address })
    }

    /// Begins a gRPC call. The response comes when the other side has begun one; the request goes on.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        body: ResponseBody,
    ) -> Result<Response<Incoming>, CallError> {
        self.call_with(path, None, body).await
    }

    /// The same with one header more.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn call_with(
        &mut self,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
        body: ResponseBody,
    ) -> Result<Response<Incoming>, CallError> {
        let address = self.address;
        let mut request = Request::post(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(body)
            .expect("an address and a path make a URI");
        request.headers_mut().extend(header);
        let response = self.requests.send_request(request).await;
        response.map_err(|source| CallError::Http { address, source })
    }
}
