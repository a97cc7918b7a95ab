//! Theme, interface size, processor threads, keys.

use eframe::egui;

use super::window_ui;
use crate::{
    app::preferences::{Preferences, ThemeChoice},
    counted::counted,
    keymap::{KeyPreset, Keymap},
    panels::outbox::{Intent, Outbox},
    theme::{
        icons, space,
        widgets::{COUNT, NumberFormat, PER_CENT, action_button, caption, hint, segmented, slider_row},
    },
};

/// Draws the window; returns whether it is to be closed.
pub fn settings_ui(
    ctx: &egui::Context,
    preferences: &mut Preferences,
    keymap: &Keymap,
    outbox: &mut Outbox,
) -> bool {
    window_ui(ctx, "Settings", 440.0, |ui| {
        caption(ui, "Theme");
        let themes = [
            (ThemeChoice::Dark, "Dark", "For dark surroundings."),
            (ThemeChoice::Light, "Light", "For bright surroundings."),
            (ThemeChoice::System, "System", "As the desktop has it."),
        ];
        segmented(ui, "Theme", &mut preferences.theme, &themes);
        ui.add_space(space::M);

        // A drag goes on from where it stands; the interface follows when it is over.
        let mut scale = preferences.pending_scale.unwrap_or(preferences.scale);
        let response = slider_row(
            ui,
            "Interface size",
            "Scales text and controls.",
            &mut scale,
            0.75..=2.0,
            PER_CENT,
        );
        // While the slider is dragged its own size must not change under the pointer.
        if response.changed() {
            preferences.pending_scale = Some(scale);
        }
        if let Some(pending) = preferences.pending_scale
            && !response.dragged()
        {
            preferences.scale = pending;
            preferences.pending_scale = None;
        }
        ui.add_space(space::M);

        let all = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let mut threads = preferences.threads.unwrap_or(0) as f32;
        let response = slider_row(
            ui,
            "Processor threads",
            "For models on the processor.",
            &mut threads,
            0.0..=all as f32,
            NumberFormat {
                zero: Some("all"),
                ..COUNT
            },
        );
        if response.changed() {
            let count = threads.round() as usize;
            preferences.threads = (count > 0).then_some(count);
        }
        ui.add_space(space::M);

        caption(ui, "Keys");
        let presets = KeyPreset::ALL.map(|preset| {
            let hint = match preset {
                KeyPreset::Wordbrush => "Wordbrush's own.",
                KeyPreset::Krita => "For hands that know Krita; regions are at Alt and a digit.",
                KeyPreset::Photoshop => "For hands that know Photoshop.",
            };
            (preset, preset.label(), hint)
        });
        segmented(ui, "Keys", &mut preferences.keys, &presets);
        ui.add_space(space::XS);
        let replaced = keymap.replaced_count();
        if replaced > 0 {
            let commands = counted(replaced, "command", "commands");
            hint(
                ui,
                &format!("Your keys file gives {commands} other keys, in every preset."),
            );
        }
        hint(
            ui,
            "Every command can have other keys: write the file and change it. It is read when you come back.",
        );
        if action_button(ui, icons::KEYBOARD, "Write the keys file").clicked() {
            outbox.push(Intent::WriteKeysFile);
        }
    })
}
