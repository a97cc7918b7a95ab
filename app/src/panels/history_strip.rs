//! Frames of this session in a row; a click brings back masks, prompts, seed and picture.
//!
//! A finished frame is recorded when its document differs from the last one's. Documents share their masks, so an
//! entry costs its thumbnail and what was painted since; the number of entries and their bytes are bounded, and
//! the oldest that is not pinned goes first.

use std::{collections::VecDeque, sync::Arc};

use eframe::egui::{
    self, ColorImage, Id, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, TextureHandle,
    TextureOptions, Ui, WidgetInfo, vec2,
};
use wordbrush_engine::api::{Mask, Picture};

use super::{
    outbox::{Intent, Outbox},
    thumbnails::picture_image,
};
use crate::{
    document::{Document, RegionLayer},
    theme::{
        icons, palette, small, space,
        widgets::{hint, sized_icon_toggle},
    },
};

const MOST_ENTRIES: usize = 60;
const MOST_BYTES: u64 = 192 << 20;
const THUMBNAIL_SIDE: usize = 112;

/// One kept frame.
struct Entry {
    number: u64,
    document: Document,
    picture: Picture,
    small: ColorImage,
    texture: Option<TextureHandle>,
    is_pinned: bool,
}

impl Entry {
    /// Bytes that only this entry holds: its picture and thumbnail. Masks are shared with their neighbours.
    fn bytes(&self) -> u64 {
        (self.picture.rgba().len() + self.small.pixels.len() * 4) as u64
    }
}

/// The frames of this session.
#[derive(Default)]
pub struct HistoryStrip {
    entries: VecDeque<Entry>,
    next_number: u64,
}

impl HistoryStrip {
    /// Keeps a finished frame with its document, unless nothing has changed since the last.
    pub fn record(&mut self, document: &Document, picture: &Picture) {
        let is_known = self
            .entries
            .back()
            .is_some_and(|last| is_same_state(&last.document, document));
        if is_known {
            return;
        }
        self.next_number += 1;
        self.entries.push_back(Entry {
            number: self.next_number,
            document: document.clone(),
            picture: picture.clone(),
            small: picture_image(picture, THUMBNAIL_SIDE),
            texture: None,
            is_pinned: false,
        });
        while self.entries.len() > MOST_ENTRIES || self.bytes() > MOST_BYTES {
            let newest = self.entries.len() - 1;
            let Some(oldest) = self
                .entries
                .iter()
                .position(|entry| !entry.is_pinned)
                .filter(|at| *at < newest)
            else {
                break;
            };
            self.entries.remove(oldest);
        }
    }

    /// Keeps a frame that was pinned in a saved project.
    pub fn record_pinned(&mut self, document: &Document, picture: &Picture) {
        self.record(document, picture);
        if let Some(last) = self.entries.back_mut() {
            last.is_pinned = true;
        }
    }

    /// The pinned frames, oldest first.
    pub fn pinned(&self) -> impl Iterator<Item = (&Document, &Picture)> {
        let pinned = self.entries.iter().filter(|entry| entry.is_pinned);
        pinned.map(|entry| (&entry.document, &entry.picture))
    }

    /// Bytes kept.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    /// Number of frames kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The document and picture of a kept frame.
    pub fn entry(&self, number: u64) -> Option<(&Document, &Picture)> {
        let entry = self.entries.iter().find(|entry| entry.number == number)?;
        Some((&entry.document, &entry.picture))
    }

    /// Pins a frame, or lets it go.
    pub fn toggle_pin(&mut self, number: u64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) {
            entry.is_pinned = !entry.is_pinned;
        }
    }

    /// Draws the strip, newest at the left.
    pub fn ui(&mut self, ui: &mut Ui, shown: &Document, outbox: &mut Outbox) {
        if self.entries.is_empty() {
            ui.horizontal_centered(|ui| {
                ui.label(RichText::new(icons::HISTORY).size(18.0).color(palette(ui).text_weak));
                hint(ui, "Finished frames gather here. A click brings back masks, prompts, seed and picture; a pin keeps a frame.");
            });
            return;
        }
        ScrollArea::horizontal()
            .id_salt("history strip")
            .auto_shrink([false, false])
            .show(ui, |ui| {
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = space::S;
                    for entry in self.entries.iter_mut().rev() {
                        let is_shown = is_same_state(&entry.document, shown);
                        entry_ui(ui, entry, is_shown, outbox);
                    }
                });
            });
    }
}

