//! What becomes of a file that is dropped on the window, by what is in it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use egui::{Key, Modifiers};
use egui_kittest::{Harness, kittest::Queryable as _};
use wordbrush::{
    app::App,
    document::{Document, Target},
    storage::{
        export::{PictureFormat, export_picture},
        folders::Folders,
        masks::{colour_coded, export_masks},
        ora,
        palette::{Demo, Palette},
        project::Project,
        project_file,
    },
};
use wordbrush_engine::api::{CanvasSize, Picture};

use crate::{
    harness::{AppHarness as _, app, app_with_folders},
    round_trips::project,
};

#[derive(Debug)]
struct File(PathBuf);

impl egui::DroppedFile for File {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

/// Lets go of a file over the window and waits for what the app says to that.
fn drop_file(harness: &mut Harness<'static, Option<App>>, path: &Path, modifiers: Modifiers) {
    let changes = harness.app().document().clone();
    let said = harness.app().notifications().texts().count();
    let input = harness.input_mut();
    input.dropped_files.push(Arc::new(File(path.to_owned())));
    input.events.push(egui::Event::ModifiersChanged(modifiers));
    harness.step();
    let input = harness.input_mut();
    input.dropped_files.clear();
    input.events.push(egui::Event::ModifiersChanged(Modifiers::NONE));
    harness.run_until("the file", |app| {
        *app.document() != changes || app.notifications().texts().count() > said
    });
}

/// The app with its model: when that arrives, it changes the canvas, too, as a dropped file does.
fn ready_app() -> Harness<'static, Option<App>> {
    let mut harness = app();
    harness.run_until("the model", |app| app.link().summary().is_some());
    harness
}

fn dropped(path: &Path) -> Harness<'static, Option<App>> {
    let mut harness = ready_app();
    drop_file(&mut harness, path, Modifiers::NONE);
    harness
}

#[test]
fn every_kind_of_canvas_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let project = project();
    project_file::save(&project, &path("a.wordbrush")).unwrap();
    ora::save(&project, &path("a.ora")).unwrap();
    for (name, format) in [
        ("a.png", PictureFormat::Png),
        ("a.jpg", PictureFormat::Jpeg { quality: 90 }),
        ("a.webp", PictureFormat::WebP { quality: 90 }),
    ] {
        export_picture(&project, format, &path(name)).unwrap();
    }
    // A wrong name does not matter.
    std::fs::copy(path("a.ora"), path("b.png")).unwrap();
    for name in ["a.wordbrush", "a.ora", "a.png", "a.jpg", "a.webp", "b.png"] {
        let mut harness = ready_app();
        let model = harness.app().document().model.clone();
        let before = harness.app().document().clone();
        drop_file(&mut harness, &path(name), Modifiers::NONE);
        let mut expected = project.document.clone();
        expected.model = model;
        assert!(*harness.app().document() == expected, "{name}");
        let pins = harness.app().kept_frames().pinned().count();
        let expected_pins = match name {
            "a.png" | "a.jpg" | "a.webp" => 0,
            _ => project.pins.len(),
        };
        assert_eq!(pins, expected_pins, "{name}");
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
        harness.run_steps(3);
        // Numbers that were given to regions are not given again.
        let after = Document {
            next_region_id: before.next_region_id,
            ..harness.app().document().clone()
        };
        assert!(after == before, "{name}: undo brings the canvas back");
    }
}

#[test]
fn a_canvas_that_comes_during_a_stroke_is_not_painted_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wordbrush");
    let project = project();
    project_file::save(&project, &path).unwrap();
    let mut harness = ready_app();
    let Target::Region(painted) = harness.app().selected() else {
        panic!("a region is selected");
    };
    assert!(
        project.document.region(painted).is_some(),
        "it has one of this number"
    );
    let middle = harness.get_by_label("Canvas").rect().center();
    let at = |step: f32| middle + egui::vec2(4.0 * step, 0.0);
    harness.drag_at(at(0.0));
    harness.run_steps(2);
    harness.hover_at(at(5.0));
    harness.run_steps(2);
    drop_file(&mut harness, &path, Modifiers::NONE);
    harness.run_until("the file", |app| app.document().size == project.document.size);
    harness.hover_at(at(10.0));
    harness.run_steps(2);
    harness.drop_at(at(10.0));
    harness.run_steps(2);
    assert!(harness.app().document().regions == project.document.regions);
}

