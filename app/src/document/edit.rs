//! Every change of a document, as data that knows its opposite.

use std::{mem, sync::Arc};

use wordbrush_engine::api::{
    CanvasSize, Mask, ModelChoice, Picture, RegionId, Seed, StreamSettings, TileData,
};

use super::{Document, RegionLayer, region_colour, resize};

/// A change of a document; [`Document::apply`] carries it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Puts a region into the painting order, 0 at the bottom; too high an index means on top.
    AddRegion {
        /// Its place in painting order.
        index: usize,
        /// The region; its id must be new.
        region: Box<RegionLayer>,
    },
    /// Takes a region away.
    RemoveRegion(RegionId),
    /// Changes where a region stands in painting order.
    MoveRegion {
        /// Which region.
        region: RegionId,
        /// Its new place, counted without itself.
        index: usize,
    },
    /// One property of a region.
    Region(RegionId, RegionField),
    /// Some tiles of a region's mask.
    MaskTiles(MaskTiles),
    /// One property of the background.
    Background(BackgroundField),
    /// The canvas size, with every mask made to fit.
    Size {
        /// The new size.
        size: CanvasSize,
        /// Masks of that size; those of regions not listed are cut at the right and bottom.
        masks: Vec<SizedMask>,
    },
    /// Noise of the whole canvas.
    Seed(Seed),
    /// How the stream runs.
    Settings(StreamSettings),
    /// Which model paints.
    Model(ModelChoice),
    /// Another document altogether, such as an entry of the history strip.
    Replace(Box<Document>),
    /// Several edits that belong together, first to last.
    Batch(Vec<Self>),
}

/// One property of a region, with its new value.
#[derive(Clone, Debug, PartialEq)]
pub enum RegionField {
    /// Name in the list.
    Name(String),
    /// Colour of the overlay, sRGB.
    Colour([u8; 3]),
    /// What it shows.
    Prompt(String),
    /// What it must not show.
    NegativePrompt(String),
    /// Whether it takes part in the picture.
    Visible(bool),
    /// Whether its mask is protected from tools.
    Locked(bool),
    /// 0.5 to 1.
    PromptStrength(f32),
    /// 0.5 to 1.
    MaskStrength(f32),
    /// Edge softness in pixels, 0 to 100.
    MaskStd(f32),
    /// Own noise, or the canvas'.
    Seed(Option<Seed>),
}

/// One property of the background, with its new value.
#[derive(Clone, Debug, PartialEq)]
pub enum BackgroundField {
    /// What it shows.
    Prompt(String),
    /// What it must not show.
    NegativePrompt(String),
    /// The picture behind everything.
    Image(Option<Picture>),
    /// How much of it stays, 0 to 1.
    KeepStrength(f32),
}

/// New contents for some tiles of a region's mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskTiles {
    /// Whose mask.
    pub region: RegionId,
    /// The tiles; each should appear once.
    pub tiles: Vec<MaskTile>,
}

/// New contents of one tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskTile {
    /// Tile column.
    pub column: u32,
    /// Tile row.
    pub row: u32,
    /// Its coverage; `None` where nothing is painted.
    pub data: Option<Arc<TileData>>,
}

/// A region's mask for a canvas of another size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizedMask {
    /// Whose mask.
    pub region: RegionId,
    /// The mask.
    pub mask: Mask,
}

impl Document {
    /// Carries out an edit and returns the one that takes it back.
    ///
    /// Edits always succeed: one that names a region or a tile that is not there changes nothing, and numbers
    /// beyond a property's range are taken as its nearest end. `next_region_id` only ever rises, also when a
    /// region is taken back, so that an id never means two regions.
    pub fn apply(&mut self, edit: Edit) -> Edit {
        match edit {
            Edit::AddRegion { index, region } => self.add_region(index, *region),
            Edit::RemoveRegion(id) => match self.position(id) {
                Some(index) => Edit::AddRegion {
                    index,
                    region: Box::new(self.regions.remove(index)),
                },
                None => Edit::NOTHING,
            },
            Edit::MoveRegion { region: id, index } => match self.position(id) {
                Some(from) => {
                    let region = self.regions.remove(from);
                    self.regions.insert(index.min(self.regions.len()), region);
                    Edit::MoveRegion {
                        region: id,
                        index: from,
                    }
                }
                None => Edit::NOTHING,
            },
            Edit::Region(id, field) => match self.region_mut(id) {
                Some(region) => Edit::Region(id, region.swap_field(field)),
                None => Edit::NOTHING,
            },
            Edit::MaskTiles(change) => self.swap_tiles(change),
            Edit::Background(field) => Edit::Background(self.swap_background(field)),
            Edit::Size { size, masks } => self.set_size(size, &masks),
            Edit::Seed(seed) => Edit::Seed(mem::replace(&mut self.seed, seed)),
            Edit::Settings(settings) => Edit::Settings(mem::replace(&mut self.settings, settings)),
            Edit::Model(model) => Edit::Model(mem::replace(&mut self.model, model)),
            Edit::Replace(mut document) => {
                document.next_region_id = document.next_region_id.max(self.next_region_id);
                Edit::Replace(Box::new(mem::replace(self, *document)))
            }
            Edit::Batch(edits) => {
                let mut inverse: Vec<_> = edits.into_iter().map(|edit| self.apply(edit)).collect();
                inverse.reverse();
                Edit::Batch(inverse)
            }
        }
    }

