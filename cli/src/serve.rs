//! `forebay serve`: flags become settings, and the server does the rest.

use forebay_server::{
    RunError,
    config::{Config, Flag},
};

use crate::{
    arguments::Serve,
    failure::{Failure, with_causes},
};

/// Runs a node until it is told to stop.
pub(crate) fn run(serve: Serve) -> Result<(), Failure> {
    let file = serve.config.clone();
    let config = Config::load(file.as_deref(), environment()?, &flags(serve));
    let config = config.map_err(|error| Failure::usage(with_causes(&error)))?;
    forebay_server::run(config).map_err(|error| match error {
        RunError::Interrupted => Failure::interrupted(),
        error => Failure::error(with_causes(&error)),
    })
}

/// Variables of the environment. One that names a setting and is not UTF-8 is refused: without it, a
/// node would quietly make a data directory somewhere else.
fn environment() -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let readable = name.to_string_lossy();
        let is_setting = readable.starts_with("FOREBAY_") && readable.contains("__");
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => variables.push((name.to_owned(), value.to_owned())),
            _ if is_setting => {
                let value = value.to_string_lossy();
                return Err(Failure::usage(format!("{readable} is not UTF-8: `{value}`")));
            }
            _ => {}
        }
    }
    Ok(variables)
}

/// The flags that were given, as the settings that they stand for.
fn flags(serve: Serve) -> Vec<Flag> {
    let given = [
        ("--data", "node.data", serve.data),
        ("--claim-data", "node.claim_data", serve.claim_data.then(|| "true".to_owned())),
        ("--listen", "network.listen", serve.listen),
        ("--http", "network.http", serve.http),
        ("--shards", "node.shards", serve.shards),
        ("--node-id", "node.id", serve.node_id),
        ("--etcd", "cluster.etcd.endpoints", serve.etcd),
        ("--advertise", "network.advertise", serve.advertise),
    ];
    let flag = |(flag, setting, value): (&str, &str, Option<String>)| {
        Some(Flag { flag: flag.to_owned(), setting: setting.to_owned(), value: value? })
    };
    given.into_iter().filter_map(flag).collect()
}
