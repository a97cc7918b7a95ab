//! The frames of this session: which are kept, and whether in memory or on disk.
//!
//! A finished frame is recorded when its document differs from the last one's. Documents share their masks, so an
//! entry costs its picture, its thumbnail and what changed since: painted tiles, another background picture. Memory,
//! disk and the number of entries are bounded: what was not looked at for longest leaves memory first, the oldest that is
//! not held leaves altogether. What is pinned is held, and so is the last state of a canvas that was left for another one
//! before it was saved.
//! Nothing here reads or writes a file; `app/frames.rs` does what [`KeptFrames`] asks for, on a thread of its own.

use std::{collections::VecDeque, sync::Arc};

use eframe::egui::ColorImage;
use wordbrush_engine::api::{Mask, ModelChoice, Picture};

use crate::{
    document::{Document, RegionLayer},
    panels::thumbnails::picture_image,
    storage::frames::KeptFrame,
};

const MOST_ENTRIES: usize = 240;
const MOST_MEMORY_BYTES: u64 = 96 << 20;
const MOST_DISK_BYTES: u64 = 1 << 30;
const THUMBNAIL_SIDE: usize = 112;

/// Tells the canvases of a session apart; each has a file of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanvasNumber(u64);

impl CanvasNumber {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One kept frame; at least one of memory and disk has it.
pub struct Entry {
    number: u64,
    canvas: Option<CanvasNumber>,
    frame: Option<KeptFrame>,
    /// What `frame` alone keeps alive.
    frame_bytes: u64,
    file_bytes: Option<u64>,
    /// Counts the documents that it has stood for.
    version: u64,
    /// Which of them its file is of, and which the file that is being written.
    version_on_disk: Option<u64>,
    version_on_its_way: Option<u64>,
    small: Arc<ColorImage>,
    is_pinned: bool,
    is_unsaved: bool,
    /// Rises with each look; what was not looked at for longest leaves memory first.
    last_use: u64,
}

impl Entry {
    /// Tells frames apart; rises with time.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Which canvas it is of; `None` if that is not known.
    pub fn canvas(&self) -> Option<CanvasNumber> {
        self.canvas
    }

    /// A small picture of it.
    pub fn small(&self) -> &ColorImage {
        &self.small
    }

    /// Whether the painter keeps it for good.
    pub fn is_pinned(&self) -> bool {
        self.is_pinned
    }

    /// Whether it alone holds a canvas that was left for another one before it was saved.
    pub fn is_unsaved(&self) -> bool {
        self.is_unsaved
    }

    /// Whether it is never dropped, and written at once.
    fn is_held(&self) -> bool {
        self.is_pinned || self.is_unsaved
    }

    /// The frame, unless it is on disk alone.
    pub fn frame(&self) -> Option<&KeptFrame> {
        self.frame.as_ref()
    }

    /// Whether this is what the document shows; known only of frames in memory, as one that was just brought back is.
    pub fn shows(&self, document: &Document) -> bool {
        let frame = self.frame.as_ref();
        frame.is_some_and(|frame| is_same_state(&frame.document, document))
    }

    /// Whether this model painted it; as far as it is in memory.
    fn is_by(&self, model: &ModelChoice) -> bool {
        let frame = self.frame.as_ref();
        frame.is_some_and(|frame| frame.document.model == *model)
    }

    /// Whether it is of this very document, whoever painted it: of everything that a file keeps, and not only what shows.
    pub fn is_of(&self, document: &Document) -> bool {
        let is_same = |frame: &KeptFrame| {
            let by_same_model = Document {
                model: document.model.clone(),
                ..frame.document.clone()
            };
            by_same_model == *document
        };
        self.shows(document) && self.frame.as_ref().is_some_and(is_same)
    }

    /// Whether the disk has it as it is; a file of an earlier state does not count.
    pub fn is_written(&self) -> bool {
        self.file_bytes.is_some() && self.version_on_disk == Some(self.version)
    }

