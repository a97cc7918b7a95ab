//! Undo and redo: one entry per stroke or slider drag, bounded by bytes.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Document, Edit};

/// What an entry is called in the menu, such as "Brush stroke".
pub type Label = Cow<'static, str>;

/// Names a stroke, a slider drag or a stretch of typing; all edits of one gesture become one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gesture(pub u64);

impl Gesture {
    /// A name that no other gesture has.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Names an entry of the history for as long as it is there, also while it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryNumber(u64);

/// The way back and the way forth.
#[derive(Debug)]
pub struct History {
    undo: VecDeque<Entry>,
    redo: Vec<Entry>,
    open_gesture: Option<Gesture>,
    /// The way forth that the open gesture has cut off, in case it is taken back.
    set_aside: Vec<Entry>,
    bytes: usize,
    budget_bytes: usize,
    /// How many entries there have ever been.
    count: u64,
}

#[derive(Debug)]
struct Entry {
    number: EntryNumber,
    label: Label,
    /// Leads away from the present state: back in the undo stack, forth in the redo stack.
    edit: Edit,
    bytes: usize,
}

impl Entry {
    /// An entry that leads away from `present`.
    fn new(number: EntryNumber, label: Label, edit: Edit, present: &Document) -> Self {
        let bytes = size_of::<Self>() + edit.memory_bytes(present);
        Self {
            number,
            label,
            edit,
            bytes,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::with_budget(Self::DEFAULT_BUDGET_BYTES)
    }
}

impl History {
    /// Enough for thousands of strokes, little next to a model.
    pub const DEFAULT_BUDGET_BYTES: usize = 256 << 20;

    /// A history that keeps as many entries as fit into `budget_bytes`; the newest one is always kept.
    pub fn with_budget(budget_bytes: usize) -> Self {
        Self {
            undo: VecDeque::new(),
            redo: Vec::new(),
            open_gesture: None,
            set_aside: Vec::new(),
            bytes: 0,
            budget_bytes,
            count: 0,
        }
    }

    /// Carries out an edit and remembers the way back.
    ///
    /// With a `gesture`, it joins the newest entry if that belongs to the same gesture and nothing came between.
    /// An edit that changes nothing leaves no entry.
    pub fn apply(
        &mut self,
        document: &mut Document,
        edit: Edit,
        label: impl Into<Label>,
        gesture: Option<Gesture>,
    ) {
        let inverse = document.apply(edit);
        if inverse.is_nothing() {
            return;
        }
        let joins = gesture.is_some() && gesture == self.open_gesture;
        if !joins {
            self.drop_set_aside();
            if gesture.is_some() {
                self.set_aside = std::mem::take(&mut self.redo);
            }
        }
        self.drop_redo();
        self.open_gesture = gesture;
        match self.undo.pop_back() {
            Some(entry) if joins => {
                self.bytes -= entry.bytes;
                let edit = joined(entry.edit, inverse);
                self.push_undo(Entry::new(entry.number, entry.label, edit, document));
            }
            newest => {
                self.undo.extend(newest);
                self.count += 1;
                let number = EntryNumber(self.count);
                self.push_undo(Entry::new(number, label.into(), inverse, document));
            }
        }
        self.forget_beyond_budget();
    }

    /// Ends the gesture; later edits get an entry of their own even if they name it again.
    pub fn end_gesture(&mut self) {
        self.open_gesture = None;
        self.drop_set_aside();
    }

    /// As [`Self::end_gesture`], unless another gesture has begun since: a field that loses the keyboard to a stroke must not
    /// cut the stroke in two.
    pub fn end_gesture_of(&mut self, gesture: Gesture) {
        if self.open_gesture == Some(gesture) {
            self.end_gesture();
        }
    }

    /// Whether the newest entry belongs to this gesture.
    pub fn is_of_newest(&self, gesture: Gesture) -> bool {
        self.open_gesture == Some(gesture) && !self.undo.is_empty()
    }

    /// Takes the newest entry back as if it had never been, if it belongs to this gesture; answers whether it did.
    pub fn take_back(&mut self, document: &mut Document, gesture: Gesture) -> bool {
        if !self.is_of_newest(gesture) {
            return false;
        }
        if let Some(entry) = self.undo.pop_back() {
            document.apply(entry.edit);
            self.bytes -= entry.bytes;
        }
        self.redo = std::mem::take(&mut self.set_aside);
        self.end_gesture();
        true
    }

