//! Every command: by key, by the palette, by its window.

use egui::{Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::Queryable as _;
use wordbrush::{
    command::AppCommand,
    dialogs::file_path::FilePurpose,
    document::{Document, Edit, Target},
    storage::{project::Project, project_file},
};
use wordbrush_engine::api::{CanvasSize, RegionId};

use crate::harness::{AppHarness as _, app, app_of_size, app_opening};

/// Commands that open a dialog of the desktop, or end the program.
const OUTWARD: [AppCommand; 7] = [
    AppCommand::Open,
    AppCommand::Save,
    AppCommand::SaveAs,
    AppCommand::BackgroundImage,
    AppCommand::CopyPicture,
    AppCommand::PasteBackground,
    AppCommand::Quit,
];

#[test]
fn every_command_can_be_run_from_every_selection() {
    let mut harness = app();
    for selection in [AppCommand::SelectBackground, AppCommand::SelectRegion(2)] {
        for command in AppCommand::all().filter(|command| !OUTWARD.contains(command)) {
            let ctx = harness.ctx.clone();
            let state = harness.state_mut().as_mut().expect("the app is there");
            state.run(&ctx, selection);
            state.run(&ctx, command);
            harness.run_steps(2);
            harness.key_press(Key::Escape);
            harness.run_steps(2);
        }
    }
    assert!(harness.app().document().regions.len() < 10);
}

#[test]
fn the_palette_finds_a_command_by_part_of_its_name() {
    let mut harness = app();
    let before = harness.app().document().regions[3].mask.clone();
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::P);
    harness.run_steps(3);
    harness.get_by_label("Find command").type_text("invert");
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::ListBoxOption, "Invert mask");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label("Find command").is_none(), "it closes");
    harness.run_until_fresh();
    let inverted = &harness.app().document().regions[3].mask;
    assert_eq!(inverted.coverage(0, 0), 255 - before.coverage(0, 0));
}

#[test]
fn the_palette_runs_what_was_typed_though_enter_comes_in_the_same_frame() {
    let mut harness = app();
    let regions = harness.app().document().regions.len();
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::P);
    harness.run_steps(3);
    let enter = |pressed| egui::Event::Key {
        key: Key::Enter,
        physical_key: None,
        pressed,
        repeat: false,
        modifiers: Modifiers::NONE,
    };
    let events = [
        egui::Event::Text("duplicate".to_owned()),
        enter(true),
        enter(false),
    ];
    harness.input_mut().events.extend(events);
    harness.run_steps(3);
    assert!(harness.query_by_label("Find command").is_none(), "it closes");
    assert_eq!(harness.app().document().regions.len(), regions + 1);
}

#[test]
fn keys_paint_tools_regions_and_undo() {
    let mut harness = app();
    let press = |harness: &mut egui_kittest::Harness<'static, _>, modifiers, key| {
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(2);
    };
    press(&mut harness, Modifiers::NONE, Key::Num3);
    assert_eq!(
        harness.app().selected(),
        Target::Region(RegionId(2)),
        "counted from the front"
    );
    press(&mut harness, Modifiers::NONE, Key::Num0);
    assert_eq!(harness.app().selected(), Target::Background);
    press(&mut harness, Modifiers::NONE, Key::X);
    assert_eq!(harness.app().selected(), Target::Region(RegionId(2)));
    press(&mut harness, Modifiers::COMMAND, Key::J);
    assert_eq!(harness.app().document().regions.len(), 5);
    press(&mut harness, Modifiers::NONE, Key::Delete);
    assert_eq!(harness.app().document().regions.len(), 4);
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    press(&mut harness, Modifiers::COMMAND, Key::Z);
    assert_eq!(harness.app().document().regions.len(), 4);
    press(&mut harness, Modifiers::COMMAND, Key::Y);
    assert_eq!(harness.app().document().regions.len(), 5);
}

/// Pixels of the front region, fully covered ones.
fn painted_area(harness: &egui_kittest::Harness<'static, Option<wordbrush::app::App>>) -> u64 {
    let front = harness.app().document().regions.last().unwrap();
    let covered = front.mask.to_coverage();
    covered.iter().map(|value| u64::from(*value)).sum::<u64>() / 255
}