    fn bytes_in_memory(&self) -> u64 {
        if self.frame.is_some() { self.frame_bytes } else { 0 }
    }
}

/// Whether frames can go to the disk at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// They can.
    Usable,
    /// There is no session on disk yet, or it is full: what does not fit into memory is dropped.
    Unusable,
}

/// How much may be kept.
#[derive(Clone, Copy, Debug)]
struct Budget {
    entries: usize,
    /// Of frames; thumbnails are bounded by the number of entries.
    memory_bytes: u64,
    disk_bytes: u64,
}

/// The frames of this session, oldest first.
pub struct KeptFrames {
    entries: VecDeque<Entry>,
    next_number: u64,
    uses: u64,
    budget: Budget,
}

impl Default for KeptFrames {
    fn default() -> Self {
        Self::with_budget(Budget {
            entries: MOST_ENTRIES,
            memory_bytes: MOST_MEMORY_BYTES,
            disk_bytes: MOST_DISK_BYTES,
        })
    }
}

impl KeptFrames {
    fn with_budget(budget: Budget) -> Self {
        Self {
            entries: VecDeque::new(),
            next_number: 0,
            uses: 0,
            budget,
        }
    }

    /// Keeps a finished frame with its document, unless nothing has changed since the last, or the strip has this very
    /// picture of it: one that was brought back is there once.
    pub fn record(&mut self, document: &Document, picture: &Picture, canvas: Option<CanvasNumber>) {
        let is_unchanged = |last: &Entry| last.shows(document) && last.is_by(&document.model);
        let is_there = |entry: &Entry| {
            let frame = entry.frame.as_ref();
            entry.canvas == canvas
                && entry.shows(document)
                && frame.is_some_and(|frame| has_same_pixels(&frame.picture, picture))
        };
        if self.entries.back().is_some_and(is_unchanged) || self.entries.iter().any(is_there) {
            return;
        }
        if !self.takes_over(document, picture, canvas) {
            self.push(document, picture, canvas);
        }
    }

    /// Lets the newest frame stand for a document that looks the same, as while the background's prompt is typed that shows
    /// nowhere. Answers whether it can.
    fn takes_over(&mut self, document: &Document, picture: &Picture, canvas: Option<CanvasNumber>) -> bool {
        let Some(last) = self.entries.back_mut() else {
            return false;
        };
        // What is held stays as it was.
        let is_free = last.canvas == canvas && !last.is_held();
        match &mut last.frame {
            Some(frame) if is_free && has_same_pixels(&frame.picture, picture) => {
                frame.document = document.clone();
                last.version += 1;
                true
            }
            _ => false,
        }
    }

