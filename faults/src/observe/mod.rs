//! What the rig sees besides clients: leadership as etcd has it, and replicas as their nodes show them.

mod replicas;
mod states;

pub(crate) use replicas::{all_caught_up, falls_behind, final_replicas};
pub(crate) use states::{State, States, Watcher};