#[test]
fn masks_are_changed_beside_the_window_and_in_order() {
    let mut harness = app();
    harness.run_until_fresh();
    let before = painted_area(&harness);
    let ctx = harness.ctx.clone();
    let run = |harness: &mut egui_kittest::Harness<'static, _>, commands: &[AppCommand]| {
        let app: &mut Option<wordbrush::app::App> = harness.state_mut();
        for command in commands {
            app.as_mut().unwrap().run(&ctx, *command);
        }
    };
    run(&mut harness, &[AppCommand::GrowMask, AppCommand::GrowMask]);
    harness.run_until_fresh();
    let grown = painted_area(&harness);
    assert!(grown > before, "{grown} {before}");
    run(&mut harness, &[AppCommand::Undo]);
    harness.run_until_fresh();
    let once = painted_area(&harness);
    assert!(before < once && once < grown, "each change is one step");
    run(&mut harness, &[AppCommand::Undo]);
    harness.run_until_fresh();
    assert_eq!(painted_area(&harness), before);

    // Undo takes back a change that is still being made, and leaves the one before.
    run(
        &mut harness,
        &[AppCommand::ClearMask, AppCommand::InvertMask, AppCommand::Undo],
    );
    harness.run_until_fresh();
    assert_eq!(painted_area(&harness), 0);
    run(&mut harness, &[AppCommand::Undo]);
    harness.run_until_fresh();
    assert_eq!(painted_area(&harness), before);

    // A change whose region goes meanwhile goes with it.
    let regions = harness.app().document().regions.len();
    run(&mut harness, &[AppCommand::FillMask, AppCommand::DeleteRegion]);
    harness.run_until_fresh();
    assert_eq!(harness.app().document().regions.len(), regions - 1);
    run(&mut harness, &[AppCommand::Undo]);
    harness.run_until_fresh();
    assert_eq!(painted_area(&harness), before);

    // One that was begun on another mask is made again on the new one.
    run(&mut harness, &[AppCommand::GrowMask]);
    run(&mut harness, &[AppCommand::Redo]);
    harness.run_until_fresh();
    assert_eq!(harness.app().document().regions.len(), regions - 1);
}

#[test]
fn a_mask_grows_by_the_amount_that_was_chosen() {
    let mut harness = app();
    harness.run_until_fresh();
    let ctx = harness.ctx.clone();
    let run = |harness: &mut egui_kittest::Harness<'static, _>, command| {
        let app: &mut Option<wordbrush::app::App> = harness.state_mut();
        app.as_mut().unwrap().run(&ctx, command);
    };
    let width = |harness: &egui_kittest::Harness<'static, Option<wordbrush::app::App>>| {
        let front = harness.app().document().regions.last().unwrap();
        front.mask.bounds().unwrap().width()
    };
    let before = width(&harness);
    for (amount, grown) in [(3.0, before + 6), (8.0, before + 22)] {
        run(&mut harness, AppCommand::MaskEdge);
        harness.run_steps(3);
        harness
            .get_by_role_and_label(Role::Slider, "Grow or shrink by")
            .set_value_accesskit(amount);
        harness.run_steps(3);
        harness.get_by_label("Grow").click();
        harness.run_steps(3);
        harness.run_until_fresh();
        assert_eq!(width(&harness), grown);
        harness.key_press(Key::Escape);
        harness.run_steps(3);
    }
    // The command alone goes by the amount of the last time.
    run(&mut harness, AppCommand::ShrinkMask);
    harness.run_until_fresh();
    assert_eq!(width(&harness), before + 6);
}

#[test]
fn a_change_of_the_mask_waits_for_the_stroke_and_counts_its_ink() {
    let mut harness = app();
    harness.run_until_fresh();
    let before = painted_area(&harness);
    // On the canvas, and below the palette.
    let middle = harness.get_by_label("Canvas").rect().center() + egui::vec2(120.0, 160.0);
    harness.drag_at(middle);
    harness.run_steps(2);
    let ctx = harness.ctx.clone();
    let app: &mut Option<wordbrush::app::App> = harness.state_mut();
    app.as_mut().unwrap().run(&ctx, AppCommand::InvertMask);
    for step in 1..30 {
        harness.hover_at(middle + egui::vec2(2.0 * step as f32, 0.0));
        harness.step();
    }
    let with_ink = painted_area(&harness);
    assert!(with_ink > before, "the stroke goes on: {with_ink} {before}");
    harness.drop_at(middle + egui::vec2(60.0, 0.0));
    harness.run_until_fresh();
    let size = harness.app().document().size;
    let everything = u64::from(size.width()) * u64::from(size.height());
    let inverted = painted_area(&harness);
    assert!(
        inverted.abs_diff(everything - with_ink) < everything / 50,
        "{inverted} of {everything}, {with_ink} before"
    );
}

