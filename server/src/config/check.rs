//! What must hold between settings, and what follows from them, once all of them are known.

use super::error::{ConfigError, Origin};
use super::node::Config;
use super::topic::{REPLICAS, WriteConcern};

impl Config {
    /// The settings with what follows from them, if they go together.
    pub(super) fn complete(mut self) -> Result<Self, ConfigError> {
        self.make_way_for_shards();
        self.check().map(|()| self)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let listen = self.network.listen.port();
        if listen != 0 {
            self.check_ports("network.listen", listen)?;
            self.check_http_port()?;
        }
        if let Some(advertise) = &self.network.advertise.0 {
            if advertise.port() == 0 {
                let problem = "nobody can connect to port 0".to_owned();
                return Err(self.conflict("network.advertise", problem));
            }
            self.check_ports("network.advertise", advertise.port())?;
        }
        self.check_etcd()?;
        self.check_claim()?;
        let (suspected, unhealthy) = (self.cluster.suspected_after, self.cluster.unhealthy_after);
        if unhealthy < suspected {
            let problem = format!(
                "expected at least cluster.suspected_after, {suspected}, found {unhealthy}"
            );
            return Err(self.conflict("cluster.unhealthy_after", problem));
        }
        let alone = self.cluster.etcd.endpoints.is_empty();
        match self.topics.defaults.write_concern {
            WriteConcern::Replicas(replicas) if alone && replicas > REPLICAS => {
                let problem = format!("a single node keeps {REPLICAS} replica, not {replicas}");
                Err(self.conflict("topics.write_concern", problem))
            }
            _ => Ok(()),
        }
    }

    /// Who a node is comes with the directory that it takes; one that is alone would found a cluster in each.
    fn check_claim(&self) -> Result<(), ConfigError> {
        let problem = if !self.node.claim_data {
            return Ok(());
        } else if self.cluster.is_alone() {
            "needs cluster.etcd.endpoints: nodes that are alone share nothing"
        } else if self.own_node_id().is_some() {
            "does not go with node.id, which comes with the directory that is taken"
        } else {
            return Ok(());
        };
        Err(self.conflict("node.claim_data", problem.to_owned()))
    }

    /// What proves identities comes in pairs, and only with TLS.
    fn check_etcd(&self) -> Result<(), ConfigError> {
        let etcd = &self.cluster.etcd;
        let given = [
            ("cluster.etcd.ca", etcd.ca.is_some()),
            ("cluster.etcd.cert", etcd.cert.is_some()),
            ("cluster.etcd.key", etcd.key.is_some()),
        ];
        if let Some((setting, _)) =
            given.iter().find(|(_, given)| *given && !etcd.endpoints.is_tls())
        {
            let problem = "expected endpoints that begin with https://, found none".to_owned();
            return Err(self.conflict(setting, problem));
        }
        if etcd.endpoints.is_tls() && etcd.ca.is_none() {
            let problem = "https needs cluster.etcd.ca, to know etcd by".to_owned();
            return Err(self.conflict("cluster.etcd.endpoints", problem));
        }
        let pairs = [
            ("cluster.etcd.cert", etcd.cert.is_some(), "cluster.etcd.key", etcd.key.is_some()),
            (
                "cluster.etcd.user",
                etcd.user.is_some(),
                "cluster.etcd.password",
                etcd.password.is_some(),
            ),
        ];
        for (one, has_one, other, has_other) in pairs {
            if has_one != has_other {
                let (there, missing) = if has_one { (one, other) } else { (other, one) };
                return Err(self.conflict(there, format!("{missing} is missing beside it")));
            }
        }
        Ok(())
    }

    /// The shards' ports follow this one.
    fn check_ports(&self, setting: &'static str, first: u16) -> Result<(), ConfigError> {
        let shards = self.node.shards.resolve();
        let last = u32::from(first) + shards;
        if last <= u16::MAX.into() {
            return Ok(());
        }
        let max = u16::MAX;
        let problem =
            format!("the ports of {shards} shards follow it, up to {last}; the last port is {max}");
        Err(self.conflict(setting, problem))
    }

    /// Moves HTTP behind the ports of the shards, when it is on one of them and nobody put it there.
    fn make_way_for_shards(&mut self) {
        if self.origins.contains_key("network.http") {
            return;
        }
        let behind = self.grpc_ports().end().checked_add(1).and_then(|port| port.try_into().ok());
        if let (true, Some(port)) = (self.http_is_on_a_grpc_port(), behind) {
            self.network.http = self.network.http.with_port(port);
        }
    }

    /// Both would be bound, and each would get some of the other's connections.
    fn check_http_port(&self) -> Result<(), ConfigError> {
        if !self.http_is_on_a_grpc_port() {
            return Ok(());
        }
        let ports = self.grpc_ports();
        let (first, last) = (ports.start(), ports.end());
        let problem = format!("gRPC and its shards have the ports {first} to {last}");
        Err(self.conflict("network.http", problem))
    }

    fn grpc_ports(&self) -> std::ops::RangeInclusive<u32> {
        let first = u32::from(self.network.listen.port());
        first..=first + self.node.shards.resolve()
    }

    fn http_is_on_a_grpc_port(&self) -> bool {
        let (listen, http) = (&self.network.listen, &self.network.http);
        let shared = listen.host() == http.host() || listen.is_wildcard() || http.is_wildcard();
        shared && listen.port() != 0 && self.grpc_ports().contains(&u32::from(http.port()))
    }

    fn conflict(&self, setting: &'static str, problem: String) -> ConfigError {
        let origin = self.origins.get(setting).cloned().unwrap_or(Origin::Default);
        ConfigError::Conflict { origin, setting, problem }
    }
}
