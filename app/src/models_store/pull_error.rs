//! Why a download did not succeed.

use std::path::{Path, PathBuf};

use crate::background_tasks::Cancelled;

/// Why a download did not succeed. Each message says what, why and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Ask the user for a token, or to accept the licence.
    #[error(
        "the hub refuses access to {repository}: accept its licence on the hub's page, and set HF_TOKEN to a token of yours"
    )]
    AccessRefused {
        /// `owner/name`.
        repository: String,
    },
    /// The list or the mirror is out of date.
    #[error("the hub has no such file: {url}: update Wordbrush, or check HF_ENDPOINT")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// Try later.
    #[error("the hub has had too many requests from here: try again later")]
    TooManyRequests,
    /// Try later.
    #[error("the hub answers with error {status} for {url}: try again later")]
    Server {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        url: String,
    },
    /// The address or the token is none.
    #[error("nothing can be asked for there ({reason}): check HF_ENDPOINT and HF_TOKEN")]
    NoRequest {
        /// What is wrong.
        reason: String,
    },
    /// Check the network; what was fetched is kept.
    #[error(
        "the connection failed ({reason}): check the network and try again, the download goes on where it stopped"
    )]
    Connection {
        /// What happened.
        reason: String,
    },
    /// The file is another one than expected; what was fetched is thrown away.
    #[error(
        "{file} is not the file that was expected ({found} instead of {expected} bytes): try again, or check HF_ENDPOINT"
    )]
    WrongSize {
        /// Its name.
        file: String,
        /// Expected length.
        expected: u64,
        /// Length found.
        found: u64,
    },
    /// The file is damaged or another one; what was fetched is thrown away.
    #[error(
        "{file} is damaged or not the file that was expected (its SHA-256 is {found}): try again, or check HF_ENDPOINT"
    )]
    WrongHash {
        /// Its name.
        file: String,
        /// Hash found.
        found: String,
    },
    /// Make room.
    #[error(
        "not enough room for {file}: {needed} MB are needed, {available} MB are free: make room, or set WORDBRUSH_HOME to another disk"
    )]
    NoSpace {
        /// Its name.
        file: String,
        /// Megabytes needed.
        needed: u64,
        /// Megabytes free.
        available: u64,
    },
    /// Wait for the other one.
    #[error("{file} is being downloaded already, by another Wordbrush: wait until it is done")]
    Busy {
        /// Its name.
        file: String,
    },
    /// Check the folder.
    #[error(
        "cannot write {}: {reason}: look at the folder, or set WORDBRUSH_HOME to another one", path.display()
    )]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The user asked for it; what was fetched is kept.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl PullError {
    /// What happened, without what to do: for one that is tried again by itself.
    pub(super) fn in_short(&self) -> String {
        match self {
            Self::TooManyRequests => "the hub has had too many requests from here".to_owned(),
            Self::Server { status, .. } => format!("the hub answers with error {status}"),
            Self::Connection { reason } => format!("the connection failed ({reason})"),
            other => other.to_string(),
        }
    }
}

/// A failure of the disk.
pub(super) fn io_error(path: &Path, reason: std::io::Error) -> PullError {
    PullError::Io {
        path: path.to_owned(),
        reason,
    }
}
