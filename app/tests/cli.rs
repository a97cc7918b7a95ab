//! The command line as scripts see it: exit codes, one line on stderr, files, and the same bytes for the same seed.
#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on is a failed one, also in its helpers"
)]

use std::{
    path::Path,
    process::{Command, Output},
};

use image::{GrayImage, Luma};
use serde_json::{Value, json};

struct Place(tempfile::TempDir);

impl Place {
    /// A folder with a scene of two regions for the small test model.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (name, left) in [("left.png", 0), ("right.png", 32)] {
            GrayImage::from_fn(64, 64, |x, _| {
                Luma([if (left..left + 32).contains(&x) { 255 } else { 0 }])
            })
            .save(place.path(name))
            .unwrap();
        }
        place.write_scene(&json!({
            "size": [64, 64], "seed": 7, "model": "toy", "steps": 3,
            "background": {"prompt": "sky"},
            "regions": [
                {"name": "tree", "prompt": "a tree", "mask": "left.png"},
                {"prompt": "the sun", "mask": "right.png", "mask_std": 2.0, "seed": 5},
            ],
        }));
        place
    }

    fn write_scene(&self, scene: &Value) {
        std::fs::write(self.path("scene.json"), scene.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_wordbrush"))
            .args(arguments)
            .current_dir(self.0.path())
            .env("WORDBRUSH_HOME", self.path("home"))
            .env_remove("HF_TOKEN")
            .output()
            .unwrap()
    }

    /// Runs what must succeed, silently but for its result.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {complaint}");
        assert_eq!(complaint, "", "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail; answers with the one line that says why.
    fn failed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{arguments:?}: {complaint}");
        complaint
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn info(&self, name: &str) -> Value {
        serde_json::from_str(&self.done(&["info", name, "--json"])).unwrap()
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    let place = Place::new();
    let render = |name: &str, more: &[&str]| {
        let arguments = [&["render", "scene.json", "--device", "cpu", "-o", name], more].concat();
        place.done(&arguments);
        place.bytes(name)
    };
    let first = render("a.png", &[]);
    assert_eq!(first, render("b.png", &["--threads", "1"]));
    assert_eq!(first, render("c.png", &["--threads", "2"]));
    assert_eq!(first, render("d.png", &["--seed", "7"]));
    assert_ne!(first, render("e.png", &["--seed", "8"]));
    // What was rendered is a scene again.
    place.done(&["render", "a.png", "--device", "cpu", "-o", "again.png"]);
    assert_eq!(first, place.bytes("again.png"));
}

#[test]
fn size_steps_and_format_are_obeyed() {
    let place = Place::new();
    place.done(&[
        "render",
        "scene.json",
        "-o",
        "wide.webp",
        "--size",
        "96x64",
        "--steps",
        "2",
    ]);
    let info = place.info("wide.webp");
    assert_eq!(info["size"], json!([96, 64]));
    assert_eq!(info["steps"].as_array().unwrap().len(), 2);
    let bounds: Vec<u64> = serde_json::from_value(info["regions"][0]["bounds"].clone()).unwrap();
    assert_eq!((bounds[0], bounds[1], bounds[3]), (0, 0, 64));
    assert!(
        (48..=56).contains(&bounds[2]),
        "scaled, with a soft edge: {bounds:?}"
    );
    let picture = image::open(place.path("wide.webp")).unwrap();
    assert_eq!((picture.width(), picture.height()), (96, 64));
}

#[test]
fn frames_are_numbered() {
    let place = Place::new();
    place.done(&["render", "scene.json", "-o", "f.png", "--frames", "3"]);
    for number in 1..=3 {
        assert!(place.path(&format!("f-000{number}.png")).exists());
    }
    assert!(!place.path("f.png").exists());
}

#[test]
fn scenes_with_mistakes_are_told_what_is_wrong() {
    let place = Place::new();
    let render = || place.failed(&["render", "scene.json", "-o", "out.png"]);
    place.write_scene(&json!({"size": [64, 64], "regions": [{"promt": "x", "mask": "left.png"}]}));
    assert!(render().contains("`promt`"));
    place.write_scene(&json!({"size": [64, 64], "regions": [{"prompt": "x", "mask": "gone.png"}]}));
    assert!(render().contains("gone.png"));
    place.write_scene(&json!({"size": [64, 64], "regions": [], "model": "sd-turbo"}));
    assert!(render().contains("wordbrush models pull sd-turbo"));
    place.write_scene(&json!({"size": [64, 64], "regions": [], "model": "nowhere.safetensors"}));
    assert!(render().contains("nowhere.safetensors"));
    assert!(!place.path("out.png").exists());
    std::fs::write(place.path("noise.png"), b"\x89PNG\r\n\x1a\n and nothing more").unwrap();
    assert!(place.failed(&["info", "noise.png"]).contains("noise.png"));
    assert!(place.failed(&["info", "nothing.ora"]).contains("nothing.ora"));
    assert!(
        place
            .failed(&["export", "left.png", "-o", "x.ora"])
            .contains("holds no canvas")
    );
}

#[test]
fn wrong_usage_is_told_apart() {
    let place = Place::new();
    for arguments in [
        &["render", "scene.json"][..],
        &["render", "scene.json", "-o", "out.bmp"],
        &["render", "scene.json", "-o", "out.png", "--size", "0x7"],
        &["render", "scene.json", "-o", "out.png", "--steps", "51"],
        &["render", "scene.json", "-o", "out.png", "--device", "abacus"],
        &["export", "scene.json", "-o", "out.txt"],
        &["models", "pull", "no-such-model"],
        &["models", "pull"],
        &["completions", "cmd"],
        &["--no-such-flag"],
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [
        &["--help"][..],
        &["render", "--help"],
        &["--version"],
        &["help", "models"],
    ] {
        assert_eq!(place.run(arguments).status.code(), Some(0), "{arguments:?}");
    }
    assert!(place.done(&["bench", "--help"]).contains("Examples:"));
}

#[test]
fn every_kind_of_file_leads_to_every_other() {
    let place = Place::new();
    place.done(&["render", "scene.json", "-o", "p.png"]);
    let expected = place.info("p.png")["regions"].clone();
    for (from, to) in [
        ("p.png", "q.wordbrush"),
        ("q.wordbrush", "r.ora"),
        ("r.ora", "s.jpg"),
        ("s.jpg", "t.webp"),
        ("t.webp", "u.wordbrush"),
    ] {
        place.done(&["export", from, "-o", to]);
        assert_eq!(place.info(to)["regions"], expected, "{from} to {to}");
    }
    place.done(&["export", "u.wordbrush", "-o", "brushes.json", "--demo", "sdxl"]);
    let palette: Value = serde_json::from_slice(&place.bytes("brushes.json")).unwrap();
    assert_eq!(palette["prompts"][1], "a tree");
    assert_eq!(palette["prompts"].as_array().unwrap().len(), 6);
    place.done(&["export", "u.wordbrush", "--masks", "-o", "masks"]);
    let mask = image::open(place.path("masks/01-tree.png")).unwrap().to_luma8();
    assert_eq!((mask.get_pixel(0, 0).0, mask.get_pixel(63, 0).0), ([255], [0]));
    place.done(&["export", "u.wordbrush", "--masks", "-o", "all.png"]);
    assert_eq!(place.info("all.png")["kind"], "colour-masks");
    assert!(
        place
            .failed(&["export", "scene.json", "-o", "x.png"])
            .contains("wordbrush render")
    );
}

#[test]
fn models_are_listed_and_found() {
    let place = Place::new();
    assert!(place.done(&["models", "list"]).contains("sdxl-turbo"));
    let list: Value = serde_json::from_str(&place.done(&["models", "list", "--json"])).unwrap();
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .all(|model| model["state"] == "missing")
    );
    let folder = place.done(&["models", "path"]);
    assert!(
        Path::new(folder.trim()).starts_with(place.path("home")),
        "{folder}"
    );
    assert!(
        place
            .failed(&["models", "path", "taesd"])
            .contains("models pull taesd")
    );
    assert_eq!(place.done(&["models", "check"]), "");
}

#[test]
fn completions_are_printed() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.done(&["completions", shell]).contains("render"), "{shell}");
    }
}

#[test]
fn the_machine_is_measured() {
    let place = Place::new();
    let report = place.done(&[
        "bench",
        "--model",
        "toy",
        "--size",
        "64x64",
        "--seconds",
        "1",
        "--edits",
        "2",
        "--json",
    ]);
    let report: Value = serde_json::from_str(&report).unwrap();
    for key in ["frames_per_second", "load_ms", "first_picture_ms"] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
    for key in [
        "edit_to_first_preview_ms",
        "edit_to_final_ms",
        "prompt_to_first_preview_ms",
    ] {
        assert!(report[key]["median"].as_f64().unwrap() > 0.0, "{key}: {report}");
    }
    assert!(report["stages"]["total_ms"].is_number());
    assert!(report["prompt_encoding_ms"]["median"].is_number());
    // The toy has no matrix products to be measured by.
    assert!(report["processor"].is_null(), "{report}");
    assert!(report["memory"]["device_bytes"].is_number());
}
