//! What a node prints when it is ready, for whoever has started it by hand.

use std::io::{self, Write};

use crate::config::Config;
use crate::ports::Addresses;

/// Prints it to stderr. That nobody can read it is no reason to stop.
pub(crate) fn print(config: &Config, addresses: &Addresses, cluster_id: &str) {
    let text = text(config, addresses, cluster_id);
    io::stderr().write_all(text.as_bytes()).ok();
}

fn text(config: &Config, addresses: &Addresses, cluster_id: &str) -> String {
    let Addresses { grpc, shards, http } = addresses;
    let endpoint = if grpc.to_string() == "127.0.0.1:7400" {
        String::new()
    } else {
        format!(" --endpoint {grpc}")
    };
    let ports = match &shards[..] {
        [first, .., last] => format!("{}-{}", first.port(), last.port()),
        [only] => only.port().to_string(),
        [] => String::new(),
    };
    format!(
        "
Forebay {version} is ready.

  gRPC     {grpc}    (shards of their own on {ports})
  HTTP     http://{http}    /metrics /healthz /readyz /version
  data     {data}    cluster {cluster_id}, node {node}
  shards   {shard_count}
  fsync    {fsync}{faults}

Try, in another terminal:

  echo 'hello, forebay' | forebay topic produce greetings{endpoint}
  forebay topic consume greetings -o start{endpoint}

",
        version = env!("CARGO_PKG_VERSION"),
        data = config.node.data.display(),
        node = config.node.id,
        shard_count = shards.len(),
        faults = if config.faults.enabled {
            "\n  FAULTS   enabled: whoever reaches this node can make it lose messages, or end"
        } else {
            ""
        },
        fsync = match config.storage.fsync {
            crate::config::FsyncPolicy::Batch =>
                "batch: whatever is acknowledged is on stable storage".to_owned(),
            interval @ crate::config::FsyncPolicy::Interval(_) => format!(
                "{interval}: write concern `leader` is answered before the data is on stable storage"
            ),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_says_where_everything_is_and_what_to_try() {
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let addresses =
            Addresses { grpc: at(7400), shards: vec![at(7401), at(7402)], http: at(7480) };
        let banner = text(&Config::default(), &addresses, "c1");
        for part in [
            "gRPC     127.0.0.1:7400    (shards of their own on 7401-7402)",
            "HTTP     http://127.0.0.1:7480 ",
            "data     ./forebay-data    cluster c1, node 1",
            "shards   2",
            "fsync    batch: whatever is acknowledged is on stable storage",
            "forebay topic produce greetings\n",
        ] {
            assert!(banner.contains(part), "{part} is not in {banner}");
        }
        assert!(!banner.contains("FAULTS"), "{banner}");
        let mut faulty = Config::default();
        faulty.faults.enabled = true;
        assert!(text(&faulty, &addresses, "c1").contains("  FAULTS   enabled"), "loud");
        let elsewhere = Addresses { grpc: at(9000), ..addresses };
        let banner = text(&Config::default(), &elsewhere, "c1");
        assert!(banner.contains("produce greetings --endpoint 127.0.0.1:9000\n"), "{banner}");
    }
}
