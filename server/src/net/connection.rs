//! Accepting connections and serving HTTP/2 on them, within limits, until told to stop.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::future::{Either, select};
use glommio::net::TcpStream;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;

use super::body::ResponseBody;
use super::http_timer::LocalTimer;
use super::io::SocketIo;
use super::listener::Listener;
use super::preface;
use super::runtime::{LocalExecutor, sleep, spawn};
use super::stop::StopSignal;

/// One DATA frame, as we take them. The other side's setting decides what we send.
const FRAME_BYTES: u32 = 256 * 1024;

/// What a client may send on one stream before we have read it.
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// What a stream may have in the send buffer of its connection.
const SEND_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// Streams of one connection at a time.
const STREAMS_PER_CONNECTION: u32 = 256;

/// Names and values of a request's headers together.
const HEADER_BYTES: u32 = 16 * 1024;

/// A silent peer is asked whether it is still there after this long,
const PING_AFTER: Duration = Duration::from_secs(20);

/// and its connection closed when it has not answered for this long.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Wait before accepting again after an error, which is mostly that descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Answers requests.
pub(crate) trait Handler: 'static {
    /// Answers one.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Response<ResponseBody>>;
}

/// What connections may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Connections at a time; further ones wait to be accepted.
    pub(crate) connections: u32,
}

/// All connections of a shard. Clones are the same.
#[derive(Clone)]
pub(crate) struct Connections(Rc<Inner>);

struct Inner {
    limits: ConnectionLimits,
    /// Connections are asked to end: no new streams, the open ones go on.
    drain: StopSignal,
    /// Connections are ended.
    end: StopSignal,
    counts: Arc<ConnectionCounts>,
    /// Whoever waits for the last connection to end.
    waiting: Cell<Option<Waker>>,
}

/// Read by others; written by the shard alone.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounts {
    /// Connections that are open now.
    pub(crate) open: AtomicU32,
    /// Connections that were ever accepted.
    pub(crate) accepted: AtomicU64,
}

impl Connections {
    /// None yet.
    pub(crate) fn new(
        limits: ConnectionLimits,
        counts: Arc<ConnectionCounts>,
        drain: StopSignal,
        end: StopSignal,
    ) -> Self {
        Self(Rc::new(Inner { limits, drain, end, counts, waiting: Cell::new(None) }))
    }

    /// Returns when no connection is open. One task may wait.
    pub(crate) async fn none(&self) {
        poll_fn(|cx| {
            if self.0.open() == 0 {
                return Poll::Ready(());
            }
            self.0.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Accepts connections until the drain begins. Each is served by a handler of its own.
    pub(crate) async fn accept<H: Handler>(&self, listener: Listener, new_handler: impl Fn() -> H) {
        let mut drain = self.0.drain.stopped();
        loop {
            if self.0.open() >= self.0.limits.connections {
                if let Either::Left(_) = select(&mut drain, pin!(sleep(ACCEPT_RETRY))).await {
                    return;
                }
                continue;
            }
            let stream = match select(&mut drain, pin!(listener.accept())).await {
                Either::Left(_) => return,
                Either::Right((Ok(stream), _)) => stream,
                Either::Right((Err(error), _)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            self.start(stream, new_handler());
        }
    }

    fn start(&self, stream: TcpStream, handler: impl Handler) {
        let inner = self.0.clone();
        inner.counts.open.store(inner.open() + 1, Ordering::Relaxed);
        inner.counts.accepted.fetch_add(1, Ordering::Relaxed);
        spawn(async move {
            let mut end = inner.end.stopped();
            // Whichever comes first; the connection ends by being dropped.
            if let Either::Right((Err(error), _)) =
                select(&mut end, pin!(serve(stream, handler, &inner.drain))).await
            {
                tracing::debug!(%error, "connection ended");
            }
            inner.counts.open.store(inner.open() - 1, Ordering::Relaxed);
            // Whoever waits for the last one is asked only once.
            if inner.open() == 0
                && let Some(waiting) = inner.waiting.take()
            {
                waiting.wake();
            }
        });
    }
}

impl Inner {
    fn open(&self) -> u32 {
        self.counts.open.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("open", &self.0.open()).finish_non_exhaustive()
    }
}

/// Why a connection ended before its time. Logged for whoever looks, and nothing else.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Glommio(#[from] glommio::GlommioError<()>),
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

async fn serve(
    mut stream: TcpStream,
    handler: impl Handler,
    drain: &StopSignal,
) -> Result<(), ServeError> {
    stream.set_nodelay(true)?;
    let prefix = match select(drain.stopped(), pin!(preface::read(&mut stream))).await {
        // Nothing has begun that would have to be ended well.
        Either::Left(_) => return Ok(()),
        Either::Right((prefix, _)) => prefix?,
    };
    let Some(prefix) = prefix else { return Ok(()) };
    let handler = Rc::new(handler);
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(handler.handle(request).await) }
    });
    let mut connection = pin!(
        http2::Builder::new(LocalExecutor)
            .timer(LocalTimer)
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .adaptive_window(false)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .max_header_list_size(HEADER_BYTES)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(SocketIo::new(stream, prefix), service)
    );
    match select(drain.stopped(), connection.as_mut()).await {
        Either::Right((result, _)) => return Ok(result?),
        Either::Left(_) => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