fn entry_ui(ui: &mut Ui, entry: &mut Entry, is_shown: bool, outbox: &mut Outbox) {
    let colours = palette(ui);
    let texture = entry.texture.get_or_insert_with(|| {
        ui.ctx()
            .load_texture("history frame", entry.small.clone(), TextureOptions::LINEAR)
    });
    let size = texture.size_vec2();
    let height = 64.0;
    let room = vec2((height * size.x / size.y.max(1.0)).clamp(36.0, 128.0), height);
    let (rect, _) = ui.allocate_exact_size(room, Sense::hover());
    let response = ui.interact(rect, Id::unique(("history frame", entry.number)), Sense::click());
    let label = format!("Frame {}", entry.number);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_shown, &label));
    egui::Image::new(&*texture).corner_radius(5).paint_at(ui, rect);
    let outline = if is_shown {
        Stroke::new(2.0, colours.accent)
    } else if response.hovered() || response.has_focus() {
        Stroke::new(1.5, colours.text)
    } else {
        Stroke::new(1.0, colours.line)
    };
    ui.painter().rect_stroke(rect, 5, outline, StrokeKind::Inside);
    if entry.is_pinned || response.contains_pointer() {
        let corner = egui::Rect::from_min_size(rect.right_top() + vec2(-22.0, 2.0), vec2(20.0, 20.0));
        ui.painter()
            .rect_filled(corner, 5, colours.panel.gamma_multiply(0.85));
        let mut child = ui.new_child(egui::UiBuilder::new().max_rect(corner).id_salt(entry.number));
        let name = if entry.is_pinned { "Unpin" } else { "Pin" };
        let pin = sized_icon_toggle(
            &mut child,
            icons::PIN,
            &format!("{name} frame {}", entry.number),
            "A pinned frame is never dropped.",
            entry.is_pinned,
            vec2(20.0, 20.0),
        );
        if pin.clicked() {
            outbox.push(Intent::PinFrame(entry.number));
        }
    }
    if response.clicked() {
        outbox.push(Intent::RestoreFrame(entry.number));
    }
    response.on_hover_ui(|ui| {
        ui.label(format!("Frame {}", entry.number));
        ui.label(RichText::new("Click to bring this state back; undo returns.").text_style(small()));
    });
}

/// Whether two documents show the same, quickly: masks count as the same only where they share their tiles, as a
/// document that was brought back does.
fn is_same_state(a: &Document, b: &Document) -> bool {
    let same_image = match (&a.background.image, &b.background.image) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    };
    same_image
        && a.size == b.size
        && a.seed == b.seed
        && a.settings == b.settings
        && a.background.prompt == b.background.prompt
        && a.background.negative_prompt == b.background.negative_prompt
        && a.regions.len() == b.regions.len()
        && a.regions
            .iter()
            .zip(&b.regions)
            .all(|(a, b)| is_same_region(a, b))
}

fn is_same_region(a: &RegionLayer, b: &RegionLayer) -> bool {
    a.id == b.id
        && a.name == b.name
        && a.colour == b.colour
        && a.prompt == b.prompt
        && a.negative_prompt == b.negative_prompt
        && a.visible == b.visible
        && a.prompt_strength == b.prompt_strength
        && a.mask_strength == b.mask_strength
        && a.mask_std_px == b.mask_std_px
        && a.seed == b.seed
        && shares_tiles(&a.mask, &b.mask)
}

fn shares_tiles(a: &Mask, b: &Mask) -> bool {
    let (columns, rows) = a.tile_grid();
    a.size() == b.size()
        && (0..rows).all(|row| {
            (0..columns).all(|column| match (a.tile(column, row), b.tile(column, row)) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            })
        })
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{CanvasSize, Seed};

    use super::*;

    fn document(seed: u64) -> Document {
        let mut document = Document::new(CanvasSize::new(64, 64).unwrap());
        document.seed = Seed(seed);
        document
    }

    #[test]
    fn the_same_document_is_kept_once_and_old_ones_go() {
        let picture = Picture::solid(CanvasSize::new(64, 64).unwrap(), [9; 4]);
        let mut strip = HistoryStrip::default();
        strip.record(&document(0), &picture);
        strip.record(&document(0), &picture);
        assert_eq!(strip.len(), 1);
        strip.toggle_pin(1);
        for seed in 1..200 {
            strip.record(&document(seed), &picture);
        }
        assert_eq!(strip.len(), MOST_ENTRIES);
        assert!(strip.entry(1).is_some(), "pinned");
        assert!(strip.entry(2).is_none(), "dropped");
        assert_eq!(strip.entry(200).unwrap().0.seed, Seed(199));
    }
}
