//! Reads Rust sources just well enough to list the paths that they name: comments and literals are
//! dropped, `use` trees are spelled out, and `crate::`, `self::` and `super::` become paths from the
//! crate's root. Macros are read as the code that they look like.

use std::path::Path;

/// A path as it is named somewhere in a source, such as `crate::io::Buffer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// All paths (and single words, as paths of one part) that `source` names. `file` is the source's path
/// below the crate's `src`.
pub(crate) fn paths(file: &Path, source: &str) -> Vec<Named> {
    let tokens = tokens(source);
    let mut named = Vec::new();
    let mut modules = module_of(file);
    // How deep in braces each inline module was opened.
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        match token.text.as_str() {
            "mod" if text(&tokens, at + 2) == "{" => {
                modules.push(text(&tokens, at + 1).to_owned());
                inline.push(depth);
                depth += 1;
                at += 3;
            }
            "{" => {
                depth += 1;
                at += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                    modules.pop();
                }
                at += 1;
            }
            _ if token.is_word() => at = tree(&tokens, at, &[], &modules, &mut named),
            _ => at += 1,
        }
    }
    named
}

/// The module path that a file holds: `log/append.rs` is `["log", "append"]`, `log/mod.rs` is `["log"]`.
fn module_of(file: &Path) -> Vec<String> {
    let without_extension = file.with_extension("");
    let mut parts: Vec<String> =
        without_extension.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

/// Reads one path, or a whole `use` tree, that starts at `at`; gives back where it ends.
fn tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    modules: &[String],
    named: &mut Vec<Named>,
) -> usize {
    let line = tokens[at].line;
    let mut path = prefix.to_vec();
    while at < tokens.len() && tokens[at].is_word() {
        path.push(tokens[at].text.clone());
        if text(tokens, at + 1) != "::" {
            at += 1;
            break;
        }
        at += 2;
        if text(tokens, at) == "{" {
            at += 1;
            while at < tokens.len() && text(tokens, at) != "}" {
                let more = tokens[at].is_word();
                at = if more { tree(tokens, at, &path, modules, named) } else { at + 1 };
            }
            return at + 1;
        }
    }
    named.push(Named { line, path: from_the_root(path, modules) });
    at
}

/// Replaces `self` and `super` at the front of a path by the modules they stand for.
fn from_the_root(path: Vec<String>, modules: &[String]) -> Vec<String> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let from_here = path.first().is_some_and(|first| first == "self") && path.len() > 1;
    if supers == 0 && !from_here {
        return path;
    }
    let kept = modules.len().saturating_sub(supers);
    let rest = path.into_iter().skip(supers + usize::from(from_here));
    let root = std::iter::once("crate".to_owned());
    root.chain(modules[..kept].iter().cloned()).chain(rest).collect()
}

/// Words, `::` and every other sign by itself, without comments and literals.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let word = |c: &char| c.is_alphanumeric() || *c == '_';
        at = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => skip_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => skip_comment(&chars, at),
            '"' => skip_string(&chars, at),
            'r' | 'b' | 'c' if literal_after_prefix(&chars, at).is_some() => {
                literal_after_prefix(&chars, at).expect("just seen")
            }
            '\'' => skip_quote(&chars, at),
            c if word(&c) => at + chars[at..].iter().take_while(|c| word(c)).count(),
            ':' if chars.get(at + 1) == Some(&':') => at + 2,
            _ => at + 1,
        };
        let text: String = chars[start..at].iter().collect();
        let literal = text.starts_with(['"', '\'', '/']) || text.ends_with(['"', '#']);
        let sign = text.len() == 1;
        if (!literal || sign) && !text.trim().is_empty() {
            tokens.push(Token { line, text: text.clone() });
        }
        line += text.matches('\n').count();
    }
    tokens
}

fn skip_line(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().take_while(|c| **c != '\n').count()
}

/// Block comments nest.
fn skip_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn skip_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Where a literal such as `b"…"`, `r#"…"#` or `b'…'` ends, if one starts at `at`.
fn literal_after_prefix(chars: &[char], at: usize) -> Option<usize> {
    let prefix = chars[at..].iter().take_while(|c| ['r', 'b', 'c'].contains(c)).count();
    let hashes = chars[at + prefix..].iter().take_while(|c| **c == '#').count();
    let open = at + prefix + hashes;
    match chars.get(open)? {
        '"' if chars[at..at + prefix].contains(&'r') => {
            let close: Vec<char> =
                std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let length = chars[open + 1..].windows(close.len()).position(|end| end == close)?;
            Some(open + 1 + length + close.len())
        }
        '"' if hashes == 0 => Some(skip_string(chars, open)),
        '\'' if hashes == 0 && prefix == 1 && chars[at] == 'b' => Some(skip_quote(chars, open)),
        _ => None,
    }
}

/// A character literal is skipped whole; of a lifetime, only the quote.
fn skip_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = chars.iter().skip(at + 3).take_while(|c| **c != '\'').count();
            (at + 3 + rest + 1).min(chars.len())
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(file: &str, source: &str) -> Vec<String> {
        let named = paths(Path::new(file), source);
        named.into_iter().map(|named| named.path.join("::")).filter(|p| p.contains(':')).collect()
    }

    #[test]
    fn use_trees_are_spelled_out() {
        let source = "use crate::{io::{Buffer, pool::Pool}, log};\nuse glommio::io as disk;";
        assert_eq!(
            spelled("shard/mod.rs", source),
            ["crate::io::Buffer", "crate::io::pool::Pool", "crate::log", "glommio::io"]
        );
    }

    #[test]
    fn super_and_self_become_paths_from_the_root() {
        let source = "use super::super::io::Buffer; use self::inner::X; mod tests { use super::Y; }
            fn after() { super::Z }";
        assert_eq!(
            spelled("log/append.rs", source),
            [
                "crate::io::Buffer",
                "crate::log::append::inner::X",
                "crate::log::append::Y",
                "crate::log::Z"
            ]
        );
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = r##"
            // crate::a::A
            /* crate::b::B /* crate::c::C */ crate::d::D */
            let x = ("crate::e::E\"crate::f::F", r#"crate::g::G"#, b"crate::h::H", '"', b'"', '\'');
            fn f<'a>(x: &'a str) { crate::real::Path }
        "##;
        assert_eq!(spelled("lib.rs", source), ["crate::real::Path"]);
    }

    #[test]
    fn a_path_is_reported_with_its_line() {
        let source = "//! Docs.\n\n\"two\nlines\";\nuse crate::io;";
        let named = paths(Path::new("lib.rs"), source);
        let expected = Named { line: 5, path: vec!["crate".into(), "io".into()] };
        assert!(named.contains(&expected), "{named:?}");
    }
}
