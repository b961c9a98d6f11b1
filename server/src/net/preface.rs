//! The first bytes of a connection. Who does not begin as HTTP/2 clients do is told so, and gone, before
//! anything is set up for it.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;

use super::runtime::timeout;

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a client may take to send it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one that was told off may take to go, and how much it may still send.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Said to clients that speak HTTP/1.
const WRONG_PORT: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\n\
    content-type: text/plain\r\n\
    upgrade: h2c\r\n\
    connection: close, upgrade\r\n\
    content-length: 94\r\n\r\n\
    This port speaks gRPC (HTTP/2 without TLS). /metrics and /healthz are on the node's HTTP port\n";

/// Reads the preface. Returns what was read, for hyper to read again, or nothing when this is no
/// HTTP/2 client, or a slow one.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Option<Bytes>> {
    let mut found = [0; PREFACE.len()];
    let matches = match timeout(PATIENCE, compare(stream, &mut found)).await {
        Some(matches) => matches?,
        None => return Ok(None),
    };
    if matches {
        return Ok(Some(Bytes::from_static(PREFACE)));
    }
    if is_http1(&found) {
        stream.write_all(WRONG_PORT).await?;
        stream.shutdown(Shutdown::Write).await.map_err(io::Error::from)?;
        timeout(LINGER, read_away(stream)).await;
    }
    Ok(None)
}

/// Reads until the preface is whole, or differs.
async fn compare(stream: &mut TcpStream, found: &mut [u8; PREFACE.len()]) -> io::Result<bool> {
    let mut length = 0;
    while length < PREFACE.len() {
        let more = stream.read(&mut found[length..]).await?;
        length += more;
        if more == 0 || found[..length] != PREFACE[..length] {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads what the client still sends: a socket that is closed before takes back what was said.
async fn read_away(stream: &mut TcpStream) {
    let mut bytes = vec![0; 16 * 1024];
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(length) => left = left.saturating_sub(length),
        }
    }
}

fn is_http1(start: &[u8]) -> bool {
    ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH "]
        .iter()
        .any(|method| start.starts_with(method.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_http1_has_the_length_that_it_says() {
        let answer = std::str::from_utf8(WRONG_PORT).expect("text");
        let (_, text) = answer.split_once("\r\n\r\n").expect("head and body");
        assert!(answer.contains(&format!("content-length: {}\r\n", text.len())), "{}", text.len());
    }
}
