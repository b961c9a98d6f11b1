//! A Forebay node: gRPC on glommio, a control thread on tokio, and the configuration that puts them
//! together.

pub mod config;
pub mod run;
