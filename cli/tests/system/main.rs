//! The whole system as a person meets it: the real binary, real sockets, a real disk.
//!
//! Nothing here sleeps. A test waits for a line that a process prints, for a process to end, or for an
//! answer; a process that never gets there is ended by the test runner.

mod claiming;
mod clusters;
mod completing;
mod consuming;
mod faulting;
mod killing;
mod operating;
mod producing;
mod replicas;
mod starting;
mod stopping;
mod support;
mod topics;
mod tracing;