    /// Whether the way forth is gone for good, and not only as long as the open gesture may be taken back.
    pub fn has_no_way_forth(&self) -> bool {
        self.redo.is_empty() && self.set_aside.is_empty()
    }

    /// Goes one entry back; returns what was taken back, `None` at the beginning.
    pub fn undo(&mut self, document: &mut Document) -> Option<Label> {
        self.end_gesture();
        let entry = self.undo.pop_back()?;
        let edit = document.apply(entry.edit);
        let forth = Entry::new(entry.number, entry.label.clone(), edit, document);
        self.bytes = self.bytes - entry.bytes + forth.bytes;
        self.redo.push(forth);
        Some(entry.label)
    }

    /// Goes one entry forth again; returns what was done again, `None` at the end.
    pub fn redo(&mut self, document: &mut Document) -> Option<Label> {
        self.end_gesture();
        let entry = self.redo.pop()?;
        let edit = document.apply(entry.edit);
        let back = Entry::new(entry.number, entry.label.clone(), edit, document);
        self.bytes -= entry.bytes;
        self.push_undo(back);
        Some(entry.label)
    }

    /// The entry that [`Self::undo`] would take back: where the document stands.
    pub fn newest(&self) -> Option<EntryNumber> {
        self.undo.back().map(|entry| entry.number)
    }

    /// What [`Self::undo`] would take back.
    pub fn undo_label(&self) -> Option<&str> {
        self.undo.back().map(|entry| entry.label.as_ref())
    }

    /// What [`Self::redo`] would do again.
    pub fn redo_label(&self) -> Option<&str> {
        self.redo.last().map(|entry| entry.label.as_ref())
    }

    /// Number of entries back and forth.
    pub fn depth(&self) -> (usize, usize) {
        (self.undo.len(), self.redo.len())
    }

    /// Bytes that all entries together keep.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets everything, as for another document.
    pub fn clear(&mut self) {
        *self = Self {
            count: self.count,
            ..Self::with_budget(self.budget_bytes)
        };
    }

    fn push_undo(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        self.undo.push_back(entry);
    }

    fn drop_redo(&mut self) {
        for entry in self.redo.drain(..) {
            self.bytes -= entry.bytes;
        }
    }

    fn drop_set_aside(&mut self) {
        for entry in self.set_aside.drain(..) {
            self.bytes -= entry.bytes;
        }
    }