#[test]
fn undo_under_the_hand_ends_the_stroke_and_takes_back_nothing_else() {
    let mut harness = app();
    harness.run_until_fresh();
    harness.key_press(Key::Delete);
    harness.run_steps(2);
    let before = harness.app().document().clone();
    // On the canvas, and below the palette.
    let middle = harness.get_by_label("Canvas").rect().center() + egui::vec2(120.0, 160.0);
    let undo = |harness: &mut egui_kittest::Harness<'static, _>| {
        harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
        harness.run_steps(2);
    };
    harness.drag_at(middle);
    harness.run_steps(2);
    harness.hover_at(middle + egui::vec2(40.0, 0.0));
    harness.run_steps(2);
    assert!(*harness.app().document() != before, "there is ink");
    undo(&mut harness);
    assert!(*harness.app().document() == before, "the ink has gone");
    harness.hover_at(middle + egui::vec2(80.0, 0.0));
    harness.run_steps(2);
    harness.drop_at(middle + egui::vec2(80.0, 0.0));
    harness.run_steps(2);
    assert!(*harness.app().document() == before, "and no more comes");
    undo(&mut harness);
    assert_eq!(harness.app().document().regions.len(), 4, "the step before it");

    // An eraser where nothing is changes nothing, so that there is nothing of it to be taken back.
    harness.key_press(Key::Num3);
    harness.key_press(Key::E);
    harness.run_steps(2);
    let corner = harness.get_by_label("Canvas").rect().left_top() + egui::vec2(4.0, 4.0);
    harness.drag_at(corner);
    harness.run_steps(2);
    undo(&mut harness);
    harness.drop_at(corner);
    harness.run_steps(2);
    assert_eq!(harness.app().document().regions.len(), 4);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Y);
    harness.run_steps(2);
    assert_eq!(harness.app().document().regions.len(), 3, "redo was not lost");
}

#[test]
fn undo_to_another_canvas_takes_the_name_of_its_file_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holiday.wordbrush");
    let mut document = Document::new(CanvasSize::new(128, 64).unwrap());
    let (_, edit) = Edit::new_region(&document, "a forest");
    document.apply(edit);
    project_file::save(&Project::new(document), &path).unwrap();
    let mut harness = app_opening(&path);
    harness.run_until("the file is open", |app| app.document().regions.len() == 1);
    harness.get_by_label("holiday");

    let press = |harness: &mut egui_kittest::Harness<'static, _>, key| {
        harness.key_press_modifiers(Modifiers::COMMAND, key);
        harness.run_steps(3);
    };
    press(&mut harness, Key::Z);
    assert_eq!(harness.app().document().regions.len(), 4, "the sample again");
    assert!(
        harness.query_by_label_contains("holiday").is_none(),
        "saving now would not write over the file"
    );
    press(&mut harness, Key::Y);
    harness.get_by_label_contains("holiday");
    press(&mut harness, Key::J);
    press(&mut harness, Key::S);
    harness.run_until("it is saved", |app| {
        app.notifications().texts().any(|text| text.starts_with("Saved"))
    });
    let saved = project_file::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(saved.document.regions.len(), 2);
    harness.get_by_label("holiday");
}

#[test]
fn removing_a_background_picture_that_is_not_there_is_no_step() {
    let mut harness = app();
    let ctx = harness.ctx.clone();
    let state = harness.state_mut().as_mut().expect("the app is there");
    assert!(state.document().background.image.is_none());
    for command in [
        AppCommand::DuplicateRegion,
        AppCommand::Undo,
        AppCommand::RemoveBackgroundImage,
        AppCommand::Redo,
    ] {
        state.run(&ctx, command);
    }
    assert_eq!(harness.app().document().regions.len(), 5, "redo was not lost");
}

#[test]
fn a_picture_of_a_dream_can_be_kept() {
    let mut harness = app();
    harness.run_until("the first frame kept", |app| app.kept_frames().len() == 1);
    harness.key_press(Key::D);
    harness.run_steps(2);
    harness.run_until("another picture", |app| {
        let shown = app.link().frame().map(|shown| &shown.frame.picture);
        let kept = app.kept_frames().entry(1).and_then(|entry| entry.frame());
        shown
            .zip(kept)
            .is_some_and(|(shown, kept)| !shown.is_same(&kept.picture))
    });
    harness.key_press(Key::F9);
    harness.run_steps(2);
    assert_eq!(harness.app().kept_frames().pinned().count(), 1);
}

fn choose_krita_keys(harness: &mut egui_kittest::Harness<'static, Option<wordbrush::app::App>>) {
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Comma);
    harness.run_steps(3);
    harness.get_by_label("Keys: Krita-like").click();
    harness.run_steps(3);
    harness.key_press(Key::Escape);
    harness.run_steps(3);
}

