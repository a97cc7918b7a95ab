//! One line at the bottom: zoom, size, model, device, speed, memory.

use eframe::egui::{Align, Button, Label, Layout, RichText, Ui};

use super::{
    outbox::Outbox,
    performance::{Memory, megabytes, rate},
};
use crate::{
    canvas::CanvasState,
    command::AppCommand,
    dialogs::model::name_of,
    document::Document,
    engine_link::{EngineLink, Freshness},
    theme::{icons, palette, small},
};

/// Draws the line; what matters less leaves first when it gets narrow.
pub fn status_bar_ui(
    ui: &mut Ui,
    document: &Document,
    canvas: &CanvasState,
    link: &EngineLink,
    memory: Memory,
    outbox: &mut Outbox,
) {
    let room = ui.available_width();
    let colours = palette(ui);
    ui.horizontal_centered(|ui| {
        ui.spacing_mut().button_padding.y = 1.0;
        let text = |text: String| RichText::new(text).text_style(small()).color(colours.text_weak);
        let mut button = |ui: &mut Ui, label: String, command: AppCommand| {
            let response = ui.add(Button::new(text(label)).frame_when_inactive(false));
            if response.on_hover_text(command.spec().hint).clicked() {
                outbox.run(command);
            }
        };
        let zoom = canvas.view().zoom() * 100.0;
        button(ui, format!("{zoom:.0} %"), AppCommand::ZoomFit);
        // What looks like another picture is only another view; a click ends it.
        if canvas.view().is_mirrored() {
            button(ui, "mirrored".to_owned(), AppCommand::MirrorView);
        }
        let turn = canvas.view().seen_turn_degrees();
        if turn != 0 {
            button(ui, format!("{turn}°"), AppCommand::ResetRotation);
        }
        let size = document.size;
        button(
            ui,
            format!("{} × {} px", size.width(), size.height()),
            AppCommand::CanvasSize,
        );
        if let Some([x, y]) = canvas.hovered_pixel().filter(|_| room > 760.0) {
            ui.label(text(format!("{x}, {y}")));
        }
        let model = link
            .summary()
            .map_or_else(|| name_of(&document.model), |summary| summary.name.clone());
        button(
            ui,
            format!("{}  {model}", icons::PACKAGE),
            AppCommand::ModelWindow,
        );

        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let status = link.status();
            let speed = activity(&link.freshness(), link.frames_per_second());
            button(
                ui,
                format!("{}  {speed}", icons::GAUGE),
                AppCommand::TogglePerformance,
            );
            if room > 620.0 && status.timings.total_ms > 0.0 {
                let timings = &status.timings;
                let stages = format!(
                    "denoise {:.0} · decode {:.0} ms",
                    timings.denoise_ms, timings.decode_ms
                );
                ui.label(text(stages));
            }
            if room > 760.0 {
                let bytes = status.device_memory_bytes + memory.undo_bytes + memory.strip_bytes;
                ui.label(text(megabytes(bytes)))
                    .on_hover_text("Model, undo and history together.");
            }
            if room > 900.0 && !status.device.is_empty() {
                ui.add(Label::new(text(format!("{}  {}", icons::CPU, status.device))).truncate());
            }
        });
    });
}

/// How fast frames come; while none do, why, and how fast they came last.
fn activity(freshness: &Freshness, frames_per_second: Option<f32>) -> String {
    let state = match freshness {
        Freshness::Streaming { .. } | Freshness::Behind => None,
        Freshness::Fresh => Some("settled"),
        Freshness::Paused { .. } => Some("paused"),
        Freshness::Loading { .. } => Some("loading"),
        Freshness::NoModel => Some("no model"),
        Freshness::Rendering => Some("rendering"),
        Freshness::Failed => Some("stopped"),
    };
    match (state, frames_per_second.map(rate)) {
        (None, Some(rate)) => rate,
        (None, None) => "waiting".to_owned(),
        (Some(state), None) => state.to_owned(),
        (Some(state), Some(rate)) => format!("{state} · {rate}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_picture_is_called_settled_and_keeps_its_last_rate() {
        let streaming = Freshness::Streaming { steps_left: Some(2) };
        assert_eq!(activity(&streaming, Some(38.5)), "38.5 fps");
        assert_eq!(activity(&Freshness::Fresh, Some(38.5)), "settled · 38.5 fps");
        assert_eq!(activity(&Freshness::NoModel, None), "no model");
        assert_eq!(activity(&Freshness::Behind, None), "waiting");
    }
}
