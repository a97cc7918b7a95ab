//! Frames of the history strip: what is kept of a session, and what comes back after it was cut off.

use std::path::Path;

use egui::{Key, Modifiers};
use egui_kittest::{Harness, kittest::Queryable as _};
use wordbrush::{
    app::App,
    command::AppCommand,
    dialogs::file_path::FilePurpose,
    document::{Document, Edit},
    engine_link::Freshness,
    storage::{
        folders::Folders,
        project::{Pin, Project},
        project_file,
        sessions::find_cut_off,
    },
};
use wordbrush_engine::api::{CanvasSize, Picture};

use crate::harness::{AppHarness as _, app, app_opening, app_with_folders};

fn run(harness: &mut Harness<'static, Option<App>>, command: AppCommand) {
    let ctx = harness.ctx.clone();
    harness.state_mut().as_mut().unwrap().run(&ctx, command);
}

/// Reaches a new finished frame by a new seed.
fn reroll(harness: &mut Harness<'static, Option<App>>) {
    let seed = harness.app().document().seed;
    run(harness, AppCommand::RerollAll);
    if harness.app().document().seed == seed {
        run(harness, AppCommand::RerollAll);
    }
    let kept = harness.app().kept_frames().len();
    // Until the picture is settled the strip may still move.
    harness.run_until("another frame kept", |app| {
        app.kept_frames().len() > kept && app.link().freshness() == Freshness::Fresh
    });
}

/// Pins a frame of the strip.
fn pin(harness: &mut Harness<'static, Option<App>>, number: u64) {
    harness.get_by_label(&format!("Frame {number}")).hover();
    harness.run_steps(2);
    harness.get_by_label(&format!("Pin frame {number}")).click();
    harness.run_until("the pin on disk", |app| {
        app.kept_frames().pinned().next().is_some() && app.kept_frames().has_all_pins_on_disk()
    });
}

#[test]
fn a_session_that_was_cut_off_comes_back_with_its_pins_and_last_frame() {
    let root = tempfile::tempdir().unwrap();
    let mut harness = app_with_folders(Folders::below(root.path()));
    harness.run_until_fresh();
    reroll(&mut harness);
    pin(&mut harness, 1);
    reroll(&mut harness);
    harness.run_until("the newest frame on disk", |app| {
        app.kept_frames().has_newest_on_disk() && app.is_up_to_date()
    });
    let pinned = harness.app().kept_frames().pinned().next().unwrap();
    let pinned = pinned.frame().unwrap().clone();
    let last = harness.app().link().frame().unwrap().frame.picture.clone();
    let document = harness.app().document().clone();
    // The app goes without a word, as by a crash.
    drop(harness);

    let mut harness = app_with_folders(Folders::below(root.path()));
    harness.run_until("the offer", |app| {
        app.kept_frames().is_empty() || app.is_up_to_date()
    });
    harness.run_steps(3);
    let begin = std::time::Instant::now();
    while harness.query_by_label("Bring back").is_none() {
        assert!(begin.elapsed().as_secs() < 60, "no session is offered");
        harness.step();
    }
    harness.get_by_label("Bring back").click();
    harness.run_steps(1);
    harness.run_until("the frames", |app| app.kept_frames().pinned().next().is_some());
    let kept = harness.app().kept_frames();
    let back = kept.pinned().next().unwrap().frame().unwrap();
    assert_eq!(back.document, pinned.document);
    assert_eq!(back.picture.rgba(), pinned.picture.rgba());
    let newest = kept.newest_first().next().unwrap();
    assert!(newest.canvas().is_some());
    assert_eq!(kept.pinned().next().unwrap().canvas(), newest.canvas());
    let is_last_kept = kept.newest_first().any(|entry| {
        entry
            .frame()
            .is_some_and(|frame| frame.picture.rgba() == last.rgba())
    });
    assert!(is_last_kept, "the last frame is back");
    assert_eq!(harness.app().document().regions, document.regions);
    harness.run_until_fresh();
}

#[test]
fn a_session_is_let_go_only_when_that_was_said_twice() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = app_with_folders(folders.clone());
    harness.run_until_fresh();
    reroll(&mut harness);
    harness.run_until("the newest frame on disk", |app| {
        app.kept_frames().has_newest_on_disk() && app.is_up_to_date()
    });
    drop(harness);

    let mut harness = app_with_folders(folders.clone());
    let begin = std::time::Instant::now();
    while harness.query_by_label("Let go").is_none() {
        assert!(begin.elapsed().as_secs() < 60, "no session is offered");
        harness.step();
    }
    harness.run_steps(3);
    let place = harness.get_by_label("Let go").rect().center();
    harness.get_by_label("Let go").click();
    harness.run_steps(3);
    harness.get_by_label("Let go for good");
    // A double click does not go through.
    harness.drag_at(place);
    harness.run_steps(1);
    harness.drop_at(place);
    harness.run_steps(3);
    harness.get_by_label("Let go").click();
    harness.run_steps(3);
    harness.get_by_label("Let go for good").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Bring back").is_none(), "it closes");
    eframe::App::on_exit(harness.state_mut().as_mut().unwrap());
    drop(harness);
    assert!(find_cut_off(&folders).unwrap().cut_off.is_empty());
}

