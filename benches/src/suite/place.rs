//! Where scenarios run: servers that the suite starts, and stops in the end.

use std::io;

use super::{
    SuiteError,
    cluster::Cluster,
    scenario::{COLD_FILL, Place, Scenario, arguments},
    server::{Fsync, Server},
};
use crate::{
    args::{LoadArgs, SuiteArgs},
    run::{Kind, run},
};

/// Those that the chosen scenarios need.
pub(super) struct Places {
    node: Option<Server>,
    lazy_node: Option<Server>,
    cluster: Option<Cluster>,
}

impl Places {
    pub(super) fn start(args: &SuiteArgs, chosen: &[&Scenario]) -> Result<Self, SuiteError> {
        let start = |name: &str, fsync| {
            Server::start(&args.server, &args.data.join(name), args.shards, fsync)
        };
        let wanted = |place: Place| chosen.iter().any(|one| one.on == place).then_some(());
        let node = || start("durable", Fsync::BeforeAck);
        let mut places = Self {
            node: wanted(Place::Node).map(|()| node()).transpose()?,
            lazy_node: wanted(Place::LazyNode)
                .map(|()| start("lazy", Fsync::EverySecond))
                .transpose()?,
            cluster: wanted(Place::Cluster)
                .and(args.cluster.as_deref())
                .map(|script| Cluster::start(script, args))
                .transpose()?,
        };
        if let Some(cold) = chosen.iter().find(|one| one.name == "consume-cold") {
            let mut fill = arguments(Kind::Consume, COLD_FILL)?;
            places.direct(&mut fill, cold.on);
            fill.no_floors = true;
            run(Kind::Consume, &fill)
                .map_err(|source| SuiteError::Run { name: cold.name, source: Box::new(source) })?;
            // A server that was started again has nothing of it in memory.
            places.node.take().map(Server::stop).transpose()?;
            places.node = Some(node()?);
        }
        Ok(places)
    }

    /// Sends a load there.
    pub(super) fn direct(&self, load: &mut LoadArgs, place: Place) {
        let server = match place {
            Place::Node => self.node.as_ref(),
            Place::LazyNode => self.lazy_node.as_ref(),
            Place::Cluster => {
                if let Some(cluster) = &self.cluster {
                    load.endpoint = cluster.endpoints().to_vec();
                    load.server_pid = cluster.pids().to_vec();
                    load.server_data = Some(cluster.data().to_owned());
                }
                return;
            }
        };
        if let Some(server) = server {
            load.endpoint = vec![server.endpoint().to_owned()];
            load.server_pid = vec![server.pid()];
            load.server_data = Some(server.data().to_owned());
        }
    }

    pub(super) fn stop(self) -> io::Result<()> {
        self.cluster.map(Cluster::stop).transpose()?;
        for server in [self.node, self.lazy_node].into_iter().flatten() {
            server.stop()?;
        }
        Ok(())
    }
}
