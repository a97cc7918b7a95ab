//! The sessions of this machine: which are open, which were cut off.
//!
//! Each session has a folder with its journal, frames of its history strip, and a lock file. The lock is the system's: it is gone at the moment the
//! program is gone, by whatever means, so that a folder whose lock is free belongs to a session that was cut off, and
//! a second running instance is never taken for one.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;

use super::{
    atomic::sync_folder,
    folders::Folders,
    frames::{RecoveredFrames, recover_frames},
    journal::{self, JournalWriter, RecoveredState, SessionState, recover},
};

const LOCK_FILE: &str = "lock";
const FRAMES_FOLDER: &str = "frames";
/// Held while folders are made or looked through, so that a folder without its lock is never seen.
const GATE_FILE: &str = "gate.lock";

/// A session of this instance. Dropping it leaves the journal behind, as a crash would; [`Session::end`] removes it.
#[derive(Debug)]
pub struct Session {
    folder: PathBuf,
    journal: JournalWriter,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Session {
    /// Begins a session with its first record.
    ///
    /// # Errors
    /// If the state folder cannot be written to or the disk is full.
    pub fn begin(folders: &Folders, state: &SessionState) -> anyhow::Result<Self> {
        let sessions = folders.sessions();
        std::fs::create_dir_all(&sessions)
            .with_context(|| format!("cannot make the folder {}", sessions.display()))?;
        let (folder, lock) = {
            let _gate = pass_gate(&sessions)?;
            let folder = new_folder(&sessions)?;
            let lock = open_lock(&folder).and_then(|lock| lock.lock().map(|()| lock));
            (folder, lock)
        };
        let begun = lock
            .map_err(anyhow::Error::from)
            .and_then(|lock| Ok((lock, JournalWriter::create(&folder, state)?)));
        match begun {
            Ok((lock, journal)) => {
                sync_folder(&sessions);
                Ok(Self {
                    folder,
                    journal,
                    _lock: lock,
                })
            }
            Err(error) => {
                // An empty session is of no use to anyone.
                std::fs::remove_dir_all(&folder).ok();
                Err(error)
            }
        }
    }

    /// Brings what changed to the disk; see [`JournalWriter::append`].
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub fn append(&mut self, state: &SessionState) -> anyhow::Result<bool> {
        self.journal.append(state)
    }

    /// Where the session's frames belong, see [`super::frames`]; the folder is made with the first one.
    pub fn frames_folder(&self) -> PathBuf {
        self.folder.join(FRAMES_FOLDER)
    }

    /// Ends the session in good order: its journal is not needed any more.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn end(self) -> anyhow::Result<()> {
        remove(&self.folder)
    }
}

/// A session that was cut off. While this exists, no other instance offers it.
#[derive(Debug)]
pub struct CutOffSession {
    folder: PathBuf,
    _lock: File,
    recovered: RecoveredState,
    frames: RecoveredFrames,
}

impl CutOffSession {
    /// What can be given back.
    pub fn recovered(&self) -> &RecoveredState {
        &self.recovered
    }

    /// Its pinned frames, its last one, and the canvases that were left unsaved.
    pub fn frames(&self) -> &RecoveredFrames {
        &self.frames
    }

    /// Removes it: it is given back, or not wanted. Do so only after the new session has journalled its content.
    ///
    /// # Errors
    /// If the folder cannot be removed.
    pub fn discard(self) -> anyhow::Result<()> {
        remove(&self.folder)
    }
}

/// What was found of earlier sessions.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that were cut off with something unsaved, the newest first.
    pub cut_off: Vec<CutOffSession>,
    /// How many belong to a program that runs, or to one that the system has not done away with yet.
    pub in_use: usize,
}

/// Finds the sessions that were cut off with something unsaved; what is left of others is removed.
///
/// # Errors
/// If the state folder cannot be read; a missing one is an empty one.
pub fn find_cut_off(folders: &Folders) -> anyhow::Result<Found> {
    let sessions = folders.sessions();
    let mut found = Found::default();
    if !sessions.exists() {
        return Ok(found);
    }
    let _gate = pass_gate(&sessions)?;
    for entry in std::fs::read_dir(&sessions)? {
        let folder = entry?.path();
        if !folder.is_dir() {
            continue;
        }
        match lock_if_free(&folder) {
            Some(lock) => found.cut_off.extend(look_into(folder, lock)),
            None => found.in_use += 1,
        }
    }
    found
        .cut_off
        .sort_by_key(|session| std::cmp::Reverse(session.recovered.written_at));
    Ok(found)
}

fn look_into(folder: PathBuf, lock: File) -> Option<CutOffSession> {
    match recover(&folder) {
        Ok(Some(recovered)) if !recovered.state.file.is_saved => Some(CutOffSession {
            frames: recover_frames(&folder.join(FRAMES_FOLDER), &recovered.state.frames),
            folder,
            _lock: lock,
            recovered,
        }),
        Ok(_) => {
            if let Err(error) = remove(&folder) {
                tracing::warn!("{error:#}");
            }
            None
        }
        Err(error) => {
            // It is left alone: somebody may know how to read it.
            tracing::error!("a session cannot be given back: {error:#}");
            None
        }
    }
}