    fn region_mut(&mut self, id: RegionId) -> Option<&mut RegionLayer> {
        self.regions.iter_mut().find(|region| region.id == id)
    }

    fn add_region(&mut self, index: usize, mut region: RegionLayer) -> Edit {
        let id = region.id;
        if self.region(id).is_some() {
            return Edit::NOTHING;
        }
        if region.mask.size() != self.size {
            region.mask = resize::cropped(&region.mask, self.size, (0, 0));
        }
        self.next_region_id = self.next_region_id.max(id.0.saturating_add(1));
        self.regions.insert(index.min(self.regions.len()), region);
        Edit::RemoveRegion(id)
    }

    fn swap_tiles(&mut self, change: MaskTiles) -> Edit {
        let MaskTiles { region: id, tiles } = change;
        let Some(region) = self.region_mut(id) else {
            return Edit::NOTHING;
        };
        let (columns, rows) = region.mask.tile_grid();
        let mut before = Vec::with_capacity(tiles.len());
        for MaskTile { column, row, data } in tiles {
            if column < columns && row < rows {
                let old = region.mask.tile(column, row).cloned();
                before.push(MaskTile {
                    column,
                    row,
                    data: old,
                });
                region.mask.set_tile(column, row, data);
            }
        }
        // A tile that was named twice must get its first contents back last.
        before.reverse();
        Edit::MaskTiles(MaskTiles {
            region: id,
            tiles: before,
        })
    }

    fn swap_background(&mut self, field: BackgroundField) -> BackgroundField {
        let background = &mut self.background;
        match field {
            BackgroundField::Prompt(new) => {
                BackgroundField::Prompt(mem::replace(&mut background.prompt, new))
            }
            BackgroundField::NegativePrompt(new) => {
                BackgroundField::NegativePrompt(mem::replace(&mut background.negative_prompt, new))
            }
            BackgroundField::Image(new) => BackgroundField::Image(mem::replace(&mut background.image, new)),
            BackgroundField::KeepStrength(new) => BackgroundField::KeepStrength(mem::replace(
                &mut background.keep_strength,
                within(new, 0.0, 1.0),
            )),
        }
    }

    fn set_size(&mut self, size: CanvasSize, masks: &[SizedMask]) -> Edit {
        let mut before = Vec::with_capacity(self.regions.len());
        for region in &mut self.regions {
            let given = masks
                .iter()
                .find(|sized| sized.region == region.id && sized.mask.size() == size);
            let new = match given {
                Some(sized) => sized.mask.clone(),
                None => resize::cropped(&region.mask, size, (0, 0)),
            };
            before.push(SizedMask {
                region: region.id,
                mask: mem::replace(&mut region.mask, new),
            });
        }
        Edit::Size {
            size: mem::replace(&mut self.size, size),
            masks: before,
        }
    }
}

impl RegionLayer {
    fn swap_field(&mut self, field: RegionField) -> RegionField {
        use RegionField as F;
        match field {
            F::Name(new) => F::Name(mem::replace(&mut self.name, new)),
            F::Colour(new) => F::Colour(mem::replace(&mut self.colour, new)),
            F::Prompt(new) => F::Prompt(mem::replace(&mut self.prompt, new)),
            F::NegativePrompt(new) => F::NegativePrompt(mem::replace(&mut self.negative_prompt, new)),
            F::Visible(new) => F::Visible(mem::replace(&mut self.visible, new)),
            F::Locked(new) => F::Locked(mem::replace(&mut self.locked, new)),
            F::PromptStrength(new) => {
                F::PromptStrength(mem::replace(&mut self.prompt_strength, within(new, 0.5, 1.0)))
            }
            F::MaskStrength(new) => {
                F::MaskStrength(mem::replace(&mut self.mask_strength, within(new, 0.5, 1.0)))
            }
            F::MaskStd(new) => F::MaskStd(mem::replace(&mut self.mask_std_px, within(new, 0.0, 100.0))),
            F::Seed(new) => F::Seed(mem::replace(&mut self.seed, new)),
        }
    }
}

