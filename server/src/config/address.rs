//! `HOST:PORT`, where the host may be a name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::value::{Value, ValueError};

/// Where to listen, or where others find this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// Puts the two together. An IPv6 host stands without brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is every address of the machine, and so none that leads there.
    pub fn is_wildcard(&self) -> bool {
        self.host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
    }

    /// The same host, another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Value for Address {
    const KIND: &'static str = "HOST:PORT";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::form(Self::KIND, text);
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(inner) => inner,
            // Without brackets, nobody can tell the last group from the port.
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(Self::new(host, port.parse().ok().ok_or_else(wrong)?))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in ["127.0.0.1:7400", "node-1.example:0", "[::1]:7400"] {
            assert_eq!(Address::parse(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_host_and_port_is_refused() {
        for text in ["", "7400", "host", "host:", ":7400", "host:99999", "::1:7400", "a b:1"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
