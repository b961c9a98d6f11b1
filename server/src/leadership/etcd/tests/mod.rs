//! The coordination with a real etcd, each test with one of its own. Where there is none, they say so and
//! test nothing, but for CI, where they fail.

mod identity;
mod lease;
mod outages;
mod process;
mod proxy;
mod restored;
mod secured;
mod support;
mod topics;
mod transactions;
mod watch;
