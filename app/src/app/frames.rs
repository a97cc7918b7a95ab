//! Frames of the history strip go to the disk and come back, on the thread "frames".
//!
//! They lie in the session's folder and go with it. Pinned frames, canvases that are left unsaved and, every few seconds,
//! the newest frame are written at once, so that a session that is cut off has them; others when memory has no more room
//! for them.

use std::time::{Duration, Instant};

use eframe::egui;

use super::{App, canvases::ANOTHER_CANVAS};
use crate::{
    background_tasks::{Task, TaskThread},
    document::{Document, Edit},
    kept_frames::{CanvasNumber, Disk, Entry},
    notifications::Level,
    storage::frames::{self, KeptFrame},
};

/// The shortest time between two writes of the newest frame; what a crash can cost of it.
const NEWEST_INTERVAL: Duration = Duration::from_secs(5);
/// How long to do without the disk after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The thread and what it does.
pub(super) struct FrameKeeper {
    thread: Option<TaskThread>,
    writing: Option<(u64, Task<u64>)>,
    reading: Option<(u64, Task<KeptFrame>)>,
    newest_written: Option<Instant>,
    failed: Option<Instant>,
}

impl FrameKeeper {
    /// Starts the thread.
    pub(super) fn start(ctx: &egui::Context) -> Self {
        let wake = ctx.clone();
        let thread = TaskThread::start("frames", move || wake.request_repaint())
            .inspect_err(|error| tracing::warn!("old frames stay in memory only: {error:#}"));
        Self {
            thread: thread.ok(),
            writing: None,
            reading: None,
            newest_written: None,
            failed: None,
        }
    }

    /// Whether frames can go to the disk, or could if there were a session there.
    pub(super) fn can_write(&self) -> bool {
        let is_failing = |failed: &Instant| failed.elapsed() < RETRY_INTERVAL;
        self.thread.is_some() && self.failed.as_ref().is_none_or(|failed| !is_failing(failed))
    }
}

impl App {
    /// Takes what was read and written, keeps within the budgets, and has the next frame written.
    pub(super) fn poll_frames(&mut self, ctx: &egui::Context) {
        self.take_written_frame();
        self.take_read_frame();
        let folder = self.session.frames_folder();
        let disk = if folder.is_some() && self.frames.can_write() {
            Disk::Usable
        } else {
            Disk::Unusable
        };
        let removed = self.kept_frames.shrink(disk);
        let (Some(folder), Some(thread)) = (folder, &self.frames.thread) else {
            return;
        };
        // On a full disk, too: it is then that the room is wanted.
        for number in removed {
            let path = frames::frame_path(&folder, number);
            // A file that stays is removed with the session.
            drop(thread.run("Removing an old frame", move |_| Ok(std::fs::remove_file(path)?)));
        }
        if self.frames.writing.is_some() || disk == Disk::Unusable {
            return;
        }
        let since = self.frames.newest_written.map(|written| written.elapsed());
        let pause = since.map_or(Duration::ZERO, |since| NEWEST_INTERVAL.saturating_sub(since));
        let next = self.kept_frames.next_to_write(pause.is_zero());
        if let Some((number, frame)) = next {
            if Some(number)
                == self
                    .kept_frames
                    .newest_first()
                    .next()
                    .map(|newest| newest.number())
            {
                self.frames.newest_written = Some(Instant::now());
            }
            let task = thread.run("Keeping a frame", move |_| {
                frames::write_frame(&folder, number, &frame)
            });
            self.frames.writing = Some((number, task));
        } else if !self.kept_frames.has_newest_on_disk() {
            ctx.request_repaint_after(pause);
        }
    }

    fn take_written_frame(&mut self) {
        let Some((number, result)) = (self.frames.writing.as_ref())
            .and_then(|(number, task)| task.poll().map(|result| (*number, result)))
        else {
            return;
        };
        self.frames.writing = None;
        match result {
            Ok(bytes) => {
                self.kept_frames.was_written(number, bytes);
                self.frames.failed = None;
            }
            Err(error) => {
                tracing::warn!("old frames stay in memory for now: {error:#}");
                self.frames.failed = Some(Instant::now());
            }
        }
    }

    fn take_read_frame(&mut self) {
        let Some((number, result)) = (self.frames.reading.as_ref())
            .and_then(|(number, task)| task.poll().map(|result| (*number, result)))
        else {
            return;
        };
        self.frames.reading = None;
        match result {
            Ok(frame) => {
                self.kept_frames.was_read(number, frame.clone());
                let canvas = self.kept_frames.entry(number).and_then(Entry::canvas);
                self.once_masks_are_made(move |app| app.bring_back(&frame, canvas));
            }
            Err(error) => {
                self.kept_frames.was_lost(number);
                self.notifications.push(Level::Warning, format!("{error:#}"));
            }
        }
    }

