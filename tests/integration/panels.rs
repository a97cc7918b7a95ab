//! Every panel through the accessibility tree.

use egui::{Modifiers, accesskit::Role};
use egui_kittest::{
    Harness,
    kittest::{NodeT as _, Queryable as _},
};
use wordbrush::{app::App, command::AppCommand, document::Target, engine_link::Freshness};
use wordbrush_engine::api::{EditPolicy, Guidance, MaskMode, PassOrder, PictureMode, RegionId};

use crate::harness::{AppHarness as _, app, app_of_size, app_opening};

#[test]
fn the_first_start_shows_a_painted_sample_and_a_frame() {
    let mut harness = app();
    harness.run_until_fresh();
    assert_eq!(harness.app().document().regions.len(), 4);
    assert_eq!(harness.app().selected(), Target::Region(RegionId(4)));
    for name in ["Region Meadow", "Region Sky", "Region House", "Region Tree"] {
        harness.get_by_label(name);
    }
    harness.get_by_role_and_label(Role::ListBoxOption, "Background");
}

#[test]
fn a_new_region_takes_the_keyboard_and_its_prompt_is_one_undo_step() {
    let mut harness = app();
    harness.get_by_label("New region").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions.len(), 5);
    harness
        .get_by_role_and_label(Role::MultilineTextInput, "Prompt")
        .type_text("red ");
    harness.run_steps(2);
    harness
        .get_by_role_and_label(Role::MultilineTextInput, "Prompt")
        .type_text("house");
    harness.run_steps(2);
    assert_eq!(harness.app().document().regions[4].prompt, "red house");
    harness.get_by_role_and_label(Role::Button, "Undo").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions[4].prompt, "");
    harness.get_by_role_and_label(Role::Button, "Undo").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions.len(), 4);
}

#[test]
fn eye_lock_duplicate_and_delete_work_from_the_list() {
    let mut harness = app();
    harness.get_by_label("Hide House").click();
    harness.run_steps(3);
    let visible = |harness: &egui_kittest::Harness<'static, _>| -> Vec<bool> {
        harness
            .app()
            .document()
            .regions
            .iter()
            .map(|region| region.visible)
            .collect()
    };
    assert_eq!(visible(&harness), [true, true, false, true]);
    harness.get_by_label("Hide Sky").click_modifiers(Modifiers::ALT);
    harness.run_steps(3);
    assert_eq!(
        visible(&harness),
        [true, false, false, false],
        "Alt-click on an eye shows only that region"
    );
    harness.get_by_label("Lock Sky").click();
    harness.run_steps(3);
    assert!(harness.app().document().regions[0].locked);
    harness.get_by_label("Region Meadow").click();
    harness.run_steps(3);
    assert_eq!(harness.app().selected(), Target::Region(RegionId(2)));
    harness.get_by_label("Duplicate region").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions.len(), 5);
    assert_eq!(harness.app().document().regions[2].prompt, "grass");
    harness.get_by_label("Delete region").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().regions.len(), 4);
}

#[test]
fn a_double_click_renames_a_region() {
    let mut harness = app();
    let row = harness.get_by_label("Region House");
    row.click();
    row.click();
    harness.run_steps(3);
    harness.get_by_label("Region name").type_text("Star");
    harness.key_press(egui::Key::Enter);
    harness.run_steps(3);
    assert!(harness.app().document().regions[2].name.contains("Star"));
    assert_eq!(harness.app().document().regions[2].prompt, "house");
}

#[test]
fn a_region_is_renamed_by_a_key_wherever_its_row_is() {
    let mut harness = app();
    harness.key_press(egui::Key::Num2);
    harness.run_steps(2);
    harness.get_by_label("Panel: Stream").click();
    harness.run_steps(3);
    harness.key_press(egui::Key::F2);
    harness.run_steps(3);
    harness.get_by_label("Region name").type_text("Star");
    harness.run_steps(2);
    harness.key_press(egui::Key::F2);
    harness.run_steps(2);
    harness.key_press(egui::Key::Enter);
    harness.run_steps(3);
    assert!(harness.query_by_label("Region name").is_none());
    let name = &harness.app().document().regions[2].name;
    assert!(name.contains("Star"), "{name}");
}

