//! Finds out where partitions are served and keeps one session per address. Owns every task of a
//! producer: they end when it is dropped.

use std::{collections::HashMap, sync::Arc};

use tokio::task::JoinSet;

use super::{outbox::Outbox, session, shared::Shared};
use crate::metadata::{ClusterMetadata, TopicMetadata};

/// Runs until it is aborted. `found` is what was known when the producer was made.
pub(super) async fn run(shared: Arc<Shared>, found: ClusterMetadata) {
    let mut tasks = JoinSet::new();
    let mut sessions = HashMap::new();
    let timers = Arc::clone(&shared);
    tasks.spawn(async move { timers.run_timers().await });
    let mut found = Some(found);
    loop {
        if let Some((cluster, topic)) =
            found.as_ref().and_then(|cluster| Some((cluster, cluster.topic(&shared.topic)?)))
        {
            place(&shared, &mut tasks, &mut sessions, (cluster, topic));
        }
        shared.refresh.notified().await;
        found = match shared.client.admin().metadata(&[&shared.topic]).await {
            Ok(cluster) => Some(cluster),
            Err(error) => {
                tracing::debug!(topic = shared.topic, %error, "no metadata; places stay");
                None
            }
        };
    }
}

/// Gives each partition to the session of the address that serves it. A partition without a leader
/// stays where it was, or waits for the next look when it was nowhere.
fn place(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    sessions: &mut HashMap<String, usize>,
    (cluster, topic): (&ClusterMetadata, &TopicMetadata),
) {
    shared.outbox.with(|outbox| outbox.grow(topic.partitions.len()));
    for (at, partition) in topic.partitions.iter().enumerate() {
        let known = cluster.address_of(partition).map(str::to_owned);
        let unplaced = || shared.outbox.with(|outbox| !outbox.is_placed(at));
        let Some(address) = known.or_else(|| unplaced().then(|| shared.client.last_endpoint()))
        else {
            continue;
        };
        let session = *sessions.entry(address).or_insert_with_key(|address| {
            let session = shared.outbox.with(Outbox::add_session);
            tasks.spawn(session::run(Arc::clone(shared), session, address.clone()));
            session
        });
        shared.outbox.with(|outbox| outbox.assign(at, session));
    }
}
