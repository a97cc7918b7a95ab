//! Nothing painted is lost: the session is journalled while one paints, and offered back after a crash.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use eframe::egui;

use super::App;
use crate::{
    background_tasks::Task,
    dialogs::{Dialog, recover::RecoverDialog},
    document::Document,
    kept_frames::{CanvasNumber, Entry},
    notifications::Level,
    storage::{
        autosave::{Autosave, AutosaveEvent},
        folders::Folders,
        journal::{LeftCanvas, SessionFile, SessionFrames, SessionState},
        sessions::{self, CutOffSession, Found},
    },
};

/// How long a session that was given back stays on disk, so that the new one has journalled it for certain.
const KEPT_AFTER_RESTORE: Duration = Duration::from_secs(5);

/// How long a program that was killed may take to be gone.
const SEARCH_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long the end of the program may be put off for a folder that the disk does not give.
const LONGEST_WAIT_AT_END: Duration = Duration::from_secs(2);

/// The journal of this session, and what is left of earlier ones.
#[derive(Default)]
pub(super) struct SessionKeeper {
    autosave: Option<Autosave>,
    search: Option<Task<Found>>,
    /// When to look again: the system may not have done away yet with a program that was killed.
    search_again: Option<Instant>,
    given_back: Vec<(Instant, CutOffSession)>,
    /// Whether the journal was given anything yet.
    has_begun: bool,
    /// Whether the journal waits for a frame to be on the disk.
    is_behind: bool,
}

impl SessionKeeper {
    /// Where frames of this session belong; `None` while there is no session on disk.
    pub(super) fn frames_folder(&self) -> Option<PathBuf> {
        self.autosave.as_ref()?.frames_folder()
    }
}

impl App {
    /// Starts the journal and looks for sessions that were cut off.
    pub(super) fn start_session(&mut self) {
        let Some(folders) = self.folders.clone() else {
            return;
        };
        self.session.search = self.begin_search(folders.clone());
        self.session.search_again = Some(Instant::now() + SEARCH_AGAIN_AFTER);
        match Autosave::start(folders) {
            Ok(autosave) => self.session.autosave = Some(autosave),
            Err(error) => self
                .notifications
                .push(Level::Warning, format!("Autosave is off: {error:#}")),
        }
    }

    fn begin_search(&mut self, folders: Folders) -> Option<Task<Found>> {
        self.begin("Looking for unsaved sessions", move || {
            sessions::find_cut_off(&folders)
        })
    }

    /// Gives the journal the canvas as it is now. While another canvas that was left unsaved is on its way to the disk,
    /// that one stays in the journal: at any moment one of the two has it.
    pub(super) fn note_session(&mut self) {
        let is_on_its_way = !self.kept_frames.has_all_unsaved_on_disk() && self.frames.can_write();
        self.session.is_behind = is_on_its_way && self.session.has_begun;
        if self.session.is_behind {
            return;
        }
        if let Some(autosave) = self.session.autosave.as_ref().filter(|_| self.changes > 0) {
            autosave.note(SessionState {
                document: self.document.clone(),
                file: SessionFile {
                    title: self.canvases.title().to_owned(),
                    path: self.canvases.path().map(Path::to_owned),
                    is_saved: !self.has_unsaved(),
                },
                frames: SessionFrames {
                    pinned: self.kept_frames.pinned().map(Entry::number).collect(),
                    own_pinned: self.pinned_of(self.canvases.present()),
                    left: self.kept_frames.unsaved().map(|entry| self.left(entry)).collect(),
                    since: self.first_frame,
                },
            });
            self.session.has_begun = true;
        }
    }

    fn left(&self, entry: &Entry) -> LeftCanvas {
        let canvas = entry.canvas().unwrap_or_default();
        LeftCanvas {
            frame: entry.number(),
            title: self.canvases.title_of(canvas).to_owned(),
            path: self.canvases.path_of(canvas).map(Path::to_owned),
            pinned: self.pinned_of(canvas),
        }
    }

    fn pinned_of(&self, canvas: CanvasNumber) -> Vec<u64> {
        let pinned = self.kept_frames.pinned();
        pinned
            .filter(|entry| entry.canvas() == Some(canvas))
            .map(Entry::number)
            .collect()
    }

