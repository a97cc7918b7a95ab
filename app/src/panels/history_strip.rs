//! Frames of this session in a row; a click brings back masks, prompts, seed and picture.

use std::collections::BTreeMap;

use eframe::egui::{
    self, Id, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind, TextureHandle, TextureOptions, Ui,
    WidgetInfo, vec2,
};

use super::outbox::{Intent, Outbox};
use crate::{
    document::Document,
    kept_frames::{Entry, KeptFrames},
    theme::{
        icons, palette, small, space,
        widgets::{hint, sized_icon_toggle},
    },
};

/// The thumbnails on the graphics card.
#[derive(Default)]
pub struct HistoryStrip {
    textures: BTreeMap<u64, TextureHandle>,
    /// The frame whose pin has the keyboard.
    focused_pin: Option<u64>,
}

impl HistoryStrip {
    /// Draws the strip, newest at the left.
    pub fn ui(&mut self, ui: &mut Ui, kept: &KeptFrames, shown: &Document, outbox: &mut Outbox) {
        self.textures.retain(|number, _| kept.entry(*number).is_some());
        if kept.is_empty() {
            ui.horizontal_centered(|ui| {
                ui.label(RichText::new(icons::HISTORY).size(18.0).color(palette(ui).text_weak));
                hint(ui, "Finished frames gather here. A click brings back masks, prompts, seed and picture; a pin keeps a frame.");
            });
            return;
        }
        let number_shown = kept.shown(shown);
        ScrollArea::horizontal()
            .id_salt("history strip")
            .auto_shrink([false, false])
            .show(ui, |ui| {
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = space::S;
                    for entry in kept.newest_first() {
                        let texture = self.textures.entry(entry.number()).or_insert_with(|| {
                            let small = entry.small().clone();
                            ui.ctx()
                                .load_texture("history frame", small, TextureOptions::LINEAR)
                        });
                        let is_shown = number_shown == Some(entry.number());
                        entry_ui(ui, entry, texture, is_shown, &mut self.focused_pin, outbox);
                    }
                });
            });
    }
}

fn entry_ui(
    ui: &mut Ui,
    entry: &Entry,
    texture: &TextureHandle,
    is_shown: bool,
    focused_pin: &mut Option<u64>,
    outbox: &mut Outbox,
) {
    let colours = palette(ui);
    let size = texture.size_vec2();
    let height = 64.0;
    let room = vec2((height * size.x / size.y.max(1.0)).clamp(36.0, 128.0), height);
    let (rect, _) = ui.allocate_exact_size(room, Sense::hover());
    let response = ui.interact(
        rect,
        Id::unique(("history frame", entry.number())),
        Sense::click(),
    );
    let label = format!("Frame {}", entry.number());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, is_shown, &label));
    egui::Image::new(texture).corner_radius(5).paint_at(ui, rect);
    let outline = if is_shown {
        Stroke::new(2.0, colours.accent)
    } else if response.hovered() || response.has_focus() {
        Stroke::new(1.5, colours.text)
    } else {
        Stroke::new(1.0, colours.line)
    };
    ui.painter().rect_stroke(rect, 5, outline, StrokeKind::Inside);
    let number = Some(entry.number());
    // The keyboard goes from the frame to its pin in the moment in which the frame loses it.
    let is_reached = response.has_focus() || response.lost_focus() || *focused_pin == number;
    if entry.is_pinned() || response.contains_pointer() || is_reached {
        let corner = egui::Rect::from_min_size(rect.right_top() + vec2(-22.0, 2.0), vec2(20.0, 20.0));
        ui.painter()
            .rect_filled(corner, 5, colours.panel.gamma_multiply(0.85));
        // The keyboard stays on it when frames are added before it.
        let id = Id::unique(("history pin", entry.number()));
        let mut child = ui.new_child(egui::UiBuilder::new().max_rect(corner).scope_id(id));
        let name = if entry.is_pinned() { "Unpin" } else { "Pin" };
        let pin = sized_icon_toggle(
            &mut child,
            icons::PIN,
            &format!("{name} frame {}", entry.number()),
            "A pinned frame is never dropped.",
            entry.is_pinned(),
            vec2(20.0, 20.0),
        );
        if pin.has_focus() {
            *focused_pin = number;
        } else if *focused_pin == number {
            *focused_pin = None;
        }
        if pin.clicked() {
            outbox.push(Intent::PinFrame(entry.number()));
        }
    }
    if response.clicked() {
        outbox.push(Intent::RestoreFrame(entry.number()));
    }
    response.on_hover_ui(|ui| {
        ui.label(format!("Frame {}", entry.number()));
        ui.label(RichText::new("Click to bring this state back; undo returns.").text_style(small()));
        if entry.is_unsaved() {
            let text =
                "This canvas was left unsaved; it is kept, also after the program ends, until it is saved.";
            ui.label(RichText::new(text).text_style(small()));
        }
    });
}
