//! `forebay topic …`: one file per verb.

mod consume;
mod create;
mod delete;
mod describe;
mod list;
mod produce;

use crate::{
    arguments::Topic,
    client::{block_on, unless_interrupted},
    failure::Failure,
};

/// Carries out one verb. Ctrl-C ends any of them.
pub(crate) fn run(topic: Topic) -> Result<(), Failure> {
    block_on(dispatch(topic))
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

/// On how many nodes a topic is stored, for people.
fn factor(replicas: u32, on_every_node: bool) -> String {
    if on_every_node { "all".to_owned() } else { replicas.to_string() }
}
