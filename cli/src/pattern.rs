//! The little language of `-f`: `%k %v\n` says how a record is written as bytes, for reading as for
//! printing.
//!
//! A pattern is taken apart here; [`split`] reads records with it, [`render`] prints them.

pub(crate) mod render;
pub(crate) mod split;

/// What a `%` sign stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// `%v`: the value.
    Value,
    /// `%k`: the key.
    Key,
    /// `%t`: the topic.
    Topic,
    /// `%p`: the partition.
    Partition,
    /// `%o`: the offset.
    Offset,
    /// `%d`: the record's time, in milliseconds since 1970-01-01 UTC.
    Timestamp,
    /// `%h`: the headers, as `name=value` with commas between.
    Headers,
    /// `%V`: how many bytes the value has.
    ValueBytes,
    /// `%K`: how many bytes the key has.
    KeyBytes,
}

/// A pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Bytes that stand for themselves.
    Literal(Vec<u8>),
    Field(Field),
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("`%{0}` is no field: there are %v %k %t %p %o %d %h %V %K, and %% for a percent sign")]
    UnknownField(char),
    #[error("a `%` at the end stands for nothing: write %% for a percent sign")]
    LonePercent,
    #[error("`\\{0}` is no escape: there are \\n \\t \\r \\0 \\\\ and \\xHH")]
    UnknownEscape(String),
    #[error("`%{0}` cannot be read from input: there are %v and %k")]
    NotForInput(char),
    #[error("`%{0}` stands twice in the pattern")]
    Twice(char),
    #[error("the pattern has no %v, so there would be no value")]
    NoValue,
    #[error("nothing stands between %k and %v, so nobody could tell where the first one ends")]
    NothingBetween,
    #[error("the pattern must end with what ends a record, such as \\n")]
    NoEnd,
}

/// Takes `pattern` apart. Neighbouring literals come out as one.
pub(crate) fn parse(pattern: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next() {
                Some('%') => literal.push(b'%'),
                Some(letter) => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Field(field(letter)?));
                }
                None => return Err(PatternError::LonePercent),
            },
            '\\' => literal.push(escape(&mut chars)?),
            c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

fn field(letter: char) -> Result<Field, PatternError> {
    Ok(match letter {
        'v' => Field::Value,
        'k' => Field::Key,
        't' => Field::Topic,
        'p' => Field::Partition,
        'o' => Field::Offset,
        'd' => Field::Timestamp,
        'h' => Field::Headers,
        'V' => Field::ValueBytes,
        'K' => Field::KeyBytes,
        other => return Err(PatternError::UnknownField(other)),
    })
}

/// The letter after `%`, for messages.
fn letter(field: Field) -> char {
    match field {
        Field::Value => 'v',
        Field::Key => 'k',
        Field::Topic => 't',
        Field::Partition => 'p',
        Field::Offset => 'o',
        Field::Timestamp => 'd',
        Field::Headers => 'h',
        Field::ValueBytes => 'V',
        Field::KeyBytes => 'K',
    }
}

/// One escape, whose backslash has been read.
fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, PatternError> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            let whole = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| whole);
            byte.ok_or_else(|| PatternError::UnknownEscape(format!("x{digits}")))
        }
        other => Err(PatternError::UnknownEscape(other.map(String::from).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_literals_and_fields() {
        let parts = parse(r"%p/%o %k=%v\x00\n").unwrap();
        let literal = |text: &[u8]| Part::Literal(text.to_vec());
        assert_eq!(
            parts,
            [
                Part::Field(Field::Partition),
                literal(b"/"),
                Part::Field(Field::Offset),
                literal(b" "),
                Part::Field(Field::Key),
                literal(b"="),
                Part::Field(Field::Value),
                literal(b"\0\n"),
            ]
        );
    }

    #[test]
    fn a_percent_sign_and_a_backslash_can_be_written() {
        assert_eq!(parse(r"100%%\\").unwrap(), [Part::Literal(br"100%\".to_vec())]);
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_said() {
        assert_eq!(parse("%q"), Err(PatternError::UnknownField('q')));
        assert_eq!(parse("50%"), Err(PatternError::LonePercent));
        assert_eq!(parse(r"\q"), Err(PatternError::UnknownEscape("q".into())));
        assert_eq!(parse(r"\xg0"), Err(PatternError::UnknownEscape("xg0".into())));
        assert_eq!(parse(r"\x+1"), Err(PatternError::UnknownEscape("x+1".into())));
        assert_eq!(parse("\\"), Err(PatternError::UnknownEscape(String::new())));
    }

    #[test]
    fn every_field_is_written_as_it_is_read() {
        for name in "vktpodhVK".chars() {
            assert_eq!(letter(field(name).unwrap()), name);
        }
    }
}
