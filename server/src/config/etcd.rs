//! Where a node finds etcd, and how it proves there who it is. Without endpoints the node is alone.

use std::fmt;
use std::path::PathBuf;

use super::units::Span;
use super::value::{Value, ValueError};

/// Section `cluster`.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Between two heartbeats to another node.
    pub heartbeat_interval: Span,
    /// So many missed in a row make a node suspected.
    pub suspected_after: u32,
    /// So many make it unhealthy.
    pub unhealthy_after: u32,
    /// What holds the cluster's common state.
    pub etcd: EtcdConfig,
    /// Where it is written down what each replica is told and does.
    pub trace: Option<PathBuf>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Span::from_millis(1_000),
            suspected_after: 2,
            unhealthy_after: 5,
            etcd: EtcdConfig::default(),
            trace: None,
        }
    }
}

impl ClusterConfig {
    /// Whether the node is alone.
    pub fn is_alone(&self) -> bool {
        self.etcd.endpoints.is_empty()
    }
}

/// Section `cluster.etcd`.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// The members of etcd. None: the node is alone.
    pub endpoints: Endpoints,
    /// All keys of the cluster begin with it.
    pub prefix: KeyPrefix,
    /// The authority that the certificates of etcd are checked against.
    pub ca: Option<PathBuf>,
    /// The certificate that this node shows.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
    /// A user of etcd.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// How long the node's lease lives without a sign of it.
    pub lease_ttl: Span,
    /// How long etcd may take to answer.
    pub request_timeout: Span,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Endpoints(Vec::new()),
            prefix: KeyPrefix("/forebay/".to_owned()),
            ca: None,
            cert: None,
            key: None,
            user: None,
            password: None,
            lease_ttl: Span::from_millis(10_000),
            request_timeout: Span::from_millis(2_000),
        }
    }
}

/// URLs of etcd, as `http://HOST:PORT` or `https://HOST:PORT`; all of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints(pub Vec<String>);

const PLAIN: &str = "http://";
const TLS: &str = "https://";

impl Endpoints {
    /// Whether there is none, so that the node is alone.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are reached with TLS.
    pub fn is_tls(&self) -> bool {
        self.0.iter().any(|url| url.starts_with(TLS))
    }
}

/// The text of a node that is alone.
const NONE: &str = "none";

impl Value for Endpoints {
    const KIND: &'static str = "`none` or http(s)://HOST:PORT, several with commas between them";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text == NONE {
            return Ok(Self(Vec::new()));
        }
        let urls: Vec<&str> = text.split(',').map(|url| url.trim().trim_end_matches('/')).collect();
        for scheme in [PLAIN, TLS] {
            let of_scheme = |url: &&str| {
                url.strip_prefix(scheme).is_some_and(|rest| super::Address::parse(rest).is_ok())
            };
            if urls.iter().all(of_scheme) {
                return Ok(Self(urls.into_iter().map(str::to_owned).collect()));
            }
        }
        let bare = !text.contains("://") && super::Address::parse(text).is_ok();
        let nearest = bare.then(|| format!("{PLAIN}{text}"));
        Err(ValueError::form_with_nearest(Self::KIND, text, nearest))
    }

    fn show(&self) -> String {
        if self.is_empty() { NONE.to_owned() } else { self.0.join(",") }
    }
}

/// What all keys of a cluster begin with. Invariant: begins and ends with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPrefix(String);

impl KeyPrefix {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for KeyPrefix {
    const KIND: &'static str = "a path such as /forebay/";

    fn parse(text: &str) -> Result<Self, ValueError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if !text.starts_with('/') || !text.chars().all(plain) || text.contains("//") {
            return Err(ValueError::form(Self::KIND, text));
        }
        Ok(Self(format!("{}/", text.trim_end_matches('/'))))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// What nobody shall read in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

const HIDDEN: &str = "(hidden)";

impl Value for Secret {
    const KIND: &'static str = "a password";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Err(ValueError::form(Self::KIND, text));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        HIDDEN.to_owned()
    }
}

impl Value for String {
    const KIND: &'static str = "a name";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text.trim().is_empty() {
            return Err(ValueError::form(Self::KIND, text));
        }
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown_alike() {
        for text in ["none", "http://a:2379", "https://a:2379,https://[::1]:2379"] {
            assert_eq!(Endpoints::parse(text).expect(text).show(), text);
        }
        let spaced = Endpoints::parse("http://a:1/, http://b:2").expect("as people write it");
        assert_eq!(spaced.show(), "http://a:1,http://b:2");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_and_the_nearest_right_one_named() {
        for text in ["", "http://a", "ftp://a:1", "http://a:1,https://b:1", "http://a:1,,"] {
            assert!(Endpoints::parse(text).is_err(), "{text}");
        }
        let error = Endpoints::parse("a:2379").expect_err("no scheme").to_string();
        assert!(error.ends_with("did you mean \"http://a:2379\"?"), "{error}");
    }

    #[test]
    fn prefixes_are_whole_paths() {
        assert_eq!(KeyPrefix::parse("/logs/eu").expect("a path").as_str(), "/logs/eu/");
        assert_eq!(KeyPrefix::parse("/").expect("a path").as_str(), "/");
        for text in ["", "forebay", "/a b/", "//"] {
            assert!(KeyPrefix::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let secret = Secret::parse("hunter2").expect("a password");
        assert_eq!((secret.show(), format!("{secret:?}")), (HIDDEN.into(), HIDDEN.into()));
        assert_eq!(secret.reveal(), "hunter2");
    }
}
