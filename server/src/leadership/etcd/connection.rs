//! The way to etcd: one connection to each member, and which of them is asked.
//!
//! The member that answered last is asked first. One that fails is left for the next. Nothing is asked
//! twice here: whether that may be done, only the caller knows. Every request has a timeout, and says
//! that the member must have a leader, so that one that is cut off from the others fails instead of
//! waiting. Connections are made when they are needed, and again after they broke.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_proto::etcd::etcdserverpb::AuthenticateRequest;
use forebay_proto::etcd::etcdserverpb::auth_client::AuthClient;
use forebay_proto::etcd::etcdserverpb::{
    kv_client::KvClient, lease_client::LeaseClient, watch_client::WatchClient,
};
use futures_util::future::BoxFuture;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use super::error::EtcdError;
use super::outage::{Outage, wait};
use crate::config::{EtcdConfig, Secret};

/// A connection that carries a request and nothing comes for so long is asked whether it lives. etcd
/// refuses to be asked more often than every five seconds.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A connection that does not say so in this time is given up.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What is refused is tried again as if it had failed so often before.
const REFUSALS: u32 = 3;

/// Answers of etcd: a listing has so many values, and one of a partition's keys is small.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    members: Vec<Member>,
    /// Index of the member to ask, modulo their number.
    current: AtomicUsize,
    timeout: Duration,
    credentials: Option<(String, Secret)>,
    outage: Outage,
}

#[derive(Debug)]
struct Member {
    url: String,
    channel: Channel,
    /// With which it knows who asks.
    token: tokio::sync::RwLock<Option<MetadataValue<Ascii>>>,
}

/// An answer on its way.
type Answering<T> = BoxFuture<'static, Result<Response<T>, Status>>;

/// One member, for one request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

impl Asked {
    pub(super) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    pub(super) fn watch(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The request, with what etcd wants to know beside it.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = &self.token {
            metadata.insert("token", token.clone());
        }
        request
    }
}