fn within(value: f32, low: f32, high: f32) -> f32 {
    if value.is_nan() {
        high
    } else {
        value.clamp(low, high)
    }
}

impl Edit {
    /// The edit that changes nothing.
    pub const NOTHING: Self = Self::Batch(Vec::new());

    /// Whether it certainly changes nothing.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Batch(edits) => edits.iter().all(Self::is_nothing),
            Self::MaskTiles(change) => change.tiles.is_empty(),
            _ => false,
        }
    }

    /// Whether it sets one property to the value that it has, as the button of a message may do that has been there for
    /// a while.
    pub fn is_so_already(&self, document: &Document) -> bool {
        match self {
            Self::Region(id, field) => document.region(*id).is_some_and(|region| match field {
                RegionField::Name(name) => region.name == *name,
                RegionField::Colour(colour) => region.colour == *colour,
                RegionField::Prompt(prompt) => region.prompt == *prompt,
                RegionField::NegativePrompt(prompt) => region.negative_prompt == *prompt,
                RegionField::Visible(visible) => region.visible == *visible,
                RegionField::Locked(locked) => region.locked == *locked,
                RegionField::PromptStrength(strength) => region.prompt_strength == *strength,
                RegionField::MaskStrength(strength) => region.mask_strength == *strength,
                RegionField::MaskStd(std_px) => region.mask_std_px == *std_px,
                RegionField::Seed(seed) => region.seed == *seed,
            }),
            _ => false,
        }
    }

    /// A new, unpainted region on top, in the next free colour. Returns its id, too.
    pub fn new_region(document: &Document, prompt: &str) -> (RegionId, Self) {
        let id = RegionId(document.next_region_id);
        let colour = free_colour(document);
        let region = RegionLayer::new(id, document.size, colour, prompt);
        let edit = Self::AddRegion {
            index: document.regions.len(),
            region: Box::new(region),
        };
        (id, edit)
    }

    /// A copy of a region right above it, in a colour of its own. `None` if there is no such region.
    pub fn duplicate_region(document: &Document, id: RegionId) -> Option<(RegionId, Self)> {
        let index = document.position(id)?;
        let copy_id = RegionId(document.next_region_id);
        let region = RegionLayer {
            id: copy_id,
            colour: free_colour(document),
            locked: false,
            ..document.regions[index].clone()
        };
        let edit = Self::AddRegion {
            index: index + 1,
            region: Box::new(region),
        };
        Some((copy_id, edit))
    }

    /// Gives a region another mask; only the tiles that differ are part of the edit.
    ///
    /// Changes nothing if there is no such region, or if the mask belongs to a canvas of another size.
    pub fn set_mask(document: &Document, id: RegionId, mask: &Mask) -> Self {
        match document.region(id) {
            Some(region) if region.mask.size() == mask.size() => {
                Self::MaskTiles(MaskTiles::between(id, &region.mask, mask))
            }
            _ => Self::NOTHING,
        }
    }

    /// Bytes that keeping this edit costs beside the document in hand. What another document shares with that one is
    /// kept by it anyway and does not count; tiles and pictures that edits share among themselves count in full.
    pub fn memory_bytes(&self, present: &Document) -> usize {
        let heap = match self {
            Self::AddRegion { region, .. } => region_bytes(region),
            Self::Region(_, field) => match field {
                RegionField::Name(text) | RegionField::Prompt(text) | RegionField::NegativePrompt(text) => {
                    text.capacity()
                }
                _ => 0,
            },
            Self::MaskTiles(change) => change.memory_bytes(),
            Self::Background(field) => match field {
                BackgroundField::Prompt(text) | BackgroundField::NegativePrompt(text) => text.capacity(),
                BackgroundField::Image(picture) => picture_bytes(picture.as_ref()),
                BackgroundField::KeepStrength(_) => 0,
            },
            Self::Size { masks, .. } => masks
                .iter()
                .map(|sized| size_of::<SizedMask>() + sized.mask.memory_bytes())
                .sum(),
            Self::Settings(settings) => size_of_val(settings.steps.indexes()),
            Self::Model(model) => model.loras.len() * 256,
            Self::Replace(document) => {
                let regions: usize = document.regions.iter().map(outline_bytes).sum();
                let background = &document.background;
                size_of::<Document>()
                    + regions
                    + background.prompt.capacity()
                    + background.negative_prompt.capacity()
                    + document.bytes_beside(Some(present))
            }
            Self::Batch(edits) => edits.iter().map(|edit| edit.memory_bytes(present)).sum(),
            Self::RemoveRegion(_) | Self::MoveRegion { .. } | Self::Seed(_) => 0,
        };
        size_of::<Self>() + heap
    }

    /// Takes a later inverse of the same gesture into this one, if one edit can stand for both.
    ///
    /// Both are inverses: `self` leads to the state before the gesture, `later` to the state before its last
    /// change. What `self` restores anyway need not be restored by `later`.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "the lint misses that the first arms mutate through the pattern"
    )]
    pub(super) fn absorb(&mut self, later: Self) -> Result<(), Self> {
        match (self, later) {
            (Self::MaskTiles(kept), Self::MaskTiles(later)) if kept.region == later.region => {
                kept.absorb(later);
                Ok(())
            }
            (Self::MoveRegion { region: kept, .. }, Self::MoveRegion { region, .. }) if *kept == region => {
                Ok(())
            }
            (Self::Size { .. }, Self::Size { .. }) | (Self::Replace(_), _) => Ok(()),
            (Self::Batch(kept), Self::Batch(later)) if pairs_up(kept, &later) => {
                for (kept, later) in kept.iter_mut().zip(later) {
                    kept.absorb(later)?;
                }
                Ok(())
            }
            (kept, later) if kept.sets_the_same_as(&later) => Ok(()),
            (_, later) => Err(later),
        }
    }

    /// Whether both set the same value, so that the one applied last decides alone (masks: tile by tile).
    fn sets_the_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Region(id, field), Self::Region(other_id, other)) => {
                id == other_id && mem::discriminant(field) == mem::discriminant(other)
            }
            (Self::Background(field), Self::Background(other)) => {
                mem::discriminant(field) == mem::discriminant(other)
            }
            (Self::MaskTiles(tiles), Self::MaskTiles(other)) => tiles.region == other.region,
            (Self::Seed(_), Self::Seed(_))
            | (Self::Settings(_), Self::Settings(_))
            | (Self::Model(_), Self::Model(_)) => true,
            _ => false,
        }
    }
}