    /// Keeps a frame for good, finished or not; a picture of this canvas that is kept already is pinned.
    pub fn keep(&mut self, document: &Document, picture: &Picture, canvas: Option<CanvasNumber>) {
        let holds = |entry: &Entry| {
            let frame = entry.frame.as_ref();
            entry.canvas == canvas && frame.is_some_and(|frame| frame.picture.is_same(picture))
        };
        if !self.entries.iter().any(holds) {
            self.push(document, picture, canvas);
        }
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| holds(entry)) {
            entry.is_pinned = true;
        }
    }

    /// Keeps what a canvas is left as until [`KeptFrames::release_unsaved`]; what it was left as before is an ordinary
    /// frame again.
    pub fn keep_unsaved(&mut self, document: &Document, picture: &Picture, canvas: CanvasNumber) {
        self.release_unsaved(canvas);
        let holds = |entry: &Entry| entry.canvas == Some(canvas) && entry.is_of(document);
        if !self.entries.iter().any(holds) {
            self.push(document, picture, Some(canvas));
        }
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| holds(entry)) {
            entry.is_unsaved = true;
        }
    }

    /// Lets go what a canvas was left as: it is in hand again, or saved.
    pub fn release_unsaved(&mut self, canvas: CanvasNumber) {
        for entry in &mut self.entries {
            entry.is_unsaved &= entry.canvas != Some(canvas);
        }
    }

    fn push(&mut self, document: &Document, picture: &Picture, canvas: Option<CanvasNumber>) {
        let before = self
            .entries
            .back()
            .and_then(|last| last.frame.as_ref())
            .map(|frame| &frame.document);
        let frame_bytes = (picture.rgba().len() + document.bytes_beside(before)) as u64;
        self.next_number += 1;
        self.uses += 1;
        self.entries.push_back(Entry {
            number: self.next_number,
            canvas,
            frame: Some(KeptFrame {
                document: document.clone(),
                picture: picture.clone(),
            }),
            frame_bytes,
            file_bytes: None,
            version: 0,
            version_on_disk: None,
            version_on_its_way: None,
            small: Arc::new(picture_image(picture, THUMBNAIL_SIDE)),
            is_pinned: false,
            is_unsaved: false,
            last_use: self.uses,
        });
    }

    /// The newest frame that shows this document, as far as it is in memory.
    pub fn shown(&self, document: &Document) -> Option<u64> {
        let entry = self.newest_first().find(|entry| entry.shows(document))?;
        Some(entry.number)
    }

    /// All frames, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    /// The pinned frames, oldest first.
    pub fn pinned(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_pinned)
    }

    /// The last states of canvases that were left unsaved, oldest first.
    pub fn unsaved(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_unsaved)
    }

    /// What must outlive a crash, oldest first: pinned frames, and canvases that were left unsaved.
    pub fn held(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_held())
    }

    /// The number that the next frame gets.
    pub fn next_number(&self) -> u64 {
        self.next_number + 1
    }

    /// The newest frame of a canvas that shows this document, as far as it is in memory.
    pub fn of_document(&self, document: &Document, canvas: CanvasNumber) -> Option<&KeptFrame> {
        self.newest_first()
            .filter(|entry| entry.canvas == Some(canvas))
            .find(|entry| entry.shows(document))?
            .frame()
    }

    /// A frame by its number.
    pub fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.number == number)
    }

    /// Bytes kept in memory, thumbnails included.
    pub fn memory_bytes(&self) -> u64 {
        let small = self
            .entries
            .iter()
            .map(|entry| entry.small.pixels.len() as u64 * 4);
        self.frames_in_memory_bytes() + small.sum::<u64>()
    }

    fn frames_in_memory_bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes_in_memory).sum()
    }

    /// Bytes kept on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.file_bytes).sum()
    }

    /// Number of frames kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Pins a frame, or lets it go.
    pub fn toggle_pin(&mut self, number: u64) {
        if let Some(entry) = self.entry_mut(number) {
            entry.is_pinned = !entry.is_pinned;
        }
    }

    /// Whether every pinned frame is on disk.
    pub fn has_all_pins_on_disk(&self) -> bool {
        self.pinned().all(Entry::is_written)
    }

    /// Whether every canvas that was left unsaved is on disk.
    pub fn has_all_unsaved_on_disk(&self) -> bool {
        self.unsaved().all(Entry::is_written)
    }

    /// Whether the newest frame is on disk.
    pub fn has_newest_on_disk(&self) -> bool {
        self.entries.back().is_none_or(Entry::is_written)
    }

    /// What should be written next: what is held at once, then what memory has no room for, then the newest if that
    /// is wanted.
    pub fn next_to_write(&mut self, wants_newest: bool) -> Option<(u64, KeptFrame)> {
        let is_unwritten = |entry: &&Entry| !entry.is_written();
        let held = self.held().find(is_unwritten);
        let is_tight = self.frames_in_memory_bytes() > self.budget.memory_bytes;
        let leaving = || {
            let unwritten = self.entries.iter().filter(is_unwritten);
            unwritten.min_by_key(|entry| entry.last_use).filter(|_| is_tight)
        };
        let newest = || self.entries.back().filter(is_unwritten).filter(|_| wants_newest);
        let number = held.or_else(leaving).or_else(newest)?.number;
        let entry = self.entry_mut(number)?;
        entry.version_on_its_way = Some(entry.version);
        Some((number, entry.frame.clone()?))
    }

    /// Notes that a frame was written, as [`KeptFrames::next_to_write`] gave it. One that could not be written needs no note:
    /// it counts as before.
    pub fn was_written(&mut self, number: u64, bytes: u64) {
        if let Some(entry) = self.entry_mut(number) {
            entry.file_bytes = Some(bytes);
            entry.version_on_disk = entry.version_on_its_way.take();
        }
    }

    /// Takes a frame back into memory, as it is wanted now.
    pub fn was_read(&mut self, number: u64, frame: KeptFrame) {
        self.uses += 1;
        let last_use = self.uses;
        if let Some(entry) = self.entry_mut(number) {
            // What was read shares nothing with anything.
            entry.frame_bytes = (frame.picture.rgba().len() + frame.document.bytes_beside(None)) as u64;
            entry.frame = Some(frame);
            entry.last_use = last_use;
        }
    }

    /// Forgets a frame that cannot be read any more.
    pub fn was_lost(&mut self, number: u64) {
        self.entries.retain(|entry| entry.number != number);
    }

    /// Keeps within the budgets; answers with the numbers of frames whose files are to be removed.
    pub fn shrink(&mut self, disk: Disk) -> Vec<u64> {
        while self.frames_in_memory_bytes() > self.budget.memory_bytes && self.release_one() {}
        let memory_limit = match disk {
            // Those over the budget are being written.
            Disk::Usable => 2 * self.budget.memory_bytes,
            Disk::Unusable => self.budget.memory_bytes,
        };
        let mut removed = Vec::new();
        while self.entries.len() > self.budget.entries
            || self.frames_in_memory_bytes() > memory_limit
            || self.disk_bytes() > self.budget.disk_bytes
        {
            let newest = self.entries.len().saturating_sub(1);
            let oldest = self.entries.iter().position(|entry| !entry.is_held());
            let Some(entry) = oldest
                .filter(|at| *at < newest)
                .and_then(|at| self.entries.remove(at))
            else {
                break;
            };
            removed.extend(entry.file_bytes.map(|_| entry.number));
        }
        removed
    }

    /// Frees the memory of the frame on disk that was not looked at for longest; the newest and the one that was
    /// looked at last stay.
    fn release_one(&mut self) -> bool {
        let newest = self.entries.back().map(|entry| entry.number);
        let released = self
            .entries
            .iter_mut()
            .filter(|entry| entry.last_use != self.uses)
            .filter(|entry| entry.frame.is_some() && entry.is_written() && Some(entry.number) != newest)
            .min_by_key(|entry| entry.last_use);
        match released {
            Some(entry) => {
                entry.frame = None;
                true
            }
            None => false,
        }
    }
}

