//! The canvases of a session, and which file each belongs to. Undo and the history strip go from one to another; the
//! file goes along, so that saving never writes one canvas over another's file.
//!
//! A canvas that is left for another one before it was saved is kept: its last state becomes a frame of the history
//! strip that is never dropped, and the session counts as unsaved until the canvas is saved or in hand again.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use wordbrush_engine::api::{CanvasSize, Picture};

use super::App;
use crate::{document::Target, kept_frames::CanvasNumber, panels::regions::RegionsState};

/// What the history calls a step from one canvas to another.
pub(super) const ANOTHER_CANVAS: &str = "Another canvas";

/// Where a canvas is saved and what it is called.
#[derive(Clone, Debug, Default)]
struct CanvasFile {
    path: Option<PathBuf>,
    title: String,
    /// The count of changes at which it was left for another canvas with something unsaved.
    unsaved_at: Option<u64>,
    /// Whether frames of it were pinned or let go while another canvas was in hand.
    has_unsaved_pins: bool,
    /// What was selected when it was left, and what before that: regions of two canvases have the same numbers.
    selection: Option<(Target, Target)>,
}

impl CanvasFile {
    fn new(title: &str, path: Option<PathBuf>) -> Self {
        Self {
            path,
            title: title.to_owned(),
            ..Self::default()
        }
    }
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
        Self {
            present,
            files: BTreeMap::from([(present, CanvasFile::new(title, None))]),
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
        self.path_of(self.present)
    }

    /// What it is called.
    pub(super) fn title(&self) -> &str {
        self.title_of(self.present)
    }

    /// The file of a canvas, if it was saved or opened.
    pub(super) fn path_of(&self, canvas: CanvasNumber) -> Option<&Path> {
        self.files.get(&canvas)?.path.as_deref()
    }

    /// What a canvas is called.
    pub(super) fn title_of(&self, canvas: CanvasNumber) -> &str {
        self.files.get(&canvas).map_or("", |file| &file.title)
    }

    /// Whether a canvas that is not in hand has something that is in no file.
    pub(super) fn have_unsaved(&self) -> bool {
        let others = self.files.iter().filter(|(canvas, _)| **canvas != self.present);
        others
            .map(|(_, file)| file)
            .any(|file| file.unsaved_at.is_some() || file.has_unsaved_pins)
    }

    /// Notes how the canvas in hand is left for another one: with something unsaved at this count of changes, or not.
    pub(super) fn leave(&mut self, unsaved_at: Option<u64>) {
        self.files.entry(self.present).or_default().unsaved_at = unsaved_at;
    }

    fn keep_selection(&mut self, selected: Target, previously_selected: Target) {
        self.files.entry(self.present).or_default().selection = Some((selected, previously_selected));
    }

    /// What was selected on the canvas in hand when it was left, if it ever was.
    fn kept_selection(&self) -> Option<(Target, Target)> {
        self.files.get(&self.present)?.selection
    }

    /// Whether the canvas in hand came back with something unsaved, which from now on its changes tell.
    pub(super) fn take_unsaved(&mut self) -> bool {
        let Some(file) = self.files.get_mut(&self.present) else {
            return false;
        };
        let had_unsaved_pins = std::mem::take(&mut file.has_unsaved_pins);
        file.unsaved_at.take().is_some() || had_unsaved_pins
    }

    /// Notes that frames of a canvas which is not in hand were pinned or let go.
    pub(super) fn note_pins(&mut self, canvas: CanvasNumber) {
        self.files.entry(canvas).or_default().has_unsaved_pins = true;
    }

    /// Adds a canvas that was left unsaved in an earlier session; it is not taken in hand.
    pub(super) fn add_unsaved(&mut self, title: &str, path: Option<PathBuf>) -> CanvasNumber {
        let canvas = self.add(CanvasFile::new(title, path));
        // No save of this session can be the one that it waits for.
        self.files.entry(canvas).or_default().unsaved_at = Some(u64::MAX);
        canvas
    }

    fn add(&mut self, file: CanvasFile) -> CanvasNumber {
        let newest = self.files.keys().next_back().copied().unwrap_or_default();
        self.files.insert(newest.next(), file);
        newest.next()
    }

    /// Takes a new canvas in hand.
    pub(super) fn begin(&mut self, title: &str, path: Option<PathBuf>) {
        let canvas = self.add(CanvasFile::new(title, path));
        self.go_to(canvas);
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

    /// Notes where a canvas was saved as it was at a count of changes; answers whether nothing that it was left with is
    /// unsaved now.
    pub(super) fn was_saved(&mut self, canvas: CanvasNumber, path: &Path, changes: u64) -> bool {
        let file = self.files.entry(canvas).or_default();
        file.title = super::files::stem(path);
        file.path = Some(path.to_owned());
        file.has_unsaved_pins = false;
        // What was painted between the save and the leaving is not in the file.
        file.unsaved_at = file.unsaved_at.filter(|left| *left != changes);
        file.unsaved_at.is_none()
    }
}

impl App {
    /// Whether anything of this session is in no file.
    pub(super) fn has_unsaved(&self) -> bool {
        self.is_dirty() || self.canvases.have_unsaved()
    }

