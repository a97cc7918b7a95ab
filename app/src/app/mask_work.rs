//! Changes of whole masks and of the canvas' size, made on a thread of their own: the window goes on however large the
//! canvas is.
//!
//! A change is asked for, made on a snapshot of its mask, and then becomes one step of the history. While a stroke is
//! being painted, which lays its tiles over the mask that it began on, changes wait. The ink of a stroke that was begun
//! after a change was asked for is none of what it changes: it is laid over the changed mask. If the mask is another one
//! for other reasons, as after undo, the change is made again. If the region or the whole canvas has gone, so does the
//! change. Changes of masks keep their order, and another canvas size comes after them.
//!
//! Whoever saves, or leaves the canvas, waits for what is being made ([`App::once_masks_are_made`]): it was asked for
//! before, and is as good as painted.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use eframe::egui;
use wordbrush_engine::api::{CanvasSize, Mask, RegionId};

use super::{App, files::Then};
use crate::{
    background_tasks::{TaskThread, WantedTask},
    document::{Document, Edit, EntryNumber, Gesture, MaskTiles, RegionLayer, ResizeMode, ResizedCanvas},
    notifications::Level,
    paint::{MaskChange, StrokeInk},
};

/// How long the end of the program may be put off for what is still being made.
const LONGEST_WAIT_AT_END: Duration = Duration::from_secs(5);

/// What was asked for and has not become part of the document yet, oldest first; the first one is being made.
pub(super) struct MaskWork {
    thread: anyhow::Result<TaskThread>,
    waiting: VecDeque<Waiting>,
    resize: Option<Resize>,
    /// What waits until nothing is being made, oldest first.
    afterwards: VecDeque<Then>,
}

/// Another canvas size that was asked for.
struct Resize {
    size: CanvasSize,
    mode: ResizeMode,
    /// As of [`Waiting`].
    newest: Option<EntryNumber>,
    /// The document that it is made of, and what the thread makes of it.
    task: Option<(Document, WantedTask<ResizedCanvas>)>,
}

struct Waiting {
    region: RegionId,
    /// The canvas that the change is meant for; its points are pixels of that.
    canvas: CanvasSize,
    change: Arc<MaskChange>,
    label: &'static str,
    /// The newest entry of the history when it was asked for: whatever stands above that is newer than it.
    newest: Option<EntryNumber>,
    /// The stroke on its mask that was being painted then, whose ink it changes, too.
    stroke: Option<Gesture>,
    /// The mask that it is to be made of; not known while that is being painted on, or made by a change before.
    base: Option<Mask>,
    /// Strokes that were begun after it was asked for, each with the mask as it was then left.
    later: Vec<(Arc<StrokeInk>, Mask)>,
    task: Option<WantedTask<ChangedMask>>,
}

/// What the thread makes of a mask: the changed one, and what leads there.
struct ChangedMask {
    mask: Mask,
    tiles: MaskTiles,
}

impl Waiting {
    /// How many of the later strokes the region's mask holds, if it is the one to be changed with nothing but those.
    fn strokes_in(&self, mask: &Mask) -> Option<usize> {
        let is_after = |count: &usize| match count.checked_sub(1) {
            None => self.base.as_ref() == Some(mask),
            Some(last) => self.later[last].1 == *mask,
        };
        (0..=self.later.len()).rev().find(is_after)
    }

    /// Begins anew with a mask as it is now.
    fn restart(&mut self, base: Option<Mask>) {
        self.base = base;
        self.later.clear();
        self.task = None;
    }
}

impl MaskWork {
    /// Starts the thread "masks".
    pub(super) fn start(ctx: &egui::Context) -> Self {
        let wake = ctx.clone();
        Self {
            thread: TaskThread::start("masks", move || wake.request_repaint()),
            waiting: VecDeque::new(),
            resize: None,
            afterwards: VecDeque::new(),
        }
    }