#[test]
fn key_presets_are_chosen_in_the_settings() {
    let mut harness = app();
    choose_krita_keys(&mut harness);
    harness.key_press(Key::Num4);
    harness.run_steps(2);
    assert_eq!(
        harness.app().selected(),
        Target::Region(RegionId(4)),
        "4 turns the view there"
    );
    harness.key_press_modifiers(Modifiers::ALT, Key::Num3);
    harness.run_steps(2);
    assert_eq!(harness.app().selected(), Target::Region(RegionId(2)));
}

#[test]
fn single_keys_do_nothing_while_a_prompt_is_typed() {
    let mut harness = app();
    let field = harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt");
    field.focus();
    harness.run_steps(2);
    let regions = harness.app().document().regions.len();
    for key in [Key::Delete, Key::X, Key::Num1, Key::B] {
        harness.key_press(key);
        harness.run_steps(2);
    }
    assert_eq!(harness.app().document().regions.len(), regions);
    assert_eq!(harness.app().selected(), Target::Region(RegionId(4)));
}

#[test]
fn a_stroke_takes_the_keyboard_from_the_prompt() {
    let mut harness = app();
    harness.run_until_fresh();
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    harness.run_steps(3);
    harness
        .get_by_role_and_label(Role::MultilineTextInput, "Prompt")
        .type_text("moon");
    harness.run_steps(3);
    let regions = harness.app().document().regions.len();
    let middle = harness.get_by_label("Canvas").rect().center();
    harness.drag_at(middle);
    harness.run_steps(2);
    harness.hover_at(middle + egui::vec2(40.0, 0.0));
    harness.run_steps(2);
    harness.drop_at(middle + egui::vec2(40.0, 0.0));
    harness.run_steps(2);
    let painted = painted_area(&harness);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(2);
    let document = harness.app().document();
    assert!(painted > 0, "the stroke is there");
    assert_eq!(painted_area(&harness), 0, "the stroke was undone");
    assert_eq!(document.regions.len(), regions);
    assert_eq!(document.regions.last().unwrap().prompt, "moon");
}

#[test]
fn a_press_that_closes_a_menu_or_the_palette_paints_nothing() {
    let mut harness = app();
    harness.run_until_fresh();
    let before = harness.app().document().clone();
    // On the canvas, and below the palette.
    let middle = harness.get_by_label("Canvas").rect().center() + egui::vec2(120.0, 160.0);
    let stroke = |harness: &mut egui_kittest::Harness<'static, _>| {
        harness.drag_at(middle);
        harness.run_steps(2);
        harness.drop_at(middle);
        harness.run_steps(3);
    };
    harness.get_by_label("File").click();
    harness.run_steps(3);
    stroke(&mut harness);
    assert!(*harness.app().document() == before, "it closes the menu");
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::P);
    harness.run_steps(3);
    stroke(&mut harness);
    assert!(harness.query_by_label("Find command").is_none());
    assert!(*harness.app().document() == before, "it closes the palette");
    // A press that moves is no click, which alone would close them.
    let move_away = |harness: &mut egui_kittest::Harness<'static, _>| {
        harness.drag_at(middle);
        for step in 1..6 {
            harness.hover_at(middle + egui::vec2(15.0 * step as f32, 0.0));
            harness.run_steps(1);
        }
        harness.drop_at(middle + egui::vec2(75.0, 0.0));
        harness.run_steps(3);
    };
    harness.get_by_label("Brush settings").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Stabiliser value").is_some());
    move_away(&mut harness);
    assert!(*harness.app().document() == before, "it closes the menu");
    assert!(harness.query_by_label("Stabiliser value").is_none());
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::P);
    harness.run_steps(3);
    move_away(&mut harness);
    assert!(harness.query_by_label("Find command").is_none());
    assert!(*harness.app().document() == before, "it closes the palette");
    stroke(&mut harness);
    assert!(*harness.app().document() != before, "the next one paints");
}

#[test]
fn tab_hides_the_panels_and_brings_them_back() {
    let mut harness = app();
    harness.key_press(Key::Tab);
    harness.run_steps(3);
    assert!(harness.query_by_label("New region").is_none());
    harness.get_by_label("Canvas");
    harness.key_press(Key::Tab);
    harness.run_steps(3);
    harness.get_by_label("New region");
}

