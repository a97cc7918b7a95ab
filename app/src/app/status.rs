//! A line of state each second for tests of the real window: what is painted, what is shown, what was said.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, bounded};
use eframe::egui;
use serde::Serialize;

use super::App;
use crate::engine_link::Freshness;

/// Time between lines.
const EVERY: Duration = Duration::from_millis(500);

/// The thread that writes the lines, and when the last one went.
pub(super) struct StatusFile {
    lines: Sender<String>,
    last: Option<Instant>,
}

#[derive(Serialize)]
struct State<'a> {
    title: &'a str,
    regions: Vec<RegionState<'a>>,
    undo_steps: usize,
    revision: u64,
    frame_revision: Option<u64>,
    frames: u64,
    kept_frames: usize,
    model: Option<&'a str>,
    canvas_size: [u32; 2],
    /// Where the canvas is in the window: left, top, right, bottom in window pixels.
    canvas_on_screen: [f32; 4],
    messages: Vec<&'a str>,
    is_busy_with_files: bool,
    /// Whether the picture shows every edit and is finished.
    is_settled: bool,
}

#[derive(Serialize)]
struct RegionState<'a> {
    name: &'a str,
    prompt: &'a str,
    /// Sum of the mask's coverage in fully covered pixels.
    painted_pixels: u64,
}

impl StatusFile {
    /// Starts the thread.
    pub(super) fn start(path: PathBuf) -> std::io::Result<Self> {
        let (lines, received) = bounded::<String>(4);
        std::thread::Builder::new()
            .name("status-file".to_owned())
            .spawn(move || {
                for line in received {
                    // Written beside and renamed, so that a reader never sees half a line.
                    let beside = path.with_extension("part");
                    let written =
                        std::fs::write(&beside, line).and_then(|()| std::fs::rename(&beside, &path));
                    if let Err(error) = written {
                        tracing::warn!("the status file cannot be written: {error}");
                    }
                }
            })?;
        Ok(Self { lines, last: None })
    }
}

impl App {
    pub(super) fn write_status(&mut self, ctx: &egui::Context) {
        let Some(file) = &self.status_file else { return };
        ctx.request_repaint_after(EVERY);
        if file.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        let frame = self.link.frame().map(|shown| &shown.frame);
        let scale = ctx.pixels_per_point();
        let rect = self.canvas_rect(scale);
        let state = State {
            title: self.canvases.title(),
            regions: self
                .document
                .regions
                .iter()
                .map(|region| RegionState {
                    name: &region.name,
                    prompt: &region.prompt,
                    painted_pixels: region
                        .mask
                        .to_coverage()
                        .iter()
                        .map(|value| u64::from(*value))
                        .sum::<u64>()
                        / 255,
                })
                .collect(),
            undo_steps: self.history.depth().0,
            revision: self.link.revision().0,
            frame_revision: frame.map(|frame| frame.revision.0),
            frames: frame.map_or(0, |frame| frame.sequence),
            kept_frames: self.kept_frames.len(),
            model: self.link.summary().map(|summary| summary.name.as_str()),
            canvas_size: [self.document.size.width(), self.document.size.height()],
            canvas_on_screen: [rect.min.x, rect.min.y, rect.max.x, rect.max.y].map(|value| value * scale),
            messages: self.notifications.texts().collect(),
            is_busy_with_files: self.files.is_busy(),
            is_settled: self.mask_work.is_idle() && self.link.freshness() == Freshness::Fresh,
        };
        match serde_json::to_string(&state) {
            // A full queue means a slow disk; the next line will do.
            Ok(line) => drop(file.lines.try_send(line)),
            Err(error) => tracing::warn!("the state cannot be written: {error}"),
        }
        if let Some(file) = &mut self.status_file {
            file.last = Some(Instant::now());
        }
    }
}