impl Connection {
    /// A way to these members. Nothing is connected yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Settings that lead nowhere, with what was expected.
    pub(crate) fn new(config: &EtcdConfig) -> Result<Self, EtcdError> {
        let tls = config.endpoints.is_tls().then(|| tls(config)).transpose()?;
        let timeout = config.request_timeout.as_duration();
        let member = |url: &String| -> Result<Member, EtcdError> {
            let wrong = |error: &dyn std::error::Error| EtcdError::Settings {
                setting: "cluster.etcd.endpoints",
                problem: format!("cannot connect to {url}: {error}"),
            };
            let mut endpoint = Endpoint::from_shared(url.clone())
                .map_err(|error| wrong(&error))?
                .connect_timeout(timeout)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(false);
            if let Some(tls) = &tls {
                endpoint = endpoint.tls_config(tls.clone()).map_err(|error| wrong_tls(&error))?;
            }
            let channel = endpoint.connect_lazy();
            Ok(Member { url: url.clone(), channel, token: tokio::sync::RwLock::default() })
        };
        let members: Vec<_> =
            config.endpoints.0.iter().map(member).collect::<Result<_, EtcdError>>()?;
        if members.is_empty() {
            let problem = "expected at least one URL, found none".to_owned();
            return Err(EtcdError::Settings { setting: "cluster.etcd.endpoints", problem });
        }
        let shared = Shared {
            members,
            current: AtomicUsize::new(0),
            timeout,
            credentials: config.user.clone().zip(config.password.clone()),
            outage: Outage::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Asks one member, once.
    ///
    /// # Errors
    /// See [`EtcdError`]; after a timeout or a broken connection nobody knows what became of the request.
    pub(super) async fn ask<T>(
        &self,
        call: impl Fn(Asked) -> Answering<T> + Send + Sync,
    ) -> Result<T, EtcdError> {
        self.ask_current(call).await.1
    }

    /// Likewise, and says which member it was.
    async fn ask_current<T>(
        &self,
        call: impl Fn(Asked) -> Answering<T> + Send + Sync,
    ) -> (usize, Result<T, EtcdError>) {
        let (at, member) = self.current();
        // In a box: whoever asks has futures of his own, which hold this one.
        let asking = Box::pin(self.ask_member(member, call));
        let answer = tokio::time::timeout(self.shared.timeout, asking).await;
        let answer = answer.unwrap_or_else(|_elapsed| {
            let timeout_ms = u64::try_from(self.shared.timeout.as_millis()).unwrap_or(u64::MAX);
            Err(EtcdError::Timeout { endpoint: member.url.clone(), timeout_ms })
        });
        match &answer {
            Err(error) if error.is_of_member() => self.leave(at, error),
            _ => self.shared.outage.answered(),
        }
        (at, answer)
    }

    async fn ask_member<T>(
        &self,
        member: &Member,
        call: impl Fn(Asked) -> Answering<T> + Send + Sync,
    ) -> Result<T, EtcdError> {
        let failed = |status: &Status| EtcdError::of_status(&member.url, status);
        let token = self.token(member).await.map_err(|status| failed(&status))?;
        let asked = Asked { channel: member.channel.clone(), token };
        match call(asked.clone()).await {
            Ok(response) => Ok(response.into_inner()),
            // The token has run out. Nothing was done, so it may be asked again.
            Err(status) if status.code() == Code::Unauthenticated && asked.token.is_some() => {
                *member.token.write().await = None;
                let token = self.token(member).await.map_err(|status| failed(&status))?;
                let again = call(Asked { token, ..asked }).await;
                again.map(Response::into_inner).map_err(|status| failed(&status))
            }
            Err(status) => Err(failed(&status)),
        }
    }

    async fn token(&self, member: &Member) -> Result<Option<MetadataValue<Ascii>>, Box<Status>> {
        let Some((name, password)) = &self.shared.credentials else { return Ok(None) };
        if let Some(token) = member.token.read().await.clone() {
            return Ok(Some(token));
        }
        let mut held = member.token.write().await;
        if held.is_none() {
            let (name, password) = (name.clone(), password.reveal().to_owned());
            let request = AuthenticateRequest { name, password };
            let answer = AuthClient::new(member.channel.clone()).authenticate(request).await?;
            let token = answer.into_inner().token.parse();
            let unreadable = |_| Status::internal("its token is not text");
            *held = Some(token.map_err(unreadable)?);
        }
        Ok(held.clone())
    }

    /// Asks until there is an answer, with back-off. Only for what may be done twice.
    ///
    /// # Errors
    /// What waiting does not mend, see [`EtcdError::is_lasting`].
    pub(super) async fn ask_until_answered<T>(
        &self,
        call: impl Fn(Asked) -> Answering<T> + Send + Sync,
    ) -> Result<T, EtcdError> {
        loop {
            match self.ask(&call).await {
                Err(error) if !error.is_lasting() => self.pause_after(&error).await,
                answer => return answer,
            }
        }
    }

    /// A stream to the member that is asked now, which must open in time. Says the member too, for
    /// [`Self::stream_ended`].
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) async fn open<T>(
        &self,
        call: impl Fn(Asked) -> Answering<T> + Send + Sync,
    ) -> Result<(usize, T), EtcdError> {
        let (at, stream) = self.ask_current(call).await;
        stream.map(|stream| (at, stream))
    }

    /// A stream of this member has ended, with this status if it said one.
    pub(super) fn stream_ended(&self, at: usize, status: Option<&Status>) {
        let member = &self.shared.members[at % self.shared.members.len()];
        let ended = || Status::unavailable("it has ended a stream");
        let status = status.cloned().unwrap_or_else(ended);
        self.leave(at, &EtcdError::of_status(&member.url, &status));
    }

    /// Waits before the next try: not at all before every member was tried. An etcd that refuses is
    /// reached, and still not to be pestered.
    pub(super) async fn pause_after(&self, error: &EtcdError) {
        let delay = if error.is_of_member() {
            self.shared.outage.delay(self.shared.members.len())
        } else {
            wait(REFUSALS)
        };
        tokio::time::sleep(delay).await;
    }

    /// How long a request may take.
    pub(super) fn timeout(&self) -> Duration {
        self.shared.timeout
    }

    fn current(&self) -> (usize, &Member) {
        let at = self.shared.current.load(Ordering::Relaxed);
        (at, &self.shared.members[at % self.shared.members.len()])
    }

    /// The next one is asked from now on, unless somebody has seen to that.
    fn leave(&self, at: usize, error: &EtcdError) {
        let next = at.wrapping_add(1);
        let left =
            self.shared.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
        if left.is_ok() {
            self.shared.outage.failed(error, self.shared.members.len());
        }
    }
}

/// Who etcd must be, and who this node is.
fn tls(config: &EtcdConfig) -> Result<ClientTlsConfig, EtcdError> {
    let read = |setting: &'static str, path: &std::path::Path| {
        std::fs::read(path).map_err(|error| EtcdError::Settings {
            setting,
            problem: format!("expected a file in PEM, cannot read {}: {error}", path.display()),
        })
    };
    let mut tls = ClientTlsConfig::new();
    if let Some(ca) = &config.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read("cluster.etcd.ca", ca)?));
    }
    if let Some((cert, key)) = config.cert.as_ref().zip(config.key.as_ref()) {
        let cert = read("cluster.etcd.cert", cert)?;
        tls = tls.identity(Identity::from_pem(cert, read("cluster.etcd.key", key)?));
    }
    Ok(tls)
}

fn wrong_tls(error: &tonic::transport::Error) -> EtcdError {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    EtcdError::Settings {
        setting: "cluster.etcd.ca, cert or key",
        problem: format!("expected certificates and a private key in PEM: {error}: {cause}"),
    }
}
