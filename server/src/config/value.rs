//! How the text of a value becomes the value, and back.

use std::path::PathBuf;

/// Why a text is not a value of a setting. Shown after the name of the setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not of the right form.
    #[error("expected {expected}, found {found:?}{}", suggestion(.nearest.as_deref()))]
    Form {
        /// What the text should look like.
        expected: String,
        /// The text.
        found: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// Of the right form, but too small or too large.
    #[error("expected {least} to {most}, found {found}")]
    Range {
        /// The least value that is taken.
        least: String,
        /// The greatest.
        most: String,
        /// The value.
        found: String,
    },
}

impl ValueError {
    pub(super) fn form(expected: &str, found: &str) -> Self {
        Self::Form { expected: expected.to_owned(), found: found.to_owned(), nearest: None }
    }

    pub(super) fn form_with_nearest(expected: &str, found: &str, nearest: Option<String>) -> Self {
        Self::Form { expected: expected.to_owned(), found: found.to_owned(), nearest }
    }
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default()
}

/// What can be a setting.
pub(super) trait Value: Sized {
    /// For people: what the text looks like.
    const KIND: &'static str;

    fn parse(text: &str) -> Result<Self, ValueError>;

    /// A text that `parse` takes.
    fn show(&self) -> String;
}

/// The candidate that `text` is most likely a misspelling of, if any comes close.
pub(super) fn nearest<'a>(
    text: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    const CLOSE_ENOUGH: f64 = 0.7;
    candidates
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= CLOSE_ENOUGH)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Finds `text` among the words of an enumeration.
pub(super) fn word<T: Copy>(
    text: &str,
    kind: &str,
    words: &[(&'static str, T)],
) -> Result<T, ValueError> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let close = nearest(text, words.iter().map(|(word, _)| *word)).map(str::to_owned);
        ValueError::form_with_nearest(kind, text, close)
    })
}

impl Value for bool {
    const KIND: &'static str = "`true` or `false`";

    fn parse(text: &str) -> Result<Self, ValueError> {
        word(text, Self::KIND, &[("true", true), ("false", false)])
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    const KIND: &'static str = "a whole number";

    fn parse(text: &str) -> Result<Self, ValueError> {
        text.parse().ok().ok_or_else(|| ValueError::form(Self::KIND, text))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Err(ValueError::form(Self::KIND, text));
        }
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}
