//! The etcd of a cluster: a process, and what an operator does to it.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_proto::etcd::etcdserverpb::kv_client::KvClient;
use forebay_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use forebay_proto::etcd::etcdserverpb::{CompactionRequest, LeaseRevokeRequest, RangeRequest};
use tonic::transport::{Channel, Endpoint};

use super::network::ETCD_PORT;
use crate::error::{RigError, within};
use crate::host::{Child, run};

const PEER_PORT: u16 = 2380;
/// How long it may take to serve on a machine that is busy.
const READY_WITHIN: Duration = Duration::from_mins(1);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// See the module. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    host: Ipv4Addr,
    folder: PathBuf,
    channel: Channel,
    child: Option<Child>,
    /// How many snapshots were restored.
    restored: u32,
}

impl Etcd {
    /// One that serves, with its data in `folder`.
    pub(crate) async fn start(host: Ipv4Addr, folder: &Path) -> Result<Self, RigError> {
        let endpoint = Endpoint::from_shared(format!("http://{host}:{ETCD_PORT}"))
            .map_err(RigError::at("no endpoint of etcd"))?;
        let channel = endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT).connect_lazy();
        let folder = folder.to_owned();
        let mut etcd = Self { host, folder, channel, child: None, restored: 0 };
        etcd.start_again().await?;
        Ok(etcd)
    }

    /// As nodes are told it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}:{ETCD_PORT}", self.host)
    }

    /// A way to it without a time limit on calls, for watches.
    pub(crate) fn channel_for_watches(&self) -> Result<Channel, RigError> {
        let endpoint =
            Endpoint::from_shared(self.endpoint()).map_err(RigError::at("no endpoint of etcd"))?;
        Ok(endpoint.connect_timeout(CALL_TIMEOUT).connect_lazy())
    }

    fn data(&self) -> PathBuf {
        self.folder.join(format!("etcd-{}", self.restored))
    }

    fn peer(&self) -> String {
        format!("http://{}:{PEER_PORT}", self.host)
    }

    /// Starts it on its data, and waits until it serves.
    pub(crate) async fn start_again(&mut self) -> Result<(), RigError> {
        let (client, peer) = (self.endpoint(), self.peer());
        let arguments: Vec<OsString> = [
            "--name=one".to_owned(),
            format!("--data-dir={}", self.data().display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=one={peer}"),
            // So that leases may be as short as the nodes want them.
            "--heartbeat-interval=50".to_owned(),
            "--election-timeout=500".to_owned(),
            "--logger=zap".to_owned(),
        ]
        .map(OsString::from)
        .to_vec();
        let log = self.folder.join("etcd.log");
        let child = Child::start(Path::new("etcd"), &arguments, &[], None, &log);
        let mut child = child.map_err(RigError::at("cannot start etcd"))?;
        within(READY_WITHIN, "etcd serves", async {
            loop {
                if let Some(status) = child.exited().map_err(RigError::at("cannot watch etcd"))? {
                    let log = log.display();
                    return Err(RigError::Unusable(format!(
                        "etcd has ended ({status}), see {log}"
                    )));
                }
                if self.revision().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await??;
        self.child = Some(child);
        Ok(())
    }

    /// Starts it when it does not run.
    pub(crate) async fn ensure_runs(&mut self) -> Result<(), RigError> {
        if self.child.is_none() { self.start_again().await } else { Ok(()) }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child = None;
    }

    /// Its revision now.
    pub(crate) async fn revision(&self) -> Result<i64, RigError> {
        let request = RangeRequest { key: b"/".to_vec(), ..RangeRequest::default() };
        let answer = Box::pin(KvClient::new(self.channel.clone()).range(request)).await;
        let answer = answer.map_err(RigError::at("cannot read from etcd"))?.into_inner();
        Ok(answer.header.unwrap_or_default().revision)
    }

    /// Revokes the lease that a key stands under; false where there is none.
    pub(crate) async fn revoke_lease_of(&self, key: &str) -> Result<bool, RigError> {
        let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
        let answer = Box::pin(KvClient::new(self.channel.clone()).range(request)).await;
        let answer = answer.map_err(RigError::at("cannot read from etcd"))?.into_inner();
        let Some(lease) = answer.kvs.first().map(|kv| kv.lease).filter(|lease| *lease != 0) else {
            return Ok(false);
        };
        let revoked = LeaseClient::new(self.channel.clone())
            .lease_revoke(LeaseRevokeRequest { id: lease })
            .await;
        revoked.map_err(RigError::at("cannot revoke a lease"))?;
        Ok(true)
    }

    /// Forgets every revision but the last, and gives their room back.
    pub(crate) async fn compact_and_defragment(&self) -> Result<(), RigError> {
        let request = CompactionRequest { revision: self.revision().await?, physical: true };
        match Box::pin(KvClient::new(self.channel.clone()).compact(request)).await {
            // Somebody was quicker, or nothing has happened since the last time.
            Err(status) if status.code() == tonic::Code::OutOfRange => {}
            done => drop(done.map_err(RigError::at("cannot compact etcd"))?),
        }
        self.etcdctl(&["defrag"])
    }

    /// Saves a snapshot, in the place of an earlier one.
    pub(crate) fn save_snapshot(&self) -> Result<(), RigError> {
        self.etcdctl(&["snapshot", "save", &self.snapshot()])
    }

    /// Puts the snapshot in the place of its data. It must not run.
    pub(crate) fn restore_snapshot(&mut self) -> Result<(), RigError> {
        self.restored += 1;
        let data = format!("--data-dir={}", self.data().display());
        let cluster = format!("--initial-cluster=one={}", self.peer());
        let peer = format!("--initial-advertise-peer-urls={}", self.peer());
        self.etcdctl(&[
            "snapshot",
            "restore",
            &self.snapshot(),
            "--name=one",
            &data,
            &cluster,
            &peer,
        ])
    }

    fn snapshot(&self) -> String {
        self.folder.join("etcd-snapshot").display().to_string()
    }

    fn etcdctl(&self, arguments: &[&str]) -> Result<(), RigError> {
        let endpoints = format!("--endpoints={}", self.endpoint());
        let line = [&["ETCDCTL_API=3", "etcdctl", &endpoints], arguments].concat();
        run("env", &line).map(drop).map_err(RigError::at("etcdctl failed"))
    }
}