#[test]
fn the_keyboard_reaches_the_panels_from_the_other_tab_and_when_they_are_hidden() {
    let mut harness = app();
    let has_keyboard = |harness: &egui_kittest::Harness<'static, Option<wordbrush::app::App>>| {
        let row = harness.query_by_role_and_label(Role::ListBoxOption, "Background");
        row.is_some_and(|row| row.is_focused())
    };
    harness.get_by_label("Panel: Stream").click();
    harness.run_steps(3);
    harness.key_press(Key::F6);
    harness.run_steps(3);
    assert!(has_keyboard(&harness), "from the stream's tab");
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    harness.key_press(Key::Tab);
    harness.run_steps(3);
    assert!(harness.query_by_label("New region").is_none());
    harness.key_press(Key::F6);
    harness.run_steps(3);
    assert!(has_keyboard(&harness), "hidden panels are shown");

    // By the palette, which is closed only after everything was drawn.
    harness.get_by_label("Panel: Stream").click();
    harness.run_steps(3);
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::P);
    harness.run_steps(3);
    harness.get_by_label("Find command").type_text("focus the panels");
    harness.run_steps(3);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(has_keyboard(&harness), "by the palette");
}

#[test]
fn a_new_region_shows_the_panels_that_its_prompt_is_in() {
    let mut harness = app();
    harness.key_press(Key::Tab);
    harness.run_steps(3);
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
    harness.run_steps(3);
    harness
        .get_by_role_and_label(Role::MultilineTextInput, "Prompt")
        .type_text("house");
    harness.run_steps(2);
    assert_eq!(harness.app().document().regions[4].prompt, "house");
}

#[test]
fn help_shows_the_keys_in_use() {
    let mut harness = app();
    harness.key_press(Key::F1);
    harness.run_steps(3);
    for text in ["Ctrl+Shift+P", "Duplicate region", "Paint where it belongs"] {
        assert!(
            harness.query_all_by_value(text).next().is_some()
                || harness.query_all_by_label(text).next().is_some(),
            "{text}"
        );
    }
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    assert!(harness.query_by_label("Close").is_none());
}

#[test]
fn help_and_hints_follow_the_preset_of_the_keys() {
    let mut harness = app();
    let upright = "Upright again, while the view is turned";
    harness.key_press(Key::F1);
    harness.run_steps(3);
    harness.get_by_label("1 … 9");
    harness.get_by_label(upright);
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    choose_krita_keys(&mut harness);
    harness.key_press(Key::F1);
    harness.run_steps(3);
    harness.get_by_label("Alt+1 … Alt+9");
    assert!(harness.query_by_label("1 … 9").is_none());
    assert!(
        harness.query_by_label(upright).is_none(),
        "5 is that always in this preset"
    );
}

#[test]
fn the_gallery_opens_a_sample_and_undo_returns() {
    let mut harness = app();
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::O);
    harness.run_steps(3);
    harness.get_by_label("Sample Lava gate").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions.len(), 3);
    harness.run_until_fresh();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions.len(), 4);
}

#[test]
fn a_new_canvas_begins_empty_in_the_chosen_size() {
    let mut harness = app();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::N);
    harness.run_steps(3);
    harness.get_by_label_contains("Portrait").click();
    harness.run_steps(3);
    harness.get_by_label("Create").click();
    harness.run_steps(3);
    let document = harness.app().document();
    assert_eq!((document.size.width(), document.size.height()), (512, 768));
    assert!(document.regions.is_empty());
    harness.get_by_label("Add a region");
    harness.run_until_fresh();
}

#[test]
fn the_canvas_changes_its_size_while_it_runs() {
    let mut harness = app();
    harness.run_until_fresh();
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::ALT, Key::C);
    harness.run_steps(3);
    harness.get_by_label_contains("Landscape").click();
    harness.run_steps(3);
    harness.get_by_label("Change size").click_accesskit();
    harness.step();
    assert!(
        harness.app().document().size.width() < 768,
        "the masks are scaled beside the window"
    );
    harness.run_until("the new size", |app| app.document().size.width() == 768);
    harness.run_until_fresh();
    let frame = harness
        .app()
        .link()
        .frame()
        .map(|shown| shown.frame.picture.size().width());
    assert_eq!(frame, Some(768));
}

#[test]
fn a_new_region_is_as_soft_to_the_model_on_a_canvas_that_it_computes_smaller() {
    let mut harness = app();
    harness.run_until_fresh();
    let largest = harness.app().link().summary().unwrap().largest_side;
    let new_region = |harness: &mut egui_kittest::Harness<'static, _>| {
        harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::N);
        harness.run_steps(3);
    };
    new_region(&mut harness);
    assert_eq!(harness.app().document().regions.last().unwrap().mask_std_px, 8.0);
    let ctx = harness.ctx.clone();
    let app: &mut Option<wordbrush::app::App> = harness.state_mut();
    app.as_mut().unwrap().run(&ctx, AppCommand::CanvasSize);
    harness.run_steps(3);
    harness.get_by_label_contains("Wide screen").click();
    harness.run_steps(3);
    harness.get_by_label("Change size").click_accesskit();
    harness.run_until("the new size", |app| app.document().size.width() == 1280);
    new_region(&mut harness);
    let soft = harness.app().document().regions.last().unwrap().mask_std_px;
    let enlargement = (1280.0_f32 * 720.0).sqrt() / largest as f32;
    assert!((soft - 8.0 * enlargement).abs() < 1e-3, "{soft}");
}