/// Whether two batches set the same values in the same order, each of them once.
fn pairs_up(kept: &[Edit], later: &[Edit]) -> bool {
    let is_single = |index: usize| {
        kept[..index]
            .iter()
            .all(|other| !other.sets_the_same_as(&kept[index]))
    };
    kept.len() == later.len()
        && kept
            .iter()
            .zip(later)
            .enumerate()
            .all(|(index, (kept, later))| kept.sets_the_same_as(later) && is_single(index))
}

impl MaskTiles {
    /// What leads from one mask to another of the same canvas, tile by tile.
    pub fn between(region: RegionId, from: &Mask, to: &Mask) -> Self {
        let (columns, rows) = from.tile_grid();
        let mut tiles = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let (old, new) = (from.tile(column, row), to.tile(column, row));
                let is_same = match (old, new) {
                    (None, None) => true,
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
                    _ => false,
                };
                if !is_same {
                    let data = new.cloned();
                    tiles.push(MaskTile { column, row, data });
                }
            }
        }
        Self { region, tiles }
    }

    fn memory_bytes(&self) -> usize {
        let painted = self.tiles.iter().filter(|tile| tile.data.is_some()).count();
        self.tiles.len() * size_of::<MaskTile>() + painted * size_of::<TileData>()
    }

    /// Keeps the oldest contents of each tile.
    fn absorb(&mut self, later: Self) {
        let known: std::collections::HashSet<(u32, u32)> =
            self.tiles.iter().map(|tile| (tile.column, tile.row)).collect();
        let mut new: Vec<_> = later
            .tiles
            .into_iter()
            .filter(|tile| !known.contains(&(tile.column, tile.row)))
            .collect();
        // Within one list the last entry of a tile counts, and it is the oldest.
        self.tiles.append(&mut new);
    }
}

fn region_bytes(region: &RegionLayer) -> usize {
    outline_bytes(region) + region.mask.memory_bytes()
}

/// Bytes of a region without its mask.
fn outline_bytes(region: &RegionLayer) -> usize {
    size_of::<RegionLayer>()
        + region.name.capacity()
        + region.prompt.capacity()
        + region.negative_prompt.capacity()
}

fn picture_bytes(picture: Option<&Picture>) -> usize {
    picture.map_or(0, |picture| picture.rgba().len())
}

