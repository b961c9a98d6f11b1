//! A glommio socket as hyper reads and writes it.
#![expect(unsafe_code, reason = "hyper hands out uninitialised memory to read into")]

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use hyper::rt::{Read, ReadBufCursor, Write};

/// After so many bytes of either direction a connection lets the other tasks of its core run, however
/// much more there is.
const BYTES_PER_TURN: usize = 512 * 1024;

/// A connected socket.
#[derive(Debug)]
pub(super) struct SocketIo {
    stream: TcpStream,
    /// What was read before hyper took over.
    prefix: Bytes,
    read: Turn,
    written: Turn,
}

/// Counts the bytes of one direction.
#[derive(Debug, Default)]
struct Turn {
    bytes: usize,
}

impl Turn {
    /// Pending, once, when this turn's bytes are used up.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.bytes < BYTES_PER_TURN {
            return Poll::Ready(());
        }
        self.bytes = 0;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn count(&mut self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => self.bytes += bytes,
            Poll::Ready(Err(_)) => {}
            // The others had their turn.
            Poll::Pending => self.bytes = 0,
        }
    }
}

impl SocketIo {
    pub(super) fn new(stream: TcpStream, prefix: Bytes) -> Self {
        Self { stream, prefix, read: Turn::default(), written: Turn::default() }
    }
}

impl Read for SocketIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let length = self.prefix.len().min(target.remaining());
            target.put_slice(&self.prefix.split_to(length));
            return Poll::Ready(Ok(()));
        }
        ready!(self.read.poll(cx));
        // SAFETY: nothing but the kernel writes to this memory below, so no byte of it that was
        // initialised is made uninitialised again.
        let memory = unsafe { target.as_mut() };
        let memory: *mut [u8] = std::ptr::from_mut(memory) as *mut [u8];
        // SAFETY: the slice lives as long as `memory`, which nobody else uses meanwhile. It is only
        // written to: `poll_read` passes it to recv(2) and reads none of it.
        let memory = unsafe { &mut *memory };
        let result = Pin::new(&mut self.stream).poll_read(cx, memory);
        self.read.count(&result);
        let bytes = ready!(result)?;
        // SAFETY: recv(2) has just written this many bytes from the start.
        unsafe { target.advance(bytes) };
        Poll::Ready(Ok(()))
    }
}

impl Write for SocketIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.written.poll(cx));
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written.count(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.written.poll(cx));
        // glommio writes the first slice alone. One sendmsg(2) of all was slower: docs/adr/0004.
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written.count(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_close(cx)) {
            // The other side was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}