    fn forget_beyond_budget(&mut self) {
        // The way forth is only there in case the gesture is taken back; the way back is what the painter counts on.
        let over_bytes = self.bytes.saturating_sub(self.budget_bytes);
        let mut freed_bytes = 0;
        let is_too_much = |entry: &&Entry| {
            let is_over = freed_bytes < over_bytes;
            freed_bytes += entry.bytes;
            is_over
        };
        let count = self.set_aside.iter().take_while(is_too_much).count();
        for entry in self.set_aside.drain(..count) {
            self.bytes -= entry.bytes;
        }
        while self.bytes > self.budget_bytes && self.undo.len() > 1 {
            if let Some(entry) = self.undo.pop_front() {
                self.bytes -= entry.bytes;
            }
        }
    }
}

/// One edit that leads back past `later` and then past `kept`.
fn joined(mut kept: Edit, later: Edit) -> Edit {
    let Err(later) = kept.absorb(later) else {
        return kept;
    };
    let Edit::Batch(mut edits) = kept else {
        return Edit::Batch(vec![later, kept]);
    };
    // Edits of different kinds: the first of the list is the latest inverse and may still take this one in.
    let rest = match edits.first_mut() {
        Some(latest) => latest.absorb(later),
        None => Err(later),
    };
    if let Err(later) = rest {
        edits.insert(0, later);
    }
    Edit::Batch(edits)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use wordbrush_engine::api::{
        CanvasSize, Guidance, ModelChoice, ModelSource, Picture, RegionId, Seed, StreamSettings,
    };

    use super::*;
    use crate::document::{BackgroundField, MaskTile, MaskTiles, RegionField, ResizeMode};

    fn document() -> Document {
        let mut document = Document::new(CanvasSize::new(150, 100).unwrap());
        for prompt in ["sky", "tree"] {
            let (_, edit) = Edit::new_region(&document, prompt);
            document.apply(edit);
        }
        document
    }

    fn tiles(region: u64, tiles: &[(u32, u32, Option<u8>)]) -> Edit {
        let tile = |&(column, row, value): &(u32, u32, Option<u8>)| MaskTile {
            column,
            row,
            data: value.map(|value| Arc::new([value; 4096])),
        };
        Edit::MaskTiles(MaskTiles {
            region: RegionId(region),
            tiles: tiles.iter().map(tile).collect(),
        })
    }

    fn prompt(region: u64, text: &str) -> Edit {
        Edit::Region(RegionId(region), RegionField::Prompt(text.to_owned()))
    }

    #[test]
    fn one_stroke_is_one_entry_whatever_it_touches_twice() {
        let mut document = document();
        let before = document.clone();
        let mut history = History::default();
        let stroke = Some(Gesture(1));
        for edit in [
            tiles(1, &[(0, 0, Some(10)), (1, 0, Some(20))]),
            tiles(1, &[(1, 0, Some(30)), (2, 0, Some(40))]),
            tiles(1, &[(0, 0, None)]),
        ] {
            history.apply(&mut document, edit, "Brush stroke", stroke);
        }
        let after = document.clone();
        assert_eq!(history.depth(), (1, 0));
        assert_eq!(history.undo(&mut document).unwrap(), "Brush stroke");
        assert_eq!(document, before);
        history.redo(&mut document).unwrap();
        assert_eq!(document, after);
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace() {
        let mut document = document();
        let mut history = History::default();
        history.apply(&mut document, prompt(1, "sea"), "Prompt", None);
        history.apply(&mut document, prompt(1, "lake"), "Prompt", None);
        history.undo(&mut document).unwrap();
        let (before, bytes) = (document.clone(), history.memory_bytes());
        let stroke = Gesture(1);
        for value in [10, 20] {
            let edit = tiles(1, &[(0, 0, Some(value))]);
            history.apply(&mut document, edit, "Brush stroke", Some(stroke));
        }
        assert!(!history.take_back(&mut document, Gesture(2)));
        assert!(history.take_back(&mut document, stroke));
        assert_eq!(
            (&document, history.depth(), history.memory_bytes()),
            (&before, (1, 1), bytes)
        );
        assert!(!history.take_back(&mut document, stroke), "it is gone");
        let edit = tiles(1, &[(0, 0, Some(10))]);
        history.apply(&mut document, edit, "Brush stroke", Some(stroke));
        assert!(!history.has_no_way_forth());
        history.end_gesture();
        assert!(history.has_no_way_forth());
        assert_eq!(history.depth(), (2, 0));
        history.undo(&mut document).unwrap();
        history.undo(&mut document).unwrap();
        history.redo(&mut document).unwrap();
        assert_eq!(document, before);
    }

    #[test]
    fn a_slider_drag_costs_no_more_than_one_edit() {
        let mut document = document();
        let mut history = History::default();
        for step in 0..500 {
            let edit = Edit::Batch(vec![
                Edit::Region(RegionId(1), RegionField::MaskStd(step as f32 / 10.0)),
                Edit::Seed(Seed(step)),
            ]);
            history.apply(&mut document, edit, "Softness", Some(Gesture(7)));
        }
        assert_eq!(history.depth(), (1, 0));
        assert!(history.memory_bytes() < 2000, "{}", history.memory_bytes());
        history.undo(&mut document).unwrap();
        assert_eq!(document.regions[0].mask_std_px, 8.0);
        assert_eq!(document.seed, Seed(0));
    }

    #[test]
    fn gestures_do_not_join_across_others_or_after_their_end() {
        let mut document = document();
        let mut history = History::default();
        history.apply(&mut document, prompt(1, "a"), "Prompt", Some(Gesture(1)));
        history.apply(&mut document, prompt(1, "ab"), "Prompt", Some(Gesture(1)));
        assert_eq!(history.depth(), (1, 0));
        history.apply(&mut document, prompt(1, "abc"), "Prompt", None);
        history.apply(&mut document, prompt(1, "abcd"), "Prompt", Some(Gesture(1)));
        history.end_gesture();
        history.apply(&mut document, prompt(1, "abcde"), "Prompt", Some(Gesture(1)));
        assert_eq!(history.depth(), (4, 0));
        history.undo(&mut document);
        history.apply(&mut document, prompt(1, "x"), "Prompt", Some(Gesture(1)));
        assert_eq!(
            history.depth(),
            (4, 0),
            "an edit after undo drops redo and does not join"
        );
    }

    #[test]
    fn memory_stays_within_the_budget() {
        let mut document = document();
        let budget = 64 << 10;
        let mut history = History::with_budget(budget);
        for value in 1..=200u8 {
            history.apply(
                &mut document,
                tiles(1, &[(0, 0, Some(value))]),
                "Brush stroke",
                None,
            );
            assert!(history.memory_bytes() <= budget);
        }
        let (undo, _) = history.depth();
        assert!((10..20).contains(&undo), "{undo}");
        let mut steps = 0;
        while history.undo(&mut document).is_some() {
            steps += 1;
        }
        assert_eq!(steps, undo);
        assert!(history.memory_bytes() <= budget + 8192);
        history.clear();
        assert_eq!(history.memory_bytes(), 0);
    }

    #[test]
    fn a_stroke_forgets_the_way_forth_before_the_way_back() {
        let mut document = document();
        let mut history = History::default();
        for value in 1..=12 {
            let edit = tiles(1, &[(0, 0, Some(value))]);
            history.apply(&mut document, edit, "Brush stroke", None);
        }
        history.budget_bytes = history.memory_bytes();
        for _ in 0..6 {
            history.undo(&mut document).unwrap();
        }
        let stroke = Gesture(1);
        let edit = tiles(1, &[(0, 0, Some(99))]);
        history.apply(&mut document, edit, "Brush stroke", Some(stroke));
        assert_eq!(history.depth(), (7, 0));
        assert!(history.memory_bytes() <= history.budget_bytes);
        assert!(history.take_back(&mut document, stroke));
        assert_eq!(history.depth(), (6, 5));
        history.redo(&mut document).unwrap();
        assert_eq!(document.regions[0].mask.coverage(0, 0), 7, "the nearest is kept");
    }

    #[test]
    fn an_entry_keeps_its_number_when_it_is_undone_and_done_again() {
        let mut document = document();
        let mut history = History::default();
        history.apply(&mut document, prompt(1, "a"), "Prompt", None);
        let first = history.newest();
        history.apply(&mut document, prompt(1, "b"), "Prompt", Some(Gesture(1)));
        let second = history.newest();
        history.apply(&mut document, prompt(1, "bc"), "Prompt", Some(Gesture(1)));
        assert_eq!(history.newest(), second, "one gesture");
        history.undo(&mut document);
        assert_eq!(history.newest(), first);
        history.redo(&mut document);
        assert_eq!(history.newest(), second);
        history.undo(&mut document);
        history.apply(&mut document, prompt(1, "d"), "Prompt", None);
        assert!(![first, second, None].contains(&history.newest()));
    }

    #[test]
    fn an_entry_larger_than_the_budget_can_still_be_undone() {
        let mut document = document();
        let mut history = History::with_budget(100);
        history.apply(&mut document, tiles(1, &[(0, 0, Some(1))]), "Brush stroke", None);
        history.apply(&mut document, tiles(1, &[(0, 0, Some(2))]), "Brush stroke", None);
        assert_eq!(history.depth(), (1, 0));
        history.undo(&mut document).unwrap();
        assert_eq!(document.regions[0].mask.coverage(0, 0), 1);
    }

    #[test]
    fn bringing_back_a_state_that_shares_its_masks_keeps_the_steps_before_it() {
        let mut document = document();
        for region in &mut document.regions {
            region.mask = wordbrush_engine::api::Mask::full(document.size);
        }
        document.background.image = Some(Picture::solid(document.size, [7; 4]));
        let mut history = History::with_budget(64 << 10);
        history.apply(&mut document, prompt(1, "a"), "Prompt", None);
        let earlier = document.clone();
        for _ in 0..10 {
            let replace = Edit::Replace(Box::new(earlier.clone()));
            history.apply(&mut document, replace, "Bring back a frame", None);
        }
        assert_eq!(history.depth(), (11, 0));
        // What is not shared counts: a picture, and the tiles of another canvas.
        let other = Document::new(document.size);
        history.apply(
            &mut document,
            Edit::Replace(Box::new(other)),
            "Another canvas",
            None,
        );
        assert_eq!(history.depth(), (1, 0));
    }

    /// An edit with numbers that may or may not fit the document it will meet.
    fn any_edit() -> impl Strategy<Value = Edit> {
        let id = || (1..7u64).prop_map(RegionId);
        let text = || "[a-c]{0,3}";
        let size = || (1..200u32, 1..200u32).prop_map(|(w, h)| CanvasSize::new(w, h).unwrap());
        let field = prop_oneof![
            text().prop_map(RegionField::Name),
            any::<[u8; 3]>().prop_map(RegionField::Colour),
            text().prop_map(RegionField::Prompt),
            text().prop_map(RegionField::NegativePrompt),
            any::<bool>().prop_map(RegionField::Visible),
            any::<bool>().prop_map(RegionField::Locked),
            any::<f32>().prop_map(RegionField::PromptStrength),
            any::<f32>().prop_map(RegionField::MaskStrength),
            any::<f32>().prop_map(RegionField::MaskStd),
            any::<Option<u64>>().prop_map(|seed| RegionField::Seed(seed.map(Seed))),
        ];
        let background = prop_oneof![
            text().prop_map(BackgroundField::Prompt),
            text().prop_map(BackgroundField::NegativePrompt),
            proptest::option::of(size())
                .prop_map(|size| BackgroundField::Image(size.map(|size| Picture::solid(size, [7; 4])))),
            any::<f32>().prop_map(BackgroundField::KeepStrength),
        ];
        let tile = (0..5u32, 0..5u32, any::<Option<u8>>());
        let leaf = prop_oneof![
            4 => (1..7u64, proptest::collection::vec(tile, 0..5))
                .prop_map(|(region, list)| tiles(region, &list)),
            2 => (0..5usize, id(), size(), text()).prop_map(|(index, id, size, prompt)| Edit::AddRegion {
                index,
                region: Box::new(crate::document::RegionLayer::new(id, size, [0; 3], &prompt)),
            }),
            2 => (0..5usize, id()).prop_map(|(index, region)| Edit::MoveRegion { region, index }),
            1 => id().prop_map(Edit::RemoveRegion),
            4 => (id(), field).prop_map(|(id, field)| Edit::Region(id, field)),
            1 => background.prop_map(Edit::Background),
            1 => size().prop_map(|size| Edit::Size { size, masks: Vec::new() }),
            1 => any::<u64>().prop_map(|seed| Edit::Seed(Seed(seed))),
            1 => (0..4u8).prop_map(|bootstrap_steps| Edit::Settings(StreamSettings {
                bootstrap_steps,
                guidance: Guidance::Full { scale: 2.0 },
                ..StreamSettings::default()
            })),
            1 => Just(Edit::Model(ModelChoice::plain(ModelSource::Toy))),
            1 => size().prop_map(|size| Edit::Replace(Box::new(Document::new(size)))),
        ];
        leaf.prop_recursive(2, 6, 3, |edit| {
            proptest::collection::vec(edit, 0..4).prop_map(Edit::Batch)
        })
    }

    /// Everything but the counter of ids, which never falls.
    fn content(document: &Document) -> Document {
        Document {
            next_region_id: 0,
            ..document.clone()
        }
    }

    proptest! {
        #[test]
        fn undoing_everything_leads_to_the_start_and_redoing_to_the_end(
            edits in proptest::collection::vec((any_edit(), proptest::option::of(0..3u64)), 1..40)
        ) {
            let mut document = document();
            let start = content(&document);
            let mut history = History::default();
            for (edit, gesture) in edits {
                history.apply(&mut document, edit, "Edit", gesture.map(Gesture));
                let wrong = document.regions.iter().find(|region| region.mask.size() != document.size);
                prop_assert!(wrong.is_none(), "every mask has the canvas size");
            }
            let end = content(&document);
            for _ in 0..2 {
                while history.undo(&mut document).is_some() {}
                prop_assert_eq!(&content(&document), &start);
                while history.redo(&mut document).is_some() {}
                prop_assert_eq!(&content(&document), &end);
            }
        }

        #[test]
        fn a_wandering_undo_and_redo_agrees_with_remembered_states(
            moves in proptest::collection::vec((any_edit(), 0..4u8), 1..40)
        ) {
            let mut document = document();
            let mut history = History::default();
            let mut states = vec![content(&document)];
            let mut now = 0;
            for (edit, step) in moves {
                match step {
                    0 => if history.undo(&mut document).is_some() { now -= 1 },
                    1 => if history.redo(&mut document).is_some() { now += 1 },
                    _ => {
                        let depth = history.depth();
                        history.apply(&mut document, edit, "Edit", None);
                        if history.depth() != depth {
                            now += 1;
                            states.truncate(now);
                            states.push(content(&document));
                        }
                    }
                }
                prop_assert_eq!(&content(&document), &states[now]);
            }
        }
    }

    #[test]
    fn resizing_is_one_entry() {
        let mut document = document();
        let before = document.clone();
        let mut history = History::default();
        let edit = Edit::resize(&document, CanvasSize::new(64, 64).unwrap(), ResizeMode::Scale);
        history.apply(&mut document, edit, "Canvas size", None);
        history.undo(&mut document).unwrap();
        assert_eq!(document, before);
    }
}