#[test]
fn a_name_that_is_typed_is_of_its_own_canvas_alone() {
    let mut harness = app();
    let run = |harness: &mut egui_kittest::Harness<'static, Option<App>>, command| {
        let ctx = harness.ctx.clone();
        harness.state_mut().as_mut().unwrap().run(&ctx, command);
        harness.run_steps(3);
    };
    let names = |harness: &egui_kittest::Harness<'static, Option<App>>| -> Vec<String> {
        let regions = harness.app().document().regions.iter();
        regions.map(|region| region.name.clone()).collect()
    };
    let before = names(&harness);
    run(&mut harness, AppCommand::Gallery);
    harness.get_by_label("Sample Lava gate").click();
    harness.run_steps(3);
    run(&mut harness, AppCommand::RenameRegion);
    harness.get_by_label("Region name").type_text("Star");
    harness.key_press(egui::Key::Enter);
    harness.run_steps(3);
    run(&mut harness, AppCommand::RenameRegion);
    harness.get_by_label("Region name").type_text("Comet");
    harness.run_steps(3);
    let renamed = harness.app().selected();

    run(&mut harness, AppCommand::Undo);
    run(&mut harness, AppCommand::Undo);
    assert_eq!(names(&harness), before, "the first canvas");
    assert!(harness.query_by_label("Region name").is_none());
    // Regions are numbered on each canvas alike; undo in the field must not bring the other one's name.
    let place = before.len() as u64 - region_number(renamed) + 1;
    run(&mut harness, AppCommand::SelectRegion(place as u8));
    assert_eq!(harness.app().selected(), renamed);
    run(&mut harness, AppCommand::RenameRegion);
    harness.key_press_modifiers(Modifiers::COMMAND, egui::Key::Z);
    harness.run_steps(3);
    harness.key_press(egui::Key::Enter);
    harness.run_steps(3);
    assert_eq!(names(&harness), before);
}

fn region_number(target: Target) -> u64 {
    match target {
        Target::Region(id) => id.0,
        Target::Background => panic!("no region is selected"),
    }
}

#[test]
fn a_frame_of_the_strip_is_pinned_by_the_keyboard() {
    let mut harness = app();
    harness.run_until_fresh();
    harness.run_until("a frame kept", |app| app.kept_frames().len() == 1);
    assert!(harness.query_by_label("Pin frame 1").is_none());
    harness.get_by_label("Frame 1").focus();
    harness.run_steps(2);
    harness.key_press(egui::Key::Tab);
    harness.run_steps(4);
    harness.key_press(egui::Key::Space);
    harness.run_steps(4);
    assert_eq!(harness.app().kept_frames().pinned().count(), 1);
    harness.key_press(egui::Key::Space);
    harness.run_steps(4);
    assert_eq!(harness.app().kept_frames().pinned().count(), 0);
    harness.key_press(egui::Key::Escape);
    harness.run_steps(4);
    assert!(
        harness.query_by_label("Pin frame 1").is_none(),
        "out of sight again"
    );
}

#[test]
fn the_colour_of_a_region_is_an_undo_step_of_its_own() {
    let mut harness = app();
    let colours = |harness: &egui_kittest::Harness<'static, Option<App>>| -> Vec<[u8; 3]> {
        let regions = harness.app().document().regions.iter();
        regions.map(|region| region.colour).collect()
    };
    let choose = |harness: &mut egui_kittest::Harness<'static, Option<App>>, red: [f64; 2]| {
        harness.get_by_label("Region colour").click();
        harness.run_steps(3);
        for red in red {
            harness.get_by_label("R").set_value_accesskit(red);
            harness.run_steps(3);
        }
        harness.key_press(egui::Key::Escape);
        harness.run_steps(3);
    };
    let undo = |harness: &mut egui_kittest::Harness<'static, Option<App>>| {
        harness.key_press_modifiers(Modifiers::COMMAND, egui::Key::Z);
        harness.run_steps(3);
    };
    let mut seen = vec![colours(&harness)];
    for (region, red) in [
        ("Region Tree", [10.0, 20.0]),
        ("Region Tree", [30.0, 40.0]),
        ("Region House", [50.0, 60.0]),
    ] {
        harness.get_by_label(region).click();
        harness.run_steps(3);
        choose(&mut harness, red);
        let now = colours(&harness);
        assert_ne!(seen.last(), Some(&now), "{region}: another colour");
        seen.push(now);
    }
    while let Some(expected) = seen.pop() {
        assert_eq!(colours(&harness), expected);
        undo(&mut harness);
    }
}

