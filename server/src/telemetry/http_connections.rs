//! The connections of the HTTP port: few at a time, and none for long that says nothing. Descriptors are
//! the whole node's, and this port answers whoever reaches it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

use crate::clock;

/// Connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// A connection without a byte in either direction for this long is closed.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Accepts them.
#[derive(Debug)]
pub(super) struct HttpListener {
    socket: TcpListener,
    free: Arc<Semaphore>,
    silence_max: Duration,
}

impl HttpListener {
    pub(super) fn new(socket: TcpListener) -> Self {
        Self::with_limits(socket, CONNECTIONS_MAX, SILENCE_MAX)
    }

    fn with_limits(socket: TcpListener, connections: usize, silence_max: Duration) -> Self {
        Self { socket, free: Arc::new(Semaphore::new(connections)), silence_max }
    }
}

impl axum::serve::Listener for HttpListener {
    type Io = HttpConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (HttpConnection, SocketAddr) {
        let permit = self.free.clone().acquire_owned().await.expect("never closed");
        // Of the trait, because it waits out errors such as having no descriptor left.
        let (stream, address) = axum::serve::Listener::accept(&mut self.socket).await;
        let silence = Silence { max: self.silence_max, over: Box::pin(sleep(self.silence_max)) };
        (HttpConnection { stream, silence, _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct HttpConnection {
    stream: TcpStream,
    silence: Silence,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Silence {
    max: Duration,
    over: Pin<Box<Sleep>>,
}

impl Silence {
    /// What came of reading or writing; an error, when nothing has for too long.
    fn poll<T>(&mut self, done: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if done.is_pending() {
            ready!(self.over.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.over.as_mut().reset(Instant::from_std(clock::monotonic()) + self.max);
        done
    }
}

impl AsyncRead for HttpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.silence.poll(done, cx)
    }
}

impl AsyncWrite for HttpConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.silence.poll(done, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::serve::Listener;
    use futures_util::FutureExt;
    use tokio::io::AsyncReadExt;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test);
    }

    async fn listener(connections: usize, silence_max: Duration) -> HttpListener {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        HttpListener::with_limits(socket, connections, silence_max)
    }

    #[test]
    fn a_connection_beyond_the_limit_waits_for_another_to_end() {
        run(async {
            let mut listener = listener(1, SILENCE_MAX).await;
            let address = listener.local_addr().expect("an address");
            let clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
            let (first, _) = listener.accept().await;
            assert!(listener.accept().now_or_never().is_none());
            drop(first);
            listener.accept().await;
            drop(clients);
        });
    }

    #[test]
    fn a_connection_that_says_nothing_is_closed() {
        run(async {
            let mut listener = listener(1, Duration::from_millis(1)).await;
            let address = listener.local_addr().expect("an address");
            let client = TcpStream::connect(address).await;
            let (mut silent, _) = listener.accept().await;
            let error = silent.read_u8().await.expect_err("nothing was sent");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(client);
        });
    }
}
