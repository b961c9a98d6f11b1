//! A whole node, in this process, on ports that the system chooses and on a real disk, asked by a stock
//! gRPC client.

mod admin;
mod cluster;
mod consume;
mod lifecycle;
mod produce;
mod support;
mod wire;