#[test]
fn the_export_window_says_when_the_picture_is_behind() {
    let mut harness = app();
    harness.run_until_fresh();
    let behind = "The newest edits are not in the picture yet";
    harness.key_press(Key::F5);
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::E);
    harness.run_steps(3);
    assert!(harness.query_by_label_contains(behind).is_none());
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::J);
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::E);
    harness.run_steps(3);
    harness.get_by_label_contains(behind);
}

#[test]
fn an_export_can_be_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("meadow.png");
    let mut harness = app();
    harness.run_until_fresh();
    harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::E);
    harness.run_steps(3);
    let field = harness.get_by_label("Export file");
    field.set_text_value_accesskit(&path.display().to_string());
    harness.run_steps(3);
    harness.get_by_label("Export").click();
    harness.run_until("the message", |app| {
        app.notifications()
            .texts()
            .any(|text| text.starts_with("Exported"))
    });
    let dropped = wordbrush::storage::open::open_path(&path).expect("an export opens");
    assert_eq!(dropped.kind_name(), "exported picture");
}

#[test]
fn an_export_is_of_the_format_that_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = app();
    harness.run_until_fresh();
    for (typed, written, magic) in [
        ("meadow.jpg", "meadow.jpg", &b"\xff\xd8"[..]),
        ("my.meadow", "my.meadow.png", &b"\x89PNG"[..]),
    ] {
        harness.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::E);
        harness.run_steps(3);
        let path = folder.path().join(typed).display().to_string();
        harness
            .get_by_label("Export file")
            .set_text_value_accesskit(&path);
        harness.run_steps(3);
        harness.get_by_label("Export").click();
        let path = folder.path().join(written);
        let told = format!("Exported {}", path.display());
        harness.run_until("the message", |app| {
            app.notifications().texts().any(|text| text == told)
        });
        assert!(std::fs::read(&path).unwrap().starts_with(magic), "{typed}");
    }
}

#[test]
fn a_model_that_is_not_there_is_an_error_with_a_way_out() {
    let mut harness = app();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::M);
    harness.run_steps(3);
    let field = harness.get_by_label("Model path");
    field.focus();
    field.type_text("/nowhere/model.safetensors");
    harness.run_steps(3);
    harness.get_by_label("Load checkpoint").click();
    harness.run_until("the error", |app| app.link().model_error().is_some());
    harness.get_by_label("Use the pocket model");
    assert!(
        harness
            .app()
            .notifications()
            .texts()
            .any(|text| text.contains("model.safetensors"))
    );
}

#[test]
fn where_the_desktop_shows_no_file_window_the_path_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("by hand.wordbrush");
    let mut harness = app();
    let state = harness.state_mut().as_mut().expect("the app is there");
    state.ask_for_path(FilePurpose::Save);
    harness.run_steps(3);
    let drop_hint = harness.query_by_label_contains("drop a file on the canvas");
    assert!(drop_hint.is_none(), "that saves nothing");
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
    assert!(path.is_file());
    assert!(harness.query_by_label("File path").is_none(), "it closes");
}

#[test]
fn a_path_that_failed_is_there_again_with_the_cursor_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("castle.png");
    image::RgbImage::new(64, 64).save(&path).unwrap();
    let wrong = folder.path().join("castle.pn");
    let mut harness = app();
    let ask = |harness: &mut egui_kittest::Harness<'static, Option<wordbrush::app::App>>| {
        let state = harness.state_mut().as_mut().unwrap();
        state.ask_for_path(FilePurpose::Background);
        harness.run_steps(3);
        harness.get_by_label("File path").value().unwrap_or_default()
    };
    assert_eq!(ask(&mut harness), "");
    let field = harness.get_by_label("File path");
    field.type_text(&wrong.display().to_string());
    harness.run_steps(2);
    // Somewhere in the middle, where the cursor would be left.
    harness.key_press(Key::ArrowLeft);
    harness.run_steps(2);
    let before = harness.app().notifications().texts().count();
    harness.key_press(Key::Enter);
    harness.run_until("the message", |app| app.notifications().texts().count() > before);

    assert_eq!(ask(&mut harness), wrong.display().to_string());
    harness.event(egui::Event::Text("g".to_owned()));
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_until("the background", |app| app.document().background.image.is_some());
    assert_eq!(harness.app().notifications().texts().count(), before);
    assert_eq!(ask(&mut harness), "", "it is done");
}