fn has_same_pixels(a: &Picture, b: &Picture) -> bool {
    a.size() == b.size() && (a.is_same(b) || a.rgba() == b.rgba())
}

/// Whether two documents show the same, quickly: masks count as the same only where they share their tiles, as a
/// document that was brought back does.
fn is_same_state(a: &Document, b: &Document) -> bool {
    let same_image = match (&a.background.image, &b.background.image) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    };
    same_image
        && a.size == b.size
        && a.seed == b.seed
        && a.settings == b.settings
        && a.background.prompt == b.background.prompt
        && a.background.negative_prompt == b.background.negative_prompt
        && a.background.keep_strength == b.background.keep_strength
        && a.regions.len() == b.regions.len()
        && a.regions
            .iter()
            .zip(&b.regions)
            .all(|(a, b)| is_same_region(a, b))
}

fn is_same_region(a: &RegionLayer, b: &RegionLayer) -> bool {
    a.id == b.id
        && a.name == b.name
        && a.colour == b.colour
        && a.prompt == b.prompt
        && a.negative_prompt == b.negative_prompt
        && a.visible == b.visible
        && a.prompt_strength == b.prompt_strength
        && a.mask_strength == b.mask_strength
        && a.mask_std_px == b.mask_std_px
        && a.seed == b.seed
        && shares_tiles(&a.mask, &b.mask)
}

