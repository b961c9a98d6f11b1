//! Several processes that share one place for their data: each has a directory of its own, and one that was
//! left is gone on with.

mod support;

use std::fs;
use std::path::Path;

use forebay_engine::{DataDirectory, DataDirectoryError, Mode};
use support::disk;

fn claim(root: &Path) -> DataDirectory {
    DataDirectory::claim(root, Mode::Cluster).expect("a directory").0
}

fn name(directory: &DataDirectory) -> &str {
    directory.path().file_name().and_then(|name| name.to_str()).expect("a name")
}

#[test]
fn each_has_a_directory_of_its_own_and_a_freed_one_is_taken_before_a_new_one_is_made() {
    let disk = disk();
    let root = disk.path().join("shared");
    let (first, second, third) = (claim(&root), claim(&root), claim(&root));
    assert_eq!([&first, &second, &third].map(name), ["data-1", "data-2", "data-3"]);
    let cluster = second.cluster();
    drop(second);
    let again = claim(&root);
    assert_eq!((name(&again), again.cluster()), ("data-2", cluster));
    assert_eq!(name(&claim(&root)), "data-4");
}

#[test]
fn many_at_once_get_different_ones() {
    let disk = disk();
    let root = disk.path();
    let claimed: Vec<_> = std::thread::scope(|scope| {
        let claims: Vec<_> = (0..16).map(|_| scope.spawn(|| claim(root))).collect();
        claims.into_iter().map(|claim| claim.join().expect("claimed")).collect()
    });
    let mut names: Vec<_> = claimed.iter().map(name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 16, "{names:?}");
}

#[test]
fn what_is_not_a_directory_of_ours_is_left_alone() {
    let disk = disk();
    fs::create_dir(disk.path().join("data-01")).unwrap();
    fs::create_dir(disk.path().join("lost+found")).unwrap();
    fs::write(disk.path().join("notes.txt"), "text").unwrap();
    assert_eq!(name(&claim(disk.path())), "data-1");
    assert_eq!(fs::read_dir(disk.path().join("data-01")).unwrap().count(), 0);
}

#[test]
fn one_that_nobody_uses_and_that_cannot_be_opened_is_named_not_passed_over() {
    let disk = disk();
    let foreign = disk.path().join("data-1");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("novel.txt"), "text").unwrap();
    let refused = DataDirectory::claim(disk.path(), Mode::Cluster).unwrap_err();
    assert!(
        matches!(&refused, DataDirectoryError::Foreign { path, .. } if *path == foreign),
        "{refused}"
    );
}

#[test]
fn data_directory_of_one_node_is_no_place_for_several() {
    let disk = disk();
    drop(DataDirectory::open(disk.path(), Mode::Cluster).unwrap());
    let refused = DataDirectory::claim(disk.path(), Mode::Cluster).unwrap_err();
    assert!(matches!(refused, DataDirectoryError::Single { .. }), "{refused}");
}