/// The folder's lock, if its program is gone.
fn lock_if_free(folder: &Path) -> Option<File> {
    let lock = open_lock(folder)
        .inspect_err(|error| tracing::warn!("cannot look into {}: {error}", folder.display()))
        .ok()?;
    match lock.try_lock() {
        Ok(()) => Some(lock),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => {
            tracing::warn!("cannot tell whether {} is in use: {error}", folder.display());
            None
        }
    }
}

fn open_lock(folder: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK_FILE))
}

fn pass_gate(sessions: &Path) -> anyhow::Result<File> {
    let path = sessions.join(GATE_FILE);
    let open = || -> std::io::Result<File> {
        let gate = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        gate.lock()?;
        Ok(gate)
    };
    open().with_context(|| format!("cannot use the folder {}", sessions.display()))
}

fn new_folder(sessions: &Path) -> anyhow::Result<PathBuf> {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let process = std::process::id();
    let mut number = 0;
    loop {
        let folder = sessions.join(format!("{millis}-{process}-{number}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make the folder {}", folder.display()));
            }
        }
    }
}

/// The journal goes first: while the rest is removed, the lock may be gone already, and another instance that looks
/// in must not take this for a session that was cut off.
fn remove(folder: &Path) -> anyhow::Result<()> {
    journal::remove(folder)
        .and_then(|()| Ok(std::fs::remove_dir_all(folder)?))
        .with_context(|| format!("cannot remove the session {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{CanvasSize, Picture, Seed};

    use super::*;
    use crate::{
        document::Document,
        storage::{
            frames::{KeptFrame, write_frame},
            journal::{SessionFile, SessionFrames},
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
    fn running_sessions_are_left_alone_and_cut_off_ones_are_offered() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        assert!(find_cut_off(&folders).unwrap().cut_off.is_empty());
        let running = Session::begin(&folders, &state(1)).unwrap();
        let mut cut_off = Session::begin(&folders, &state(2)).unwrap();
        cut_off.append(&state(3)).unwrap();
        drop(cut_off);

        let found = find_cut_off(&folders).unwrap().cut_off;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].recovered().state, state(3));
        assert!(
            find_cut_off(&folders).unwrap().cut_off.is_empty(),
            "it is offered by one instance only"
        );
        drop(found);
        let found = find_cut_off(&folders).unwrap().cut_off;
        assert_eq!(found.len(), 1, "and again if that one did not deal with it");
        for session in found {
            session.discard().unwrap();
        }
        running.end().unwrap();
        let left: Vec<_> = std::fs::read_dir(folders.sessions()).unwrap().collect();
        assert_eq!(left.len(), 1, "the gate: {left:?}");
    }

    #[test]
    fn pinned_frames_and_the_last_one_are_offered_with_the_session() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        let mut session = Session::begin(&folders, &state(1)).unwrap();
        let frame = |seed| KeptFrame {
            document: state(seed).document,
            picture: Picture::solid(CanvasSize::new(64, 64).unwrap(), [seed as u8; 4]),
        };
        for number in 1..=3 {
            write_frame(&session.frames_folder(), number, &frame(number)).unwrap();
        }
        let mut pinned = state(2);
        pinned.frames.pinned = vec![1];
        session.append(&pinned).unwrap();
        drop(session);
        let found = find_cut_off(&folders).unwrap().cut_off;
        assert_eq!(found[0].frames().pins, [(1, frame(1))]);
        assert_eq!(found[0].frames().last, Some(frame(3)));
    }

    #[test]
    fn a_session_that_is_just_being_removed_is_not_offered() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        let session = Session::begin(&folders, &state(1)).unwrap();
        let folder = session.folder.clone();
        // What is left at the first moment at which another instance could get the lock.
        journal::remove(&folder).unwrap();
        std::fs::remove_file(folder.join(LOCK_FILE)).unwrap();
        assert!(find_cut_off(&folders).unwrap().cut_off.is_empty());
        assert!(!folder.exists(), "and what is left goes");
    }

    #[test]
    fn a_session_that_cannot_begin_leaves_no_folder() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        std::fs::create_dir_all(folders.sessions().join(GATE_FILE)).unwrap();
        assert!(Session::begin(&folders, &state(1)).is_err());
        assert_eq!(std::fs::read_dir(folders.sessions()).unwrap().count(), 1);
    }

    #[test]
    fn saved_sessions_are_not_offered() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::below(root.path());
        let mut session = Session::begin(&folders, &state(1)).unwrap();
        let mut saved = state(1);
        saved.file.is_saved = true;
        session.append(&saved).unwrap();
        drop(session);
        assert!(find_cut_off(&folders).unwrap().cut_off.is_empty());
        assert_eq!(std::fs::read_dir(folders.sessions()).unwrap().count(), 1);
    }
}
