//! Files of every version of the format, committed when it was the newest, open as the canvas they were written from.
//!
//! A new version needs files of its own: `WORDBRUSH_WRITE_FIXTURES=1 cargo test -p integration_tests old_files` writes
//! those that are missing and never touches one that is there.

use std::path::{Path, PathBuf};

use wordbrush::storage::{
    FORMAT_VERSION,
    open::{Opened, ProjectKind, open_path},
    ora,
    project::Project,
    project_file,
};

use crate::round_trips::project;

fn fixture(version: u32, ending: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/projects");
    folder.join(format!("version-{version}.{ending}"))
}

fn opened(path: &Path) -> (Project, ProjectKind) {
    match open_path(path).unwrap() {
        Opened::Project { project, kind, .. } => (*project, kind),
        other => panic!("{} opened as {}", path.display(), other.kind_name()),
    }
}

#[test]
fn files_of_every_version_open_as_the_canvas_they_were_written_from() {
    if std::env::var_os("WORDBRUSH_WRITE_FIXTURES").is_some() {
        for (ending, bytes) in [
            ("wordbrush", project_file::to_bytes(&project()).unwrap()),
            ("ora", ora::to_bytes(&project()).unwrap()),
        ] {
            let path = fixture(FORMAT_VERSION, ending);
            if !path.exists() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
        }
    }
    // The present version too has files from before a background could be kept in part: then all of it is.
    let mut expected = project();
    expected.document.background.keep_strength = 1.0;
    for pin in &mut expected.pins {
        pin.document.background.keep_strength = 1.0;
    }
    for version in 1..=FORMAT_VERSION {
        for (ending, kind) in [
            ("wordbrush", ProjectKind::Project),
            ("ora", ProjectKind::OpenRaster),
        ] {
            let (found, found_kind) = opened(&fixture(version, ending));
            assert!(found == expected, "version {version}, {ending}");
            assert_eq!(found_kind, kind, "version {version}");
        }
    }
}