#[test]
fn an_export_that_failed_is_asked_for_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("nowhere").join("castle.jpg");
    let mut harness = app();
    harness.run_until_fresh();
    let ask = |harness: &mut egui_kittest::Harness<'static, Option<wordbrush::app::App>>| {
        let ctx = harness.ctx.clone();
        let state = harness.state_mut().as_mut().unwrap();
        state.run(&ctx, AppCommand::Export);
        harness.run_steps(3);
        harness.get_by_label("Export file").value().unwrap_or_default()
    };
    assert!(ask(&mut harness).ends_with("Meadow.png"));
    harness.key_press_modifiers(Modifiers::COMMAND, Key::A);
    let field = harness.get_by_label("Export file");
    field.type_text(&wrong.display().to_string());
    harness.run_steps(2);
    harness.key_press(Key::Enter);
    harness.run_until("the message", |app| {
        app.notifications().texts().any(|text| text.contains("no folder"))
    });
    assert_eq!(ask(&mut harness), wrong.display().to_string());
}

#[test]
fn enter_makes_the_new_canvas_also_after_typing_a_prompt() {
    let mut harness = app();
    let open = |harness: &mut egui_kittest::Harness<'static, _>| {
        harness
            .get_by_role_and_label(Role::MultilineTextInput, "Prompt")
            .focus();
        harness.run_steps(2);
        // In one frame, and not held down, which would be a repetition the next time.
        let events = [true, false].map(|pressed| egui::Event::Key {
            key: Key::N,
            physical_key: None,
            pressed,
            repeat: false,
            modifiers: Modifiers::COMMAND,
        });
        harness.input_mut().events.extend(events);
        harness.step();
    };
    open(&mut harness);
    harness.run_steps(2);
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    // A window that was open before takes the keyboard as well, and at once.
    let prompt = harness.app().document().regions[3].prompt.clone();
    open(&mut harness);
    let typed = egui::Event::Text("x".to_owned());
    harness.input_mut().events.push(typed);
    harness.step();
    assert_eq!(harness.app().document().regions[3].prompt, prompt);
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    assert!(harness.app().document().regions.is_empty(), "a new canvas");
    assert!(harness.query_by_label("Create").is_none(), "it closes");
}

#[test]
fn a_mask_grows_by_the_key_that_a_keyboard_has_for_plus() {
    // Where plus stands above equals, Shift comes with it or the key is Equals.
    for (modifiers, key) in [
        (Modifiers::COMMAND | Modifiers::ALT, Key::Plus),
        (Modifiers::COMMAND | Modifiers::ALT, Key::Equals),
        (Modifiers::COMMAND | Modifiers::ALT | Modifiers::SHIFT, Key::Plus),
    ] {
        let mut harness = app();
        let before = harness.app().document().regions[3].mask.clone();
        harness.key_press_modifiers(modifiers, key);
        harness.run_until(&format!("{modifiers:?} {key:?}"), |app| {
            app.document().regions[3].mask != before
        });
    }
}

#[test]
fn the_button_of_a_message_is_about_the_region_of_the_message() {
    let mut harness = app();
    let tree = RegionId(4);
    let is = |harness: &egui_kittest::Harness<'static, Option<wordbrush::app::App>>, id: u64| {
        let region = harness.app().document().region(RegionId(id)).unwrap();
        (region.visible, region.locked)
    };
    let middle = harness.get_by_label("Canvas").rect().center();
    for (label, button, begun) in [
        ("Lock Tree", "Unlock", (true, true)),
        ("Hide Tree", "Show", (false, false)),
    ] {
        harness.get_by_label(label).click();
        harness.run_steps(3);
        harness.drag_at(middle);
        harness.run_steps(2);
        harness.drop_at(middle);
        harness.run_steps(3);
        harness.get_by_label(button);
        harness.key_press(Key::Num4);
        harness.run_steps(3);
        assert_eq!(harness.app().selected(), Target::Region(RegionId(1)));
        assert_eq!(is(&harness, 4), begun);
        harness.get_by_label(button).click();
        harness.run_steps(3);
        assert_eq!(
            is(&harness, 1),
            (true, false),
            "{button}: what is selected now stays"
        );
        assert_eq!(is(&harness, 4), (true, false), "{button}");
        harness.key_press(Key::Num1);
        harness.run_steps(3);
        assert_eq!(harness.app().selected(), Target::Region(tree));
    }

    // The message of a command, as that of a stroke.
    harness.get_by_label("Lock Tree").click();
    harness.run_steps(3);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Delete);
    harness.run_steps(3);
    harness.key_press(Key::Num4);
    harness.run_steps(3);
    harness.get_by_label("Unlock").click();
    harness.run_steps(3);
    assert_eq!(is(&harness, 1), (true, false));
    assert_eq!(is(&harness, 4), (true, false));
}