#[test]
fn a_session_whose_program_is_not_quite_gone_is_offered_a_little_later() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut killed = app_with_folders(folders.clone());
    killed.run_until_fresh();
    reroll(&mut killed);
    killed.run_until("the newest frame on disk", |app| {
        app.kept_frames().has_newest_on_disk() && app.is_up_to_date()
    });
    let mut harness = app_with_folders(folders);
    harness.run_until_fresh();
    assert!(harness.query_by_label("Bring back").is_none());
    drop(killed);
    let begin = std::time::Instant::now();
    while harness.query_by_label("Bring back").is_none() {
        assert!(begin.elapsed().as_secs() < 60, "no session is offered");
        harness.step();
    }
}

#[test]
fn frames_on_disk_go_with_a_session_that_ends_in_good_order() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = app_with_folders(folders.clone());
    harness.run_until_fresh();
    reroll(&mut harness);
    harness.run_until("the newest frame on disk", |app| {
        app.kept_frames().has_newest_on_disk()
    });
    let frames = || {
        let sessions = std::fs::read_dir(folders.sessions()).unwrap();
        sessions
            .flatten()
            .filter_map(|session| std::fs::read_dir(session.path().join("frames")).ok())
            .flatten()
            .count()
    };
    assert!(frames() > 0);
    save_as(&mut harness, &root.path().join("meadow.wordbrush"));
    // A sample that was just opened has nothing unsaved.
    open_sample(&mut harness, "Lava gate");
    end(harness);
    assert_eq!(frames(), 0);
    assert!(find_cut_off(&folders).unwrap().cut_off.is_empty());
}

fn open_sample(harness: &mut Harness<'static, Option<App>>, name: &str) {
    run(harness, AppCommand::Gallery);
    harness.run_steps(3);
    harness.get_by_label(&format!("Sample {name}")).click();
    harness.run_steps(3);
}

/// Saves the canvas in hand where the path that is written by hand says.
fn save_as(harness: &mut Harness<'static, Option<App>>, path: &Path) {
    let state = harness.state_mut().as_mut().unwrap();
    state.ask_for_path(FilePurpose::Save);
    harness.run_steps(3);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    harness
        .get_by_label("File path")
        .type_text(&path.display().to_string());
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    let saved = format!("Saved {}", path.display());
    harness.run_until("the file saved", |app| {
        app.notifications().texts().any(|text| text == saved)
    });
}

/// Closes the window.
fn end(mut harness: Harness<'static, Option<App>>) {
    eframe::App::on_exit(harness.state_mut().as_mut().unwrap());
}

/// The next start, which offers the session.
fn offered(folders: &Folders) -> Harness<'static, Option<App>> {
    let mut harness = app_with_folders(folders.clone());
    let begin = std::time::Instant::now();
    while harness.query_by_label("Bring back").is_none() {
        assert!(begin.elapsed().as_secs() < 60, "no session is offered");
        harness.step();
    }
    harness
}

/// Brings back the session that the next start offers.
fn bring_back(folders: &Folders) -> Harness<'static, Option<App>> {
    let mut harness = offered(folders);
    harness.get_by_label("Bring back").click();
    harness.run_steps(3);
    harness
}

/// A sample with one region more.
fn painted_app(folders: &Folders) -> Harness<'static, Option<App>> {
    let mut harness = app_with_folders(folders.clone());
    run(&mut harness, AppCommand::DuplicateRegion);
    harness.run_steps(2);
    harness
}

fn unsaved_regions(harness: &Harness<'static, Option<App>>) -> Vec<usize> {
    let kept = harness.app().kept_frames();
    kept.unsaved()
        .filter_map(|entry| Some(entry.frame()?.document.regions.len()))
        .collect()
}

#[test]
fn a_canvas_without_a_file_comes_back_with_its_name() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = painted_app(&folders);
    open_sample(&mut harness, "Lava gate");
    run(&mut harness, AppCommand::DuplicateRegion);
    harness.run_steps(2);
    end(harness);
    let mut harness = offered(&folders);
    harness.get_by_label("Lava gate");
    harness.get_by_label("Bring back").click();
    harness.run_steps(3);
    harness.get_by_label("Lava gate •");
}

