//! The settings that each topic can have of its own.

use std::fmt;

use forebay_format::limits::{BATCH_BYTES_DEFAULT, SEGMENT_BYTES_MAX};

use super::error::TopicSettingError;
use super::settings::topic_settings;
use super::units::{ByteSize, Span};
use super::value::{Value, ValueError, nearest, word};

/// Replicas of a partition on a node that is alone.
pub const REPLICAS: u32 = 1;

/// Replicas of a partition among several nodes, where nobody has said how many: one may be lost, disk and
/// all, while another is away.
pub const REPLICAS_OF_CLUSTER: u32 = 3;

/// On how many replicas a batch must be on stable storage before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteConcern {
    /// Acknowledged at once; nothing is promised.
    None,
    /// The leader's own fsync.
    Leader,
    /// A majority.
    Quorum,
    /// Every in-sync replica.
    All,
    /// This many, the leader included.
    Replicas(u32),
}

impl fmt::Display for WriteConcern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Leader => f.pad("leader"),
            Self::Quorum => f.pad("quorum"),
            Self::All => f.pad("all"),
            Self::Replicas(replicas) => write!(f, "{replicas}"),
        }
    }
}

impl Value for WriteConcern {
    const KIND: &'static str = "none, leader, quorum, all or a number of replicas";

    fn parse(text: &str) -> Result<Self, ValueError> {
        const WORDS: [(&str, WriteConcern); 4] = [
            ("none", WriteConcern::None),
            ("leader", WriteConcern::Leader),
            ("quorum", WriteConcern::Quorum),
            ("all", WriteConcern::All),
        ];
        match text.parse() {
            Ok(replicas) if replicas > 0 => Ok(Self::Replicas(replicas)),
            _ => word(text, Self::KIND, &WORDS),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// What holds for a topic: the node's defaults, with the topic's own settings over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// Oldest segments are deleted while a partition is larger than this.
    pub retention_size: Option<ByteSize>,
    /// Segments are deleted when their last batch is older than this.
    pub retention_time: Option<Span>,
    /// A segment file is closed and a new one begun at this size.
    pub segment_size: ByteSize,
    /// The same, when its first batch is this old.
    pub segment_age: Span,
    /// The largest batch that is taken, header included.
    pub max_batch_size: ByteSize,
    /// For batches that ask for none.
    pub write_concern: WriteConcern,
    /// With fewer live replicas than this, or than a majority, a partition takes no writes.
    pub min_replicas: u32,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            retention_size: None,
            retention_time: Some(Span::from_millis(7 * 24 * 60 * 60 * 1000)),
            segment_size: ByteSize::new(SEGMENT_BYTES_MAX / 2),
            segment_age: Span::from_millis(24 * 60 * 60 * 1000),
            max_batch_size: ByteSize::new(BATCH_BYTES_DEFAULT as u64),
            write_concern: WriteConcern::Quorum,
            min_replicas: 1,
        }
    }
}

impl TopicSettings {
    /// These settings, with those of one topic over them.
    ///
    /// # Errors
    /// A setting that does not exist, or a value that it does not take.
    pub fn with<'a>(
        &self,
        own: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, TopicSettingError> {
        let mut settings = self.clone();
        for (name, value) in own {
            let setting = topic_settings().iter().find(|setting| setting.name == name);
            let setting = setting.ok_or_else(|| TopicSettingError::Unknown {
                found: name.clone(),
                nearest: nearest(name, topic_settings().iter().map(|setting| setting.name)),
                all: topic_settings().iter().map(|s| s.name).collect::<Vec<_>>().join(", "),
            })?;
            (setting.set)(&mut settings, value)
                .map_err(|source| TopicSettingError::Value { setting: setting.name, source })?;
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn own(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_topics_own_settings_stand_over_the_defaults() {
        let defaults = TopicSettings::default();
        let settings = defaults.with(&own("retention_size", "4GiB")).expect("a right setting");
        assert_eq!(settings.retention_size, Some(ByteSize::new(4 << 30)));
        assert_eq!(settings.retention_time, defaults.retention_time);
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest_one() {
        let error =
            TopicSettings::default().with(&own("retention_byte", "4GiB")).expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "there is no topic setting \"retention_byte\"; did you mean \"retention_time\"? \
             (settings: retention_size, retention_time, segment_size, segment_age, \
             max_batch_size, write_concern, min_replicas)"
        );
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let error =
            TopicSettings::default().with(&own("max_batch_size", "4MiB")).expect_err("too large");
        assert_eq!(error.to_string(), "max_batch_size: expected 4KiB to 3MiB, found 4MiB");
    }

    #[test]
    fn write_concerns_are_words_or_numbers() {
        for text in ["none", "leader", "quorum", "all", "3"] {
            assert_eq!(WriteConcern::parse(text).expect(text).to_string(), text);
        }
        assert!(WriteConcern::parse("0").is_err());
        let error = WriteConcern::parse("qourum").expect_err("misspelt").to_string();
        assert!(error.ends_with("did you mean \"quorum\"?"), "{error}");
    }
}
