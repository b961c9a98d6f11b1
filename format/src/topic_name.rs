//! The name of a topic, checked once where it enters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// 1 to 249 of `a`–`z`, `A`–`Z`, `0`–`9`, `.`, `_`, `-`, and neither `.` nor `..`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// Why a text cannot name a topic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicNameError {
    /// No text at all.
    #[error("a topic name has 1 to {TOPIC_NAME_BYTES_MAX} characters, found none")]
    Empty,
    /// Too long.
    #[error("a topic name has 1 to {TOPIC_NAME_BYTES_MAX} characters, found {found_bytes} bytes")]
    TooLong {
        /// Length of the text.
        found_bytes: usize,
    },
    /// A character that file systems, metrics or shells would trip over.
    #[error("a topic name consists of a-z, A-Z, 0-9, '.', '_', '-'; found {found:?} at byte {at}")]
    Character {
        /// The character.
        found: char,
        /// Where it stands.
        at: usize,
    },
    /// `.` or `..`, which mean something else in a path.
    #[error("a topic cannot be named {found:?}")]
    Reserved {
        /// The name.
        found: String,
    },
}

impl TopicName {
    /// Checks a text.
    ///
    /// # Errors
    /// Whatever keeps the text from naming a topic.
    pub fn new(text: &str) -> Result<Self, TopicNameError> {
        if text.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if text.len() > TOPIC_NAME_BYTES_MAX {
            return Err(TopicNameError::TooLong { found_bytes: text.len() });
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some((at, found)) = text.char_indices().find(|&(_, c)| !fits(c)) {
            return Err(TopicNameError::Character { found, at });
        }
        if text == "." || text == ".." {
            return Err(TopicNameError::Reserved { found: text.to_owned() });
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(text: &str) -> Result<Self, TopicNameError> {
        Self::new(text)
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Lets a map keyed by names be asked with a `&str`.
impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_taken() {
        let longest = "x".repeat(TOPIC_NAME_BYTES_MAX);
        for text in ["a", "orders", "Orders.v2_eu-west", "...", longest.as_str()] {
            assert_eq!(TopicName::new(text).expect(text).as_str(), text);
        }
    }

    #[test]
    fn other_names_are_refused_with_the_cause() {
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(
            TopicName::new(&"x".repeat(250)),
            Err(TopicNameError::TooLong { found_bytes: 250 })
        );
        assert_eq!(TopicName::new("a/b"), Err(TopicNameError::Character { found: '/', at: 1 }));
        assert_eq!(TopicName::new("é"), Err(TopicNameError::Character { found: 'é', at: 0 }));
        assert_eq!(TopicName::new(".."), Err(TopicNameError::Reserved { found: "..".into() }));
    }
}
