//! The library of palettes: sets of brushes with their meanings, to be added to the canvas.

use std::path::PathBuf;

use eframe::egui::{
    self, Align2, Color32, Key, RichText, Role, Sense, TextEdit, TextStyle, Ui, Vec2, WidgetInfo, vec2,
};

use super::{buttons_ui, window_ui};
use crate::{
    panels::outbox::{Intent, Outbox},
    storage::{
        palette::{Brush, Palette},
        palette_library::KeptPalette,
    },
    theme::{
        icons, strong,
        widgets::{action_button, caption, card, hint, primary_button},
    },
};

/// The window's state.
#[derive(Clone, Debug, Default)]
pub struct PalettesDialog {
    /// `None` while they are being read.
    palettes: Option<Vec<KeptPalette>>,
    /// For the canvas' own brushes.
    title: String,
}

/// What the user wants with the library.
#[derive(Clone, Debug)]
pub enum PaletteWish {
    /// Put its brushes on the canvas.
    Add(Palette),
    /// Keep the canvas' brushes under a title.
    Keep(String),
    /// Remove one of the user's own, of a title.
    Remove(String, PathBuf),
    /// Take that back.
    BringBack(PathBuf),
}

impl PalettesDialog {
    /// Takes what is in the library.
    pub fn set_palettes(&mut self, palettes: Vec<KeptPalette>) {
        self.palettes = Some(palettes);
    }

    /// Draws the window; `brushes` is how many the canvas has. Returns whether it is to be closed.
    pub fn ui(&mut self, ctx: &egui::Context, brushes: usize, outbox: &mut Outbox) -> bool {
        let mut is_done = false;
        let is_closed = window_ui(ctx, "Brush palettes", 520.0, |ui| {
            hint(
                ui,
                "Brushes that belong together. They are added as regions to paint with; dropping a palette file does the same.",
            );
            self.keep_ui(ui, brushes, outbox);
            ui.add_space(8.0);
            match &self.palettes {
                None => hint(ui, "Reading…"),
                Some(palettes) => {
                    for (index, kept) in palettes.iter().enumerate() {
                        ui.push_id(index, |ui| is_done |= palette_ui(ui, kept, outbox));
                    }
                }
            }
        });
        is_closed || is_done
    }

    fn keep_ui(&mut self, ui: &mut Ui, brushes: usize, outbox: &mut Outbox) {
        ui.add_space(8.0);
        caption(ui, "Keep the brushes of this canvas");
        ui.horizontal(|ui| {
            let id = egui::Id::unique("palette title");
            let width = ui.available_width() - 96.0;
            let field = ui.add(
                TextEdit::singleline(&mut self.title)
                    .id(id)
                    .hint_text("Title")
                    .desired_width(width),
            );
            ui.ctx()
                .accesskit_node_builder(id, |node| node.set_label("Palette title".to_owned()));
            let is_confirmed = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
            let is_ready = brushes > 0 && !self.title.trim().is_empty();
            let keep = ui
                .add_enabled_ui(is_ready, |ui| action_button(ui, icons::SAVE, "Keep"))
                .inner;
            if keep.clicked() || (is_confirmed && is_ready) {
                let title = std::mem::take(&mut self.title).trim().to_owned();
                outbox.push(Intent::Palette(PaletteWish::Keep(title)));
            }
        });
        hint(
            ui,
            "Words, colours and strengths are kept, masks are not. “Export picture…” writes a palette file for the demos.",
        );
    }
}

/// One palette; returns whether it was taken.
fn palette_ui(ui: &mut Ui, kept: &KeptPalette, outbox: &mut Outbox) -> bool {
    let palette = &kept.palette;
    let mut is_taken = false;
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&palette.title).text_style(strong()));
        ui.horizontal_wrapped(|ui| {
            for brush in &palette.brushes {
                brush_ui(ui, brush);
            }
        });
        buttons_ui(ui, |ui| {
            if primary_button(ui, icons::PLUS, &format!("Add {}", palette.title)).clicked() {
                outbox.push(Intent::Palette(PaletteWish::Add(palette.clone())));
                is_taken = true;
            }
            if let Some(path) = &kept.path
                && action_button(ui, icons::TRASH_2, "Remove").clicked()
            {
                outbox.push(Intent::Palette(PaletteWish::Remove(
                    palette.title.clone(),
                    path.clone(),
                )));
            }
        });
    });
    is_taken
}

/// A brush's colour and name, which a new line never separates.
fn brush_ui(ui: &mut Ui, brush: &Brush) {
    const SWATCH: f32 = 12.0;
    let name = match brush.words.name.as_str() {
        "" => &brush.words.prompt,
        name => name,
    };
    let font = TextStyle::Small.resolve(ui.style());
    let colour = ui.visuals().text_color();
    let galley = ui
        .painter()
        .layout(name.to_owned(), font, colour, ui.max_rect().width() - 20.0);
    let gap = ui.spacing().item_spacing.x;
    let size = vec2(SWATCH + gap + galley.size().x, galley.size().y.max(SWATCH));
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, name));
    let swatch = Align2::LEFT_CENTER.align_size_within_rect(Vec2::splat(SWATCH), rect);
    let [red, green, blue] = brush.colour;
    ui.painter()
        .rect_filled(swatch, 3, Color32::from_rgb(red, green, blue));
    let text = Align2::RIGHT_CENTER.align_size_within_rect(galley.size(), rect);
    ui.painter().galley(text.min, galley, colour);
    response.on_hover_text(&brush.words.prompt);
}