/// Takes something, moves it by a few steps and lets it go.
fn drag(harness: &mut egui_kittest::Harness<'static, Option<App>>, from: egui::Pos2, to: egui::Pos2) {
    harness.drag_at(from);
    harness.run_steps(2);
    for step in 1..=4 {
        harness.hover_at(from + (to - from) * (step as f32 / 4.0));
        harness.run_steps(2);
    }
    harness.drop_at(to);
    harness.run_steps(3);
}

#[test]
fn dragging_a_row_reorders_the_regions() {
    let mut harness = app();
    let from = harness.get_by_label("Region Tree").rect().center();
    let to = harness.get_by_label("Region Sky").rect().center_bottom() - egui::vec2(0.0, 4.0);
    drag(&mut harness, from, to);
    let names: Vec<_> = harness
        .app()
        .document()
        .regions
        .iter()
        .map(|region| region.name.clone())
        .collect();
    assert_eq!(names, ["Tree", "Sky", "Meadow", "House"]);
}

#[test]
fn a_row_dropped_on_the_background_is_the_lowest_region() {
    let mut harness = app();
    let from = harness.get_by_label("Region Tree").rect().center();
    let to = harness
        .get_by_role_and_label(Role::ListBoxOption, "Background")
        .rect()
        .center();
    drag(&mut harness, from, to);
    assert_eq!(harness.app().document().regions[0].name, "Tree");
}

#[test]
fn a_row_dropped_far_from_the_list_stays() {
    let mut harness = app();
    let from = harness.get_by_label("Region Tree").rect().center();
    let to = harness.get_by_label("Region Sky").rect().center() - egui::vec2(500.0, 0.0);
    drag(&mut harness, from, to);
    assert_eq!(harness.app().document().regions[3].name, "Tree");
}

#[test]
fn enter_finishes_a_prompt_and_gives_the_keys_back_to_the_canvas() {
    let mut harness = app();
    harness
        .get_by_role_and_label(Role::MultilineTextInput, "Prompt")
        .focus();
    harness.run_steps(2);
    harness.key_press(egui::Key::Enter);
    harness.run_steps(2);
    harness.key_press(egui::Key::Num0);
    harness.run_steps(2);
    assert_eq!(harness.app().selected(), Target::Background);
}

#[test]
fn the_sliders_of_a_region_change_it() {
    let mut harness = app();
    for (name, value) in [
        ("Prompt strength", 75.0),
        ("Mask strength", 60.0),
        ("Edge softness", 20.0),
    ] {
        harness
            .get_by_role_and_label(Role::Slider, name)
            .set_value_accesskit(value);
        harness.run_steps(3);
    }
    let region = &harness.app().document().regions[3];
    assert!(
        (region.prompt_strength - 0.75).abs() < 0.01,
        "{}",
        region.prompt_strength
    );
    assert!(
        (region.mask_strength - 0.6).abs() < 0.01,
        "{}",
        region.mask_strength
    );
    assert!((region.mask_std_px - 20.0).abs() < 0.6, "{}", region.mask_std_px);
    assert_eq!(region.seed, None);
    harness.get_by_label("Reroll region").scroll_to_me();
    harness.run_steps(3);
    harness.get_by_label("Reroll region").click();
    harness.run_steps(3);
    assert!(harness.app().document().regions[3].seed.is_some());
}

/// Types a number over that of a slider; Enter is not pressed.
fn type_number(harness: &mut Harness<'static, Option<App>>, name: &str, text: &str) {
    harness.get_by_label(&format!("{name} value")).click();
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, egui::Key::A);
    harness.event(egui::Event::Text(text.to_owned()));
    harness.run_steps(2);
}

fn softness(harness: &Harness<'static, Option<App>>) -> Vec<f32> {
    let regions = &harness.app().document().regions;
    regions.iter().map(|region| region.mask_std_px).collect()
}

