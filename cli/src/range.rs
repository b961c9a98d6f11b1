//! The part of a topic that `topic consume -o` asks for: `start`, `end`, `:end`, `+10`, `-10`, `@-1h`, and
//! combinations such as `-10:end`.

use std::{str::FromStr, time::Duration};

use crate::duration;

/// From where to where, in every partition that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: From,
    pub(crate) to: To,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The first record that there is.
    Start,
    /// Only what comes later.
    End,
    /// This offset.
    Offset(u64),
    /// So many records after the first one.
    AfterStart(u64),
    /// So many records before the end.
    BeforeEnd(u64),
    /// What was appended this long ago or later.
    Ago(Duration),
    /// What was appended at this time or later, in milliseconds since 1970-01-01 UTC.
    TimestampMs(i64),
}

/// Where reading ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// Never: wait for more.
    Never,
    /// What is the end when the command starts.
    TodaysEnd,
    /// Before this offset.
    Offset(u64),
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no place in a topic: write start, end, an offset, +N (after the start), -N (before \
                 the end), @-1h (an hour ago) or @MILLISECONDS, and `:end` after it to stop at today's end"
            )
        };
        let (from, to) = match text.split_once(':') {
            Some((from, to)) => (from, Some(to)),
            None => (text, None),
        };
        let count = |digits: &str| digits.parse().map_err(|_not_a_number| wrong());
        let from = match from {
            "" if to.is_some() => From::Start,
            "start" => From::Start,
            "end" => From::End,
            _ => match from.split_at_checked(1) {
                Some(("+", digits)) => From::AfterStart(count(digits)?),
                Some(("-", digits)) => From::BeforeEnd(count(digits)?),
                Some(("@", time)) => match time.strip_prefix('-') {
                    Some(ago) => From::Ago(duration::parse(ago)?),
                    None => From::TimestampMs(time.parse().map_err(|_not_a_number| wrong())?),
                },
                _ => From::Offset(count(from)?),
            },
        };
        let to = match to {
            None => To::Never,
            Some("end") => To::TodaysEnd,
            Some(offset) => To::Offset(count(offset)?),
        };
        Ok(Self { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_understood() {
        let endless = |from| Range { from, to: To::Never };
        assert_eq!(range("start"), endless(From::Start));
        assert_eq!(range("end"), endless(From::End));
        assert_eq!(range("17"), endless(From::Offset(17)));
        assert_eq!(range("+5"), endless(From::AfterStart(5)));
        assert_eq!(range("-5"), endless(From::BeforeEnd(5)));
        assert_eq!(range("@-1h"), endless(From::Ago(Duration::from_hours(1))));
        assert_eq!(range("@1700000000000"), endless(From::TimestampMs(1_700_000_000_000)));
    }

    #[test]
    fn a_colon_says_where_to_stop() {
        assert_eq!(range(":end"), Range { from: From::Start, to: To::TodaysEnd });
        assert_eq!(range("-3:end"), Range { from: From::BeforeEnd(3), to: To::TodaysEnd });
        assert_eq!(range("10:20"), Range { from: From::Offset(10), to: To::Offset(20) });
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "begin", "+", "-", "+-1", "@", "@-", "@-1", "5:", ":start", "--1", "ä"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
