//! Keeps the shape of the code: which crate may use which, which module may use which, and a few
//! things that every file must do. docs/ARCHITECTURE.md says why the edges are as they are.
//!
//! Not here: what the code does. These tests read manifests and sources and run nothing.

mod crates;
mod modules;
mod scan;
mod tidy;

use std::path::{Path, PathBuf};

/// The folder of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli/ is in the workspace").to_owned()
}

/// Every file of the project below `folder`, as paths relative to the workspace, without what is built
/// or written by running it.
fn files_below(folder: &str) -> Vec<PathBuf> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
        const NOT_OURS: [&str; 5] = [".git", "target", "forebay-data", "bench-out", "__pycache__"];
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if NOT_OURS.contains(&name) {
                continue;
            }
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).expect("below the root").to_owned());
            }
        }
    }

    let root = workspace();
    let mut found = Vec::new();
    walk(&root, &root.join(folder), &mut found);
    found.sort();
    found
}

/// The same, Rust sources only.
fn rust_files_below(folder: &str) -> Vec<PathBuf> {
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files_below(folder).into_iter().filter(is_rust).collect()
}
