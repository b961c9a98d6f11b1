//! `forebay ready`: asks a node over its HTTP port whether it serves. For health checks in images that hold no
//! other program.
//!
//! It looks at one node. How the cluster is, is another question.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use crate::{
    arguments::Ready,
    failure::{Failure, Kind},
};

/// How long the node may take to connect, and for each part of its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of the answer that are looked at: a status line, headers, and a word.
const ANSWER_BYTES_MAX: u64 = 4 * 1024;

/// Done when the node serves; a condition that is false when it says that it does not.
pub(crate) fn run(ready: &Ready) -> Result<(), Failure> {
    let answer = ask(&ready.http).map_err(|error| {
        if error.kind() == io::ErrorKind::InvalidInput {
            return Failure::usage(format!("--http {}: expected HOST:PORT", ready.http));
        }
        let message = format!("{}: no answer: {error}", ready.http);
        Failure::new(Kind::Unreachable, message)
            .hint("--http names the node's HTTP port, network.http")
    })?;
    match judge(&answer) {
        Some((200, _)) => Ok(()),
        Some((_, said)) => Err(Failure::new(Kind::Condition, format!("{}: {said}", ready.http))),
        None => {
            let message = format!("{}: expected HTTP, found something else", ready.http);
            Err(Failure::error(message))
        }
    }
}

fn ask(address: &str) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match ask_at(address) {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask_at(address: std::net::SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // With version 1.0 the node closes the connection after its answer.
    write!(stream, "GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status of an answer, and what it says.
fn judge(answer: &str) -> Option<(u16, &str)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_word() {
        let starting = "HTTP/1.0 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nstarting\n";
        assert_eq!(judge(starting), Some((503, "starting")));
        assert_eq!(judge("HTTP/1.1 200 OK\r\n\r\nready\n"), Some((200, "ready")));
        for broken in ["", "HTTP/1.1 200 OK\r\n", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 many\r\n\r\n"] {
            assert_eq!(judge(broken), None, "{broken:?}");
        }
    }
}
