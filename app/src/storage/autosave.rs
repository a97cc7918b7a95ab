//! The thread "autosave": keeps the journal of the open session within a fraction of a second of the canvas.
//!
//! Call [`Autosave::note`] after every edit, or in every tick; it never waits, and a state that comes while the disk
//! is busy replaces the one that was waiting. The thread is not "file-io", so that a long export never delays it.
//! When the journal cannot be written (full disk, read-only folder), painting goes on, the user is told once, and the
//! thread tries again until it works.

use std::{
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};

use super::{folders::Folders, journal::SessionState, sessions::Session};

/// The shortest time between two records; with the time of a write it bounds what can be lost.
const RECORD_INTERVAL: Duration = Duration::from_millis(200);
/// How long to wait after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// What the user should be told about autosave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AutosaveEvent {
    /// Edits are not being kept; said once until it works again.
    Failing {
        /// A sentence that says why.
        reason: String,
    },
    /// It works again, and everything is kept.
    WorksAgain,
}

/// A running autosave.
#[derive(Debug)]
pub struct Autosave {
    slot: Arc<Slot>,
    events: Receiver<AutosaveEvent>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Slot {
    mail: Mutex<Mail>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Mail {
    state: Option<SessionState>,
    /// Where the session's frames belong, once it has begun.
    frames_folder: Option<PathBuf>,
    ending: Option<Ending>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The user is done: the journal goes.
    GoodOrder,
    /// The program ends otherwise: the journal stays and is offered back.
    KeepJournal,
}

impl Autosave {
    /// Starts the thread. The session's folder is made with the first state that is noted.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(folders: Folders) -> anyhow::Result<Self> {
        let slot = Arc::new(Slot::default());
        let (sender, events) = bounded(8);
        let thread = std::thread::Builder::new()
            .name("autosave".to_owned())
            .spawn({
                let slot = Arc::clone(&slot);
                move || Keeper::new(folders, sender).run(&slot)
            })
            .context("cannot start the thread \"autosave\"")?;
        Ok(Self {
            slot,
            events,
            thread: Some(thread),
        })
    }

    /// Hands over the canvas as it is now; never waits.
    pub fn note(&self, state: SessionState) {
        let replaced = self.slot.mail.lock().state.replace(state);
        self.slot.changed.notify_one();
        // Freed outside the lock.
        drop(replaced);
    }

    /// Where frames of this session belong; `None` until its first state is on disk.
    pub fn frames_folder(&self) -> Option<PathBuf> {
        self.slot.mail.lock().frames_folder.clone()
    }

    /// What the user should be told.
    pub fn events(&self) -> impl Iterator<Item = AutosaveEvent> + '_ {
        self.events.try_iter()
    }

    /// Ends the session in good order: the canvas is saved, or the user does not want it. The journal is removed.
    pub fn end(mut self) {
        self.finish(Ending::GoodOrder);
    }

    fn finish(&mut self, ending: Ending) {
        self.slot.mail.lock().ending = Some(ending);
        self.slot.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread \"autosave\" ended unexpectedly");
        }
    }
}

impl Drop for Autosave {
    /// Writes what waits, and leaves the journal to be offered back.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.finish(Ending::KeepJournal);
        }
    }
}

/// What the thread owns.
struct Keeper {
    folders: Folders,
    session: Option<Session>,
    events: Sender<AutosaveEvent>,
    is_failing: bool,
}

impl Keeper {
    fn new(folders: Folders, events: Sender<AutosaveEvent>) -> Self {
        Self {
            folders,
            session: None,
            events,
            is_failing: false,
        }
    }

    fn run(mut self, slot: &Slot) {
        loop {
            let (state, ending) = wait_for_mail(slot);
            let begun = Instant::now();
            let pause = match state {
                Some(state) if ending != Some(Ending::GoodOrder) => self.keep(state, slot),
                _ => Duration::ZERO,
            };
            if let Some(ending) = ending {
                self.end(ending);
                return;
            }
            wait_for_ending(slot, begun + pause);
        }
    }

    /// Brings a state to the disk; answers how long to rest from the beginning of this call.
    fn keep(&mut self, state: SessionState, slot: &Slot) -> Duration {
        let result = match &mut self.session {
            Some(session) => session.append(&state).map(drop),
            None => Session::begin(&self.folders, &state).map(|session| {
                slot.mail.lock().frames_folder = Some(session.frames_folder());
                self.session = Some(session);
            }),
        };
        match result.with_context(|| format!("cannot write to {}", self.folders.sessions().display())) {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    self.tell(AutosaveEvent::WorksAgain);
                }
                RECORD_INTERVAL
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!("autosave fails: {error:#}");
                    self.tell(AutosaveEvent::Failing {
                        reason: format!("{error:#}"),
                    });
                }
                // It is tried again unless there is a newer state by then.
                slot.mail.lock().state.get_or_insert(state);
                RETRY_INTERVAL
            }
        }
    }

    fn tell(&self, event: AutosaveEvent) {
        // If nobody fetches events, they have been told already.
        self.events.try_send(event).ok();
    }

    fn end(self, ending: Ending) {
        if let (Ending::GoodOrder, Some(session)) = (ending, self.session)
            && let Err(error) = session.end()
        {
            tracing::warn!("{error:#}");
        }
    }
}

fn wait_for_mail(slot: &Slot) -> (Option<SessionState>, Option<Ending>) {
    let mut mail = slot.mail.lock();
    while mail.state.is_none() && mail.ending.is_none() {
        slot.changed.wait(&mut mail);
    }
    (mail.state.take(), mail.ending)
}

/// Rests until a moment, or until the end is asked for.
fn wait_for_ending(slot: &Slot, until: Instant) {
    let mut mail = slot.mail.lock();
    while mail.ending.is_none() {
        if slot.changed.wait_until(&mut mail, until).timed_out() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{CanvasSize, Seed};

    use super::*;
    use crate::{
        document::Document,
        storage::{
            journal::{SessionFile, SessionFrames},
            sessions::find_cut_off,
        },
    };

    fn state(seed: u64) -> SessionState {
        let mut document = Document::new(CanvasSize::new(64, 64).unwrap());
        document.seed = Seed(seed);
        SessionState {
            document,
            file: SessionFile::default(),
            frames: SessionFrames::default(),
        }
    }

    #[test]
    fn the_newest_state_is_kept_when_the_program_ends_without_saying_so() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        let autosave = Autosave::start(folders.clone()).unwrap();
        for seed in 0..1000 {
            autosave.note(state(seed));
        }
        drop(autosave);
        let found = find_cut_off(&folders).unwrap().cut_off;
        assert_eq!(found[0].recovered().state, state(999));
    }

    #[test]
    fn a_session_that_ended_in_good_order_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        let autosave = Autosave::start(folders.clone()).unwrap();
        autosave.note(state(1));
        autosave.end();
        assert!(find_cut_off(&folders).unwrap().cut_off.is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        std::fs::write(&folders.state, "a file where a folder should be").unwrap();
        let autosave = Autosave::start(folders).unwrap();
        autosave.note(state(1));
        let event = autosave.events.recv().unwrap();
        assert!(matches!(event, AutosaveEvent::Failing { .. }), "{event:?}");
        autosave.note(state(2));
        drop(autosave);
    }
}
