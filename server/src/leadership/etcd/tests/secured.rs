//! TLS both ways, and a user with a password.

use std::path::Path;

use forebay_proto::etcd::etcdserverpb::TxnRequest;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::process::{Etcd, config_of};
use super::support::{Node, coordinator, within};
use crate::config::{Config, EtcdConfig, Flag};
use crate::leadership::etcd::connection::Connection;
use crate::leadership::etcd::error::EtcdError;
use crate::leadership::etcd::identity::StartError;

/// An authority, and a certificate of it for whoever is on this machine: `ca.pem`, `cert.pem`, `key.pem`.
fn make_certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let cert = CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer);
    let write =
        |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
    write("ca.pem", ca.pem());
    write("cert.pem", cert.expect("a certificate").pem());
    write("key.pem", key.serialize_pem());
}

fn secured(port: u16, folder: &TempDir) -> EtcdConfig {
    let file = |name: &str| Some(folder.path().join(name));
    EtcdConfig {
        ca: file("ca.pem"),
        cert: file("cert.pem"),
        key: file("key.pem"),
        ..config_of("https", port)
    }
}

#[tokio::test]
async fn node_takes_part_over_tls_and_a_stranger_does_not() {
    let (ours, theirs) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    make_certificates(ours.path());
    make_certificates(theirs.path());
    let file = |name: &str| ours.path().join(name).display().to_string();
    let flags = [
        format!("--cert-file={}", file("cert.pem")),
        format!("--key-file={}", file("key.pem")),
        format!("--trusted-ca-file={}", file("ca.pem")),
        "--client-cert-auth".to_owned(),
    ];
    let started = Etcd::start_with(&flags, |etcd| secured(etcd.port(), &ours)).await;
    let Some(etcd) = started else { return };
    let mut node = Node::start(&secured(etcd.port(), &ours), 1).await;
    node.leased().await;
    node.create_topic("orders", 1, 1).await;
    node.sees("the topic", |view| view.topics.len() == 1).await;

    let without = EtcdConfig { cert: None, key: None, ..secured(etcd.port(), &ours) };
    let foreign = EtcdConfig { ca: Some(theirs.path().join("ca.pem")), ..without.clone() };
    for config in [without, foreign] {
        let connection = Connection::new(&config).expect("right settings");
        let answer = within("an answer", connection.transact(TxnRequest::default())).await;
        assert!(matches!(answer, Err(EtcdError::Unavailable { .. })), "{answer:?}");
    }
}

fn etcdctl(etcd: &Etcd, arguments: &[&str]) {
    let done = std::process::Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=http://127.0.0.1:{}", etcd.port()))
        .args(arguments)
        .output()
        .expect("etcdctl is installed with etcd; on Debian: apt-get install etcd-client");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn node_says_who_it_is_and_again_when_etcd_has_forgotten_it() {
    let Some(mut etcd) = Etcd::start().await else { return };
    etcdctl(&etcd, &["user", "add", "root:open sesame"]);
    etcdctl(&etcd, &["user", "grant-role", "root", "root"]);
    etcdctl(&etcd, &["auth", "enable"]);
    let flag = |name: &str, value: &str| Flag {
        flag: format!("--{name}"),
        setting: format!("cluster.etcd.{name}"),
        value: value.to_owned(),
    };
    let with = |password: &str| {
        let flags = [flag("user", "root"), flag("password", password)];
        let loaded = Config::load(None, [], &flags).expect("a right configuration").cluster.etcd;
        EtcdConfig { user: loaded.user, password: loaded.password, ..etcd.config() }
    };
    let data = tempfile::tempdir().expect("a folder");
    for config in [etcd.config(), with("wrong")] {
        let error = coordinator(&config, data.path(), None).await.expect_err("unknown to etcd");
        assert!(matches!(error, StartError::Etcd(EtcdError::Refused { .. })), "{error:?}");
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
    let right = with("open sesame");
    let mut node = Node::start(&right, 1).await;
    node.leased().await;
    node.create_topic("orders", 1, 1).await;
    // Its tokens go with it.
    etcd.kill();
    etcd.revive();
    node.create_topic("more", 1, 1).await;
    node.sees("both topics", |view| view.topics.len() == 2).await;
}
