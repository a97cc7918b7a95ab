//! Watching a load: how far it is, and whether it shall go on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::{Error, Result};

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadProgress<'a> {
    /// What is being read.
    pub what: &'a str,
    /// 0 to 1, over everything.
    pub fraction: f32,
}

/// Hears how loading goes and can stop it.
pub struct LoadWatch<'a> {
    report: &'a (dyn Fn(LoadProgress<'_>) + Sync),
    cancel: &'a AtomicBool,
    total_bytes: AtomicU64,
    done_bytes: AtomicU64,
}

impl<'a> LoadWatch<'a> {
    /// `report` is called from the loading thread; setting `cancel` ends the load with [`Error::Cancelled`].
    pub fn new(report: &'a (dyn Fn(LoadProgress<'_>) + Sync), cancel: &'a AtomicBool) -> Self {
        Self {
            report,
            cancel,
            total_bytes: AtomicU64::new(0),
            done_bytes: AtomicU64::new(0),
        }
    }

    /// Adds to what there is to read.
    pub(crate) fn expect_bytes(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what was read.
    pub(crate) fn advance(&self, what: &str, bytes: u64) -> Result<()> {
        self.check()?;
        let done = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.total_bytes.load(Ordering::Relaxed).max(1);
        (self.report)(LoadProgress {
            what,
            fraction: (done as f64 / total as f64).min(1.0) as f32,
        });
        Ok(())
    }

    /// # Errors
    /// [`Error::Cancelled`] if it was.
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}