#[test]
fn each_typed_number_is_an_undo_step_of_its_own() {
    let mut harness = app();
    for text in ["20", "40"] {
        type_number(&mut harness, "Edge softness", text);
        harness.key_press(egui::Key::Enter);
        harness.run_steps(3);
    }
    assert_eq!(softness(&harness), [8.0, 8.0, 8.0, 40.0]);
    harness.get_by_role_and_label(Role::Button, "Undo").click();
    harness.run_steps(3);
    assert_eq!(softness(&harness)[3], 20.0);
    harness.get_by_role_and_label(Role::Button, "Undo").click();
    harness.run_steps(3);
    assert_eq!(softness(&harness)[3], 8.0);
}

#[test]
fn a_number_that_is_being_typed_stays_with_its_region() {
    let mut harness = app();
    type_number(&mut harness, "Edge softness", "20");
    let canvas = harness.get_by_label("Canvas").rect();
    let sky = canvas.center_top() + egui::vec2(0.0, canvas.height() * 0.2);
    harness.hover_at(sky);
    harness.event(egui::Event::ModifiersChanged(Modifiers::ALT));
    for pressed in [true, false] {
        harness.event(egui::Event::PointerButton {
            pos: sky,
            button: egui::PointerButton::Primary,
            pressed,
            modifiers: Modifiers::ALT,
        });
        harness.run_steps(2);
    }
    harness.event(egui::Event::ModifiersChanged(Modifiers::NONE));
    harness.run_steps(3);
    assert_ne!(harness.app().selected(), Target::Region(RegionId(4)));
    assert_eq!(softness(&harness), [8.0, 8.0, 8.0, 20.0]);
    // Nor does another tab lose it.
    type_number(&mut harness, "Edge softness", "30");
    let tab = harness.get_by_label("Panel: Stream").rect().center();
    harness.drag_at(tab);
    harness.run_steps(2);
    harness.drop_at(tab);
    harness.run_steps(3);
    assert!(softness(&harness).contains(&30.0), "{:?}", softness(&harness));
}

#[test]
fn settings_beyond_a_slider_stay_as_they_are_until_it_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scene.json");
    let scene = r#"{"size": [64, 64], "steps": 20, "bootstrap_steps": 5, "regions": []}"#;
    std::fs::write(&path, scene).unwrap();
    let mut harness = app_opening(&path);
    harness.run_until("the scene", |app| app.document().settings.steps.count() == 20);
    harness.get_by_label("Panel: Stream").click();
    harness.run_steps(4);
    let settings = &harness.app().document().settings;
    assert_eq!((settings.steps.count(), settings.bootstrap_steps), (20, 5));
}

#[test]
fn the_background_is_the_lowest_entry_with_its_own_prompt() {
    let mut harness = app();
    harness
        .get_by_role_and_label(Role::ListBoxOption, "Background")
        .click();
    harness.run_steps(3);
    assert_eq!(harness.app().selected(), Target::Background);
    let prompt = harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt");
    prompt.focus();
    prompt.type_text("snow");
    harness.run_steps(3);
    assert_eq!(harness.app().document().background.prompt, "snow");
}

#[test]
fn a_background_that_is_not_kept_is_painted() {
    let mut harness = app();
    for name in ["Hide Meadow", "Hide Sky"] {
        harness.get_by_label(name).click();
        harness.run_steps(2);
    }
    harness.run_until_fresh();
    let corner = |app: &App| {
        app.link()
            .frame()
            .map(|shown| shown.frame.picture.rgba()[..3].to_vec())
    };
    assert_eq!(corner(harness.app()), Some(vec![255; 3]));
    harness
        .get_by_role_and_label(Role::ListBoxOption, "Background")
        .click();
    harness.run_steps(3);
    harness
        .get_by_role_and_label(Role::Slider, "Keep")
        .set_value_accesskit(0.0);
    harness.run_steps(3);
    assert_eq!(harness.app().document().background.keep_strength, 0.0);
    assert!(harness.query_by_label_contains("Write a prompt above").is_some());
    let prompt = harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt");
    prompt.focus();
    prompt.type_text("blue");
    harness.run_steps(3);
    harness.run_until_fresh();
    let colour = corner(harness.app()).expect("a frame was made");
    assert!(colour[0] < 80 && colour[2] > 180, "{colour:?}");
}