    /// Whether nothing is being made.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.resize.is_none()
    }

    /// Gives up the newest change if nothing that stands since it was asked for is newer; answers whether that was so.
    /// `newest` is the newest entry of the history.
    pub(super) fn take_back(&mut self, newest: Option<EntryNumber>) -> bool {
        if self.resize.take_if(|resize| resize.newest == newest).is_some() {
            return true;
        }
        let is_newest = self.waiting.back().is_some_and(|last| last.newest == newest);
        if is_newest {
            self.waiting.pop_back();
        }
        is_newest
    }

    /// Lets the thread go: what it has not made by the end of the program nobody waits for.
    fn leave_thread(&mut self) {
        if let Ok(thread) = &mut self.thread {
            thread.leave();
        }
    }

    /// Gives up everything that was to be made.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.resize = None;
    }
}

impl App {
    /// Changes a region's mask as soon as that is made.
    pub(super) fn begin_mask_change(&mut self, region: RegionId, change: MaskChange, label: &'static str) {
        let is_first = self
            .mask_work
            .waiting
            .iter()
            .all(|before| before.region != region);
        let stroke = self.canvas.stroke().filter(|(painted, _)| *painted == region);
        let mask = self.document.region(region).map(|region| region.mask.clone());
        self.mask_work.waiting.push_back(Waiting {
            region,
            canvas: self.document.size,
            change: Arc::new(change),
            label,
            newest: self.history.newest(),
            stroke: stroke.map(|(_, gesture)| gesture),
            base: mask.filter(|_| is_first && stroke.is_none()),
            later: Vec::new(),
            task: None,
        });
        self.poll_mask_work();
    }

    /// Gives the canvas another size as soon as masks and background picture are made for it.
    pub(super) fn begin_resize(&mut self, size: CanvasSize, mode: ResizeMode) {
        self.mask_work.resize = Some(Resize {
            size,
            mode,
            newest: self.history.newest(),
            task: None,
        });
        self.poll_mask_work();
    }

    /// Does something as soon as nothing is being made: what is saved or left has every change then.
    pub(super) fn once_masks_are_made(&mut self, then: impl FnOnce(&mut Self) + 'static) {
        if self.mask_work.is_idle() {
            then(self);
        } else {
            self.mask_work.afterwards.push_back(Box::new(then));
        }
    }

    /// Does what has waited, if nothing is being made any more.
    pub(super) fn run_afterwards(&mut self) {
        while self.mask_work.is_idle()
            && let Some(then) = self.mask_work.afterwards.pop_front()
        {
            then(self);
        }
    }

    /// Waits for what is being made, but not for ever, and does what waits for that; for the end of the program.
    pub(super) fn finish_mask_work(&mut self) {
        // Nothing is made while a stroke is under the hand.
        self.canvas.abandon_stroke();
        let asked = Instant::now();
        while !self.mask_work.is_idle() && asked.elapsed() < LONGEST_WAIT_AT_END {
            std::thread::sleep(Duration::from_millis(2));
            self.poll_mask_work();
        }
        if !self.mask_work.is_idle() {
            tracing::warn!("a change of a mask took too long and is lost");
            self.mask_work.clear();
        }
        self.mask_work.leave_thread();
        self.run_afterwards();
        self.hand_over();
    }

    /// Takes note of a stroke that is over and part of the document.
    pub(super) fn note_stroke(&mut self, region: RegionId, gesture: Gesture, ink: &Arc<StrokeInk>) {
        let Some(mask) = self.document.region(region).map(|region| &region.mask) else {
            return;
        };
        let of_region = |waiting: &&mut Waiting| waiting.region == region;
        for (place, waiting) in self.mask_work.waiting.iter_mut().filter(of_region).enumerate() {
            if waiting.stroke == Some(gesture) {
                waiting.stroke = None;
                // Of others it is what the change before them leaves.
                waiting.base = (place == 0).then(|| mask.clone());
            } else {
                waiting.later.push((Arc::clone(ink), mask.clone()));
            }
        }
    }

    /// Takes what is made, and has the next made.
    pub(super) fn poll_mask_work(&mut self) {
        self.poll_mask_changes();
        if self.mask_work.waiting.is_empty() && !self.canvas.has_stroke() {
            self.poll_resize();
        }
    }

