//! `forebay-power-cut`: shows that what was acknowledged survives a power cut.
//!
//! A killed process proves nothing about fsync, because a write that has reached the kernel's
//! block layer survives it. So the server's data lies on ext4, on a loop device, whose backing
//! file is a FUSE file system of ours that logs every write and flush. From the log, the disk is
//! rebuilt as a power cut could have left it, and the server is started on that.
//!
//! ```text
//!  server ── ext4 ── loop device ── FUSE: the recording disk        a recording
//!    └── acks, each stamped with the log's end when it came
//!
//!  log + cut position + dice ── image ── loop ── ext4 ── server     a trial, any number of them
//!                                                   └── every ack stamped before the cut is there
//! ```

mod campaign;
mod cli;
mod disk;
mod host;
mod recording;
mod report;
mod seed;
mod served;
mod stand_in;
mod subject;
mod trial;

fn main() -> std::process::ExitCode {
    cli::main()
}
