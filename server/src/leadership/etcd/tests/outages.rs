//! etcd is away: frozen, killed, or behind a way that was cut. What is of unknown outcome is told so, and
//! everything comes back by itself.

use forebay_replication::LeaseEvent;
use forebay_replication::metadata::Outcome;

use super::process::{Etcd, config_of};
use super::proxy::Proxy;
use super::support::Node;
use crate::config::{Endpoints, EtcdConfig};
use crate::leadership::etcd::connection::Connection;
use crate::leadership::etcd::error::EtcdError;
use crate::leadership::etcd::seat::EtcdEvent;

#[tokio::test]
async fn transaction_that_etcd_does_not_answer_is_unknown_and_read_back() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut config = etcd.config();
    config.lease_ttl = crate::config::Span::from_millis(120_000);
    let mut node = Node::start(&config, 1).await;
    node.leased().await;
    let partition = node.create_topic("orders", 1, 1).await.partition(0).expect("has one");
    node.report(partition).await;
    node.first_state(partition, vec![node.member()]).await;
    let read = node.read(partition).await;
    let take_over = node.take_over(&read);

    etcd.freeze();
    let outcome = node.transact(partition, &take_over).await;
    etcd.thaw();
    assert_eq!(outcome, Outcome::Unknown);

    let back = node.read(partition).await;
    let again = node.transact(partition, &take_over).await;
    match &back.leader {
        Some(leader) => {
            assert_eq!(leader.value.node, node.id);
            assert_eq!(again, Outcome::Conflict, "it has happened");
        }
        // It may happen even now, but only one of the two.
        None => assert!(matches!(again, Outcome::Committed(_) | Outcome::Conflict), "{again:?}"),
    }
    let after = node.read(partition).await;
    assert_eq!(after.state.map(|state| state.value), take_over.state);
}

#[tokio::test]
async fn nothing_is_sent_twice_to_an_etcd_that_is_away() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let mut config = etcd.config();
    config.lease_ttl = crate::config::Span::from_millis(120_000);
    let mut node = Node::start(&config, 1).await;
    node.leased().await;
    let partition = node.create_topic("orders", 1, 1).await.partition(0).expect("has one");
    etcd.kill();
    assert_eq!(node.report(partition).await, Outcome::Unknown);
    etcd.revive();
    assert_eq!(node.read(partition).await.reported, [], "it is the protocol that sends it again");
    assert!(matches!(node.report(partition).await, Outcome::Committed(_)));
}

#[tokio::test]
async fn lease_outlives_a_restart_of_etcd() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let mut config = etcd.config();
    config.lease_ttl = crate::config::Span::from_millis(20_000);
    let mut node = Node::start(&config, 1).await;
    let (incarnation, _) = node.leased().await;
    etcd.kill();
    etcd.revive();
    let renewed = |event| match event {
        EtcdEvent::Lease(LeaseEvent::Renewed { .. }) => Some(()),
        EtcdEvent::Lease(event) => panic!("it is kept alive: {event:?}"),
        _ => None,
    };
    node.event("a renewal", renewed).await;
    let id = node.id;
    let view = node.sees("itself", |view| view.nodes.contains_key(&id)).await;
    assert_eq!(view.nodes[&id].incarnation, incarnation);
}

#[tokio::test]
async fn member_that_fails_is_left_for_the_next() {
    let Some(etcd) = Etcd::start().await else { return };
    let proxy = Proxy::to(etcd.port()).await;
    let endpoints = [proxy.port, etcd.port()].map(|port| format!("http://127.0.0.1:{port}"));
    let config = EtcdConfig { endpoints: Endpoints(endpoints.to_vec()), ..etcd.config() };
    let mut node = Node::start(&config, 1).await;
    let (incarnation, _) = node.leased().await;
    proxy.cut();
    let partition = node.create_topic("orders", 1, 1).await.partition(0).expect("has one");
    assert!(matches!(node.report(partition).await, Outcome::Committed(_)));
    let view = node.sees("the topic", |view| view.topics.len() == 1).await;
    assert_eq!(view.nodes[&node.id].incarnation, incarnation);
}

#[tokio::test]
async fn node_waits_for_an_etcd_that_is_not_there_yet() {
    let Some(mut etcd) = Etcd::start().await else { return };
    etcd.kill();
    let data = tempfile::tempdir().expect("a folder");
    let config = etcd.config();
    let starting = super::support::coordinator(&config, data.path(), None);
    let (started, ()) = tokio::join!(starting, async {
        let error =
            etcd.connection().transact(super::super::txn::when(vec![], vec![], vec![])).await;
        assert!(matches!(error, Err(EtcdError::Unavailable { .. })), "{error:?}");
        etcd.revive();
    });
    started.expect("started");
}

#[tokio::test]
async fn settings_that_lead_nowhere_are_named() {
    let none = EtcdConfig::default();
    let error = Connection::new(&none).expect_err("no endpoint").to_string();
    assert_eq!(error, "cluster.etcd.endpoints: expected at least one URL, found none");
    let missing = EtcdConfig { ca: Some("/nowhere/ca.pem".into()), ..config_of("https", 1) };
    let error = Connection::new(&missing).expect_err("no such file").to_string();
    assert!(
        error.starts_with("cluster.etcd.ca: expected a file in PEM, cannot read /nowhere/ca.pem: "),
        "{error}"
    );
}