#[test]
fn the_stream_panel_changes_every_setting() {
    let mut harness = app_of_size(1280.0, 1400.0);
    harness.get_by_label("Panel: Stream").click();
    harness.run_steps(3);
    for choice in ["Hold or dream: Dream", "Mask mode: Soft", "Guidance: Self"] {
        harness.get_by_label(choice).click();
        harness.run_steps(3);
    }
    harness
        .get_by_role_and_label(Role::Slider, "Steps")
        .set_value_accesskit(4.0);
    harness
        .get_by_role_and_label(Role::Slider, "Bootstrap steps")
        .set_value_accesskit(2.0);
    harness.run_steps(3);
    harness.get_by_label("Advanced").click();
    harness.run_steps(60);
    for choice in ["Edit policy: Start over", "Pass order: Batch"] {
        harness.get_by_label(choice).click();
        harness.run_steps(3);
    }
    let settings = harness.app().document().settings.clone();
    assert_eq!(settings.picture, PictureMode::Dream);
    assert_eq!(settings.mask_mode, MaskMode::Continuous);
    assert!(matches!(settings.guidance, Guidance::SelfNegative { .. }));
    assert_eq!(settings.steps.count(), 4);
    assert_eq!(settings.bootstrap_steps, 2);
    assert_eq!(settings.edits, EditPolicy::Flush);
    assert_eq!(settings.pass_order, PassOrder::StreamBatch);
}

#[test]
fn the_history_strip_brings_a_whole_state_back() {
    let mut harness = app();
    harness.run_until("the first frame kept", |app| app.kept_frames().len() == 1);
    let before = harness.app().document().clone();
    harness.get_by_label("Delete region").click();
    harness.run_steps(2);
    harness.get_by_label("Reroll").click();
    harness.run_until("a second frame kept", |app| {
        app.kept_frames().len() >= 2 && app.link().freshness() == Freshness::Fresh
    });
    harness.get_by_label("Frame 1").click();
    harness.run_steps(3);
    let mut now = harness.app().document().clone();
    now.next_region_id = before.next_region_id;
    assert!(now == before, "regions, masks, prompts and seed are back");
    harness.get_by_role_and_label(Role::Button, "Undo").click();
    harness.run_steps(3);
    assert_eq!(
        harness.app().document().regions.len(),
        3,
        "undo leaves the brought back state again"
    );
}

#[test]
fn the_stream_controls_pause_and_run() {
    let mut harness = app();
    harness.run_until_fresh();
    harness.get_by_label("Pause").click();
    harness.run_steps(3);
    harness.get_by_label("Run").click();
    harness.run_steps(3);
    harness.get_by_label("Dream").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().settings.picture, PictureMode::Dream);
    harness.get_by_label("Hold the picture").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().settings.picture, PictureMode::Held);
    harness.run_until_fresh();
}

#[test]
fn a_stroke_paints_the_region_and_one_undo_takes_it_back() {
    let mut harness = app();
    harness.run_until_fresh();
    let before = harness.app().document().regions[3].mask.clone();
    let canvas = harness.get_by_label("Canvas").rect();
    let begin = canvas.center() + egui::vec2(120.0, 60.0);
    harness.drag_at(begin);
    harness.run_steps(1);
    for step in 1..=6 {
        harness.hover_at(begin + egui::vec2(10.0 * step as f32, 4.0 * step as f32));
        harness.run_steps(1);
    }
    harness.drop_at(begin + egui::vec2(60.0, 24.0));
    harness.run_steps(3);
    let painted = harness.app().document().regions[3].mask.clone();
    assert!(painted != before, "ink is in the mask");
    harness.run_until_fresh();
    harness.key_press_modifiers(Modifiers::COMMAND, egui::Key::Z);
    harness.run_steps(3);
    assert!(
        harness.app().document().regions[3].mask == before,
        "one undo takes the stroke back"
    );
}

#[test]
fn every_control_lies_inside_the_window_from_the_smallest_size_up() {
    for (width, height, scale) in [
        (1024.0, 700.0, 1.0),
        (1024.0, 700.0, 1.5),
        (1024.0, 700.0, 2.0),
        (1600.0, 1000.0, 1.0),
    ] {
        let mut harness = app_of_size(width / scale, height / scale);
        harness.run_until_fresh();
        let window = egui::Rect::from_min_size(egui::Pos2::ZERO, egui::vec2(width / scale, height / scale));
        for label in [
            "Run or pause",
            "Pause",
            "Single step",
            "Help and shortcuts",
            "Canvas",
            "Brush",
            "New region",
            "Panel: Stream",
            "Region Tree",
        ] {
            if let Some(node) = harness.query_by_label(label) {
                let rect = node.rect();
                assert!(
                    window.contains_rect(rect.shrink(1.0)),
                    "{label} at {rect:?} in {window:?}"
                );
            }
        }
        let canvas = harness.get_by_label("Canvas").rect();
        assert!(
            canvas.width() > 120.0 && canvas.height() > 120.0,
            "room to paint at {width} x {height}, scale {scale}: {canvas:?}"
        );
    }
}

