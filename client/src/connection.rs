//! One HTTP/2 connection to one address, for the calls whose bodies are encoded by hand. It knows
//! nothing of what the calls mean. The settings are those that moved the most bytes: the receiver's
//! frame size binds the sender, so both ends ask for large frames.

use std::{convert::Infallible, io, time::Duration};

use bytes::{Bytes, buf::Chain};
use http::{
    HeaderName, HeaderValue,
    uri::{Authority, Scheme, Uri},
};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};

/// What one DATA frame of a request is made of: the gRPC prefix with the message's first fields, and
/// a payload that is not copied.
pub(crate) type Piece = Chain<Bytes, Bytes>;

/// The body of a call.
pub(crate) type RequestBody = UnsyncBoxBody<Piece, Infallible>;

/// Bytes of a DATA frame that we accept. A batch of the default size fits in one.
const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Bytes that the server may send on one stream before we have read them.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// The same for the whole connection: as much as HTTP/2 allows, so that it never is the limit. Streams
/// that nobody reads at the moment fill their own windows and keep nothing from the others; an
/// application that awaits an acknowledgement reads no consumer meanwhile.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// Streams that a server of ours allows on one connection.
const STREAMS_MAX: u32 = 256;

// All but one of them unread leave room for the last.
const _: () = assert!((STREAMS_MAX - 1) * STREAM_WINDOW_BYTES < CONNECTION_WINDOW_BYTES);
/// Bytes that wait inside the connection for the socket.
const SEND_BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// An address that does not answer for so long is treated as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that vanished without closing is noticed after the sum of these two.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection. All but `Address` are worth another try at the same address.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// Nobody listens there, or the network does not reach it.
    #[error("cannot connect to {address}")]
    Connect {
        /// HOST:PORT.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer within {waited:?}")]
    Timeout {
        /// HOST:PORT.
        address: String,
        /// How long was waited.
        waited: Duration,
    },
    /// It is not HOST:PORT.
    #[error("`{address}` is not an address like 127.0.0.1:7400")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: http::uri::InvalidUri,
    },
    /// It answers, but not as an HTTP/2 server.
    #[error("{address} does not speak HTTP/2")]
    Handshake {
        /// HOST:PORT.
        address: String,
        /// What the HTTP library said.
        source: hyper::Error,
    },
}

/// Tells a node to say where the leader is, instead of handing on what it cannot do itself.
const NO_CARRY: HeaderName = HeaderName::from_static("forebay-no-carry");

/// Whether the node that is called may hand on to another one what it cannot do itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carried {
    /// It is to refuse: whoever asks goes there itself.
    Never,
    /// Where it is to go cannot be reached from here.
    IfNeedBe,
}

/// A connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    sender: SendRequest<RequestBody>,
    authority: Authority,
}

impl Connection {
    /// Connects to HOST:PORT. The connection is driven by a task of its own, which ends with it.
    pub(crate) async fn open(address: &str) -> Result<Self, ConnectionError> {
        timeout(CONNECT_TIMEOUT, Self::open_patiently(address)).await.unwrap_or_else(|_elapsed| {
            Err(ConnectionError::Timeout { address: address.to_owned(), waited: CONNECT_TIMEOUT })
        })
    }

    async fn open_patiently(address: &str) -> Result<Self, ConnectionError> {
        let authority = address
            .parse::<Authority>()
            .map_err(|source| ConnectionError::Address { address: address.to_owned(), source })?;
        let connect = |source| ConnectionError::Connect { address: address.to_owned(), source };
        let socket = TcpStream::connect(address).await.map_err(connect)?;
        socket.set_nodelay(true).map_err(connect)?;
        let (sender, driver) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_frame_size(FRAME_BYTES_MAX)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|source| ConnectionError::Handshake { address: address.to_owned(), source })?;
        let peer = address.to_owned();
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
        Ok(Self { sender, authority })
    }

    /// Whether a call on it is bound to fail.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Starts a call of `/service/method`. The answer comes when the server sends its headers; the
    /// body is sent meanwhile.
    pub(crate) fn call(
        &mut self,
        path: &'static str,
        carried: Carried,
        body: RequestBody,
    ) -> impl Future<Output = Result<Response<Incoming>, hyper::Error>> + Send + 'static {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .expect("constant parts and a parsed authority make a valid address");
        let mut request = Request::post(uri)
            .version(http::Version::HTTP_2)
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .header(http::header::TE, "trailers")
            .header(http::header::USER_AGENT, concat!("forebay-rust/", env!("CARGO_PKG_VERSION")))
            .body(body)
            .expect("constant parts make a valid request");
        if carried == Carried::Never {
            request.headers_mut().insert(NO_CARRY, HeaderValue::from_static("1"));
        }
        self.sender.send_request(request)
    }
}