    /// Brings a kept frame back: at once, or as soon as it is read.
    pub(super) fn restore_frame(&mut self, number: u64) {
        // A newer wish replaces one that is on its way.
        self.frames.reading = None;
        let Some(entry) = self.kept_frames.entry(number) else {
            return;
        };
        let canvas = entry.canvas();
        if let Some(frame) = entry.frame().cloned() {
            self.once_masks_are_made(move |app| app.bring_back(&frame, canvas));
        } else if let (Some(folder), Some(thread)) = (self.session.frames_folder(), &self.frames.thread) {
            let path = frames::frame_path(&folder, number);
            let task = thread.run("Bringing back a frame", move |_| frames::read_frame(&path));
            self.frames.reading = Some((number, task));
        }
    }

    fn bring_back(&mut self, frame: &KeptFrame, canvas: Option<CanvasNumber>) {
        // The model in use stays: bringing back a picture should not load gigabytes.
        let document = Document {
            model: self.document.model.clone(),
            ..frame.document.clone()
        };
        let edit = Edit::Replace(Box::new(document));
        if canvas == Some(self.canvases.present()) {
            // A stroke would lay its tiles over the mask that it began on.
            self.canvas.abandon_stroke();
            self.canvas.cancel_shape();
            self.apply(edit, "Bring back a frame", None);
            self.link.show(frame.picture.clone());
            return;
        }
        self.leave_canvas();
        self.apply(edit, ANOTHER_CANVAS, None);
        match canvas {
            Some(canvas) => self.canvases.go_to(canvas),
            None => self.canvases.begin("Untitled", None),
        }
        self.arrive_at_canvas(Some(frame.picture.clone()));
        self.canvases.take_unsaved();
        self.mark_unsaved();
        // An older frame does not stand for what the canvas was left as.
        let present = self.canvases.present();
        let is_as_left = |entry: &Entry| entry.canvas() == Some(present) && entry.is_of(&self.document);
        if self.kept_frames.unsaved().any(is_as_left) {
            self.kept_frames.release_unsaved(present);
        }
    }

    /// Ends the thread; for a session that will be offered back, with what that needs.
    pub(super) fn end_frames(&mut self, is_offered_back: bool) {
        let Some(thread) = self.frames.thread.take() else {
            return;
        };
        if let Some(folder) = self.session.frames_folder().filter(|_| is_offered_back) {
            let newest = self.kept_frames.newest_first().take(1);
            let unwritten = self
                .kept_frames
                .held()
                .chain(newest)
                .filter(|entry| !entry.is_written());
            for (number, frame) in
                unwritten.filter_map(|entry| Some((entry.number(), entry.frame().cloned()?)))
            {
                let folder = folder.clone();
                drop(thread.run("Keeping a frame", move |_| {
                    frames::write_frame(&folder, number, &frame)
                }));
            }
        }
        // Waits for what was begun, so that nothing is written into a folder that is being removed.
        drop(thread);
    }
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{CanvasSize, Picture, Seed};

    use super::*;
    use crate::{app::AppConfig, storage::folders::Folders};

    #[test]
    fn a_frame_that_is_dropped_frees_its_room_on_a_full_disk() {
        let root = tempfile::tempdir().unwrap();
        let ctx = egui::Context::default();
        let config = AppConfig {
            folders: Some(Folders::below(root.path())),
            ..AppConfig::default()
        };
        let mut app = App::new(&ctx, None, config);
        app.apply(Edit::Seed(Seed(1)), "Seed", None);
        app.tick_until(&ctx, "a folder", |app| app.session.frames_folder().is_some());
        let size = CanvasSize::new(8, 8).unwrap();
        let record = |app: &mut App, seed: u64| {
            let document = Document {
                seed: Seed(seed),
                ..Document::new(size)
            };
            let shade = (seed as u32).to_le_bytes();
            let picture = Picture::solid(size, shade);
            app.kept_frames.record(&document, &picture, None);
        };
        record(&mut app, 1000);
        let first = app.kept_frames.newest_first().next().unwrap().number();
        let path = frames::frame_path(&app.session.frames_folder().unwrap(), first);
        app.tick_until(&ctx, "its file", |app| {
            app.kept_frames.entry(first).unwrap().is_written()
        });
        assert!(path.exists());
        app.frames.failed = Some(Instant::now());
        (1001..1300).for_each(|seed| record(&mut app, seed));
        app.tick_until(&ctx, "the file to go", |_| !path.exists());
        assert!(app.kept_frames.entry(first).is_none());
    }
}