#[test]
fn every_control_has_a_name() {
    let harness = app();
    let mut nameless = Vec::new();
    for role in [
        Role::Button,
        Role::Slider,
        Role::SpinButton,
        Role::CheckBox,
        Role::TextInput,
        Role::MultilineTextInput,
        Role::ColorWell,
        Role::ListBoxOption,
        Role::RadioButton,
    ] {
        for node in harness.query_all_by_role(role) {
            let node = node.accesskit_node();
            let is_named = node
                .label()
                .is_some_and(|label| label.chars().any(|letter| letter.is_ascii_alphanumeric()));
            if !is_named && !node.is_hidden() {
                nameless.push(format!("{role:?} {:?} {:?}", node.label(), node.value()));
            }
        }
    }
    assert!(nameless.is_empty(), "{nameless:#?}");
}

#[test]
fn the_undo_of_a_prompt_field_knows_nothing_of_another_canvas() {
    let mut harness = app();
    let type_prompt = |harness: &mut Harness<'static, Option<App>>, text: &str| {
        harness
            .get_by_role_and_label(Role::ListBoxOption, "Background")
            .click();
        harness.run_steps(3);
        let prompt = harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt");
        prompt.focus();
        prompt.type_text(text);
        harness.run_steps(3);
    };
    type_prompt(&mut harness, "snow");
    let ctx = harness.ctx.clone();
    let app = harness.state_mut().as_mut().expect("the app runs");
    app.run(&ctx, AppCommand::Gallery);
    harness.run_steps(3);
    harness.get_by_label("Sample Lava gate").click();
    harness.run_steps(4);
    let before = harness.app().document().background.prompt.clone();
    type_prompt(&mut harness, "x");
    for _ in 0..4 {
        harness.key_press_modifiers(Modifiers::COMMAND, egui::Key::Z);
        harness.run_steps(2);
        assert!(!harness.app().document().background.prompt.contains("snow"));
    }
    assert_eq!(harness.app().document().background.prompt, before);
}

#[test]
fn the_background_says_what_keeps_its_prompt_from_being_painted() {
    let mut harness = app();
    harness
        .get_by_role_and_label(Role::ListBoxOption, "Background")
        .click();
    harness.run_steps(3);
    assert!(harness.query_by_label("Paint the background").is_none());
    let prompt = harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt");
    prompt.focus();
    prompt.type_text("snow");
    harness.run_steps(3);
    harness.get_by_label("Paint the background").click();
    harness.run_steps(3);
    assert_eq!(harness.app().document().background.keep_strength, 0.0);
    assert!(harness.query_by_label("Paint the background").is_none());
}

#[test]
fn a_negative_prompt_that_has_no_effect_says_so() {
    let mut harness = app();
    let prompt = harness.get_by_role_and_label(Role::MultilineTextInput, "Negative prompt");
    prompt.focus();
    prompt.type_text("red");
    harness.run_steps(3);
    harness.get_by_label("Turn on full guidance").click();
    harness.run_steps(3);
    assert!(
        harness
            .app()
            .document()
            .settings
            .guidance
            .takes_negative_prompts()
    );
    assert!(harness.query_by_label("Turn on full guidance").is_none());
}

#[test]
fn the_list_follows_what_is_selected_elsewhere() {
    let mut harness = app();
    let ctx = harness.ctx.clone();
    for _ in 0..14 {
        let app = harness.state_mut().as_mut().expect("the app runs");
        app.run(&ctx, AppCommand::DuplicateRegion);
        harness.run_steps(2);
    }
    let is_in_sight = |harness: &Harness<'static, Option<App>>, name: &str| {
        let list = harness.get_by_label("Regions").rect();
        let row = harness.get_by_role_and_label(Role::ListBoxOption, name).rect();
        let window = harness.ctx.content_rect();
        row.top() > list.bottom() && row.bottom() < window.bottom() * 0.6
    };
    harness.run_steps(10);
    harness.key_press(egui::Key::Num0);
    harness.run_steps(20);
    assert_eq!(harness.app().selected(), Target::Background);
    assert!(is_in_sight(&harness, "Background"));
    harness.key_press(egui::Key::Num1);
    harness.run_steps(20);
    assert!(!is_in_sight(&harness, "Background"));
}