    /// Takes what the journal and the search report.
    pub(super) fn poll_session(&mut self, ctx: &egui::Context) {
        let events: Vec<_> = self.session.autosave.iter().flat_map(Autosave::events).collect();
        for event in events {
            match event {
                AutosaveEvent::Failing { reason } => {
                    self.notifications.push(
                        Level::Warning,
                        format!("Your changes are not being kept: {reason}"),
                    );
                }
                AutosaveEvent::WorksAgain => self
                    .notifications
                    .push(Level::Info, "Your changes are kept again."),
            }
        }
        if self.session.is_behind {
            self.note_session();
        }
        // What was found is told in a window, which takes no other one's place and no stroke out of the hand.
        let may_tell = self.dialog.is_none() && !self.canvas.is_painting();
        let search = self.session.search.as_ref().filter(|_| may_tell);
        if let Some(found) = search.and_then(Task::poll) {
            self.session.search = None;
            match found {
                Ok(found) if !found.cut_off.is_empty() => {
                    self.session.search_again = None;
                    self.dialog = Some(Dialog::Recover(RecoverDialog::new(found.cut_off)));
                }
                // This session's own folder is in use as well, once something is painted; it does no harm to look.
                Ok(found) if found.in_use > 0 => {}
                Ok(_) => self.session.search_again = None,
                Err(error) => {
                    self.session.search_again = None;
                    self.notifications.push(Level::Warning, format!("{error:#}"));
                }
            }
        }
        self.search_again(ctx);
        let is_due = |given_back: &(Instant, CutOffSession)| {
            let kept = &self.kept_frames;
            let is_kept = kept.has_all_pins_on_disk() && kept.has_all_unsaved_on_disk();
            given_back.0.elapsed() > KEPT_AFTER_RESTORE && is_kept
        };
        if let Some(at) = self.session.given_back.iter().position(is_due) {
            let (_, session) = self.session.given_back.remove(at);
            self.discard_session(session);
        }
        if !self.session.given_back.is_empty() {
            ctx.request_repaint_after(KEPT_AFTER_RESTORE);
        }
    }

    /// Looks once more for sessions that were cut off, where some could not be told from open ones.
    fn search_again(&mut self, ctx: &egui::Context) {
        let Some(when) = self
            .session
            .search_again
            .filter(|_| self.session.search.is_none())
        else {
            return;
        };
        let now = Instant::now();
        if now < when {
            ctx.request_repaint_after(when - now);
        } else if self.dialog.is_none() && !self.canvas.is_painting() {
            self.session.search_again = None;
            if let Some(folders) = self.folders.clone() {
                self.session.search = self.begin_search(folders);
            }
        } else {
            ctx.request_repaint_after(SEARCH_AGAIN_AFTER);
        }
    }

    /// Brings a session back.
    pub(super) fn restore_session(&mut self, session: CutOffSession) {
        let state = &session.recovered().state;
        // The frame's canvas, where it is the same, so that the strip knows that it is shown.
        let last = session.frames().last.as_ref().map(|last| &last.document);
        let newest = last
            .filter(|last| **last == state.document)
            .unwrap_or(&state.document);
        let document = Document {
            model: self.document.model.clone(),
            ..newest.clone()
        };
        let path = state.file.path.clone();
        let title = match (state.file.title.as_str(), path.as_deref()) {
            ("", None) => "Restored".to_owned(),
            ("", Some(path)) => super::files::stem(path),
            (title, _) => title.to_owned(),
        };
        self.replace_document(document, &title, path);
        let frames = session.frames();
        let left: Vec<CanvasNumber> = frames
            .left
            .iter()
            .map(|(left, _)| self.canvases.add_unsaved(&left.title, left.path.clone()))
            .collect();
        for (number, pin) in &frames.pins {
            let is_of_left = |(left, _): &(LeftCanvas, _)| left.pinned.contains(number);
            let canvas = if state.frames.own_pinned.contains(number) {
                Some(self.canvases.present())
            } else {
                // Pins of canvases that were saved belong to none of this session.
                let place = frames.left.iter().position(is_of_left);
                place.map(|place| left[place])
            };
            self.kept_frames.keep(&pin.document, &pin.picture, canvas);
        }
        if let Some(last) = &frames.last {
            let canvas = Some(self.canvases.present());
            self.kept_frames.record(&last.document, &last.picture, canvas);
            self.link.show(last.picture.clone());
        }
        for ((_, frame), canvas) in frames.left.iter().zip(left) {
            self.kept_frames
                .keep_unsaved(&frame.document, &frame.picture, canvas);
        }
        // What was cut off had not been saved.
        self.mark_unsaved();
        self.session.given_back.push((Instant::now(), session));
    }

