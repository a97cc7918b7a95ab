//! The rules of `docs/ARCHITECTURE.md`, read off the sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust sources below a folder of the workspace, with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty());
    found
}

/// Crates that a package is built from, its own name included.
fn dependencies(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["--package", package])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect()
}

#[test]
fn the_engine_knows_no_window() {
    let found = dependencies("wordbrush-engine");
    assert!(found.iter().any(|name| name == "candle-core"));
    for forbidden in ["egui", "eframe", "winit", "wgpu", "rfd", "wordbrush"] {
        assert!(
            !found.iter().any(|name| name == forbidden),
            "the engine depends on {forbidden}"
        );
    }
}

#[test]
fn the_app_knows_no_tensor() {
    for (path, text) in sources("app/src") {
        for forbidden in [
            "candle_core",
            "candle_nn",
            "candle_transformers",
            "wordbrush_engine::low_level",
        ] {
            assert!(!text.contains(forbidden), "{} names {forbidden}", path.display());
        }
    }
}

#[test]
fn only_device_and_ops_know_which_back_ends_were_compiled_in() {
    for (path, text) in sources("engine/src") {
        let is_border = path
            .components()
            .any(|part| part.as_os_str() == "device" || part.as_os_str() == "ops");
        let asks = text.contains("feature = \"cuda\"") || text.contains("feature = \"metal\"");
        assert!(is_border || !asks, "{} asks for a back end", path.display());
    }
}

#[test]
fn only_the_canvas_speaks_to_the_graphics_card() {
    for (path, text) in sources("app/src") {
        let is_border = path.components().any(|part| part.as_os_str() == "gpu");
        let speaks = text.contains("queue.write_texture") || text.contains("create_render_pipeline");
        assert!(is_border || !speaks, "{} uses the graphics card", path.display());
    }
}
