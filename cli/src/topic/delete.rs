//! `forebay topic delete`.

use std::fmt::{self, Write};

use forebay_client::DeleteTopicError;
use serde::Serialize;

use crate::{
    arguments::Delete,
    client::connect,
    failure::Failure,
    output::{self, Report},
    trouble,
};

#[derive(Debug, Serialize)]
struct Deleted {
    deleted: Vec<String>,
}

/// Deletes one after the other, and says what is gone even when a later one fails.
pub(super) async fn run(delete: Delete) -> Result<(), Failure> {
    let admin = connect(&delete.connect)?.admin();
    let mut deleted = Vec::new();
    let mut failure = None;
    for name in delete.names {
        match admin.delete_topic(&name).await {
            Ok(()) => deleted.push(name),
            Err(error) => {
                failure = Some(match error {
                    DeleteTopicError::Unreachable(error) => trouble::unreachable(&error),
                    DeleteTopicError::NotFound { name, .. } => trouble::no_such_topic(&name),
                    error @ DeleteTopicError::Refused { .. } => trouble::refused(&error),
                });
                break;
            }
        }
    }
    if !deleted.is_empty() {
        output::print(delete.print.format, &Deleted { deleted })?;
    }
    failure.map_or(Ok(()), Err)
}

impl Report for Deleted {
    fn text(&self, _wide: bool, out: &mut String) -> fmt::Result {
        self.deleted.iter().try_for_each(|name| writeln!(out, "deleted {name}"))
    }
}