/// The first colour by index that no region wears.
fn free_colour(document: &Document) -> [u8; 3] {
    let is_free = |colour: &[u8; 3]| document.regions.iter().all(|region| region.colour != *colour);
    (0..=document.regions.len())
        .map(region_colour)
        .find(is_free)
        .unwrap_or_else(|| region_colour(document.regions.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let mut document = Document::new(CanvasSize::new(200, 100).unwrap());
        for prompt in ["sky", "meadow", "tree"] {
            let (_, edit) = Edit::new_region(&document, prompt);
            document.apply(edit);
        }
        document
    }

    fn prompts(document: &Document) -> Vec<&str> {
        document
            .regions
            .iter()
            .map(|region| region.prompt.as_str())
            .collect()
    }

    #[test]
    fn a_property_that_is_set_to_what_it_is_changes_nothing() {
        let mut document = document();
        let id = document.regions[0].id;
        let unlock = Edit::Region(id, RegionField::Locked(false));
        assert!(unlock.is_so_already(&document));
        document.apply(Edit::Region(id, RegionField::Locked(true)));
        assert!(!unlock.is_so_already(&document));
        assert!(!Edit::Region(RegionId(99), RegionField::Locked(false)).is_so_already(&document));
    }

    #[test]
    fn new_regions_lie_on_top_with_their_own_ids_and_colours() {
        let document = document();
        assert_eq!(prompts(&document), ["sky", "meadow", "tree"]);
        assert_eq!(document.regions[2].id, RegionId(3));
        assert_eq!(document.regions[2].colour, region_colour(2));
        assert_eq!(document.next_region_id, 4);
    }

    #[test]
    fn an_id_is_never_used_twice() {
        let mut document = document();
        document.apply(Edit::RemoveRegion(RegionId(3)));
        let (id, edit) = Edit::new_region(&document, "sun");
        assert_eq!(id, RegionId(4));
        document.apply(edit);
        assert_eq!(
            document.regions[2].colour,
            region_colour(2),
            "the freed colour is worn again"
        );
    }

    #[test]
    fn moving_and_duplicating_keep_painting_order() {
        let mut document = document();
        let back = document.apply(Edit::MoveRegion {
            region: RegionId(1),
            index: 2,
        });
        assert_eq!(prompts(&document), ["meadow", "tree", "sky"]);
        document.apply(back);
        assert_eq!(prompts(&document), ["sky", "meadow", "tree"]);

        let (copy, edit) = Edit::duplicate_region(&document, RegionId(2)).unwrap();
        document.apply(edit);
        assert_eq!(prompts(&document), ["sky", "meadow", "meadow", "tree"]);
        assert_eq!(document.position(copy), Some(2));
    }

    #[test]
    fn edits_of_missing_regions_change_nothing() {
        let mut document = document();
        let before = document.clone();
        let ghost = RegionId(99);
        for edit in [
            Edit::RemoveRegion(ghost),
            Edit::MoveRegion {
                region: ghost,
                index: 0,
            },
            Edit::Region(ghost, RegionField::Locked(true)),
            Edit::MaskTiles(MaskTiles {
                region: ghost,
                tiles: vec![],
            }),
            Edit::AddRegion {
                index: 0,
                region: Box::new(before.regions[0].clone()),
            },
            Edit::MaskTiles(MaskTiles {
                region: RegionId(1),
                tiles: vec![MaskTile {
                    column: 9,
                    row: 0,
                    data: None,
                }],
            }),
        ] {
            let inverse = document.apply(edit);
            assert!(inverse.is_nothing());
            assert_eq!(document, before);
        }
    }

    #[test]
    fn values_beyond_their_range_are_taken_as_its_end() {
        let mut document = document();
        for (value, expected) in [(7.0, 1.0), (0.1, 0.5), (f32::NAN, 1.0)] {
            document.apply(Edit::Region(RegionId(1), RegionField::PromptStrength(value)));
            assert_eq!(document.regions[0].prompt_strength, expected);
        }
    }

    #[test]
    fn set_mask_names_only_the_tiles_that_differ() {
        let mut document = document();
        let mut mask = document.regions[0].mask.clone();
        mask.tile_mut(1, 1)[0] = 5;
        let edit = Edit::set_mask(&document, RegionId(1), &mask);
        let Edit::MaskTiles(change) = &edit else {
            panic!("{edit:?}")
        };
        assert_eq!(change.tiles.len(), 1);
        let inverse = document.apply(edit);
        assert_eq!(document.regions[0].mask, mask);
        document.apply(inverse);
        assert!(document.regions[0].mask.is_empty());
    }
}