    /// Removes a session for good.
    pub(super) fn discard_session(&mut self, session: CutOffSession) {
        // It is a courtesy to the disk: what fails is tried again at the next start.
        drop(self.begin("Removing an old session", move || session.discard()));
    }

    /// Ends the session: what the user likes is kept; one whose canvases are saved needs no journal, another is offered back at
    /// the next start.
    pub(super) fn end_session(&mut self) {
        // A download goes on at the next start, and what was to be opened is where it was; the program waits for neither.
        self.end_downloads();
        self.files.stop_reading();
        self.finish_mask_work();
        self.preferences.tools = self.pen;
        if self.kept_preferences.are_changed(&self.preferences) {
            self.write_preferences();
        }
        let is_saved = !self.has_unsaved();
        if !is_saved {
            self.wait_for_folder();
        }
        self.end_frames(!is_saved);
        if self.session.is_behind {
            // The frames that it waited for are written now, as far as they can be.
            self.note_session();
        }
        if let Some(autosave) = self.session.autosave.take() {
            if is_saved {
                autosave.end();
            } else {
                drop(autosave);
            }
        }
    }

    /// A session that has just begun has no folder yet, which canvases that were left unsaved need.
    fn wait_for_folder(&self) {
        let asked = Instant::now();
        while self.session.has_begun
            && self.session.frames_folder().is_none()
            && !self.kept_frames.has_all_unsaved_on_disk()
            && asked.elapsed() < LONGEST_WAIT_AT_END
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::CanvasSize;

    use super::*;
    use crate::app::AppConfig;

    fn app_below(root: &Path, ctx: &egui::Context) -> App {
        let config = AppConfig {
            folders: Some(Folders::below(root)),
            ..AppConfig::default()
        };
        App::new(ctx, None, config)
    }

    #[test]
    fn a_session_is_offered_once_no_other_window_is_open() {
        let root = tempfile::tempdir().unwrap();
        let autosave = Autosave::start(Folders::below(root.path())).unwrap();
        autosave.note(SessionState {
            document: Document::new(CanvasSize::new(64, 64).unwrap()),
            file: SessionFile::default(),
            frames: SessionFrames::default(),
        });
        drop(autosave);
        let ctx = egui::Context::default();
        let mut app = app_below(root.path(), &ctx);
        app.dialog = Some(Dialog::Help);
        // The thread has made the search when it has made this.
        let after = app.begin("After the search", || Ok(())).unwrap();
        after.wait().unwrap();
        for _ in 0..3 {
            app.tick(&ctx);
            assert!(matches!(app.dialog, Some(Dialog::Help)));
        }
        app.dialog = None;
        app.tick(&ctx);
        assert!(matches!(app.dialog, Some(Dialog::Recover(_))));
    }

    #[test]
    fn the_end_of_the_program_waits_for_no_file_that_is_being_opened() {
        let root = tempfile::tempdir().unwrap();
        let ctx = egui::Context::default();
        let mut app = app_below(root.path(), &ctx);
        // As a folder on a network that never answers.
        let (answer, asked) = crossbeam_channel::bounded::<()>(1);
        app.begin_reading("Opening", move || Ok(asked.recv()?), |_, ()| ());
        app.preferences.has_painted = true;
        app.end_session();
        drop(app);
        drop(answer);
        let preferences = Folders::below(root.path()).config.join("interface.toml");
        assert!(preferences.exists(), "what is written is waited for");
    }
}
