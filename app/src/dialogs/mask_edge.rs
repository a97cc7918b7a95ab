//! How far grow, shrink and feather go, beside the buttons that do it.

use eframe::egui::{self, Ui};

use super::window_ui;
use crate::{
    app::preferences::MaskEdge,
    command::AppCommand,
    panels::outbox::Outbox,
    theme::{
        icons, space,
        widgets::{PIXELS, action_button, hint, slider_row},
    },
};

/// Draws the window; returns whether it is to be closed.
pub fn mask_edge_ui(ctx: &egui::Context, edge: &mut MaskEdge, outbox: &mut Outbox) -> bool {
    window_ui(ctx, "Mask edge", 420.0, |ui| {
        let hint_text = "How far the edge of the region moves, outwards or inwards.";
        amount_ui(ui, "Grow or shrink by", hint_text, &mut edge.grow_px);
        ui.horizontal(|ui| {
            if action_button(ui, icons::EXPAND, "Grow").clicked() {
                outbox.run(AppCommand::GrowMask);
            }
            if action_button(ui, icons::SHRINK, "Shrink").clicked() {
                outbox.run(AppCommand::ShrinkMask);
            }
        });
        ui.add_space(space::M);
        let hint_text = "How softly the region ends: the standard deviation of the blur.";
        amount_ui(ui, "Feather by", hint_text, &mut edge.feather_px);
        if action_button(ui, icons::WAVES, "Feather").clicked() {
            outbox.run(AppCommand::FeatherMask);
        }
        ui.add_space(space::M);
        hint(
            ui,
            "The menu and the keys of these commands go by the same amounts.",
        );
    })
}

fn amount_ui(ui: &mut Ui, label: &str, hint_text: &str, amount_px: &mut u16) {
    let range = f32::from(*MaskEdge::RANGE_PX.start())..=f32::from(*MaskEdge::RANGE_PX.end());
    let mut amount = f32::from(*amount_px);
    if slider_row(ui, label, hint_text, &mut amount, range, PIXELS).changed() {
        *amount_px = amount.round() as u16;
    }
}