fn shares_tiles(a: &Mask, b: &Mask) -> bool {
    let (columns, rows) = a.tile_grid();
    a.size() == b.size()
        && (0..rows).all(|row| {
            (0..columns).all(|column| match (a.tile(column, row), b.tile(column, row)) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            })
        })
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{CanvasSize, ModelSource, Seed};

    use super::*;

    const FRAME_BYTES: u64 = 64 * 64 * 4;

    fn document(seed: u64) -> Document {
        let mut document = Document::new(CanvasSize::new(64, 64).unwrap());
        document.seed = Seed(seed);
        document
    }

    /// A picture that looks like none before it.
    fn picture() -> Picture {
        static SHADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let shade = SHADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Picture::solid(CanvasSize::new(64, 64).unwrap(), shade.to_le_bytes())
    }

    /// Room for so many frames in memory and on disk; a file takes as much as its frame.
    fn kept(in_memory: u64, on_disk: u64) -> KeptFrames {
        KeptFrames::with_budget(Budget {
            entries: 20,
            memory_bytes: in_memory * FRAME_BYTES,
            disk_bytes: on_disk * FRAME_BYTES,
        })
    }

    /// Writes what is to be written, as `app/frames.rs` does; answers with what was removed.
    fn settle(kept: &mut KeptFrames) -> Vec<u64> {
        let mut removed = kept.shrink(Disk::Usable);
        while let Some((number, _)) = kept.next_to_write(false) {
            kept.was_written(number, FRAME_BYTES);
            removed.extend(kept.shrink(Disk::Usable));
        }
        removed
    }

    fn in_memory(kept: &KeptFrames) -> Vec<u64> {
        let entries = kept.entries.iter();
        entries
            .filter(|entry| entry.frame.is_some())
            .map(Entry::number)
            .collect()
    }

    #[test]
    fn the_same_document_is_kept_once_and_the_number_is_bounded() {
        let mut kept = kept(100, 100);
        kept.record(&document(0), &picture(), None);
        kept.record(&document(0), &picture(), None);
        assert_eq!(kept.len(), 1);
        kept.toggle_pin(1);
        for seed in 1..60 {
            kept.record(&document(seed), &picture(), None);
            kept.shrink(Disk::Unusable);
        }
        assert_eq!(kept.len(), 20);
        assert!(kept.entry(1).is_some(), "pinned");
        assert!(kept.entry(2).is_none(), "dropped");
        let newest = kept.entry(60).unwrap().frame().unwrap();
        assert_eq!(newest.document.seed, Seed(59));
    }

    #[test]
    fn a_picture_is_kept_for_good_though_its_document_was_kept_before() {
        let mut kept = kept(100, 100);
        let (first, second) = (picture(), picture());
        kept.record(&document(0), &first, None);
        kept.keep(&document(0), &first, None);
        assert_eq!((kept.len(), kept.pinned().count()), (1, 1));
        kept.keep(&document(0), &second, None);
        kept.keep(&document(0), &second, None);
        assert_eq!((kept.len(), kept.pinned().count()), (2, 2));
        kept.keep(&document(0), &second, Some(CanvasNumber::default()));
        assert_eq!(kept.pinned().count(), 3, "another canvas has its own");
    }

    #[test]
    fn a_picture_that_comes_back_is_there_once_and_another_model_paints_another() {
        let mut kept = kept(100, 100);
        let shade = |shade| Picture::solid(CanvasSize::new(8, 8).unwrap(), [shade; 4]);
        kept.record(&document(0), &shade(1), None);
        kept.record(&document(1), &shade(2), None);
        kept.record(&document(0), &shade(1), None);
        assert_eq!((kept.len(), kept.shown(&document(0))), (2, Some(1)));
        kept.record(&document(0), &shade(3), None);
        assert_eq!((kept.len(), kept.shown(&document(0))), (3, Some(3)));
        let mut by_another = document(0);
        by_another.model = ModelChoice::plain(ModelSource::Toy);
        kept.record(&by_another, &shade(4), None);
        assert_eq!((kept.len(), kept.shown(&document(0))), (4, Some(4)));
    }

    #[test]
    fn changes_that_do_not_show_make_no_frames_of_their_own() {
        let mut kept = kept(100, 100);
        let unchanged = picture();
        let named = |prompt: &str| {
            let mut document = document(0);
            prompt.clone_into(&mut document.background.prompt);
            document
        };
        for prompt in ["n", "ni", "nig", "night"] {
            kept.record(&named(prompt), &unchanged, None);
        }
        assert_eq!((kept.len(), kept.shown(&named("night"))), (1, Some(1)));
        // Nor when it was written meanwhile: then it is written again.
        assert_eq!(kept.next_to_write(true).map(|(number, _)| number), Some(1));
        kept.record(&named("nightly"), &unchanged, None);
        kept.was_written(1, FRAME_BYTES);
        assert!(!kept.has_newest_on_disk());
        // Until the new one is there, the file is an old one, also where it is pinned meanwhile.
        kept.toggle_pin(1);
        assert!(!kept.has_all_pins_on_disk());
        assert!(kept.next_to_write(true).is_some() && !kept.has_all_pins_on_disk());
        kept.toggle_pin(1);
        kept.record(&named("night"), &unchanged, None);
        assert_eq!(kept.len(), 1);
        let (_, frame) = kept.next_to_write(true).unwrap();
        assert_eq!(frame.document, named("night"));
        kept.was_written(1, FRAME_BYTES);
        assert!(kept.has_newest_on_disk() && kept.next_to_write(true).is_none());
        kept.keep(&named("night"), &unchanged, None);
        kept.record(&named("day"), &unchanged, None);
        assert_eq!(kept.len(), 2, "a pin stays as it is");
        assert_eq!(kept.shown(&named("night")), Some(1));
    }

    #[test]
    fn a_canvas_that_was_left_unsaved_is_held_until_it_is_let_go() {
        let mut kept = kept(2, 5);
        let (here, there) = (CanvasNumber::default(), CanvasNumber::default().next());
        kept.record(&document(0), &picture(), Some(here));
        kept.keep_unsaved(&document(0), &picture(), here);
        kept.keep_unsaved(&document(0), &picture(), there);
        kept.keep_unsaved(&document(1), &picture(), here);
        let held = |kept: &KeptFrames| kept.held().map(Entry::number).collect::<Vec<_>>();
        assert_eq!(held(&kept), [2, 3], "one for each canvas, the latest");
        assert!(!kept.has_all_unsaved_on_disk());
        for seed in 2..12 {
            kept.record(&document(seed), &picture(), None);
            settle(&mut kept);
        }
        assert_eq!(held(&kept), [2, 3], "however many come after them");
        assert!(kept.has_all_unsaved_on_disk());
        kept.release_unsaved(there);
        assert_eq!(held(&kept), [3]);
        kept.record(&document(12), &picture(), None);
        settle(&mut kept);
        assert!(kept.entry(2).is_none());
    }

    #[test]
    fn a_canvas_that_is_left_is_kept_with_what_does_not_show_in_it() {
        let mut kept = kept(5, 5);
        let canvas = CanvasNumber::default();
        let mut painted = document(0);
        let (id, edit) = crate::document::Edit::new_region(&painted, "a tree");
        painted.apply(edit);
        kept.record(&painted, &picture(), Some(canvas));
        kept.keep_unsaved(&painted, &picture(), canvas);
        assert_eq!(kept.len(), 1, "the strip has it already");
        painted.apply(crate::document::Edit::Region(
            id,
            crate::document::RegionField::Locked(true),
        ));
        kept.keep_unsaved(&painted, &picture(), canvas);
        let left: Vec<_> = kept.unsaved().filter_map(Entry::frame).collect();
        assert_eq!(left.len(), 1);
        assert!(left[0].document.region(id).unwrap().locked);
    }

    #[test]
    fn old_frames_go_to_the_disk_and_come_back() {
        let mut kept = kept(4, 100);
        for seed in 0..10 {
            kept.record(&document(seed), &picture(), None);
            settle(&mut kept);
        }
        assert_eq!(kept.len(), 10, "none is lost");
        assert_eq!(in_memory(&kept), [7, 8, 9, 10]);
        assert_eq!(kept.disk_bytes(), 6 * FRAME_BYTES);
        let frame = KeptFrame {
            document: document(1),
            picture: picture(),
        };
        kept.was_read(2, frame);
        settle(&mut kept);
        assert_eq!(in_memory(&kept), [2, 8, 9, 10], "the one in use stays");
        assert!(kept.entry(2).unwrap().shows(&document(1)));
    }

    #[test]
    fn the_disk_is_bounded_and_pins_are_written_first_and_stay() {
        let mut kept = kept(2, 5);
        kept.keep(&document(0), &picture(), None);
        assert_eq!(kept.next_to_write(false).unwrap().0, 1);
        assert!(!kept.has_all_pins_on_disk());
        let mut removed = Vec::new();
        for seed in 1..12 {
            kept.record(&document(seed), &picture(), None);
            removed.extend(settle(&mut kept));
        }
        assert!(kept.disk_bytes() <= 5 * FRAME_BYTES);
        assert!(kept.entry(1).is_some() && kept.has_all_pins_on_disk());
        assert_eq!(removed, [2, 3, 4, 5, 6]);
        assert!(!kept.has_newest_on_disk());
        assert_eq!(kept.next_to_write(true).unwrap().0, 12);
    }

    #[test]
    fn without_a_disk_memory_is_bounded_all_the_same() {
        let mut kept = kept(3, 5);
        for seed in 0..12 {
            kept.record(&document(seed), &picture(), None);
            assert!(kept.shrink(Disk::Unusable).is_empty());
        }
        assert_eq!(in_memory(&kept), [10, 11, 12]);
    }

    #[test]
    fn a_frame_costs_the_tiles_that_were_painted_since() {
        let mut kept = KeptFrames::default();
        let mut painted = document(0);
        let (id, edit) = crate::document::Edit::new_region(&painted, "a tree");
        painted.apply(edit);
        let paint = |painted: &mut Document, value| {
            let mut mask = painted.region(id).unwrap().mask.clone();
            mask.tile_mut(0, 0)[0] = value;
            painted.apply(crate::document::Edit::set_mask(painted, id, &mask));
        };
        paint(&mut painted, 1);
        kept.record(&painted, &picture(), None);
        painted.seed = Seed(5);
        kept.record(&painted, &picture(), None);
        paint(&mut painted, 2);
        kept.record(&painted, &picture(), None);
        let bytes: Vec<u64> = kept.entries.iter().map(|entry| entry.frame_bytes).collect();
        assert_eq!(bytes, [FRAME_BYTES + 4096, FRAME_BYTES, FRAME_BYTES + 4096]);
    }

    #[test]
    fn a_frame_costs_its_background_picture_unless_the_one_before_has_it() {
        let mut kept = KeptFrames::default();
        let mut painted = document(0);
        painted.background.image = Some(picture());
        for seed in 1..3 {
            painted.seed = Seed(seed);
            kept.record(&painted, &picture(), None);
        }
        painted.background.image = Some(picture());
        kept.record(&painted, &picture(), None);
        let bytes =
            |kept: &KeptFrames| -> Vec<u64> { kept.entries.iter().map(|entry| entry.frame_bytes).collect() };
        assert_eq!(bytes(&kept), [2 * FRAME_BYTES, FRAME_BYTES, 2 * FRAME_BYTES]);
        // What comes from the disk shares nothing.
        let frame = kept.entry(2).unwrap().frame().unwrap().clone();
        kept.was_read(2, frame);
        assert_eq!(bytes(&kept), [2 * FRAME_BYTES; 3]);
    }
}
