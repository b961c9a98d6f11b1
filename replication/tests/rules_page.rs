//! `docs/REPLICATION.md` says in which files each rule stands; the head of each of them names the rule, so that it is
//! found by `grep`.

use std::fs;
use std::path::Path;

/// The rule that a paragraph of the page is about, and the files that it names: `**R2 Epoch** (`claim`, …).`
fn rule_and_files(line: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = line.strip_prefix("**")?.split_once(' ')?;
    let (_, rest) = rest.split_once("** (")?;
    let (files, _) = rest.split_once(')')?;
    let files = files.split(", ").map(|file| file.trim_matches('`')).collect();
    name.starts_with('R').then_some((name, files))
}

#[test]
fn every_rule_is_named_at_the_head_of_the_files_that_the_page_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/REPLICATION.md")).expect("the page");
    let rules: Vec<_> = page.lines().filter_map(rule_and_files).collect();
    let names: Vec<_> = rules.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all: Vec<_> = (1..=15).map(|number| format!("R{number}")).collect();
    assert_eq!(names, all);
    let mut wanting = Vec::new();
    for (name, files) in rules {
        for file in files {
            let text = fs::read_to_string(root.join(format!("src/{file}.rs"))).expect(file);
            let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
            let mut words = head.split(|letter: char| !letter.is_ascii_alphanumeric());
            if !words.any(|word| word == name) {
                wanting.push(format!("{file} does not name {name}"));
            }
        }
    }
    assert!(wanting.is_empty(), "{wanting:#?}");
}