#[test]
fn a_canvas_that_is_left_unsaved_outlives_the_end_of_the_program() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = painted_app(&folders);
    let painted = harness.app().document().clone();
    open_sample(&mut harness, "Lava gate");
    assert_eq!(unsaved_regions(&harness), [5], "it is kept in the strip");
    end(harness);

    let mut harness = bring_back(&folders);
    assert_eq!(harness.app().document().regions.len(), 3, "the canvas in hand");
    let kept = harness
        .app()
        .kept_frames()
        .unsaved()
        .next()
        .expect("the other one");
    assert_eq!(kept.frame().unwrap().document.regions, painted.regions);
    let number = kept.number();
    // Until the picture is settled the strip may still move under the click.
    harness.run_until("the picture settled", |app| {
        app.link().freshness() == Freshness::Fresh
    });
    harness.get_by_label(&format!("Frame {number}")).click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions, painted.regions);
    assert_eq!(unsaved_regions(&harness), [3], "now the other one is left");
}

#[test]
fn a_change_of_a_mask_that_is_still_being_made_outlives_the_end_of_the_program() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = painted_app(&folders);
    save_as(&mut harness, &root.path().join("meadow.wordbrush"));
    let region = harness.app().document().regions.last().unwrap().id;
    run(&mut harness, AppCommand::ClearMask);
    let mask = |harness: &Harness<'static, Option<App>>| {
        let region = harness.app().document().region(region).unwrap();
        region.mask.clone()
    };
    assert!(mask(&harness).bounds().is_some(), "it is being made");
    end(harness);
    let harness = bring_back(&folders);
    assert!(mask(&harness).bounds().is_none());
}

#[test]
fn a_crash_at_any_moment_leaves_a_canvas_that_was_left_in_the_journal_or_in_a_frame() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = painted_app(&folders);
    open_sample(&mut harness, "Lava gate");
    drop(harness);
    let harness = bring_back(&folders);
    let is_in_hand = harness.app().document().regions.len() == 5;
    assert!(is_in_hand || unsaved_regions(&harness) == [5]);
}

#[test]
fn a_canvas_that_is_left_unsaved_outlives_a_crash_with_the_one_in_hand() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = painted_app(&folders);
    harness.run_until("a frame of it", |app| !app.kept_frames().is_empty());
    let number = harness
        .app()
        .kept_frames()
        .newest_first()
        .next()
        .unwrap()
        .number();
    pin(&mut harness, number);
    reroll(&mut harness);
    open_sample(&mut harness, "Lava gate");
    harness.run_until("the canvas on disk", |app| {
        app.kept_frames().has_all_unsaved_on_disk() && app.is_up_to_date()
    });
    drop(harness);
    let harness = bring_back(&folders);
    assert_eq!(harness.app().document().regions.len(), 3);
    assert_eq!(unsaved_regions(&harness), [5]);
    let kept = harness.app().kept_frames();
    let canvas_of_pin = kept.pinned().next().unwrap().canvas();
    assert_eq!(canvas_of_pin, kept.unsaved().next().unwrap().canvas());
}

#[test]
fn a_canvas_that_was_left_is_let_go_once_it_is_saved() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = painted_app(&folders);
    open_sample(&mut harness, "Lava gate");
    run(&mut harness, AppCommand::Undo);
    harness.run_steps(2);
    assert_eq!(harness.app().document().regions.len(), 5);
    assert!(unsaved_regions(&harness).is_empty(), "the journal has it again");
    run(&mut harness, AppCommand::Redo);
    harness.run_steps(2);
    assert_eq!(unsaved_regions(&harness), [5]);
    run(&mut harness, AppCommand::Undo);
    harness.run_steps(2);
    save_as(&mut harness, &root.path().join("meadow.wordbrush"));
    run(&mut harness, AppCommand::Redo);
    harness.run_steps(2);
    assert!(unsaved_regions(&harness).is_empty());
    end(harness);
    assert!(find_cut_off(&folders).unwrap().cut_off.is_empty());
}

