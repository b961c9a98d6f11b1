//! The load generator and what it is made of. `forebay-loadgen` is a thin binary around it.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `args` | the command line |
//! | `floors` | what the machine can do without any code of ours |
//! | `load` | producing and consuming at full speed or at a rate, and verifying |
//! | `latency`, `process`, `payload`, `units` | one measured thing each |
//! | `summary`, `plot` | what a run leaves behind |
//! | `suite`, `table` | the committed runs and the README table made from them |

pub mod args;
pub mod clock;
pub mod floors;
pub mod latency;
pub mod load;
pub mod payload;
pub mod plot;
pub mod process;
pub mod run;
pub mod suite;
pub mod summary;
pub mod table;
pub mod units;
