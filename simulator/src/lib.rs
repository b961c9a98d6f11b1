//! A seeded world around the replication protocol: nodes that crash, stand still and lose their disks,
//! a network that loses, doubles and reorders, a metadata store that cannot be relied on, clients with every
//! write concern. What happens in it is judged by the checker.
//!
//! The same seed gives the same world, to the last message: no clock, no thread, no randomness but the
//! seed's. `docs/SIMULATION.md` says what is modelled and how to use it.

mod campaign;
mod clients;
mod disk;
mod etcd;
mod faults;
mod mutants;
mod observer;
mod profile;
mod random;
mod record;
mod run;
mod schedule;
mod transcript;
mod world;

pub use campaign::{Campaign, Summary};
pub use faults::{Coverage, FaultKind, Role};
pub use mutants::{Caught, try_all, write_table};
pub use record::{Record, RecordError, tree_hash};
pub use run::{Report, Run};
pub use transcript::Transcript;
