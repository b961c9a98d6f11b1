//! A node in a process of its own.

use std::{ffi::OsString, path::PathBuf};

use forebay_proto::v1::{DescribeTopicRequest, cluster_service_client::ClusterServiceClient};
use rustix::process::Signal;
use tempfile::TempDir;
use tonic::{Request, metadata::MetadataValue, transport::Endpoint};

use super::{Forebay, Ports, Server};

/// A folder on a real disk, gone when it is dropped. Direct I/O does not work in memory file systems.
pub(crate) fn fresh_folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder in target/tmp")
}

/// A node that may be running, its ports and its data.
#[derive(Debug)]
pub(crate) struct Node {
    ports: Ports,
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    running: Option<Server>,
}

impl Node {
    /// A node that answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with settings in its environment.
    pub(crate) fn start_with(settings: &[(&'static str, &str)]) -> Self {
        let (ports, folder) = (Ports::claim(), fresh_folder());
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut node = Self { ports, folder, settings, running: None };
        node.start_again();
        node
    }

    /// Starts on the ports and the data of before, and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        assert!(self.running.is_none(), "one at a time");
        // A log for people says when the node is ready; where nobody reads along it would be JSON.
        let node = Forebay::new(self.arguments()).env("FOREBAY_LOG__FORMAT", "text");
        let mut running =
            self.settings.iter().fold(node, |node, (name, value)| node.env(name, value)).serve();
        running.says("is ready");
        self.running = Some(running);
    }

    /// The arguments that this node is started with.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let (grpc, http) = (self.ports.grpc().to_string(), self.ports.http().to_string());
        ["serve", "--shards", "2", "--listen", &grpc, "--http", &http, "--data"]
            .into_iter()
            .map(OsString::from)
            .chain([self.data().into_os_string()])
            .collect()
    }

    /// What `--data` is given: a folder of its own, unless a setting names another.
    pub(crate) fn data(&self) -> PathBuf {
        let set = self.settings.iter().find(|(name, _)| *name == "FOREBAY_NODE__DATA");
        set.map_or_else(|| self.folder.path().join("data"), |(_, data)| data.into())
    }

    pub(crate) fn endpoint(&self) -> String {
        self.ports.grpc().to_string()
    }

    pub(crate) fn http(&self) -> String {
        self.ports.http().to_string()
    }

    /// The exclusive end of what this node itself holds of a topic's first partition, whoever leads.
    pub(crate) fn mark(&self, topic: &str) -> u64 {
        let address = format!("http://{}", self.endpoint());
        let mut request = Request::new(DescribeTopicRequest { name: topic.to_owned() });
        // What it knows, and not what the leader does.
        request.metadata_mut().insert("forebay-no-carry", MetadataValue::from_static("1"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let channel = Endpoint::from_shared(address).expect("an address").connect_lazy();
            let described = ClusterServiceClient::new(channel).describe_topic(request).await;
            described.expect("an answer").into_inner().partitions[0].committed_offset
        })
    }

    /// Waits until it has said `text`; gives back all that it has said in this life.
    pub(crate) fn says(&mut self, text: &str) -> &str {
        self.running.as_mut().expect("running").says(text)
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        drop(self.running.take().expect("running"));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("running").signal(signal);
    }

    /// The process, to be signalled or waited for.
    pub(crate) fn take(&mut self) -> Server {
        self.running.take().expect("running")
    }

    /// A client command that talks to this node.
    pub(crate) fn forebay<const N: usize>(&self, arguments: [&str; N]) -> Forebay {
        Forebay::new(arguments).env("FOREBAY_ENDPOINT", self.endpoint())
    }
}