    fn poll_resize(&mut self) {
        let Some(resize) = &mut self.mask_work.resize else {
            return;
        };
        let is_current = resize
            .task
            .as_ref()
            .is_some_and(|(made_of, _)| resizes_alike(made_of, &self.document));
        let Some((_, task)) = resize.task.as_ref().filter(|_| is_current) else {
            match &self.mask_work.thread {
                Ok(thread) => {
                    let (size, mode, document) = (resize.size, resize.mode, self.document.clone());
                    let task = thread.run("Canvas size", move |progress| {
                        Ok(ResizedCanvas::new(&document, size, mode, || progress.check())?)
                    });
                    resize.task = Some((self.document.clone(), task.cancelled_on_drop()));
                }
                Err(error) => {
                    let text = format!("The canvas cannot be given another size: {error:#}");
                    self.notifications.push(Level::Error, text);
                    self.mask_work.clear();
                }
            }
            return;
        };
        let Some(result) = task.poll() else { return };
        self.mask_work.resize = None;
        match result {
            Ok(resized) => self.apply(Edit::resize_to(&self.document, resized), "Canvas size", None),
            Err(error) => self
                .notifications
                .push(Level::Error, format!("Canvas size: {error:#}")),
        }
    }

    fn poll_mask_changes(&mut self) {
        while let Some(first) = self.mask_work.waiting.front_mut() {
            let region = self.document.region(first.region);
            let Some(region) = region.filter(|region| region.mask.size() == first.canvas) else {
                self.mask_work.waiting.pop_front();
                continue;
            };
            if self.canvas.has_stroke() {
                return;
            }
            let Some(strokes) = first.strokes_in(&region.mask) else {
                first.restart(Some(region.mask.clone()));
                continue;
            };
            let Some(task) = &first.task else {
                match &self.mask_work.thread {
                    Ok(thread) => first.task = begin(thread, first),
                    Err(error) => {
                        let text = format!("The mask cannot be changed: {error:#}");
                        self.notifications.push(Level::Error, text);
                        self.mask_work.clear();
                    }
                }
                return;
            };
            let Some(result) = task.poll() else { return };
            let Some(done) = self.mask_work.waiting.pop_front() else {
                return;
            };
            match result {
                Ok(changed) => self.take_changed_mask(&done, changed, strokes),
                Err(error) => {
                    self.notifications
                        .push(Level::Error, format!("{}: {error:#}", done.label));
                }
            }
        }
    }

    /// Makes a changed mask part of the document, with the strokes over it that were begun since it was asked for.
    fn take_changed_mask(&mut self, done: &Waiting, changed: ChangedMask, strokes: usize) {
        let mut masks = vec![changed.mask];
        for (ink, _) in &done.later[..strokes] {
            let next = masks.last().map(|mask| ink.over(mask));
            masks.extend(next);
        }
        let tiles = match (self.document.region(done.region), masks.last()) {
            (Some(region), Some(mask)) if strokes > 0 => MaskTiles::between(done.region, &region.mask, mask),
            _ => changed.tiles,
        };
        self.apply(Edit::MaskTiles(tiles), done.label, None);
        // What comes after it will stand above it, and is taken back first.
        let newest = self.history.newest();
        if let Some(resize) = &mut self.mask_work.resize {
            resize.newest = newest;
        }
        for waiting in &mut self.mask_work.waiting {
            waiting.newest = newest;
            if waiting.region != done.region {
                continue;
            }
            // Strokes between the two changes are part of what this one changes.
            let own = waiting.later.len();
            let first = done.later.len().saturating_sub(own);
            if first > strokes || waiting.stroke.is_some() {
                waiting.restart(None);
                continue;
            }
            waiting.base = Some(masks[first].clone());
            waiting.later.truncate(strokes - first);
            for ((_, after), mask) in waiting.later.iter_mut().zip(&masks[first + 1..]) {
                *after = mask.clone();
            }
        }
    }
}

/// Whether another size would make the same masks and background picture of both documents.
fn resizes_alike(before: &Document, now: &Document) -> bool {
    let is_same_picture = match (&before.background.image, &now.background.image) {
        (Some(before), Some(now)) => before.is_same(now),
        (before, now) => before.is_none() && now.is_none(),
    };
    let has_same_mask =
        |(before, now): (&RegionLayer, &RegionLayer)| before.id == now.id && before.mask == now.mask;
    before.size == now.size
        && is_same_picture
        && before.regions.len() == now.regions.len()
        && before.regions.iter().zip(&now.regions).all(has_same_mask)
}

