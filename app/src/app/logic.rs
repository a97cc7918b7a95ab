//! Each tick, also when the window is hidden: what has come in, what was asked for, what goes to the engine.

use std::{path::PathBuf, time::Instant};

use eframe::egui::{self, Key, Modifiers};
use wordbrush_engine::{
    Error,
    api::{Event, FrameKind, NoticeLevel, Phase},
};

use super::App;
use crate::{command::AppCommand, engine_link::Polled, notifications::Level};

impl App {
    /// Takes what the engine and the file thread have made, runs keys and wishes, hands changes over.
    pub fn tick(&mut self, ctx: &egui::Context) {
        let polled = self.link.poll();
        self.take_engine(ctx, polled);
        self.poll_files(ctx);
        self.poll_mask_work();
        self.run_afterwards();
        self.poll_session(ctx);
        self.poll_frames(ctx);
        self.poll_downloads(ctx);
        self.take_dropped_files(ctx);
        self.follow_keys_file(ctx);
        for command in self.pressed_commands(ctx) {
            self.run_command(ctx, command);
        }
        if !self.escape_is_taken && ctx.input(|input| input.key_pressed(Key::Escape)) {
            self.notifications.close_newest();
        }
        self.run_wishes(ctx);
        self.hand_over();
        self.apply_preferences(ctx);
        self.keep_preferences(ctx);
        self.write_status(ctx);
    }

    /// Carries out what panels asked for.
    pub(super) fn run_wishes(&mut self, ctx: &egui::Context) {
        for intent in self.outbox.take() {
            self.run_intent(ctx, intent);
        }
        // One of them may have taken back what others waited for.
        self.run_afterwards();
    }

    /// Tells the engine what the document has become.
    pub(super) fn hand_over(&mut self) {
        if self.handed_over != Some(self.changes) {
            self.link.hand_over(&self.document);
            self.note_session();
            self.handed_over = Some(self.changes);
        }
    }

    fn pressed_commands(&self, ctx: &egui::Context) -> Vec<AppCommand> {
        if self.dialog.is_some() {
            // A window on top has the keyboard.
            return Vec::new();
        }
        let mut commands = self.keys.map.take_pressed(ctx);
        // Menus and other keys say which they mean.
        let is_turned = self.canvas.view().rotation() != 0.0;
        if is_turned && self.keys.map.has_5_for_both() {
            for command in &mut commands {
                if *command == AppCommand::SelectRegion(5) {
                    *command = AppCommand::ResetRotation;
                }
            }
        }
        commands
    }

    fn take_engine(&mut self, ctx: &egui::Context, polled: Polled) {
        for event in polled.events {
            self.take_event(event);
        }
        if polled.has_stopped {
            let restarted = self.link.restart();
            let text = match restarted {
                Ok(()) => "The engine stopped and was started again; nothing you painted is lost.".to_owned(),
                Err(error) => format!("The engine stopped and does not start again: {error}"),
            };
            self.notifications.push(Level::Error, text);
        }
        if polled.has_frame {
            self.record_frame();
        }
        if self.link.status().phase == Phase::Streaming {
            // The figures in the bars follow while frames come.
            ctx.request_repaint_after(std::time::Duration::from_millis(250));
        }
    }

    /// Keeps the frame on screen in the history strip, if it is one to be kept.
    pub(super) fn record_frame(&mut self) {
        let Some(shown) = self.link.frame() else { return };
        // A pen that rests has not ended its stroke yet.
        let is_finished = shown.frame.kind == FrameKind::Complete
            && shown.frame.steps_until_settled == 0
            && !self.canvas.has_stroke();
        if let Some(document) = shown.document.as_ref().filter(|_| is_finished) {
            // The link takes no frames of a canvas that was left.
            let canvas = Some(self.canvases.present());
            self.kept_frames.record(document, &shown.frame.picture, canvas);
        }
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::ModelLoaded(summary) => {
                self.follow_model();
                let text = format!("{} is ready on {}.", summary.name, summary.device);
                self.notifications.push(Level::Success, text);
            }
            Event::ModelFailed(error) if !matches!(error, Error::Cancelled) => {
                let text = format!("The model cannot be used: {error}");
                self.notifications
                    .push_with_action(Level::Error, text, Some(AppCommand::ModelWindow));
            }
            Event::Notice(notice) => {
                let level = match notice.level {
                    NoticeLevel::Info => Level::Info,
                    NoticeLevel::Warning => Level::Warning,
                };
                self.notifications.push(level, notice.text);
            }
            Event::Failed(error) => {
                let action = match error {
                    Error::OutOfMemory { .. } => AppCommand::CanvasSize,
                    _ => AppCommand::ModelWindow,
                };
                self.notifications
                    .push_with_action(Level::Error, error.to_string(), Some(action));
            }
            Event::Restarted { reason } => {
                let text = format!("The engine had to start again ({reason}); nothing you painted is lost.");
                self.notifications.push(Level::Warning, text);
            }
            // Whoever gave a model up needs no telling; renders beside the stream are asked for and followed elsewhere.
            Event::ModelFailed(_)
            | Event::RenderProgress { .. }
            | Event::RenderDone { .. }
            | Event::RenderFailed { .. } => {}
        }
    }

    fn take_dropped_files(&mut self, ctx: &egui::Context) {
        let dropped: Vec<PathBuf> = ctx.input(|input| {
            input
                .raw
                .dropped_files
                .iter()
                .map(|file| file.path().to_owned())
                .collect()
        });
        if let Some(path) = dropped.into_iter().next() {
            let as_background = ctx.input(|input| input.modifiers.matches_logically(Modifiers::ALT));
            self.drop_path(&path, as_background);
        }
    }

    /// Writes preferences that changed and rest, but not in the middle of a drag.
    fn keep_preferences(&mut self, ctx: &egui::Context) {
        const WORK: &str = "Keeping preferences";
        match self.kept_preferences.poll_write(Instant::now()) {
            Some(Ok(())) => self.notifications.take_succeeded(WORK),
            Some(Err(error)) => self.notifications.push_failed(WORK, format!("{error:#}")),
            None => {}
        }
        self.preferences.tools = self.pen;
        let due = self.kept_preferences.due_in(&self.preferences, Instant::now());
        let is_dragging =
            ctx.input(|input| input.pointer.any_down()) || self.preferences.pending_scale.is_some();
        match due {
            Some(wait) if !wait.is_zero() => ctx.request_repaint_after(wait),
            // What is being written wakes the window when it is done.
            Some(_) if !is_dragging && !self.kept_preferences.is_writing() => self.write_preferences(),
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
impl App {
    /// Ticks until something is so.
    pub(super) fn tick_until(&mut self, ctx: &egui::Context, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed().as_secs() < 60, "waited in vain: {what}");
            std::thread::yield_now();
            self.tick(ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::AppConfig;

    #[test]
    fn a_load_that_was_given_up_is_not_told_as_an_error() {
        let mut app = App::new(&egui::Context::default(), None, AppConfig::default());
        let before = app.notifications.texts().count();
        app.take_event(Event::ModelFailed(Error::Cancelled));
        assert_eq!(app.notifications.texts().count(), before);
    }
}
