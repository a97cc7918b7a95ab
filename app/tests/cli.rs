//! The command line as scripts see it: exit codes, one line on stderr, files, and the same bytes for the same seed.
#![expect(
    clippy::unwrap_used,
    reason = "a scenario that cannot go on is a failed one, also in its helpers"
)]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
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

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wordbrush"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("WORDBRUSH_HOME", self.path("home"))
            .env_remove("HF_TOKEN");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What lies in the folder, hidden files included.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
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
        &["render", "scene.json", "-o", "out.png", "--size", "-5x5"],
        &["render", "scene.json", "-o", "out.png", "--size", "99999999999x1"],
        &["render", "scene.json", "-o", "out.png", "--seed", "-1"],
        &[
            "render",
            "scene.json",
            "-o",
            "out.png",
            "--seed",
            "18446744073709551616",
        ],
        &["render", "scene.json", "-o", "out.png", "--steps", "51"],
        &["render", "scene.json", "-o", "out.png", "--threads", "0"],
        &["render", "scene.json", "-o", "out.png", "--frames", "0"],
        &["render", "scene.json", "-o", "out.png", "--quality", "101"],
        &["render", "scene.json", "-o", "out.png", "-o", "b.png"],
        &["render", "scene.json", "-o", ""],
        &["export", "scene.json", "--masks", "-o", "out.jpg"],
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
fn what_models_share_is_checked_without_the_models_that_were_never_downloaded() {
    let place = Place::new();
    let folder = Path::new(place.done(&["models", "path"]).trim()).join("taesd");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        std::fs::write(folder.join(name), b"x").unwrap();
    }
    let checked = place.done(&["models", "check"]);
    assert_eq!(checked.lines().count(), 2, "{checked}");
    assert!(!checked.contains("missing"), "{checked}");
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

#[test]
fn a_measurement_ends_where_little_is_painted_or_nothing() {
    let place = Place::new();
    let bench = |size, regions| {
        [
            "bench",
            "--model",
            "toy",
            "--size",
            size,
            "--regions",
            regions,
            "--seconds",
            "1",
            "--edits",
            "1",
        ]
    };
    // The background alone, and a region that an edit leaves hardly anything of.
    place.done(&bench("64x64", "0"));
    place.done(&bench("64x64", "1"));
    let message = place.failed(&bench("8x8", "1"));
    assert!(message.contains("larger --size"), "{message}");
}

#[test]
fn what_is_read_is_never_written_over() {
    let place = Place::new();
    place.done(&["render", "scene.json", "-o", "p.png"]);
    place.done(&["export", "p.png", "-o", "q.ora"]);
    std::fs::create_dir(place.path("sub")).unwrap();
    std::fs::copy(place.path("p.png"), place.path("p-0002.png")).unwrap();
    std::fs::rename(place.path("right.png"), place.path("02-the-sun.png")).unwrap();
    place.write_scene(&json!({
        "size": [64, 64], "model": "toy", "background": {"image": "p.png"},
        "regions": [{"prompt": "a tree", "mask": "left.png"}, {"prompt": "the sun", "mask": "02-the-sun.png"}],
    }));
    for (input, arguments) in [
        ("scene.json", &["export", "scene.json", "-o", "scene.json"][..]),
        ("q.ora", &["export", "q.ora", "-o", "sub/../q.ora"]),
        ("p.png", &["render", "p.png", "-o", "./p.png"]),
        ("p.png", &["export", "p.png", "-o", "p.png"]),
        (
            "p-0002.png",
            &["render", "p-0002.png", "-o", "p.png", "--frames", "3"],
        ),
        ("left.png", &["render", "scene.json", "-o", "left.png"]),
        ("p.png", &["render", "scene.json", "-o", "sub/../p.png"]),
        ("left.png", &["export", "scene.json", "--masks", "-o", "left.png"]),
        ("02-the-sun.png", &["export", "scene.json", "--masks", "-o", "."]),
    ] {
        let before = place.bytes(input);
        let names = place.names();
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(
            complaint.contains("the output is also an input") && complaint.lines().count() == 1,
            "{complaint}"
        );
        assert_eq!(place.bytes(input), before, "{arguments:?}");
        assert_eq!(place.names(), names, "{arguments:?}");
    }
}

#[test]
fn a_folder_for_masks_may_have_any_name_that_says_so() {
    let place = Place::new();
    for folder in ["new/", "version.2/", "picture.png/", "plain"] {
        place.done(&["export", "scene.json", "--masks", "-o", folder]);
        assert!(place.path(folder).join("01-tree.png").exists(), "{folder}");
    }
}

#[test]
fn a_scene_through_a_pipe_finds_its_masks() {
    let place = Place::new();
    let scene = std::fs::File::open(place.path("scene.json")).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::copy(&mut &scene, &mut writer).unwrap();
    drop(writer);
    let output = place
        .command(&["info", "/dev/stdin"])
        .stdin(reader)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(String::from_utf8_lossy(&output.stdout).contains("a tree"));
}

