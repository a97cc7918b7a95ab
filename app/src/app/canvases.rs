//! Which file the canvas in hand belongs to. Undo and the history strip go from one canvas to another; the file goes
//! along, so that saving never writes one canvas over another's file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::kept_frames::CanvasNumber;

/// What the history calls a step from one canvas to another.
pub(super) const ANOTHER_CANVAS: &str = "Another canvas";

/// Where a canvas is saved and what it is called.
#[derive(Clone, Debug, Default)]
struct CanvasFile {
    path: Option<PathBuf>,
    title: String,
}

/// The canvases of this session, of which one is in hand.
pub(super) struct Canvases {
    present: CanvasNumber,
    files: BTreeMap<CanvasNumber, CanvasFile>,
    /// Where undo and redo of [`ANOTHER_CANVAS`] lead to, nearest last.
    back: Vec<CanvasNumber>,
    forth: Vec<CanvasNumber>,
}

impl Canvases {
    /// Begins with one that has no file.
    pub(super) fn new(title: &str) -> Self {
        let present = CanvasNumber::default();
        let file = CanvasFile {
            path: None,
            title: title.to_owned(),
        };
        Self {
            present,
            files: BTreeMap::from([(present, file)]),
            back: Vec::new(),
            forth: Vec::new(),
        }
    }

    /// The canvas in hand.
    pub(super) fn present(&self) -> CanvasNumber {
        self.present
    }

    /// Its file, if it was saved or opened.
    pub(super) fn path(&self) -> Option<&Path> {
        self.files.get(&self.present)?.path.as_deref()
    }

    /// What it is called.
    pub(super) fn title(&self) -> &str {
        self.files.get(&self.present).map_or("", |file| &file.title)
    }

    /// Takes a new canvas in hand.
    pub(super) fn begin(&mut self, title: &str, path: Option<PathBuf>) {
        let newest = self.files.keys().next_back().copied().unwrap_or_default();
        let file = CanvasFile {
            path,
            title: title.to_owned(),
        };
        self.files.insert(newest.next(), file);
        self.go_to(newest.next());
    }

    /// Takes a canvas of this session in hand again.
    pub(super) fn go_to(&mut self, canvas: CanvasNumber) {
        self.back.push(std::mem::replace(&mut self.present, canvas));
        self.forth.clear();
    }

    /// Follows the history one step of [`ANOTHER_CANVAS`] back.
    pub(super) fn undo(&mut self) {
        if let Some(canvas) = self.back.pop() {
            self.forth.push(std::mem::replace(&mut self.present, canvas));
        }
    }

    /// Follows the history one step of [`ANOTHER_CANVAS`] forth.
    pub(super) fn redo(&mut self) {
        if let Some(canvas) = self.forth.pop() {
            self.back.push(std::mem::replace(&mut self.present, canvas));
        }
    }

    /// Notes that an edit has taken the way forth away.
    pub(super) fn forget_redo(&mut self) {
        self.forth.clear();
    }

    /// Notes where a canvas was saved.
    pub(super) fn was_saved(&mut self, canvas: CanvasNumber, path: &Path) {
        let file = self.files.entry(canvas).or_default();
        file.title = super::files::stem(path);
        file.path = Some(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_follows_undo_and_redo_from_canvas_to_canvas() {
        let mut canvases = Canvases::new("Sample");
        let sample = canvases.present();
        canvases.begin("a", Some(PathBuf::from("a.wordbrush")));
        canvases.begin("b", Some(PathBuf::from("b.wordbrush")));
        canvases.undo();
        assert_eq!(canvases.path(), Some(Path::new("a.wordbrush")));
        canvases.undo();
        assert_eq!((canvases.path(), canvases.title()), (None, "Sample"));
        canvases.redo();
        assert_eq!(canvases.title(), "a");
        canvases.go_to(sample);
        canvases.redo();
        assert_eq!(canvases.title(), "Sample", "another way was taken");
        canvases.undo();
        assert_eq!(canvases.title(), "a");
    }

    #[test]
    fn a_save_that_ends_late_names_the_canvas_it_was_begun_for() {
        let mut canvases = Canvases::new("Sample");
        let sample = canvases.present();
        canvases.begin("Untitled", None);
        canvases.was_saved(sample, Path::new("forest.wordbrush"));
        assert_eq!((canvases.path(), canvases.title()), (None, "Untitled"));
        canvases.undo();
        assert_eq!(canvases.path(), Some(Path::new("forest.wordbrush")));
        assert_eq!(canvases.title(), "forest");
    }
}
