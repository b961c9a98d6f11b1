//! The entry: endpoints, and connections that are shared.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::uri::Authority;
use thiserror::Error;
use tonic::transport::{Channel, Endpoint};

use crate::{
    admin::{Admin, MetadataError},
    asking::Unreachable,
    connection::{Connection, ConnectionError},
    consumer::{Consumer, ConsumerOptions},
    faults::Faults,
    lock::Lock,
    operator::Operator,
    outage::{Outage, Outages},
    producer::{DeliveryReport, OpenError, Producer, ProducerOptions},
    refusal::Refusal,
};

/// An endpoint that does not accept a connection within this time is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// No endpoint was given.
    #[error("no endpoint given")]
    NoEndpoint,
    /// This is not HOST:PORT.
    #[error("`{endpoint}` is not an address like 127.0.0.1:7400")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// None of the endpoints answered. Worth another try.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The server refused.
    #[error("the server refused the client")]
    Refused(#[source] Box<Refusal>),
}

/// A client of one cluster. Clones share everything.
///
/// It belongs to the tokio runtime that it was made on. Each runtime flavour will do.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// HOST:PORT of each endpoint with its channel. Never empty.
    endpoints: Vec<(String, Channel)>,
    /// Index of the endpoint that answered last.
    last: AtomicUsize,
    /// By address.
    connections: Lock<HashMap<String, Connection>>,
    outages: Outages,
}

impl Client {
    /// A client of the cluster that these endpoints, HOST:PORT each, belong to. One of them must
    /// answer now; later any of them will do.
    ///
    /// # Errors
    /// When an endpoint makes no sense, or none answers.
    pub async fn connect<E>(endpoints: impl IntoIterator<Item = E>) -> Result<Self, ConnectError>
    where
        E: Into<String>,
    {
        let client = Self::without_connecting(endpoints)?;
        match client.admin().metadata(&[]).await {
            Ok(_) => Ok(client),
            Err(MetadataError::Unreachable(unreachable)) => Err(unreachable.into()),
            Err(MetadataError::Refused(refusal)) => Err(ConnectError::Refused(refusal)),
        }
    }

    /// The same without asking whether anybody is there.
    ///
    /// # Errors
    /// When there is no endpoint, or one makes no sense.
    pub fn without_connecting<E>(
        endpoints: impl IntoIterator<Item = E>,
    ) -> Result<Self, ConnectError>
    where
        E: Into<String>,
    {
        let endpoints: Vec<(String, Channel)> =
            endpoints.into_iter().map(|one| channel(one.into())).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(ConnectError::NoEndpoint);
        }
        let shared = Shared {
            endpoints,
            last: AtomicUsize::new(0),
            connections: Lock::default(),
            outages: Outages::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Calls `tell` when producers or consumers of this client do not get on, and when all of them do
    /// again. They try again without being told to; this is for people who wonder. It takes the place of
    /// an earlier one, must not block, and must not use the client.
    pub fn on_outage(&self, tell: impl FnMut(Outage<'_>) + Send + 'static) {
        self.shared.outages.listen(Box::new(tell));
    }

    /// Calls about topics.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }

    /// Calls of the people who run the cluster.
    pub fn operator(&self) -> Operator {
        Operator::new(self.clone())
    }

    /// Faults on purpose, of the one node that this client was given.
    pub fn faults(&self) -> Faults {
        Faults::new(self.clone())
    }

    /// A producer for one topic, which is made on first use where the server allows that.
    ///
    /// # Errors
    /// When the topic's partitions cannot be learned.
    pub async fn producer(
        &self,
        topic: &str,
        options: ProducerOptions,
    ) -> Result<Producer, OpenError> {
        self.producer_with_reports(topic, options, drop).await
    }

    /// The same; `report` is called with the outcome of every batch, in order within a partition.
    /// It must not block: it runs on the task that reads the answers.
    ///
    /// # Errors
    /// As for [`Self::producer`].
    pub async fn producer_with_reports(
        &self,
        topic: &str,
        options: ProducerOptions,
        report: impl FnMut(DeliveryReport) + Send + 'static,
    ) -> Result<Producer, OpenError> {
        Producer::open(self.clone(), topic.to_owned(), options, report).await
    }

    /// A consumer of one topic. Reading never makes a topic.
    ///
    /// # Errors
    /// When the topic does not exist or its partitions cannot be learned.
    pub async fn consumer(
        &self,
        topic: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, crate::consumer::SubscribeError> {
        Consumer::subscribe(self.clone(), topic.to_owned(), options).await
    }

    /// What is in the way.
    pub(crate) fn outages(&self) -> &Outages {
        &self.shared.outages
    }

    /// Endpoints, the one that answered last first.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (&str, &Channel)> {
        let last = self.shared.last.load(Ordering::Relaxed);
        let (before, from) = self.shared.endpoints.split_at(last);
        from.iter().chain(before).map(|(address, channel)| (address.as_str(), channel))
    }

    /// This endpoint answered.
    pub(crate) fn answered(&self, address: &str) {
        let at = self.shared.endpoints.iter().position(|(one, _)| one == address);
        self.shared.last.store(at.unwrap_or_default(), Ordering::Relaxed);
    }

    /// The endpoint that answered last.
    pub(crate) fn last_endpoint(&self) -> String {
        self.endpoints().next().map(|(address, _)| address.to_owned()).unwrap_or_default()
    }

    /// A connection to this address, a new one if there is none that works.
    pub(crate) async fn connection(&self, address: &str) -> Result<Connection, ConnectionError> {
        let present = self.shared.connections.with(|all| all.get(address).cloned());
        if let Some(connection) = present.filter(|connection| !connection.is_closed()) {
            return Ok(connection);
        }
        let connection = Connection::open(address).await?;
        self.shared.connections.with(|all| all.insert(address.to_owned(), connection.clone()));
        Ok(connection)
    }
}

pub(crate) fn channel(address: String) -> Result<(String, Channel), ConnectError> {
    let is_host_and_port = address.parse::<Authority>().is_ok_and(|one| {
        !one.host().is_empty() && one.port_u16().is_some() && !address.contains('@')
    });
    let endpoint = is_host_and_port
        .then(|| Endpoint::from_shared(format!("http://{address}")).ok())
        .flatten()
        .ok_or_else(|| ConnectError::Endpoint { endpoint: address.clone() })?;
    let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect_lazy();
    Ok((address, channel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7400", "localhost:1", "[::1]:7400"] {
            assert!(Client::without_connecting([good]).is_ok(), "{good}");
        }
        for bad in ["", "localhost", "localhost:", "a:1/path", "http://a:1", "me@a:1", "a:70000"] {
            let error = Client::without_connecting([bad]).expect_err(bad);
            assert!(matches!(error, ConnectError::Endpoint { .. }), "{bad}: {error}");
        }
    }
}