#[test]
fn a_mistyped_command_and_a_second_file_are_told() {
    let place = Place::new();
    for arguments in [&["rendr", "scene.json"][..], &["left.png", "right.png"]] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains("is no command"), "{complaint}");
    }
}

#[test]
fn numbers_that_cannot_be_are_told_in_plain_words() {
    let place = Place::new();
    for (option, value, advice) in [
        (
            "--seed",
            "-1",
            "write a whole number from 0 to 18446744073709551615",
        ),
        ("--seed", "1e3", "write a whole number"),
        ("--size", "NaNx3", "write WIDTHxHEIGHT"),
    ] {
        let output = place.run(&["render", "scene.json", "-o", "out.png", option, value]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains(advice), "{complaint}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_finds_no_room_is_told() {
    let place = Place::new();
    for arguments in [
        &["info", "scene.json"][..],
        &["info", "scene.json", "--json"],
        &["models", "list"],
        &["models", "path"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
        &["help", "render"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(arguments).stdout(full).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {complaint}");
        assert!(
            complaint.contains("cannot write to the standard output: No space left"),
            "{complaint}"
        );
    }
}

#[test]
fn an_output_that_cannot_be_is_told_in_plain_words() {
    let place = Place::new();
    std::fs::create_dir(place.path("folder.png")).unwrap();
    std::fs::write(place.path("file"), "x").unwrap();
    for (output, why) in [
        ("missing/out.png", "there is no folder missing"),
        ("folder.png", "it is a folder"),
        ("file/out.png", "Not a directory"),
    ] {
        for more in [&[][..], &["--frames", "2"]] {
            if output == "folder.png" && !more.is_empty() {
                continue;
            }
            let arguments = [&["render", "scene.json", "-o", output], more].concat();
            let complaint = place.failed(&arguments);
            assert!(
                complaint.contains(why) && !complaint.contains(".tmp"),
                "{complaint}"
            );
        }
    }
    std::fs::create_dir(place.path("folder.safetensors")).unwrap();
    std::fs::write(place.path("short.safetensors"), "x").unwrap();
    for (input, why) in [
        ("gone.png", "there is no such file"),
        ("folder.png", "it is a folder"),
        ("gone.safetensors", "there is no such file"),
        ("folder.safetensors", "it is a folder"),
        ("short.safetensors", "it is too short"),
        ("file", "it is no project"),
    ] {
        let complaint = place.failed(&["info", input]);
        assert!(
            complaint.contains(why) && complaint.contains(input),
            "{complaint}"
        );
    }
}

#[test]
fn masks_of_every_kind_are_read() {
    let place = Place::new();
    image::ImageBuffer::<Luma<u16>, _>::from_pixel(8, 8, Luma([0x8080]))
        .save(place.path("sixteen-bit.png"))
        .unwrap();
    image::RgbaImage::from_fn(8, 8, |x, _| image::Rgba([9, 9, 9, if x < 4 { 255 } else { 0 }]))
        .save(place.path("alpha.webp"))
        .unwrap();
    GrayImage::from_pixel(1, 1, Luma([255]))
        .save(place.path("pixel.png"))
        .unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/masks");
    for name in ["cmyk.jpg", "one-bit.png", "palette-transparent.png"] {
        std::fs::copy(fixtures.join(name), place.path(name)).unwrap();
    }
    std::fs::create_dir(place.path("Gr\u{f6}\u{df}e \u{6728}")).unwrap();
    std::fs::copy(
        place.path("left.png"),
        place.path("Gr\u{f6}\u{df}e \u{6728}/mask 1.png"),
    )
    .unwrap();
    for (mask, covered) in [
        ("left.png", 0.5),
        ("sixteen-bit.png", 0.502),
        ("alpha.webp", 0.5),
        ("pixel.png", 1.0),
        ("cmyk.jpg", 0.5),
        ("one-bit.png", 0.5),
        ("palette-transparent.png", 0.5),
        ("Gr\u{f6}\u{df}e \u{6728}/mask 1.png", 0.5),
    ] {
        place.write_scene(&json!({
            "size": [64, 64], "model": "toy", "regions": [{"prompt": "a tree", "mask": mask}],
        }));
        let info = place.info("scene.json");
        let found = info["regions"][0]["coverage"].as_f64().unwrap();
        assert!((found - covered).abs() < 0.02, "{mask}: {found}");
    }
    std::fs::write(place.path("mask.gif"), b"GIF89a\x01\0\x01\0\0\0\0;").unwrap();
    place.write_scene(&json!({"size": [64, 64], "regions": [{"prompt": "x", "mask": "mask.gif"}]}));
    let complaint = place.failed(&["render", "scene.json", "-o", "out.png"]);
    assert!(complaint.contains("regions[0].mask"), "{complaint}");
    assert!(complaint.contains("no PNG, JPEG or WebP"), "{complaint}");
}

#[test]
fn the_smallest_canvas_and_one_without_regions_are_painted() {
    let place = Place::new();
    place.done(&["render", "scene.json", "-o", "dot.png", "--size", "1x1"]);
    let dot = image::open(place.path("dot.png")).unwrap();
    assert_eq!((dot.width(), dot.height()), (1, 1));
    place.write_scene(&json!({"size": [40, 24], "model": "toy", "regions": []}));
    place.done(&["render", "scene.json", "-o", "empty.png"]);
    assert_eq!(image::open(place.path("empty.png")).unwrap().width(), 40);
}

#[test]
fn a_file_says_what_it_is_and_keeps_its_model() {
    let place = Place::new();
    assert_eq!(place.info("scene.json")["file_type"], "scene");
    place.done(&["export", "scene.json", "-o", "a.wordbrush"]);
    place.done(&["export", "a.wordbrush", "-o", "a.ora"]);
    for (name, file_type) in [("a.wordbrush", "project"), ("a.ora", "OpenRaster")] {
        let info = place.info(name);
        assert_eq!(
            (&info["file_type"], &info["model"]),
            (&json!(file_type), &json!("toy"))
        );
    }
}

#[test]
fn texts_in_files_do_not_command_the_terminal() {
    let place = Place::new();
    place.write_scene(&json!({
        "size": [64, 64], "model": "toy",
        "regions": [{"name": "\u{1b}[2J", "prompt": "two\nlines\u{7}", "mask": "left.png"}],
    }));
    let listing = place.done(&["info", "scene.json"]);
    assert!(listing.contains("two lines"), "{listing:?}");
    let is_plain = |text: &str| {
        text.chars()
            .all(|character| character == '\n' || !character.is_control())
    };
    assert!(is_plain(&listing), "{listing:?}");
    let complaint = place.failed(&["info", "\u{1b}[31mgone"]);
    assert!(is_plain(&complaint), "{complaint:?}");
}

/// Whoever reads the output has had enough: no complaint.
#[test]
fn a_closed_pipe_is_no_failure() {
    let place = Place::new();
    for arguments in [
        &["info", "scene.json"][..],
        &["info", "scene.json", "--json"],
        &["models", "list"],
        &["models", "list", "--json"],
        &["completions", "bash"],
        &["--help"],
        &["render", "--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = place
            .command(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), complaint.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn two_programs_that_write_one_file_leave_a_whole_one() {
    let place = Place::new();
    let render = |seed: &str| {
        place
            .command(&["render", "scene.json", "-o", "out.png", "--seed", seed])
            .spawn()
            .unwrap()
    };
    let mut both = [render("1"), render("2")];
    for child in &mut both {
        assert!(child.wait().unwrap().success());
    }
    let seed = place.info("out.png")["seed"].as_u64().unwrap();
    assert!([1, 2].contains(&seed));
    assert!(place.names().iter().all(|name| !name.starts_with(".wordbrush")));
}

#[cfg(unix)]
#[test]
fn an_interrupted_render_leaves_whole_files_only() {
    if ignores_interrupts() {
        // Then the program leaves all signals to whoever started it.
        return;
    }
    let place = Place::new();
    for (signal, output, twentieth) in [("-INT", "f.png", "f-0020.png"), ("-TERM", "t.png", "t-0020.png")] {
        let mut child = place
            .command(&["render", "scene.json", "-o", output, "--frames", "100000"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !place.path(twentieth).exists() {
            assert_eq!(child.try_wait().unwrap(), None, "it paints");
            std::thread::yield_now();
        }
        let interrupted = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(interrupted.success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
    }
    let names = place.names();
    assert!(
        names.iter().all(|name| !name.starts_with(".wordbrush")),
        "{names:?}"
    );
    for name in names.iter().filter(|name| name.contains("-0")) {
        image::open(place.path(name)).unwrap();
    }
}

/// Whether whoever started the tests has signals ignored, as a shell does for what it runs in the background, and `nohup`.
/// So do the programs that they start then.
fn ignores_interrupts() -> bool {
    const HANG_UP: u64 = 1;
    const INTERRUPT: u64 = 1 << 1;
    const TERMINATE: u64 = 1 << 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & (HANG_UP | INTERRUPT | TERMINATE) != 0)
}

#[test]
fn every_command_has_help_with_examples() {
    let place = Place::new();
    for command in [
        &["--help"][..],
        &["render", "--help"],
        &["export", "--help"],
        &["info", "--help"],
        &["models", "--help"],
        &["models", "pull", "--help"],
        &["models", "path", "--help"],
        &["bench", "--help"],
        &["completions", "--help"],
    ] {
        assert!(place.done(command).contains("Examples:"), "{command:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_display_it_says_so() {
    let place = Place::new();
    let complaint = |display: Option<&str>| {
        let mut command = place.command(&["scene.json"]);
        for name in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
            command.env_remove(name);
        }
        command.envs(display.map(|display| ("DISPLAY", display)));
        let output = command.output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        complaint
    };
    assert!(complaint(None).contains("there is no display"));
    let silent = complaint(Some(":4097"));
    assert!(silent.contains("no display answers (DISPLAY=:4097)"), "{silent}");
    assert!(!silent.contains(".rs:"), "{silent}");
}
