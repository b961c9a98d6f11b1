//! A stand-in for the server: a writer so simple that it is plainly right, and three mistakes that
//! it can be told to make. With it the rig shows that it finds nothing where nothing is wrong, and
//! each mistake where it is made.

mod subject;
mod writer;

pub(crate) use self::subject::StandIn;
pub(crate) use self::writer::{Mistake, WriterOptions, write};
