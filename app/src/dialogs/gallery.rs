//! Sample canvases to begin with.

use eframe::egui::{
    self, Align2, FontId, Rect, Role, Sense, Stroke, StrokeKind, TextureHandle, Ui, WidgetInfo, pos2, vec2,
};

use super::window_ui;
use crate::{
    panels::outbox::{Intent, Outbox},
    samples::{SAMPLES, Sample},
    theme::{CORNER_LARGE, palette, widgets::hint},
};

/// A picture in the proportions of the samples, and words below it.
const PICTURE: egui::Vec2 = vec2(170.0, 136.0);
const CARD: egui::Vec2 = vec2(186.0, 214.0);
const GAP: f32 = 10.0;
const COLUMNS: f32 = 4.0;

/// Draws the window; returns whether it is to be closed.
pub fn gallery_ui(ctx: &egui::Context, outbox: &mut Outbox) -> bool {
    let mut is_done = false;
    let width = COLUMNS * (CARD.x + GAP) + 12.0;
    let is_closed = window_ui(ctx, "Sample canvases", width, |ui| {
        hint(
            ui,
            "Each is painted already: change a prompt, paint on, take it apart. The canvas in hand stays in the history strip.",
        );
        ui.add_space(8.0);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(GAP, GAP);
            for (index, sample) in SAMPLES.iter().enumerate() {
                if sample_ui(ui, index, sample) {
                    outbox.push(Intent::OpenSample(index));
                    is_done = true;
                }
            }
        });
    });
    is_closed || is_done
}

fn sample_ui(ui: &mut Ui, index: usize, sample: &Sample) -> bool {
    let colours = palette(ui);
    let (rect, response) = ui.allocate_exact_size(CARD, Sense::click());
    let label = format!("Sample {}", sample.name);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &label));
    let is_lit = response.hovered() || response.has_focus();
    let fill = if is_lit { colours.hover } else { colours.raised };
    ui.painter().rect_filled(rect, CORNER_LARGE, fill);
    let picture = Rect::from_min_size(rect.min + vec2(8.0, 8.0), PICTURE);
    if let Some(texture) = picture_of(ui.ctx(), index, sample) {
        egui::Image::new(&texture)
            .uv(middle(texture.size_vec2(), PICTURE))
            .corner_radius(6)
            .paint_at(ui, picture);
    }
    let ink = colours.text;
    let at = pos2(rect.left() + 10.0, picture.bottom() + 8.0);
    let semibold = ui
        .style()
        .text_styles
        .get(&crate::theme::strong())
        .cloned()
        .unwrap_or_else(|| FontId::proportional(13.0));
    ui.painter()
        .text(at, Align2::LEFT_TOP, sample.name, semibold, ink);
    let galley = ui.painter().layout(
        sample.teaches.to_owned(),
        FontId::proportional(11.0),
        colours.text_weak,
        CARD.x - 20.0,
    );
    ui.painter()
        .galley(at + vec2(0.0, 18.0), galley, colours.text_weak);
    if is_lit {
        ui.painter().rect_stroke(
            rect,
            CORNER_LARGE,
            Stroke::new(1.5, colours.accent),
            StrokeKind::Inside,
        );
    }
    response.clicked()
}

/// The sample's finished picture, decoded at the first look.
fn picture_of(ctx: &egui::Context, index: usize, sample: &Sample) -> Option<TextureHandle> {
    let id = egui::Id::unique(("sample picture", index));
    if let Some(texture) = ctx.data(|data| data.get_temp::<TextureHandle>(id)) {
        return Some(texture);
    }
    let pixels = match image::load_from_memory(sample.picture) {
        Ok(decoded) => decoded.to_rgba8(),
        Err(error) => {
            tracing::error!(
                "the embedded picture of the sample {} cannot be read: {error}",
                sample.name
            );
            return None;
        }
    };
    let size = [pixels.width() as usize, pixels.height() as usize];
    let image = egui::ColorImage::from_rgba_unmultiplied(size, pixels.as_raw());
    let texture = ctx.load_texture(sample.name, image, egui::TextureOptions::LINEAR);
    ctx.data_mut(|data| data.insert_temp(id, texture.clone()));
    Some(texture)
}
/// The part of a picture, in shares of its sides, that fills a frame without distortion.
fn middle(picture: egui::Vec2, frame: egui::Vec2) -> Rect {
    let scale = (frame.x / picture.x).max(frame.y / picture.y);
    Rect::from_center_size(pos2(0.5, 0.5), frame / (picture * scale))
}
