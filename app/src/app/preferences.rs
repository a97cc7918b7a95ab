//! What the user likes, kept between sessions.

use std::{
    ops::RangeInclusive,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{background_tasks::Task, keymap::KeyPreset, panels::tools::ToolSettings};

/// Which theme is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThemeChoice {
    /// For dark surroundings.
    #[default]
    Dark,
    /// For bright surroundings.
    Light,
    /// As the desktop has it.
    System,
}

/// How far the commands for a mask's edge go, in pixels. A file may hold any number; see [`MaskEdge::grow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MaskEdge {
    /// Of grow and shrink.
    pub grow_px: u16,
    /// Of feather: a standard deviation.
    pub feather_px: u16,
}

impl Default for MaskEdge {
    fn default() -> Self {
        Self {
            grow_px: 8,
            feather_px: 8,
        }
    }
}

impl MaskEdge {
    /// What a painter may choose.
    pub const RANGE_PX: RangeInclusive<u16> = 1..=200;

    /// How far grow and shrink go, within the range.
    pub fn grow(self) -> f32 {
        Self::within(self.grow_px)
    }

    /// How far feather goes, within the range.
    pub fn feather(self) -> f32 {
        Self::within(self.feather_px)
    }

    fn within(amount_px: u16) -> f32 {
        f32::from(amount_px.clamp(*Self::RANGE_PX.start(), *Self::RANGE_PX.end()))
    }
}

/// Theme, sizes and what is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// Dark, light, or the desktop's.
    pub theme: ThemeChoice,
    /// Size of text and controls, 0.75 to 2.
    pub scale: f32,
    /// A scale that is being dragged.
    #[serde(skip)]
    pub pending_scale: Option<f32>,
    /// Threads for models on the processor; all if there is no number.
    pub threads: Option<usize>,
    /// Which program's keys are in use.
    pub keys: KeyPreset,
    /// Whether the performance panel is shown.
    pub shows_performance: bool,
    /// Whether the history strip is shown.
    pub shows_history: bool,
    /// The tool in hand and how the canvas is shown.
    pub tools: ToolSettings,
    /// How far grow, shrink and feather go.
    pub mask_edge: MaskEdge,
    /// Whether something was painted with this program before; until then it says how.
    pub has_painted: bool,
    /// Where pictures were exported to last.
    pub export_folder: Option<PathBuf>,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::Dark,
            scale: 1.0,
            pending_scale: None,
            threads: None,
            keys: KeyPreset::default(),
            shows_performance: false,
            shows_history: true,
            tools: ToolSettings::default(),
            mask_edge: MaskEdge::default(),
            has_painted: false,
            export_folder: None,
        }
    }
}

/// Preferences are written when they have been the same for so long: each write waits for the disk, and a key that is
/// held changes them at every frame.
const REST: Duration = Duration::from_secs(1);
/// How long to do without the disk after a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Which preferences are on the disk, and how long they have been as they are.
#[derive(Debug)]
pub(super) struct KeptPreferences {
    written: Preferences,
    seen: Preferences,
    since: Instant,
    /// One write at a time, however long other files take, and what it writes.
    writing: Option<(Preferences, Task<()>)>,
    /// Until when to do without the disk after a failure.
    rests_until: Option<Instant>,
}

impl KeptPreferences {
    /// Begins with what is on the disk.
    pub(super) fn new(on_disk: &Preferences) -> Self {
        Self {
            written: on_disk.clone(),
            seen: on_disk.clone(),
            since: Instant::now(),
            writing: None,
            rests_until: None,
        }
    }

    /// Takes note of a write that has begun.
    pub(super) fn follow(&mut self, preferences: &Preferences, task: Task<()>) {
        self.writing = Some((preferences.clone(), task));
    }

    /// Whether a write is on its way.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// What became of the last write, once. What failed is written again some time later.
    pub(super) fn poll_write(&mut self, now: Instant) -> Option<anyhow::Result<()>> {
        let result = self.writing.as_ref()?.1.poll()?;
        if let Some((written, _)) = self.writing.take()
            && result.is_ok()
        {
            self.written = written;
        }
        self.rests_until = result.is_err().then(|| now + RETRY_INTERVAL);
        Some(result)
    }

    /// Whether they differ from what is on the disk.
    pub(super) fn are_changed(&self, now: &Preferences) -> bool {
        self.written != *now
    }

    /// How long until they are to be written, `None` if they are on the disk.
    pub(super) fn due_in(&mut self, preferences: &Preferences, now: Instant) -> Option<Duration> {
        if self.seen != *preferences {
            self.seen = preferences.clone();
            self.since = now;
        }
        let rested = now.saturating_duration_since(self.since);
        let retry_in = self
            .rests_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        self.are_changed(preferences)
            .then(|| REST.saturating_sub(rested).max(retry_in))
    }

    /// Notes that they need not go to the disk.
    pub(super) fn note_written(&mut self, preferences: &Preferences) {
        self.written = preferences.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::background_tasks::TaskThread;

    #[test]
    fn preferences_are_written_once_they_rest() {
        let mut preferences = Preferences::default();
        let mut kept = KeptPreferences::new(&preferences);
        let begin = Instant::now();
        assert_eq!(kept.due_in(&preferences, begin), None);
        // As a key that is held changes the size, thirty times a second.
        for frame in 0..90 {
            preferences.tools.brush.size_px += 1.0;
            let now = begin + Duration::from_millis(33 * frame);
            assert_eq!(kept.due_in(&preferences, now), Some(REST), "frame {frame}");
        }
        let last = begin + Duration::from_millis(33 * 89);
        assert_eq!(kept.due_in(&preferences, last + REST / 2), Some(REST / 2));
        assert_eq!(kept.due_in(&preferences, last + REST), Some(Duration::ZERO));
        kept.note_written(&preferences);
        assert_eq!(kept.due_in(&preferences, last + REST), None);

        // What could not be written is tried again, though not at once.
        let mut failing = KeptPreferences::new(&Preferences::default());
        let thread = TaskThread::start("test", || ()).unwrap();
        let task = thread.run("Keeping preferences", |_| -> anyhow::Result<()> {
            anyhow::bail!("the disk is full")
        });
        failing.follow(&preferences, task);
        drop(thread);
        assert!(failing.poll_write(begin).unwrap().is_err() && !failing.is_writing());
        assert_eq!(failing.due_in(&preferences, begin), Some(RETRY_INTERVAL));
        let later = begin + RETRY_INTERVAL;
        assert_eq!(failing.due_in(&preferences, later), Some(Duration::ZERO));

        let before = preferences.clone();
        preferences.scale = 1.5;
        assert!(kept.due_in(&preferences, last + 2 * REST).is_some());
        assert_eq!(kept.due_in(&before, last + 3 * REST), None, "as it was again");
    }
}
