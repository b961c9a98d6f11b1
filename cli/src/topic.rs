//! `forebay topic …`: a runtime for the client, and one file per verb.

mod consume;
mod create;
mod delete;
mod describe;
mod list;
mod produce;
mod trouble;

use std::io::{self, Write};

use forebay_client::{Client, Outage};

use crate::{
    arguments::{Connect, Topic},
    failure::{Failure, with_causes},
};

/// Carries out one verb. Ctrl-C ends any of them.
pub(crate) fn run(topic: Topic) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::error(format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(dispatch(topic));
    // A thread that waits for standard input would hold up an orderly end for ever.
    runtime.shutdown_background();
    done
}

async fn dispatch(topic: Topic) -> Result<(), Failure> {
    match topic {
        Topic::Create(create) => unless_interrupted(Box::pin(create::run(create))).await,
        Topic::List(list) => unless_interrupted(Box::pin(list::run(list))).await,
        Topic::Describe(describe) => unless_interrupted(Box::pin(describe::run(describe))).await,
        Topic::Delete(delete) => unless_interrupted(Box::pin(delete::run(delete))).await,
        // It has a sum to tell when it is interrupted, and listens by itself. Of two that listen, either
        // may hear it first.
        Topic::Produce(produce) => produce::run(produce).await,
        Topic::Consume(consume) => unless_interrupted(Box::pin(consume::run(consume))).await,
    }
}

async fn unless_interrupted(
    verb: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        done = verb => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted()),
    }
}

/// On how many nodes a topic is stored, for people.
fn factor(replicas: u32, on_every_node: bool) -> String {
    if on_every_node { "all".to_owned() } else { replicas.to_string() }
}

/// A client of the nodes that were named. Nobody has been asked yet.
fn connect(connect: &Connect) -> Result<Client, Failure> {
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
