//! What all commands that talk to nodes share: a runtime, an end by Ctrl-C, and a client.

use std::io::{self, Write};

use forebay_client::{Client, Outage};

use crate::{
    arguments::Connect,
    failure::{Failure, with_causes},
    trouble,
};

/// Runs a command to its end.
pub(crate) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::error(format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(command);
    // A thread that waits for standard input would hold up an orderly end for ever.
    runtime.shutdown_background();
    done
}

/// A verb that Ctrl-C ends.
pub(crate) async fn unless_interrupted(
    verb: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        done = verb => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}

/// A client of the nodes that were named. Nobody has been asked yet.
pub(crate) fn connect(connect: &Connect) -> Result<Client, Failure> {
    let endpoints = connect.endpoint.iter().map(String::as_str);
    let client =
        Client::without_connecting(endpoints).map_err(|error| trouble::connecting(&error))?;
    client.on_outage(|outage| {
        let mut stderr = io::stderr().lock();
        // Whoever closed standard error does not want to know.
        let _unsaid = match outage {
            Outage::Began(cause) => writeln!(stderr, "trying again: {}", with_causes(cause)),
            Outage::Over => writeln!(stderr, "going on"),
        };
    });
    Ok(client)
}
