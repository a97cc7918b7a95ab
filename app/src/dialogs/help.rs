//! Help on one page: how to paint, and every key.

use eframe::egui::{self, Align, Layout, RichText, Ui, vec2};

use super::window_ui;
use crate::{
    command::{AppCommand, Menu},
    keymap::Keymap,
    theme::{
        icons, palette, strong,
        widgets::{card, hint, key_cap},
    },
};

const FIRST_STEPS: [(&str, &str, &str); 4] = [
    (
        icons::PLUS,
        "Add a region",
        "A region is a brush with a meaning. Give it a prompt, such as: a large tree.",
    ),
    (
        icons::BRUSH,
        "Paint where it belongs",
        "The picture follows while you paint. Soft edges blend regions into each other.",
    ),
    (
        icons::DICES,
        "Roll the dice",
        "Reroll a region or the whole canvas until you like it. Everything can be undone.",
    ),
    (
        icons::DOWNLOAD,
        "Export",
        "A PNG, JPEG or WebP. Dropped back in, it restores the canvas.",
    ),
];

const ON_THE_CANVAS: [(&str, &str); 10] = [
    ("Shift+drag left, right", "Brush size"),
    ("Shift+drag up, down", "Brush hardness"),
    ("Shift+click", "Straight line from the last point"),
    ("Alt+click", "Select the region under the pointer"),
    ("Space+drag, middle drag", "Pan"),
    ("Wheel, Ctrl+Space+drag", "Zoom at the pointer"),
    ("R+drag, Shift+Space+drag", "Rotate the view"),
    ("Right click on a region", "Its menu"),
    ("Double click on a region", "Rename"),
    ("Alt+click on an eye", "Show only this region"),
];

/// Draws the page; returns whether it is to be closed.
pub fn help_ui(ctx: &egui::Context, keymap: &Keymap) -> bool {
    window_ui(ctx, "Help", 820.0, |ui| {
        first_steps_ui(ui);
        ui.add_space(12.0);
        let columns = if ui.available_width() > 700.0 {
            3
        } else if ui.available_width() > 440.0 {
            2
        } else {
            1
        };
        ui.columns(columns, |uis| {
            heading(&mut uis[0], "On the canvas");
            for (keys, what) in ON_THE_CANVAS {
                key_row(&mut uis[0], keys, what);
            }
            if keymap.has_5_for_both() {
                key_row(&mut uis[0], "5", "Upright again, while the view is turned");
            }
            for (place, menu) in Menu::ALL.into_iter().enumerate() {
                let ui = &mut uis[(place + 1) % columns];
                heading(ui, menu.label());
                for command in AppCommand::all().filter(|command| command.spec().menu == menu) {
                    let (keys, label) = match (command, keymap.region_digits()) {
                        // One row for all nine.
                        (AppCommand::SelectRegion(1), Some(digits)) => (digits, "Select region"),
                        (AppCommand::SelectRegion(_), Some(_)) => continue,
                        _ => (keymap.name(command), command.spec().label),
                    };
                    if !keys.is_empty() {
                        key_row(ui, &keys, label.trim_end_matches('…'));
                    }
                }
            }
        });
    })
}

fn first_steps_ui(ui: &mut Ui) {
    let columns = if ui.available_width() > 640.0 { 4 } else { 2 };
    ui.columns(columns, |uis| {
        for (place, (glyph, heading, text)) in FIRST_STEPS.into_iter().enumerate() {
            let ui = &mut uis[place % columns];
            card(ui, |ui| {
                ui.set_min_size(vec2(ui.available_width(), 104.0));
                // Columns are justified, which tears sentences apart.
                ui.with_layout(Layout::top_down(Align::Min), |ui| {
                    ui.label(RichText::new(glyph).size(20.0).color(palette(ui).accent));
                    ui.label(RichText::new(heading).text_style(strong()));
                    hint(ui, text);
                });
            });
        }
    });
}

fn heading(ui: &mut Ui, text: &str) {
    ui.add_space(8.0);
    ui.label(RichText::new(text).text_style(strong()).color(palette(ui).accent));
}

fn key_row(ui: &mut Ui, keys: &str, what: &str) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().interact_size.y = 18.0;
        key_cap(ui, keys);
        hint(ui, what);
    });
}