#[test]
fn all_pins_of_a_dream_come_back_and_stay_with_their_canvas() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut document = Document::new(CanvasSize::new(128, 64).unwrap());
    let (_, edit) = Edit::new_region(&document, "a forest");
    document.apply(edit);
    let pin = |shade| Pin {
        name: String::new(),
        document: document.clone(),
        picture: Some(Picture::solid(document.size, [shade; 4])),
    };
    let mut project = Project::new(document.clone());
    project.pins = vec![pin(1), pin(2), pin(3)];
    project_file::save(&project, &path("forest.wordbrush")).unwrap();

    let mut harness = app_opening(&path("forest.wordbrush"));
    harness.run_until("its pins", |app| app.kept_frames().pinned().count() == 3);
    let saved_pins = |name| {
        let bytes = std::fs::read(path(name)).unwrap();
        project_file::from_bytes(&bytes).unwrap().pins.len()
    };
    open_sample(&mut harness, "Lava gate");
    save_as(&mut harness, &path("lava.wordbrush"));
    assert_eq!(saved_pins("lava.wordbrush"), 0, "they are of another canvas");
    run(&mut harness, AppCommand::Undo);
    harness.run_steps(2);
    save_as(&mut harness, &path("again.wordbrush"));
    assert_eq!(saved_pins("again.wordbrush"), 3);
}

/// Makes a pin's picture in a project larger than any file may unpack to, by what the archive claims of it.
fn with_giant_pin(mut bytes: Vec<u8>, pin: usize) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(&bytes)).unwrap();
    let manifest: serde_json::Value = serde_json::from_reader(zip.by_name("manifest.json").unwrap()).unwrap();
    let name = manifest["pins"][pin]["picture"].as_str().unwrap().as_bytes();
    // In the directory at the archive's end a name follows 46 bytes, and the length stands in those from the 24th on.
    let is_record =
        |at: &usize| bytes[*at..].starts_with(b"PK\x01\x02") && bytes[*at + 46..].starts_with(name);
    let record = (0..bytes.len() - 46).find(is_record).unwrap();
    bytes[record + 24..record + 28].copy_from_slice(&0xF000_0000_u32.to_le_bytes());
    bytes
}

#[test]
fn pins_that_find_no_room_are_told_and_stay_in_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forest.wordbrush");
    let document = Document::new(CanvasSize::new(128, 64).unwrap());
    let pin = |shade| Pin {
        name: String::new(),
        document: document.clone(),
        picture: Some(Picture::solid(document.size, [shade; 4])),
    };
    let mut project = Project::new(document.clone());
    project.pins = vec![pin(1), pin(2)];
    let bytes = with_giant_pin(project_file::to_bytes(&project).unwrap(), 1);
    std::fs::write(&path, bytes).unwrap();

    let mut harness = app_opening(&path);
    harness.run_until("what is told", |app| {
        let told = |text: &str| text.starts_with("Memory has no room for 1 of the pinned frames");
        app.notifications().texts().any(told)
    });
    assert_eq!(harness.app().kept_frames().pinned().count(), 1);
    let state = harness.state_mut().as_mut().unwrap();
    state.ask_for_path(FilePurpose::Save);
    harness.run_steps(3);
    let proposed = harness.get_by_label("File path").value().unwrap();
    assert_ne!(Path::new(&proposed), path, "saving asks where to");
}

#[test]
fn a_frame_that_comes_back_during_a_stroke_is_not_painted_on() {
    let mut harness = app();
    harness.run_until("a finished picture", |app| {
        app.kept_frames().len() == 1 && app.link().freshness() == Freshness::Fresh
    });
    let before = harness.app().document().regions.clone();
    let middle = harness.get_by_label("Canvas").rect().center() + egui::vec2(120.0, 60.0);
    harness.drag_at(middle);
    harness.run_steps(2);
    harness.hover_at(middle + egui::vec2(20.0, 0.0));
    harness.run_steps(2);
    assert!(harness.app().document().regions != before, "there is ink");
    harness.get_by_label("Frame 1").click_accesskit();
    harness.run_steps(2);
    assert!(harness.app().document().regions == before, "it is back");
    harness.hover_at(middle + egui::vec2(60.0, 0.0));
    harness.run_steps(2);
    harness.drop_at(middle + egui::vec2(60.0, 0.0));
    harness.run_steps(2);
    assert!(harness.app().document().regions == before, "and stays");
}

#[test]
fn another_canvas_never_shows_the_picture_of_the_one_before() {
    let mut harness = app();
    harness.run_until("a finished picture", |app| {
        app.link().freshness() == Freshness::Fresh
    });
    run(&mut harness, AppCommand::ToggleRun);
    let first = harness.app().link().frame().unwrap().frame.picture.clone();
    open_sample(&mut harness, "Lava gate");
    assert!(harness.app().link().frame().is_none(), "there is none of it yet");
    run(&mut harness, AppCommand::Undo);
    harness.run_steps(2);
    let shown = harness.app().link().frame().expect("the strip has its picture");
    assert!(shown.frame.picture.is_same(&first));
    run(&mut harness, AppCommand::Redo);
    harness.run_steps(2);
    assert!(harness.app().link().frame().is_none());
    run(&mut harness, AppCommand::ToggleRun);
    harness.run_until_fresh();
}
