//! Frames of the history strip: what is kept of a session, and what comes back after it was cut off.

use egui_kittest::{Harness, kittest::Queryable as _};
use wordbrush::{
    app::App,
    command::AppCommand,
    engine_link::Freshness,
    storage::{folders::Folders, sessions::find_cut_off},
};

use crate::harness::{AppHarness as _, app_with_folders};

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

#[test]
fn a_session_that_was_cut_off_comes_back_with_its_pins_and_last_frame() {
    let root = tempfile::tempdir().unwrap();
    let mut harness = app_with_folders(Folders::below(root.path()));
    harness.run_until_fresh();
    reroll(&mut harness);
    harness.get_by_label("Frame 1").hover();
    harness.run_steps(2);
    harness.get_by_label("Pin frame 1").click();
    harness.run_until("the pin on disk", |app| {
        app.kept_frames().pinned().next().is_some() && app.kept_frames().has_all_pins_on_disk()
    });
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
    assert!(find_cut_off(&folders).unwrap().is_empty());
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
    // A sample that was just opened has nothing unsaved.
    run(&mut harness, AppCommand::Gallery);
    harness.run_steps(3);
    harness.get_by_label("Sample Lava gate").click();
    harness.run_steps(3);
    eframe::App::on_exit(harness.state_mut().as_mut().unwrap());
    drop(harness);
    assert_eq!(frames(), 0);
    assert!(find_cut_off(&folders).unwrap().is_empty());
}
