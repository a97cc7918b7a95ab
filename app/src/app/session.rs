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
    kept_frames::Entry,
    notifications::Level,
    storage::{
        autosave::{Autosave, AutosaveEvent},
        folders::Folders,
        journal::{SessionFile, SessionState},
        sessions::{self, CutOffSession},
    },
};

/// How long a session that was given back stays on disk, so that the new one has journalled it for certain.
const KEPT_AFTER_RESTORE: Duration = Duration::from_secs(5);

/// The journal of this session, and what is left of earlier ones.
#[derive(Default)]
pub(super) struct SessionKeeper {
    autosave: Option<Autosave>,
    search: Option<Task<Vec<CutOffSession>>>,
    given_back: Vec<(Instant, CutOffSession)>,
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
        match Autosave::start(folders) {
            Ok(autosave) => self.session.autosave = Some(autosave),
            Err(error) => self
                .notifications
                .push(Level::Warning, format!("Autosave is off: {error:#}")),
        }
    }

    fn begin_search(&mut self, folders: Folders) -> Option<Task<Vec<CutOffSession>>> {
        self.begin("Looking for unsaved sessions", move || {
            sessions::find_cut_off(&folders)
        })
    }

    /// Gives the journal the canvas as it is now.
    pub(super) fn note_session(&self) {
        if let Some(autosave) = self.session.autosave.as_ref().filter(|_| self.changes > 0) {
            autosave.note(SessionState {
                document: self.document.clone(),
                file: SessionFile {
                    path: self.canvases.path().map(Path::to_owned),
                    is_saved: !self.is_dirty(),
                },
                pinned_frames: self.kept_frames.pinned().map(Entry::number).collect(),
            });
        }
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
        if let Some(found) = self.session.search.as_ref().and_then(Task::poll) {
            self.session.search = None;
            match found {
                Ok(found) if found.is_empty() => {}
                Ok(found) => self.dialog = Some(Dialog::Recover(RecoverDialog::new(found))),
                Err(error) => self.notifications.push(Level::Warning, format!("{error:#}")),
            }
        }
        let is_due = |given_back: &(Instant, CutOffSession)| {
            given_back.0.elapsed() > KEPT_AFTER_RESTORE && self.kept_frames.has_all_pins_on_disk()
        };
        if let Some(at) = self.session.given_back.iter().position(is_due) {
            let (_, session) = self.session.given_back.remove(at);
            self.discard_session(session);
        }
        if !self.session.given_back.is_empty() {
            ctx.request_repaint_after(KEPT_AFTER_RESTORE);
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
        let title = path
            .as_deref()
            .map_or_else(|| "Restored".to_owned(), super::files::stem);
        self.replace_document(document, &title, path);
        let frames = session.frames();
        // Pins may be of other canvases of that session.
        for pin in &frames.pins {
            self.kept_frames.record_pinned(&pin.document, &pin.picture, None);
        }
        if let Some(last) = &frames.last {
            let canvas = Some(self.canvases.present());
            self.kept_frames.record(&last.document, &last.picture, canvas);
            self.link.show(last.picture.clone());
        }
        // What was cut off had not been saved.
        self.saved = self.changes.wrapping_sub(1);
        self.session.given_back.push((Instant::now(), session));
    }

    /// Removes a session for good.
    pub(super) fn discard_session(&mut self, session: CutOffSession) {
        // It is a courtesy to the disk: what fails is tried again at the next start.
        drop(self.begin("Removing an old session", move || session.discard()));
    }

    /// Ends the session: what the user likes is kept, a saved canvas needs no journal, another is offered back at the next start.
    pub(super) fn end_session(&mut self) {
        // A download goes on at the next start; the program does not wait for it.
        self.cancel_download();
        self.preferences.tools = self.pen;
        if self.kept_preferences.are_changed(&self.preferences) {
            self.write_preferences();
        }
        let is_saved = !self.is_dirty();
        self.end_frames(!is_saved);
        if let Some(autosave) = self.session.autosave.take() {
            if is_saved {
                autosave.end();
            } else {
                drop(autosave);
            }
        }
    }
}