#[test]
fn a_palette_adds_its_brushes_in_colours_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("palette.json");
    let mut palette = Palette::from_document(&project().document);
    palette.brushes[0].colour = [1, 2, 3];
    let taken = ready_app().app().document().regions[0].colour;
    palette.brushes[1].colour = taken;
    std::fs::write(&path, palette.to_json(Demo::Streaming)).unwrap();
    let harness = dropped(&path);
    let regions = &harness.app().document().regions;
    let added = &regions[regions.len() - palette.brushes.len()..];
    assert_eq!(added[0].colour, [1, 2, 3]);
    assert_ne!(added[1].colour, taken);
    for (region, brush) in added.iter().zip(&palette.brushes) {
        assert_eq!(region.prompt, brush.words.prompt);
        assert_eq!(region.prompt_strength, brush.prompt_strength);
        assert!(region.mask.is_empty());
    }
}

#[test]
fn a_palette_brings_its_background_to_a_canvas_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut project = project();
    let palette = Palette::from_document(&project.document);
    std::fs::write(path("palette.json"), palette.to_json(Demo::Sd15)).unwrap();
    let words_after = |project: &Project| {
        project_file::save(project, &path("a.wordbrush")).unwrap();
        let mut harness = dropped(&path("a.wordbrush"));
        drop_file(&mut harness, &path("palette.json"), Modifiers::NONE);
        let background = harness.app().document().background.clone();
        (background.prompt, background.negative_prompt)
    };
    project.document.background.prompt.clear();
    project.document.background.negative_prompt.clear();
    let added = palette.background.clone();
    assert_eq!(words_after(&project), (added.prompt, added.negative_prompt));
    project.document.background.prompt.push_str("my own words");
    assert_eq!(words_after(&project), ("my own words".to_owned(), String::new()));
}

#[test]
fn a_scene_that_is_meant_for_another_model_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene.json");
    for (model, is_told) in [("sd-turbo", true), ("toy", false)] {
        let scene = format!(r#"{{"size": [64, 48], "model": "{model}", "regions": []}}"#);
        std::fs::write(&path, scene).unwrap();
        let mut harness = ready_app();
        drop_file(&mut harness, &path, Modifiers::NONE);
        assert_eq!(harness.app().document().size, CanvasSize::new(64, 48).unwrap());
        let told = harness
            .app()
            .notifications()
            .texts()
            .any(|text| text.contains("meant for sd-turbo"));
        assert_eq!(told, is_told, "{model}");
    }
}

#[test]
fn colour_coded_masks_become_regions_and_other_pictures_the_background() {
    let folder = tempfile::tempdir().unwrap();
    let document = project().document;
    let files = export_masks(&document, folder.path()).unwrap();
    let coded = files.last().unwrap();
    let before = ready_app().app().document().regions.len();
    let harness = dropped(coded);
    let added = harness.app().document().regions.len() - before;
    let colours = colour_coded(&document)
        .unwrap()
        .rgba()
        .chunks_exact(4)
        .map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .filter(|colour| *colour != [0; 3])
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(added, colours.len());

    // With Alt it is a picture all the same.
    let mut harness = ready_app();
    drop_file(&mut harness, coded, Modifiers::ALT);
    assert_eq!(harness.app().document().regions.len(), before);
    assert!(harness.app().document().background.image.is_some());

    let photograph = folder.path().join("photograph.png");
    image::RgbImage::from_fn(80, 60, |x, y| image::Rgb([(x * 3) as u8, (y * 4) as u8, 7]))
        .save(&photograph)
        .unwrap();
    let harness = dropped(&photograph);
    let image = harness.app().document().background.image.clone().unwrap();
    assert_eq!(image.size(), CanvasSize::new(80, 60).unwrap());
}

