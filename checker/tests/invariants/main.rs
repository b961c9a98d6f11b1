//! Each invariant: a history that breaks it, and one that nearly does.

mod acknowledged;
mod agreed;
mod consumed;
mod recovered;
mod ruled;
mod story;
