//! Settings files that somebody has changed by hand.

use egui::{Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::Queryable as _;
use wordbrush::storage::folders::Folders;

use crate::harness::{AppHarness as _, app, app_with_folders};

#[test]
fn broken_settings_are_told_and_nothing_of_them_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let file = |name: &str| folders.config.join(name);
    std::fs::create_dir_all(&folders.config).unwrap();
    std::fs::write(file("interface.toml"), "theme = [").unwrap();
    std::fs::write(file("keys.toml"), "fly = [\"F3\"]").unwrap();
    let harness = app_with_folders(folders.clone());
    for expected in ["set aside as", "The keys file is not used"] {
        let mut texts = harness.app().notifications().texts();
        assert!(texts.any(|text| text.contains(expected)), "{expected}");
    }
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    assert_eq!(read("interface.broken.toml"), "theme = [");
    assert_eq!(read("keys.toml"), "fly = [\"F3\"]", "it is the user's to mend");
}

#[test]
fn preferences_are_on_the_disk_when_the_program_ends() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let mut harness = app_with_folders(folders.clone());
    for _ in 0..5 {
        harness.key_press(Key::CloseBracket);
        harness.step();
    }
    harness.key_press(Key::E);
    harness.run_steps(2);
    eframe::App::on_exit(harness.state_mut().as_mut().unwrap());
    drop(harness);
    let text = std::fs::read_to_string(folders.config.join("interface.toml")).unwrap();
    assert!(text.contains(r#"tool = "eraser""#), "{text}");
}

#[test]
fn the_interface_takes_the_size_that_was_dragged_to_when_the_drag_is_over() {
    let mut harness = app();
    harness.run_until_fresh();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Comma);
    harness.run_steps(3);
    let number = harness.get_by_label("Interface size value").rect().center();
    harness.hover_at(number);
    harness.run_steps(1);
    harness.drag_at(number);
    harness.run_steps(1);
    for step in 1..=10 {
        harness.hover_at(number + egui::vec2(10.0 * step as f32, 0.0));
        harness.run_steps(1);
        assert_eq!(harness.ctx.zoom_factor(), 1.0, "not under the hand");
    }
    // The hand rests.
    harness.run_steps(2);
    let shown = harness.get_by_label("Interface size value").value();
    let shown: f32 = shown.unwrap().trim_end_matches([' ', '%']).parse().unwrap();
    harness.drop_at(number + egui::vec2(100.0, 0.0));
    harness.run_steps(3);
    // 100 points are a third of the range from 75 to 200 per cent; a drag is known as one after a few.
    let zoom = harness.ctx.zoom_factor();
    assert!((1.3..1.45).contains(&zoom), "{zoom}");
    assert!((shown - 100.0 * zoom).abs() < 0.6, "{shown} was shown");
}

#[test]
fn the_number_of_threads_holds_at_once() {
    let mut harness = app();
    harness.run_until_fresh();
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Comma);
    harness.run_steps(3);
    for (value, threads) in [(1.0, Some(1)), (0.0, None)] {
        harness
            .get_by_role_and_label(Role::Slider, "Processor threads")
            .set_value_accesskit(value);
        harness.run_steps(3);
        assert_eq!(harness.app().link().threads(), threads);
    }
    let number = harness.get_by_label("Processor threads value");
    assert_eq!(number.value().as_deref(), Some("all"));
}

#[test]
fn the_keys_file_is_written_once_and_then_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let path = folders.config.join("keys.toml");
    let mut harness = app_with_folders(folders);
    let write = |harness: &mut egui_kittest::Harness<'static, Option<wordbrush::app::App>>, told: &str| {
        harness.get_by_label("Write the keys file").click();
        harness.run_until(told, |app| {
            app.notifications()
                .texts()
                .any(|text| text.starts_with(told) && text.contains(&path.display().to_string()))
        });
    };
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Comma);
    harness.run_steps(3);
    write(&mut harness, "The keys are in");
    assert!(!std::fs::read(&path).unwrap().is_empty());
    // One that cannot be used is its owner's to mend.
    std::fs::write(&path, "fly = [\"F3\"]").unwrap();
    write(&mut harness, "Your keys file stays");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "fly = [\"F3\"]");
}

#[test]
fn a_changed_keys_file_counts_as_soon_as_the_window_is_back() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::below(root.path());
    let path = folders.config.join("keys.toml");
    std::fs::create_dir_all(&folders.config).unwrap();
    let mut harness = app_with_folders(folders);
    let mut come_back = |text: &str, told: &str| {
        std::fs::write(&path, text).unwrap();
        harness.event(egui::Event::WindowFocused(true));
        harness.run_until(told, |app| {
            app.notifications().texts().any(|text| text.contains(told))
        });
        harness.key_press(Key::F3);
        harness.run_steps(3);
        harness.app().document().regions.len()
    };
    assert_eq!(
        come_back("duplicate-region = [\"F3\"]", "one command has other keys"),
        5
    );
    assert_eq!(
        come_back("duplicate-region = [\"F3\"", "is not used"),
        6,
        "the last good one stays"
    );
    assert_eq!(come_back("", "those of the preset again"), 6);
    assert_eq!(come_back("delete-region = [\"F3\", \"B\"]", "no longer"), 5);
}