#[test]
fn what_cannot_be_opened_is_told_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    std::fs::write(&path, "Dear painter").unwrap();
    let before = ready_app().app().document().clone();
    for path in [&path, folder.path(), &folder.path().join("gone.png")] {
        let harness = dropped(path);
        assert_eq!(*harness.app().document(), before);
        let is_told = |text: &str| text.contains("cannot open") && text.contains(&*path.to_string_lossy());
        assert!(harness.app().notifications().texts().any(is_told), "{path:?}");
    }
}

#[test]
fn masks_and_palettes_are_exported_from_the_window() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = ready_app();
    for (format, name) in [("Masks", "masks"), ("Palette", "brushes.json")] {
        harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::E);
        harness.run_steps(3);
        harness.get_by_label(&format!("Format: {format}")).click();
        harness.run_steps(3);
        let target = folder.path().join(name).display().to_string();
        harness
            .get_by_label("Export file")
            .set_text_value_accesskit(&target);
        harness.run_steps(3);
        harness.get_by_label("Export").click();
        harness.run_until("the message", |app| {
            app.notifications().texts().any(|text| text.ends_with(&target))
        });
    }
    let regions = harness.app().document().regions.len();
    let masks = std::fs::read_dir(folder.path().join("masks")).unwrap().count();
    assert_eq!(masks, regions + 1);
    let json = std::fs::read_to_string(folder.path().join("brushes.json")).unwrap();
    assert_eq!(Palette::from_json(&json).unwrap().brushes.len(), regions);
}

#[test]
fn palettes_are_added_kept_and_removed_in_their_window() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = app_with_folders(folders.clone());
    let open = |harness: &mut Harness<'static, Option<App>>| {
        harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::ALT, Key::B);
        harness.run_steps(3);
    };
    let kept = || {
        let files = std::fs::read_dir(folders.palettes())
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter(|file| file.path().extension() == Some("json".as_ref()))
            .count()
    };
    let wait = |harness: &mut Harness<'static, Option<App>>, label: &str| {
        let begin = std::time::Instant::now();
        while harness.query_by_label_contains(label).is_none() {
            assert!(begin.elapsed().as_secs() < 60, "waited in vain for {label}");
            harness.step();
        }
    };
    open(&mut harness);
    wait(&mut harness, "Add Meadow");
    let field = harness.get_by_label("Palette title");
    field.focus();
    harness.run_steps(2);
    harness.get_by_label("Palette title").type_text("My own");
    harness.run_steps(3);
    harness.get_by_label("Keep").click();
    wait(&mut harness, "Add My own");
    assert_eq!(kept(), 1);
    let regions = harness.app().document().regions.len();
    harness.get_by_label("Add My own").click_accesskit();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions.len(), 2 * regions);
    assert!(harness.query_by_label("Palette title").is_none(), "it closes");

    open(&mut harness);
    wait(&mut harness, "Add My own");
    harness.get_by_label("Remove").click_accesskit();
    let begin = std::time::Instant::now();
    while harness.query_by_label("Remove").is_some() {
        assert!(begin.elapsed().as_secs() < 60, "it is still there");
        harness.step();
    }
    assert_eq!(kept(), 0);
    // What was taken away by mistake comes back.
    harness.run_steps(3);
    harness.get_by_label("Bring back").click();
    wait(&mut harness, "Add My own");
    assert_eq!(kept(), 1);
}

/// The picture of a project is shown at once, before the engine has painted.
#[test]
fn the_last_picture_of_a_project_is_shown_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wordbrush");
    let mut project = project();
    let size = project.document.size;
    project.last_frame = Some(Picture::solid(size, [200, 100, 50, 255]));
    project_file::save(&project, &path).unwrap();
    let harness = dropped(&path);
    assert_eq!(harness.app().document().size, size);
    assert!(harness.app().link().frame().is_some());
}
