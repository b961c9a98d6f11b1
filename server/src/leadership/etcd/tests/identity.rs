//! Who a node is, and that it serves no cluster but its own.

use forebay_format::{ClusterId, NodeId};

use super::process::{Etcd, keys};
use super::support::{coordinator, within};
use crate::leadership::etcd::connection::Connection;
use crate::leadership::etcd::identity::{Identity, StartError};
use crate::leadership::etcd::keys::Key;
use crate::leadership::etcd::txn::{delete, delete_all, put, when};
use crate::leadership::etcd::values::Value;

async fn identity(
    etcd: &Etcd,
    data: &tempfile::TempDir,
    id: Option<u32>,
) -> Result<Identity, StartError> {
    let started = coordinator(&etcd.config(), data.path(), id).await;
    started.map(|coordinator| coordinator.identity())
}

async fn write(connection: &Connection, operation: forebay_proto::etcd::etcdserverpb::RequestOp) {
    let request = when(vec![], vec![operation], vec![]);
    within("a write", connection.transact(request)).await.expect("written");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[tokio::test]
async fn nodes_that_start_at_once_found_one_cluster_and_share_no_id() {
    let Some(etcd) = Etcd::start().await else { return };
    let folders = [folder(), folder(), folder()];
    let [one, two, three] = &folders;
    let (one, two, three) = tokio::join!(
        identity(&etcd, one, None),
        identity(&etcd, two, None),
        identity(&etcd, three, None),
    );
    let all = [one, two, three].map(|found| found.expect("started"));
    assert!(all.iter().all(|found| found.cluster == all[0].cluster));
    let mut nodes: Vec<_> = all.iter().map(|found| found.node.get()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    let again = identity(&etcd, &folders[1], None).await.expect("started");
    assert_eq!(again, all[1], "it remembers");
}

#[tokio::test]
async fn node_id_that_somebody_chose_is_given_to_nobody_else() {
    let Some(etcd) = Etcd::start().await else { return };
    let chosen = folder();
    let found = identity(&etcd, &chosen, Some(7)).await.expect("started");
    assert_eq!(found.node, NodeId::new(7));
    let given = identity(&etcd, &folder(), None).await.expect("started");
    assert_eq!(given.node, NodeId::new(8));
    let error = identity(&etcd, &chosen, Some(6)).await.expect_err("another node");
    assert_eq!(
        error.to_string(),
        "node.id: expected 7, to which the data directory belongs, found 6"
    );
}

#[tokio::test]
async fn another_cluster_and_an_etcd_that_was_emptied_are_refused() {
    let Some(etcd) = Etcd::start().await else { return };
    let (data, connection) = (folder(), etcd.connection());
    let own = identity(&etcd, &data, None).await.expect("started").cluster;
    let key = keys().of(&Key::ClusterId);
    let other = ClusterId::random();
    write(&connection, put(&key, other.encode(), 0)).await;
    let error = identity(&etcd, &data, None).await.expect_err("another cluster").to_string();
    assert!(
        error.contains(&format!("expected cluster {own}"))
            && error.contains(&format!("found {other}")),
        "{error}"
    );
    write(&connection, delete_all(keys().prefix())).await;
    let error = identity(&etcd, &data, None).await.expect_err("nothing there");
    assert!(matches!(error, StartError::ClusterGone { .. }), "{error}");
    let still = within("a read", connection.read(vec![super::super::txn::get(&key)])).await;
    assert!(still.expect("read").found.iter().all(Vec::is_empty), "nothing was put");
    write(&connection, put(&key, own.encode(), 0)).await;
    assert_eq!(identity(&etcd, &data, None).await.expect("its own again").cluster, own);
}

#[tokio::test]
async fn value_that_cannot_be_read_is_named_by_its_key() {
    let Some(etcd) = Etcd::start().await else { return };
    let key = keys().of(&Key::ClusterId);
    write(&etcd.connection(), put(&key, b"forty-two".to_vec(), 0)).await;
    let error = identity(&etcd, &folder(), None).await.expect_err("unreadable").to_string();
    assert!(error.starts_with(&format!("etcd key {key}: ")), "{error}");
    write(&etcd.connection(), delete(&key)).await;
    identity(&etcd, &folder(), None).await.expect("a new cluster");
}