    /// What must come before another canvas takes this one's place: what the hand is doing ends, for it would go on on
    /// the other canvas, and what is not saved is kept. What is being made for this canvas must have arrived, see
    /// [`App::once_masks_are_made`].
    pub(super) fn leave_canvas(&mut self) {
        self.canvas.leave();
        self.regions = RegionsState::default();
        debug_assert!(self.mask_work.is_idle(), "a change is lost");
        // Better lost than made to a region of another canvas.
        self.mask_work.clear();
        self.canvases
            .keep_selection(self.selected, self.previously_selected);
        if !self.is_dirty() {
            self.canvases.leave(None);
            return;
        }
        // The journal has this canvas until the frame that is made here is on the disk.
        self.note_session();
        let shown = self.link.frame().map(|shown| shown.frame.picture.clone());
        let picture = shown
            .or_else(|| self.document.background.image.clone())
            .unwrap_or_else(|| white(self.document.size));
        let canvas = self.canvases.present();
        self.kept_frames.keep_unsaved(&self.document, &picture, canvas);
        self.canvases.leave(Some(self.changes));
    }

    /// What must follow when another canvas has taken this one's place. The picture on screen was that of the canvas
    /// before; `picture` is this one's, if there is one.
    pub(super) fn arrive_at_canvas(&mut self, picture: Option<Picture>) {
        self.link.begin_canvas();
        if let Some(picture) = picture {
            self.link.show(picture);
        }
        self.first_frame = self.kept_frames.next_number();
        let kept = self.canvases.kept_selection();
        (self.selected, self.previously_selected) =
            kept.unwrap_or_else(|| (self.front_region(), Target::Background));
        self.select_what_is_there();
    }

    /// As [`App::arrive_at_canvas`], at a canvas exactly as it was left.
    pub(super) fn return_to_canvas(&mut self) {
        let canvas = self.canvases.present();
        let kept = self.kept_frames.of_document(&self.document, canvas);
        self.arrive_at_canvas(kept.map(|frame| frame.picture.clone()));
        self.kept_frames.release_unsaved(canvas);
        self.saved = self.changes;
        if self.canvases.take_unsaved() {
            self.mark_unsaved();
        }
    }

    /// From now on the canvas in hand is not as its file is.
    pub(super) fn mark_unsaved(&mut self) {
        self.saved = self.changes.wrapping_sub(1);
    }

    /// Takes note that a canvas was saved as it was at a count of changes.
    pub(super) fn take_saved(&mut self, canvas: CanvasNumber, path: &Path, changes: u64) {
        let is_all_saved = self.canvases.was_saved(canvas, path, changes);
        if canvas == self.canvases.present() {
            self.saved = changes;
        }
        if is_all_saved && (canvas != self.canvases.present() || !self.is_dirty()) {
            self.kept_frames.release_unsaved(canvas);
        }
    }
}

/// What stands for the picture of a canvas that has none yet, in its proportions.
fn white(size: CanvasSize) -> Picture {
    let side = |pixels: u32| pixels.div_ceil(16);
    let small = CanvasSize::new(side(size.width()), side(size.height()));
    Picture::solid(small.unwrap_or(size), [255; 4])
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
        canvases.was_saved(sample, Path::new("forest.wordbrush"), 3);
        assert_eq!((canvases.path(), canvases.title()), (None, "Untitled"));
        canvases.undo();
        assert_eq!(canvases.path(), Some(Path::new("forest.wordbrush")));
        assert_eq!(canvases.title(), "forest");
    }

    #[test]
    fn a_canvas_that_was_left_is_unsaved_until_a_save_has_all_of_it() {
        let mut canvases = Canvases::new("Sample");
        let sample = canvases.present();
        canvases.leave(Some(5));
        assert!(!canvases.have_unsaved(), "it is still in hand");
        canvases.begin("Untitled", None);
        assert!(canvases.have_unsaved());
        assert!(!canvases.was_saved(sample, Path::new("a.wordbrush"), 4));
        assert!(canvases.have_unsaved(), "it was painted on after that save began");
        assert!(canvases.was_saved(sample, Path::new("a.wordbrush"), 5));
        assert!(!canvases.have_unsaved());
        canvases.note_pins(sample);
        assert!(canvases.have_unsaved(), "pins are part of its file");
        canvases.undo();
        assert!(
            canvases.take_unsaved(),
            "it is in hand again, with what is unsaved"
        );
        assert!(!canvases.take_unsaved());
    }
}
