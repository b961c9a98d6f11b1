//! What every file of the project must do, whatever is in it.

/// Folders that exist on somebody's machine only. Written in pieces, so that this file does not hold them.
const HOST_FOLDERS: [&str; 2] = [concat!("/", "work"), concat!("/", "root")];

/// Whether `text` names `folder` itself or something in it, and not merely a name that begins alike.
fn names_folder(text: &str, folder: &str) -> bool {
    text.match_indices(folder).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + folder.len()..].chars().next();
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "-_.}".contains(c));
        !joined(before) && !joined(after)
    })
}

#[test]
fn no_file_holds_a_path_of_somebodys_machine() {
    let root = super::workspace();
    let mut wrong = Vec::new();
    for file in super::files_below("") {
        let bytes = std::fs::read(root.join(&file)).expect("a readable file");
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            if HOST_FOLDERS.iter().any(|folder| names_folder(line, folder)) {
                wrong.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_path_of_somebodys_machine_is_recognised() {
    let folder = HOST_FOLDERS[0];
    assert!(names_folder(&format!("cd {folder}/main"), folder));
    assert!(names_folder(&format!("\"{folder}\""), folder));
    assert!(!names_folder(&format!("a{folder}/main"), folder), "a folder of ours of that name");
    assert!(!names_folder(&format!("{folder}space/main"), folder), "a longer name");
}

#[test]
fn every_source_opens_by_saying_what_it_owns() {
    let root = super::workspace();
    let silent = |file: &std::path::PathBuf| {
        let source = std::fs::read_to_string(root.join(file)).expect("a source in UTF-8");
        !source.starts_with("//!")
    };
    let wrong: Vec<_> = super::rust_files_below("").into_iter().filter(silent).collect();
    assert!(wrong.is_empty(), "these do not open with `//!`: {wrong:#?}");
}
