//! A canvas' size: presets and numbers; for a new canvas, or for the one in hand.

use eframe::egui::{self, DragValue, Ui, vec2};
use wordbrush_engine::api::CanvasSize;

use super::{buttons_ui, is_confirmed, window_ui};
use crate::{
    document::ResizeMode,
    panels::outbox::{Intent, Outbox},
    theme::{
        icons,
        widgets::{action_button, caption, hint, primary_button, segmented},
    },
};

/// Sides a painter may choose, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 64..=4096;

/// Sizes offered: name, width, height.
const PRESETS: [(&str, u32, u32); 8] = [
    ("Pocket", 256, 256),
    ("Pocket wide", 384, 256),
    ("Square", 512, 512),
    ("Landscape", 768, 512),
    ("Portrait", 512, 768),
    ("Large", 1024, 1024),
    ("Wide screen", 1280, 720),
    ("Panorama", 2048, 512),
];

/// The window's state.
#[derive(Clone, Copy, Debug)]
pub struct CanvasSizeDialog {
    width: u32,
    height: u32,
    mode: ResizeMode,
}

impl CanvasSizeDialog {
    /// Begins with a size.
    pub fn new(size: CanvasSize) -> Self {
        Self {
            width: size.width(),
            height: size.height(),
            mode: ResizeMode::Scale,
        }
    }

    /// Draws the window for a new canvas; returns whether it is to be closed.
    pub fn new_canvas_ui(&mut self, ctx: &egui::Context, outbox: &mut Outbox) -> bool {
        let mut is_done = false;
        let is_confirmed = is_confirmed(ctx);
        let is_closed = window_ui(ctx, "New canvas", 460.0, |ui| {
            self.size_ui(ui);
            hint(ui, "The canvas in hand is kept in the history strip.");
            buttons_ui(ui, |ui| {
                if (primary_button(ui, icons::FILE_PLUS, "Create").clicked() || is_confirmed)
                    && let Some(size) = self.size()
                {
                    outbox.push(Intent::NewCanvas(size));
                    is_done = true;
                }
                is_done |= action_button(ui, "", "Cancel").clicked();
            });
        });
        is_closed || is_done
    }

    /// Draws the window for the canvas in hand; returns whether it is to be closed.
    pub fn resize_ui(&mut self, ctx: &egui::Context, outbox: &mut Outbox) -> bool {
        let mut is_done = false;
        let is_confirmed = is_confirmed(ctx);
        let is_closed = window_ui(ctx, "Canvas size", 460.0, |ui| {
            self.size_ui(ui);
            caption(ui, "What is painted");
            let modes = [
                (
                    ResizeMode::Scale,
                    "Stretches",
                    "Masks are scaled to the new size.",
                ),
                (
                    ResizeMode::Centre,
                    "Keeps its middle",
                    "Masks keep their scale; the edges are cut or grown.",
                ),
                (
                    ResizeMode::TopLeft,
                    "Keeps its corner",
                    "Masks keep their scale; right and bottom are cut or grown.",
                ),
            ];
            segmented(ui, "Resize", &mut self.mode, &modes);
            buttons_ui(ui, |ui| {
                if (primary_button(ui, icons::SCALING, "Change size").clicked() || is_confirmed)
                    && let Some(size) = self.size()
                {
                    outbox.push(Intent::ResizeCanvas(size, self.mode));
                    is_done = true;
                }
                is_done |= action_button(ui, "", "Cancel").clicked();
            });
        });
        is_closed || is_done
    }

    fn size(&self) -> Option<CanvasSize> {
        CanvasSize::new(self.width, self.height).ok()
    }

    fn size_ui(&mut self, ui: &mut Ui) {
        caption(ui, "Presets");
        let columns = 4;
        egui::Grid::new("size presets")
            .spacing(vec2(8.0, 8.0))
            .show(ui, |ui| {
                for (index, (name, width, height)) in PRESETS.into_iter().enumerate() {
                    let is_chosen = (self.width, self.height) == (width, height);
                    let label = format!("{name}\n{width} × {height}");
                    let button = egui::Button::selectable(is_chosen, label)
                        .frame_when_inactive(true)
                        .min_size(vec2(104.0, 44.0));
                    if ui.add(button).clicked() {
                        (self.width, self.height) = (width, height);
                    }
                    if index % columns == columns - 1 {
                        ui.end_row();
                    }
                }
            });
        ui.add_space(8.0);
        ui.horizontal(|ui| {
            for (name, value) in [("Width", &mut self.width), ("Height", &mut self.height)] {
                let label = ui.label(name);
                let drag = DragValue::new(value)
                    .range(SIDES)
                    // A canvas from elsewhere may be smaller or larger, and stays as it is until a number is set.
                    .clamp_existing_to_range(false)
                    .speed(8.0)
                    .suffix(" px");
                ui.add(drag).labelled_by(label.id);
            }
            if action_button(ui, icons::REFRESH_CW, "Swap").clicked() {
                std::mem::swap(&mut self.width, &mut self.height);
            }
        });
        hint(
            ui,
            "Any size from 64 to 4096 pixels works; the model's grid is taken care of. Larger canvases take longer.",
        );
        ui.add_space(8.0);
    }
}