#[test]
fn escape_with_nothing_else_open_closes_the_newest_message() {
    let mut harness = app();
    harness.run_until_fresh();
    let run = |harness: &mut Harness<'static, Option<App>>, command| {
        let ctx = harness.ctx.clone();
        harness.state_mut().as_mut().unwrap().run(&ctx, command);
        harness.run_steps(3);
    };
    let messages = |harness: &Harness<'static, Option<App>>| harness.app().notifications().texts().count();
    let escape = |harness: &mut Harness<'static, Option<App>>| {
        harness.key_press(egui::Key::Escape);
        harness.run_steps(3);
    };
    let before = messages(&harness);
    run(&mut harness, AppCommand::SelectRegion(8));
    run(&mut harness, AppCommand::SelectRegion(9));
    assert_eq!(messages(&harness), before + 2);
    run(&mut harness, AppCommand::Help);
    escape(&mut harness);
    assert!(harness.query_by_label("Close").is_none(), "the window has gone");
    harness
        .get_by_role_and_label(Role::MultilineTextInput, "Prompt")
        .focus();
    harness.run_steps(2);
    escape(&mut harness);
    harness.get_by_label("View: Picture").click();
    harness.run_steps(3);
    escape(&mut harness);
    assert_eq!(messages(&harness), before + 2, "it closed what was open");
    escape(&mut harness);
    assert_eq!(messages(&harness), before + 1);
    let mut texts = harness.app().notifications().texts();
    assert!(texts.any(|text| text == "There is no region 8."), "the older one");
}

#[test]
fn undo_and_redo_of_the_rail_say_what_they_do_and_whether_there_is_anything() {
    let mut harness = app();
    let is_disabled = |harness: &Harness<'static, Option<App>>, label| {
        let button = harness.get_by_role_and_label(Role::Button, label);
        button.accesskit_node().is_disabled()
    };
    assert!(is_disabled(&harness, "Undo") && is_disabled(&harness, "Redo"));
    harness.get_by_label("Duplicate region").click();
    harness.run_steps(3);
    assert!(!is_disabled(&harness, "Undo") && is_disabled(&harness, "Redo"));
    harness.get_by_role_and_label(Role::Button, "Undo").hover();
    harness.run_steps(60);
    harness.get_by_label_contains("Takes back: duplicate region.");
    harness.get_by_role_and_label(Role::Button, "Undo").click();
    harness.run_steps(3);
    assert!(is_disabled(&harness, "Undo") && !is_disabled(&harness, "Redo"));
}

#[test]
fn a_mirrored_or_turned_view_is_told_and_a_click_ends_it() {
    let mut harness = app();
    let run = |harness: &mut Harness<'static, Option<App>>, command| {
        let ctx = harness.ctx.clone();
        harness.state_mut().as_mut().unwrap().run(&ctx, command);
        harness.run_steps(3);
    };
    for (command, label) in [
        (AppCommand::MirrorView, "mirrored"),
        (AppCommand::RotateRight, "15°"),
    ] {
        assert!(harness.query_by_label(label).is_none());
        run(&mut harness, command);
        harness.get_by_label(label).click();
        harness.run_steps(3);
        assert!(harness.query_by_label(label).is_none(), "{label}");
    }
}

#[test]
fn the_view_menu_tells_what_is_on() {
    let mut harness = app();
    let toggled = |harness: &Harness<'static, Option<App>>| {
        ["Mirror view", "History strip", "Performance panel"].map(|label| {
            let entry = harness.get_by_role_and_label(Role::Button, label);
            entry.accesskit_node().toggled()
        })
    };
    harness.get_by_label("View").click();
    harness.run_steps(3);
    let before = toggled(&harness);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    harness.get_by_label("Mirror view").click();
    harness.run_steps(3);
    harness.get_by_label("View").click();
    harness.run_steps(3);
    let after = toggled(&harness);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1..], before[1..]);
}