#[test]
fn a_size_that_is_still_being_made_can_be_taken_back_alone() {
    let mut harness = app();
    harness.run_until_fresh();
    let ctx = harness.ctx.clone();
    let run = |harness: &mut egui_kittest::Harness<'static, _>, command| {
        let app: &mut Option<wordbrush::app::App> = harness.state_mut();
        app.as_mut().unwrap().run(&ctx, command);
    };
    let before = harness.app().document().clone();
    run(&mut harness, AppCommand::NewRegion);
    run(&mut harness, AppCommand::CanvasSize);
    harness.run_steps(3);
    harness.get_by_label_contains("Landscape").click();
    harness.run_steps(3);
    harness.get_by_label("Change size").click_accesskit();
    harness.step();
    run(&mut harness, AppCommand::Undo);
    harness.run_until_fresh();
    assert_eq!(harness.app().document().size, before.size);
    assert_eq!(harness.app().document().regions.len(), 5, "the step before stays");
    run(&mut harness, AppCommand::Redo);
    harness.run_steps(3);
    assert_eq!(harness.app().document().size, before.size);
}

#[test]
fn undo_of_a_new_region_selects_what_was_in_hand_before() {
    let mut harness = app();
    let ctx = harness.ctx.clone();
    let run = |harness: &mut egui_kittest::Harness<'static, _>, command| {
        let app: &mut Option<wordbrush::app::App> = harness.state_mut();
        app.as_mut().unwrap().run(&ctx, command);
    };
    let lowest = Target::Region(harness.app().document().regions[0].id);
    for command in [AppCommand::NewRegion, AppCommand::DuplicateRegion] {
        run(&mut harness, AppCommand::SelectRegion(4));
        run(&mut harness, command);
        assert_ne!(harness.app().selected(), lowest);
        run(&mut harness, AppCommand::Undo);
        assert_eq!(harness.app().selected(), lowest, "not the front one");
    }
}

#[test]
fn a_canvas_comes_back_with_what_was_selected_on_it() {
    let mut harness = app();
    let ctx = harness.ctx.clone();
    let run = |harness: &mut egui_kittest::Harness<'static, _>, command| {
        let app: &mut Option<wordbrush::app::App> = harness.state_mut();
        app.as_mut().unwrap().run(&ctx, command);
    };
    run(&mut harness, AppCommand::SelectRegion(3));
    run(&mut harness, AppCommand::SelectRegion(2));
    let selected = harness.app().selected();
    run(&mut harness, AppCommand::Gallery);
    harness.run_steps(3);
    harness.get_by_label("Sample Lava gate").click();
    harness.run_steps(3);
    let front = harness.app().document().regions.last().unwrap().id;
    assert_eq!(harness.app().selected(), Target::Region(front));
    run(&mut harness, AppCommand::SelectBackground);
    run(&mut harness, AppCommand::Undo);
    assert_eq!(harness.app().selected(), selected);
    run(&mut harness, AppCommand::SwapRegions);
    assert_eq!(
        harness.app().selected(),
        Target::Region(RegionId(2)),
        "the one before it, too"
    );
    run(&mut harness, AppCommand::Redo);
    assert_eq!(harness.app().selected(), Target::Background);
}

#[test]
fn menus_show_all_of_their_entries_below_the_bar() {
    for (size, label, last) in [
        ((1360.0, 860.0), "View", "Smaller interface"),
        ((1360.0, 860.0), "Region", "Select region"),
        ((1024.0, 700.0), "View", "Smaller interface"),
        ((1024.0, 700.0), "Region", "Select region"),
    ] {
        let mut harness = app_of_size(size.0, size.1);
        let bar = harness.get_by_label(label).rect();
        harness.get_by_label(label).click();
        harness.run_steps(4);
        let entry = harness.get_by_label(last).rect();
        assert!(entry.top() > bar.bottom(), "{label}: {entry:?}");
        assert!(entry.bottom() < size.1, "{label}: {entry:?}");
        // What is clipped cannot be clicked.
        let before = harness.query_all_by_label("Select region 3").count();
        harness.get_by_label(last).hover();
        harness.run_steps(3);
        if last == "Select region" {
            harness.get_by_label(last).click();
            harness.run_steps(4);
            assert!(harness.query_all_by_label("Select region 3").count() > before);
        }
    }
}
