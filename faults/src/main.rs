//! The fault rig. It starts a real etcd and real `forebay` processes, runs producers and consumers against
//! them, does them harm, heals it, and has the checker judge what clients and replicas saw.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `host` | processes, namespaces, disks of this machine |
//! | `cluster` | etcd, the nodes and the network between them |
//! | `workload` | clients, and what they saw |
//! | `observe` | what etcd says of leadership, and what each replica holds |
//! | `scenario` | the faults, as rows of a table, and how each is done |
//! | `round` | one round: load, faults, healing, judgement |
//! | `run`, `soak`, `self_test` | what the commands do with rounds |
//!
//! It knows nothing of the server's insides: it goes through sockets, signals, files and etcd. docs/FAULTS.md
//! says what each scenario shows.

mod cli;
mod cluster;
mod error;
mod host;
mod judgement;
mod lock;
mod observe;
mod report;
mod round;
mod run;
mod scenario;
mod seed;
mod self_test;
mod soak;
mod strays;
mod workload;

fn main() -> std::process::ExitCode {
    cli::main()
}