fn begin(thread: &TaskThread, waiting: &Waiting) -> Option<WantedTask<ChangedMask>> {
    let (region, change) = (waiting.region, Arc::clone(&waiting.change));
    let base = waiting.base.clone()?;
    let task = thread.run(waiting.label, move |progress| {
        // The tiles that differ are found here, too: comparing is work in itself on a large canvas.
        let mask = change.apply(&base);
        progress.check()?;
        let tiles = MaskTiles::between(region, &base, &mask);
        Ok(ChangedMask { mask, tiles })
    });
    Some(task.cancelled_on_drop())
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::Seed;

    use super::*;
    use crate::{
        app::AppConfig,
        canvas::CanvasAction,
        command::AppCommand,
        dialogs::{
            export::{ExportFormat, ExportRequest},
            file_path::FilePurpose,
        },
        document::{BackgroundField, RegionField},
        paint::{BrushSettings, Ink, PenSample, Stroke, Symmetry},
        panels::outbox::Intent,
        storage::{pictures, project_file},
    };

    fn app() -> (App, egui::Context, RegionId) {
        let ctx = egui::Context::default();
        let app = App::new(&ctx, None, AppConfig::default());
        let region = app.document.regions.last().expect("the sample has regions").id;
        (app, ctx, region)
    }

    /// Waits until every change is made.
    fn settle(app: &mut App) {
        let begin = Instant::now();
        while !app.mask_work.is_idle() {
            assert!(begin.elapsed() < Duration::from_mins(1), "waited in vain");
            std::thread::yield_now();
            app.poll_mask_work();
        }
    }

    fn coverage(app: &App, region: RegionId, x: u32, y: u32) -> u8 {
        app.document.region(region).unwrap().mask.coverage(x, y)
    }

    /// A dab of 20 pixels around a point, as the canvas hands it over.
    fn paint(app: &mut App, region: RegionId, x: f32, y: f32) {
        let mask = app.document.region(region).unwrap().mask.clone();
        let brush = BrushSettings {
            size_px: 20.0,
            hardness: 1.0,
            flow: 1.0,
            opacity: 1.0,
            ..BrushSettings::default()
        };
        let sample = PenSample {
            position: [x, y],
            pressure: 1.0,
            time_secs: 0.0,
        };
        let gesture = Gesture::fresh();
        let mut stroke = Stroke::begin(region, mask, brush, Ink::Paint, Symmetry::Off, [0.0, 0.0], sample);
        if let Some(change) = stroke.take_changes() {
            app.run_canvas_action(CanvasAction::Edit {
                edit: Edit::MaskTiles(change),
                label: "Brush stroke",
                gesture: Some(gesture),
            });
        }
        app.run_canvas_action(CanvasAction::StrokeEnded {
            region,
            gesture,
            ink: Arc::new(stroke.into_ink()),
        });
        app.run_canvas_action(CanvasAction::EndGesture);
    }

    #[test]
    fn a_change_does_not_swallow_the_ink_that_was_painted_after_it_was_asked_for() {
        let (mut app, ctx, region) = app();
        app.begin_mask_change(region, MaskChange::Cover, "Cover the whole canvas");
        settle(&mut app);
        // One stroke where the mask is covered, so that it changes nothing yet.
        app.begin_mask_change(region, MaskChange::Clear, "Clear mask");
        paint(&mut app, region, 40.0, 40.0);
        paint(&mut app, region, 90.0, 40.0);
        settle(&mut app);
        let at = |app: &App| [40, 90, 140].map(|x| coverage(app, region, x, 40));
        assert_eq!(at(&app), [255, 255, 0]);
        app.run(&ctx, AppCommand::Undo);
        assert_eq!(at(&app), [255, 255, 255], "one step");
    }

    #[test]
    fn changes_in_a_row_change_the_ink_before_them_and_none_after() {
        let (mut app, _, region) = app();
        app.begin_mask_change(region, MaskChange::Clear, "Clear mask");
        paint(&mut app, region, 40.0, 40.0);
        app.begin_mask_change(region, MaskChange::Invert, "Invert mask");
        paint(&mut app, region, 40.0, 40.0);
        paint(&mut app, region, 90.0, 40.0);
        settle(&mut app);
        let at = |app: &App, x, y| coverage(app, region, x, y);
        assert_eq!(at(&app, 140, 40), 255, "cleared, then inverted");
        assert_eq!(at(&app, 40, 40), 255, "painted again");
        app.history.undo(&mut app.document);
        assert_eq!(
            (at(&app, 40, 40), at(&app, 140, 40)),
            (255, 0),
            "cleared with the ink"
        );
    }

    #[test]
    fn a_new_size_keeps_the_softness_that_was_set_while_it_was_made() {
        let (mut app, _, region) = app();
        let old = app.document.size;
        let size = CanvasSize::new(2 * old.width(), 2 * old.height()).unwrap();
        app.begin_resize(size, ResizeMode::Scale);
        let softness = Edit::Region(region, RegionField::MaskStd(3.0));
        app.apply(softness, "Edge softness", None);
        settle(&mut app);
        assert_eq!(app.document.size, size);
        assert_eq!(app.document.region(region).unwrap().mask_std_px, 6.0);
    }

    /// Keeps the thread busy until something comes, or the other end goes.
    fn hold_up(app: &App) -> crossbeam_channel::Sender<()> {
        let (go, may_go) = crossbeam_channel::bounded(1);
        let thread = app.mask_work.thread.as_ref().unwrap();
        drop(thread.run("in front", move |_| Ok(may_go.recv()?)));
        go
    }

    #[test]
    fn a_slow_new_size_is_made_once_however_often_the_softness_changes() {
        let (mut app, _, region) = app();
        let old = app.document.size;
        let size = CanvasSize::new(2 * old.width(), 2 * old.height()).unwrap();
        let go = hold_up(&app);
        app.begin_resize(size, ResizeMode::Scale);
        for step in 0..100 {
            let softness = Edit::Region(region, RegionField::MaskStd(step as f32 / 4.0));
            app.apply(softness, "Edge softness", Some(Gesture(1)));
            app.poll_mask_work();
        }
        drop(go);
        settle(&mut app);
        assert_eq!(app.document.size, size);
        assert_eq!(app.document.region(region).unwrap().mask_std_px, 49.5);
    }

    #[test]
    fn undo_comes_to_a_change_that_waits_when_what_came_after_it_is_undone() {
        let (mut app, ctx, region) = app();
        app.apply(Edit::Seed(Seed(5)), "Seed", None);
        let mask = app.document.region(region).unwrap().mask.clone();
        let go = hold_up(&app);
        app.begin_mask_change(region, MaskChange::Cover, "Cover the whole canvas");
        let name = Edit::Region(region, RegionField::Name("tower".to_owned()));
        app.apply(name, "Rename region", None);
        app.run(&ctx, AppCommand::Undo);
        assert!(!app.mask_work.is_idle(), "the name is newer");
        app.run(&ctx, AppCommand::Undo);
        assert!(app.mask_work.is_idle(), "then comes the change");
        assert_eq!(app.document.seed, Seed(5), "and nothing before it");
        drop(go);
        assert!(app.document.region(region).unwrap().mask == mask);
        app.run(&ctx, AppCommand::Redo);
        assert_eq!(app.document.region(region).unwrap().name, "tower");
    }

    #[test]
    fn masks_are_exported_with_the_change_that_was_still_being_made() {
        let (mut app, ctx, region) = app();
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("masks");
        let size = app.document.size;
        app.begin_mask_change(region, MaskChange::Cover, "Cover the whole canvas");
        app.run_intent(
            &ctx,
            Intent::Export(ExportRequest {
                format: ExportFormat::Masks,
                path: path.clone(),
                quality: 92,
            }),
        );
        let last = path.join("colours.png");
        app.tick_until(&ctx, "the masks", |_| last.exists());
        let coded = pictures::picture_from_bytes(&std::fs::read(&last).unwrap()).unwrap();
        let front = app.document.region(region).unwrap().colour;
        assert_eq!(coded.size(), size);
        assert_eq!(coded.rgba()[..3], front);
    }

    #[test]
    fn what_is_saved_has_the_change_that_was_still_being_made() {
        let (mut app, ctx, region) = app();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wordbrush");
        app.begin_mask_change(region, MaskChange::Clear, "Clear mask");
        assert!(app.is_dirty(), "it is in no file");
        app.use_file(FilePurpose::Save, path.clone());
        app.tick_until(&ctx, "it is saved", |app| !app.is_dirty());
        let saved = project_file::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
        assert!(saved.document.region(region).unwrap().mask.bounds().is_none());
        assert_eq!(app.canvases.path(), Some(&*path));
    }

    #[test]
    fn a_canvas_that_is_left_has_the_change_that_was_still_being_made() {
        let (mut app, ctx, region) = app();
        app.begin_mask_change(region, MaskChange::Clear, "Clear mask");
        app.run_intent(&ctx, Intent::NewCanvas(CanvasSize::new(64, 64).unwrap()));
        assert!(!app.document.regions.is_empty(), "the canvas waits for it");
        let is_new = |app: &App| app.document.regions.is_empty();
        app.tick_until(&ctx, "the new canvas", is_new);
        let is_cleared = |document: &Document| document.region(region).unwrap().mask.bounds().is_none();
        let left = app.kept_frames.unsaved().next().expect("it was left unsaved");
        assert!(is_cleared(&left.frame().unwrap().document));
        app.run(&ctx, AppCommand::Undo);
        assert!(is_cleared(&app.document));

        // The way to another canvas waits, too; a change that is made meanwhile is then the newest.
        app.begin_mask_change(region, MaskChange::Invert, "Invert mask");
        app.run(&ctx, AppCommand::Redo);
        app.tick_until(&ctx, "the change", |app| app.mask_work.is_idle());
        assert!(!app.document.regions.is_empty());
        assert_eq!(coverage(&app, region, 0, 0), 255);
    }

    #[test]
    fn what_waits_for_a_change_goes_on_when_that_is_taken_back() {
        let (mut app, ctx, region) = app();
        app.begin_mask_change(region, MaskChange::Clear, "Clear mask");
        app.run_intent(&ctx, Intent::NewCanvas(CanvasSize::new(64, 64).unwrap()));
        app.outbox.push(Intent::Run(AppCommand::Undo));
        app.run_wishes(&ctx);
        assert!(app.document.regions.is_empty());
    }

    #[test]
    fn the_program_ends_when_the_change_is_made() {
        let (mut app, ctx, region) = app();
        let closes = |mut output: egui::FullOutput| {
            output.textures_delta.clear();
            let commands = output
                .viewport_output
                .into_values()
                .flat_map(|root| root.commands);
            commands
                .into_iter()
                .any(|command| command == egui::ViewportCommand::Close)
        };
        app.begin_mask_change(region, MaskChange::Clear, "Clear mask");
        let output = ctx.run_ui(egui::RawInput::default(), |ui| {
            app.run(ui.ctx(), AppCommand::Quit);
        });
        assert!(!closes(output));
        settle(&mut app);
        let output = ctx.run_ui(egui::RawInput::default(), |ui| app.tick(ui.ctx()));
        assert!(closes(output));
    }

    #[test]
    fn undo_of_a_later_stroke_leaves_a_change_that_waits() {
        let (mut app, ctx, region) = app();
        app.begin_mask_change(region, MaskChange::Cover, "Cover the whole canvas");
        settle(&mut app);
        app.begin_mask_change(region, MaskChange::Shrink(8.0), "Shrink mask");
        let prompt = Edit::Background(BackgroundField::Prompt("night".to_owned()));
        app.apply(prompt, "Prompt", None);
        app.run(&ctx, AppCommand::Undo);
        assert_ne!(
            app.document.background.prompt, "night",
            "the newest is taken back"
        );
        assert!(!app.mask_work.is_idle(), "the change before it is not");
        settle(&mut app);
        app.begin_mask_change(region, MaskChange::Clear, "Clear mask");
        app.run(&ctx, AppCommand::Undo);
        assert!(app.mask_work.is_idle(), "now it is the newest");
    }
}
