//! Where the time goes: a plot of the last frames by stage, and the figures.

use eframe::egui::{Align, Color32, Label, Layout, Rect, RichText, Stroke, Ui, pos2, vec2};
use wordbrush_engine::api::StageTimings;

use crate::{
    engine_link::{EngineLink, PLOTTED_FRAMES},
    theme::{
        palette, small, space,
        widgets::{drawing, hint, panel_heading},
    },
};

/// Colours of the stages: distinct in lightness, too, for eyes that do not see all hues (Okabe and Ito).
const STAGES: [(&str, Color32); 6] = [
    ("Denoise", Color32::from_rgb(0, 158, 115)),
    ("Decode", Color32::from_rgb(86, 180, 233)),
    ("Masks", Color32::from_rgb(230, 159, 0)),
    ("Prompts", Color32::from_rgb(204, 121, 167)),
    ("Blend", Color32::from_rgb(240, 228, 66)),
    ("Copy", Color32::from_rgb(213, 94, 0)),
];

fn stages(timings: &StageTimings) -> [f32; 6] {
    [
        timings.denoise_ms,
        timings.decode_ms,
        timings.masks_ms,
        timings.encode_ms,
        timings.blend_ms,
        timings.copy_ms,
    ]
}

/// Draws the panel.
pub fn performance_ui(ui: &mut Ui, link: &EngineLink, memory: Memory) {
    panel_heading(ui, "Performance", |_| {});
    plot_ui(ui, link);
    ui.add_space(space::XS);
    let Some(newest) = link.costs().back() else {
        hint(ui, "Figures appear with the first frame.");
        return;
    };
    let stage_rows: Vec<_> = STAGES
        .iter()
        .zip(stages(&newest.timings))
        .map(|((name, colour), millis)| (Some(*colour), *name, format!("{millis:.1} ms")))
        .collect();
    let mut rows = vec![
        (None, "Frame", format!("{:.1} ms", newest.timings.total_ms)),
        (
            None,
            "Speed",
            link.frames_per_second().map_or_else(|| "–".to_owned(), rate),
        ),
        (None, "Model", megabytes(link.status().device_memory_bytes)),
        (None, "Undo", megabytes(memory.undo_bytes)),
        (None, "History", megabytes(memory.strip_bytes)),
    ];
    let device = &link.status().device;
    if !device.is_empty() {
        rows.push((None, "On", device.clone()));
    }
    ui.columns(2, |columns| {
        for (column, rows) in columns.iter_mut().zip([stage_rows, rows]) {
            column.spacing_mut().item_spacing.y = 2.0;
            column.spacing_mut().interact_size.y = 15.0;
            for (colour, name, value) in rows {
                row_ui(column, colour, name, &value);
            }
        }
    });
}

/// What the app itself keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Bytes of the undo history.
    pub undo_bytes: u64,
    /// Bytes of the history strip.
    pub strip_bytes: u64,
}

/// Bytes for people.
pub fn megabytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes >= 1024.0 {
        format!("{:.1} GB", mebibytes / 1024.0)
    } else {
        format!("{mebibytes:.0} MB")
    }
}

/// Frames per second for people: slow models paint less than one.
pub fn rate(frames_per_second: f32) -> String {
    if frames_per_second < 1.0 {
        format!("{frames_per_second:.2} fps")
    } else {
        format!("{frames_per_second:.1} fps")
    }
}

fn row_ui(ui: &mut Ui, colour: Option<Color32>, name: &str, value: &str) {
    let weak = palette(ui).text_weak;
    ui.horizontal(|ui| {
        if let Some(colour) = colour {
            let (rect, _) = ui.allocate_exact_size(vec2(10.0, 10.0), eframe::egui::Sense::hover());
            ui.painter().rect_filled(rect, 3, colour);
        }
        ui.label(RichText::new(name).text_style(small()).color(weak));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add(Label::new(RichText::new(value).text_style(small())).truncate());
        });
    });
}

fn plot_ui(ui: &mut Ui, link: &EngineLink) {
    let colours = palette(ui);
    let size = vec2(ui.available_width(), 84.0);
    let rate = link.frames_per_second().map(|fps| format!(", {}", rate(fps)));
    let name = format!("Plot of the last frames{}", rate.unwrap_or_default());
    let (response, painter) = drawing(ui, size, &name);
    let rect = response.rect;
    painter.rect_filled(rect, 6, colours.sunken);
    let costs = link.costs();
    let longest = costs.iter().map(|cost| cost.timings.total_ms).fold(1.0, f32::max);
    let ceiling = nice_ceiling(longest);
    let inside = Rect::from_min_max(rect.min + vec2(6.0, 18.0), rect.max - vec2(6.0, 6.0));
    painter.hline(
        inside.x_range(),
        inside.center().y,
        Stroke::new(0.5, colours.line),
    );
    painter.hline(inside.x_range(), inside.top(), Stroke::new(0.5, colours.line));
    let font = eframe::egui::FontId::proportional(10.0);
    let scale_text = format!("{ceiling:.0} ms");
    painter.text(
        rect.min + vec2(6.0, 3.0),
        eframe::egui::Align2::LEFT_TOP,
        scale_text,
        font,
        colours.text_weak,
    );
    let width = inside.width() / PLOTTED_FRAMES as f32;
    for (index, cost) in costs.iter().rev().enumerate() {
        let right = inside.right() - index as f32 * width;
        let mut bottom = inside.bottom();
        for ((_, colour), millis) in STAGES.iter().zip(stages(&cost.timings)) {
            let height = millis / ceiling * inside.height();
            let bar = Rect::from_min_max(pos2(right - width + 0.5, bottom - height), pos2(right, bottom));
            painter.rect_filled(bar, 0, *colour);
            bottom -= height;
        }
    }
}

/// The next of 1, 2, 5, 10, 20, 50 ... above a value.
fn nice_ceiling(value: f32) -> f32 {
    let magnitude = 10f32.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|ceiling| *ceiling >= value)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_round_and_never_below() {
        for (value, ceiling) in [(0.2, 1.0), (1.0, 1.0), (3.0, 5.0), (51.0, 100.0), (260.0, 500.0)] {
            assert_eq!(nice_ceiling(value), ceiling);
        }
    }

    #[test]
    fn slow_rates_are_not_rounded_to_nothing() {
        assert_eq!(rate(38.46), "38.5 fps");
        assert_eq!(rate(0.134), "0.13 fps");
    }

    #[test]
    fn bytes_are_written_for_people() {
        assert_eq!(megabytes(0), "0 MB");
        assert_eq!(megabytes(300 << 20), "300 MB");
        assert_eq!(megabytes(3 << 30), "3.0 GB");
    }
}
