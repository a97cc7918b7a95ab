//! The journal of a session: an append-only file from which the canvas can be put together again, whatever moment
//! the program or the machine was cut off at.
//!
//! A record holds what differs from the record before: words and numbers if any changed, mask tiles that were painted
//! on, the background picture if it was exchanged. Tiles are shared, copy-on-write data, so finding the difference
//! costs next to nothing, and undo, redo, strokes and sliders need no journal code of their own.
//!
//! ```text
//! file    "WBJOURNAL\0" version:u16 0:u32, records
//! record  head_length:u32 head:JSON tiles:4096 bytes each, picture:RGBA     (packed as `records` does)
//! ```
//!
//! A record that was cut off fails its checksum, and reading ends in front of it. A failed append is taken back, or
//! written over by the next one. When a file has grown, a new one is begun with the whole canvas as its first record,
//! and the old one goes only after the new one is safely on disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize, Serializer};
use wordbrush_engine::api::{CanvasSize, Mask, Picture, RegionId, TILE_SIDE, TileData};

use super::{
    atomic::sync_folder,
    manifest::{BackgroundRecord, CanvasRecord, RegionRecord, written_model},
    open::{MAX_FILE_BYTES, read_bounded},
    records,
};
use crate::document::Document;

const MAGIC: &[u8; 10] = b"WBJOURNAL\0";
const VERSION: u16 = 1;
const HEADER_BYTES: u64 = 16;
const TILE_BYTES: usize = (TILE_SIDE * TILE_SIDE) as usize;
/// A file is replaced when it is this much larger than its first record makes it.
const GROWTH_FACTOR: u64 = 4;
const GROWTH_BYTES: u64 = 16 << 20;

/// What is journalled: the canvas and where it stands to its file.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionState {
    /// The canvas.
    pub document: Document,
    /// About the canvas' file.
    pub file: SessionFile,
    /// About its frames.
    pub frames: SessionFrames,
}

/// What the frames of a session mean, by their numbers; [`super::frames`] has the frames themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionFrames {
    /// The pinned frames of the history strip.
    #[serde(rename = "pinned_frames", skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<u64>,
    /// Those of them that are of the canvas in the journal.
    #[serde(rename = "own_pinned_frames", skip_serializing_if = "Vec::is_empty")]
    pub own_pinned: Vec<u64>,
    /// Canvases that were left for another one before they were saved, each with the frame that holds it.
    #[serde(rename = "left_canvases", skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftCanvas>,
    /// Frames from this number on are of the canvas in the journal, those of `left` aside.
    #[serde(rename = "frames_since")]
    pub since: u64,
}

/// A canvas that was left for another one before it was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeftCanvas {
    /// Number of the frame that holds it as it was left.
    pub frame: u64,
    /// What it is called.
    pub title: String,
    /// The project's file, if it has one.
    #[serde(serialize_with = "write_path")]
    pub path: Option<PathBuf>,
    /// Those of the pinned frames that are of it.
    #[serde(rename = "pinned_frames", skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<u64>,
}

/// Where a session's canvas stands to its file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionFile {
    /// What the canvas is called; empty in journals that did not say so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The project's file, if it has one.
    #[serde(serialize_with = "write_path")]
    pub path: Option<PathBuf>,
    /// Whether that file holds everything, and no other canvas of the session was left unsaved; such a session is not
    /// offered back.
    pub is_saved: bool,
}

/// A path that JSON cannot hold is left out: the session is worth more than where it was saved.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn write_path<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_deref().and_then(Path::to_str).serialize(serializer)
}

/// The plain part of a record.
#[derive(Serialize, Deserialize)]
struct Head {
    unix_millis: u64,
    file: SessionFile,
    #[serde(flatten)]
    frames: SessionFrames,
    /// Without masks and pictures; only if something in it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    canvas: Option<CanvasRecord>,
    tiles: Vec<TileHead>,
    image: ImageChange,
}

#[derive(Serialize, Deserialize)]
struct TileHead {
    region: RegionId,
    column: u32,
    row: u32,
    /// Its bytes follow the head; an unpainted tile has none.
    is_painted: bool,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ImageChange {
    Same,
    None,
    /// Its pixels follow the tiles.
    Picture(CanvasSize),
}

/// Writes a session's journal into a folder.
#[derive(Debug)]
pub struct JournalWriter {
    folder: PathBuf,
    generation: u64,
    file: File,
    /// Up to here the file is good.
    good_bytes: u64,
    /// Size at which a new file is begun.
    compact_at_bytes: u64,
    /// A larger file could not be read.
    max_bytes: u64,
    /// What the file says so far.
    written: SessionState,
}

impl JournalWriter {
    /// Begins a journal with a first record.
    ///
    /// # Errors
    /// If the folder cannot be written to or the disk is full.
    pub fn create(folder: &Path, state: &SessionState) -> anyhow::Result<Self> {
        let generation = generations(folder)?.last().map_or(1, |last| last + 1);
        Self::begin(folder, generation, state)
    }

    /// Adds what changed since the last record and brings it to the disk; answers whether anything had changed.
    ///
    /// # Errors
    /// If the disk is full or fails. The journal stays readable, and the next call tries again with everything that
    /// is not in it yet.
    pub fn append(&mut self, state: &SessionState) -> anyhow::Result<bool> {
        if *state == self.written {
            return Ok(false);
        }
        let record = record(Some(&self.written), state)?;
        if self.good_bytes + record.len() as u64 > self.max_bytes {
            self.begin_anew(state)?;
            return Ok(true);
        }
        if let Err(error) = self.write(&record) {
            // What was half written is cut off; if that fails as well, its checksum tells and the next write covers it.
            self.file.set_len(self.good_bytes).ok();
            return Err(error.into());
        }
        self.good_bytes += record.len() as u64;
        self.written = state.clone();
        if self.good_bytes > self.compact_at_bytes {
            self.compact();
        }
        Ok(true)
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.good_bytes))?;
        self.file.write_all(record)?;
        self.file.sync_data()
    }

    /// Goes on in a new file; if there is no room for it, in the old one.
    fn compact(&mut self) {
        let written = self.written.clone();
        if let Err(error) = self.begin_anew(&written) {
            tracing::warn!("the journal cannot be compacted and goes on growing: {error:#}");
            self.compact_at_bytes = self.good_bytes + GROWTH_BYTES;
        }
    }

    /// Goes on in a new file that begins with this state.
    fn begin_anew(&mut self, state: &SessionState) -> anyhow::Result<()> {
        let next = Self::begin(&self.folder, self.generation + 1, state)?;
        let old = journal_path(&self.folder, self.generation);
        *self = next;
        if let Err(error) = std::fs::remove_file(&old) {
            tracing::warn!("cannot remove the old journal {}: {error}", old.display());
        }
        Ok(())
    }

    fn begin(folder: &Path, generation: u64, state: &SessionState) -> anyhow::Result<Self> {
        let path = journal_path(folder, generation);
        let temporary = path.with_extension("tmp");
        let begun = Self::write_first(&temporary, state).and_then(|(file, good_bytes)| {
            std::fs::rename(&temporary, &path)?;
            sync_folder(folder);
            Ok((file, good_bytes))
        });
        if begun.is_err() {
            // It may never have come into being.
            std::fs::remove_file(&temporary).ok();
        }
        let (file, good_bytes) = begun?;
        Ok(Self {
            folder: folder.to_owned(),
            generation,
            file,
            good_bytes,
            compact_at_bytes: good_bytes * GROWTH_FACTOR + GROWTH_BYTES,
            max_bytes: MAX_FILE_BYTES,
            written: state.clone(),
        })
    }

    fn write_first(path: &Path, state: &SessionState) -> anyhow::Result<(File, u64)> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(record(None, state)?);
        ensure!(bytes.len() as u64 <= MAX_FILE_BYTES, records::TOO_LARGE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok((file, bytes.len() as u64))
    }
}

/// A session as its journal tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredState {
    /// The newest state.
    pub state: SessionState,
    /// When it was written.
    pub written_at: SystemTime,
}

/// Puts a session together again from its folder; `None` if nothing was ever written.
///
/// # Errors
/// If the folder cannot be read, or files are there but none of them is readable.
pub fn recover(folder: &Path) -> anyhow::Result<Option<RecoveredState>> {
    let mut failure = None;
    for generation in generations(folder)?.into_iter().rev() {
        let path = journal_path(folder, generation);
        match read_file(&path).with_context(|| format!("cannot read the journal {}", path.display())) {
            Ok(state) => return Ok(Some(state)),
            Err(error) => {
                tracing::warn!("{error:#}");
                failure.get_or_insert(error);
            }
        }
    }
    failure.map_or(Ok(None), Err)
}

fn read_file(path: &Path) -> anyhow::Result<RecoveredState> {
    read_journal(&read_bounded(path)?)
}

/// Removes the journals in a folder, the oldest first, so that no older state comes to light in between.
pub(super) fn remove(folder: &Path) -> anyhow::Result<()> {
    for generation in generations(folder)? {
        std::fs::remove_file(journal_path(folder, generation))?;
    }
    Ok(())
}

/// The newest state in the bytes of a journal.
///
/// # Errors
/// If not even the first record is readable.
pub fn read_journal(bytes: &[u8]) -> anyhow::Result<RecoveredState> {
    ensure!(bytes.starts_with(MAGIC), "it is no journal");
    let version = bytes
        .get(10..12)
        .map_or(0, |version| u16::from_le_bytes([version[0], version[1]]));
    ensure!(
        version == VERSION,
        "it is of format {version}, this program reads {VERSION}"
    );
    let mut rest = bytes.get(HEADER_BYTES as usize..).unwrap_or_default();
    let mut newest = None;
    while let Some((payload, behind)) = records::next_payload(rest) {
        match apply(newest.as_ref(), payload) {
            Ok(state) => newest = Some(state),
            Err(error) => {
                tracing::warn!("the journal ends early: {error:#}");
                break;
            }
        }
        rest = behind;
    }
    newest.context("it holds no complete record")
}

/// A record with everything by which `state` differs from `before`; with all of it if there is nothing before.
fn record(before: Option<&SessionState>, state: &SessionState) -> anyhow::Result<Vec<u8>> {
    let document = &state.document;
    let before = before.map(|before| &before.document);
    let outline = outline(document);
    let has_same_outline = before.is_some_and(|before| self::outline(before) == outline);
    let changed_tiles = changed_tiles(before, document);
    let image = &document.background.image;
    let image_change = match image {
        image
            if before
                .is_some_and(|before| same_picture(before.background.image.as_ref(), image.as_ref())) =>
        {
            ImageChange::Same
        }
        None => ImageChange::None,
        Some(picture) => ImageChange::Picture(picture.size()),
    };
    let head = serde_json::to_vec(&Head {
        unix_millis: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64),
        file: state.file.clone(),
        frames: state.frames.clone(),
        canvas: (!has_same_outline).then_some(outline),
        tiles: changed_tiles.iter().map(|(head, _)| head.copy()).collect(),
        image: image_change,
    })?;

    records::packed(|content| {
        content.write_all(&(head.len() as u32).to_le_bytes())?;
        content.write_all(&head)?;
        for (_, tile) in &changed_tiles {
            if let Some(tile) = tile {
                content.write_all(tile.as_slice())?;
            }
        }
        if let (ImageChange::Picture(_), Some(picture)) = (image_change, image) {
            content.write_all(picture.rgba())?;
        }
        Ok(())
    })
}

/// A record that holds a whole canvas.
pub(super) fn record_of_document(document: &Document) -> anyhow::Result<Vec<u8>> {
    record(
        None,
        &SessionState {
            document: document.clone(),
            file: SessionFile::default(),
            frames: SessionFrames::default(),
        },
    )
}

/// The canvas in the payload of a record that holds a whole one.
pub(super) fn document_of_record(payload: &[u8]) -> anyhow::Result<Document> {
    Ok(apply(None, payload)?.state.document)
}

impl TileHead {
    fn copy(&self) -> Self {
        Self { ..*self }
    }
}

/// A document without its pixels.
fn outline(document: &Document) -> CanvasRecord {
    CanvasRecord {
        size: document.size,
        seed: document.seed,
        model: written_model(&document.model),
        settings: document.settings.clone(),
        background: BackgroundRecord::of(&document.background, None),
        regions: document
            .regions
            .iter()
            .map(|region| RegionRecord::from_region(region, None))
            .collect(),
        next_region_id: document.next_region_id,
    }
}

fn same_picture(a: Option<&Picture>, b: Option<&Picture>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.is_same(b),
        _ => false,
    }
}

/// A region's mask before the change: what the reader will have when it comes to this record.
fn mask_before(before: Option<&Document>, id: RegionId, size: CanvasSize) -> Mask {
    before
        .and_then(|before| before.region(id))
        .map(|region| &region.mask)
        .filter(|mask| mask.size() == size)
        .cloned()
        .unwrap_or_else(|| Mask::new(size))
}

fn changed_tiles(before: Option<&Document>, document: &Document) -> Vec<(TileHead, Option<Arc<TileData>>)> {
    let mut changed = Vec::new();
    for region in &document.regions {
        let old = mask_before(before, region.id, document.size);
        let Some(area) = old.difference(&region.mask) else {
            continue;
        };
        for row in area.y0 / TILE_SIDE..area.y1.div_ceil(TILE_SIDE) {
            for column in area.x0 / TILE_SIDE..area.x1.div_ceil(TILE_SIDE) {
                let (old, new) = (old.tile(column, row), region.mask.tile(column, row));
                let is_same = match (old, new) {
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
                    (old, new) => old.is_none() && new.is_none(),
                };
                if !is_same {
                    let head = TileHead {
                        region: region.id,
                        column,
                        row,
                        is_painted: new.is_some(),
                    };
                    changed.push((head, new.cloned()));
                }
            }
        }
    }
    changed
}

/// The state after a record.
fn apply(before: Option<&RecoveredState>, payload: &[u8]) -> anyhow::Result<RecoveredState> {
    let bytes = records::unpacked(payload)?;
    let (length, rest) = bytes.split_first_chunk().context("a record is too short")?;
    let (head, mut pixels) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .context("a record is too short")?;
    let head: Head = serde_json::from_slice(head)?;

    let before = before.map(|before| &before.state.document);
    let mut document = match (head.canvas, before) {
        (Some(canvas), before) => document_from_outline(canvas, before)?,
        (None, Some(before)) => before.clone(),
        (None, None) => bail!("the first record has no canvas"),
    };
    for tile in &head.tiles {
        let region = document
            .regions
            .iter_mut()
            .find(|region| region.id == tile.region);
        let mask = &mut region.context("a tile belongs to no region")?.mask;
        let (columns, rows) = mask.tile_grid();
        ensure!(
            tile.column < columns && tile.row < rows,
            "a tile lies beyond the canvas"
        );
        let data = if tile.is_painted {
            let (data, rest) = pixels
                .split_first_chunk::<TILE_BYTES>()
                .context("a record is too short")?;
            pixels = rest;
            Some(Arc::new(*data))
        } else {
            None
        };
        mask.set_tile(tile.column, tile.row, data);
    }
    match head.image {
        ImageChange::Same => {}
        ImageChange::None => document.background.image = None,
        ImageChange::Picture(size) => {
            let rgba = pixels.get(..size.area() * 4).context("a record is too short")?;
            document.background.image = Some(Picture::new(size, rgba)?);
        }
    }
    Ok(RecoveredState {
        state: SessionState {
            document,
            file: head.file,
            frames: head.frames,
        },
        written_at: UNIX_EPOCH
            .checked_add(Duration::from_millis(head.unix_millis))
            .unwrap_or(UNIX_EPOCH),
    })
}

/// A document by its outline, with the pixels that it had before.
fn document_from_outline(canvas: CanvasRecord, before: Option<&Document>) -> anyhow::Result<Document> {
    let size = canvas.size;
    let image = before.and_then(|before| before.background.image.clone());
    let regions: Vec<_> = canvas
        .regions
        .into_iter()
        .enumerate()
        .map(|(index, region)| {
            let mask = mask_before(before, region.id, size);
            region.with_mask(index, mask)
        })
        .collect();
    ensure!(
        regions.len() <= super::manifest::MAX_REGIONS,
        "a record has too many regions"
    );
    Ok(Document {
        size,
        background: canvas.background.with_image(image),
        regions,
        seed: canvas.seed,
        settings: canvas.settings,
        model: canvas.model,
        next_region_id: canvas.next_region_id,
    })
}

fn journal_path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("journal-{generation:06}.wbj"))
}

/// The numbers of the journals in a folder, rising.
fn generations(folder: &Path) -> anyhow::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix("journal-")?
                .strip_suffix(".wbj")?
                .parse::<u64>()
                .ok()
        });
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::ModelSource;

    use super::*;
    use crate::document::{RegionLayer, region_colour};

    fn state() -> SessionState {
        let size = CanvasSize::new(200, 150).unwrap();
        let mut document = Document::new(size);
        for id in 1..=3 {
            document.regions.push(RegionLayer::new(
                RegionId(id),
                size,
                region_colour(id as usize),
                "x",
            ));
        }
        document.next_region_id = 4;
        SessionState {
            document,
            file: SessionFile::default(),
            frames: SessionFrames::default(),
        }
    }

    /// A few changes of every kind.
    fn changes() -> Vec<fn(&mut SessionState)> {
        vec![
            |state| state.document.regions[0].mask.tile_mut(1, 1)[7] = 9,
            |state| state.document.regions[1].prompt = "a tree".to_owned(),
            |state| {
                state.document.regions[2].mask.tile_mut(0, 0).fill(255);
                state.document.regions[0].mask.tile_mut(3, 2)[0] = 1;
            },
            |state| state.document.background.image = Some(Picture::solid(state.document.size, [1, 2, 3, 4])),
            |state| state.document.regions.swap(0, 2),
            |state| state.document.regions[0].mask.set_tile(0, 0, None),
            |state| drop(state.document.regions.remove(1)),
            |state| state.file.path = Some("/somewhere/a.wordbrush".into()),
            |state| state.document.background.keep_strength = 0.25,
            |state| state.document.background.image = None,
            |state| {
                let size = CanvasSize::new(300, 90).unwrap();
                state.document.size = size;
                for region in &mut state.document.regions {
                    region.mask = Mask::new(size);
                    region.mask.tile_mut(4, 1)[3] = 3;
                }
            },
            |state| state.document.settings.bootstrap_steps = 3,
            |state| state.frames.pinned = vec![3, 7],
            |state| state.frames.own_pinned = vec![7],
            |state| state.frames.pinned.truncate(1),
            |state| {
                state.frames.left = vec![LeftCanvas {
                    frame: 4,
                    title: "forest".to_owned(),
                    path: Some("forest.wordbrush".into()),
                    pinned: vec![3],
                }];
            },
            |state| state.frames.since = 5,
        ]
    }

    #[test]
    fn every_change_is_recovered() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = state();
        let mut journal = JournalWriter::create(folder.path(), &state).unwrap();
        assert!(!journal.append(&state).unwrap(), "nothing changed");
        for change in changes() {
            change(&mut state);
            assert!(journal.append(&state).unwrap());
            assert_eq!(recover(folder.path()).unwrap().unwrap().state, state);
        }
    }

    #[test]
    fn a_journal_cut_anywhere_gives_the_last_whole_record() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = state();
        let mut journal = JournalWriter::create(folder.path(), &state).unwrap();
        let mut ends = vec![(journal.good_bytes, state.clone())];
        for change in changes() {
            change(&mut state);
            journal.append(&state).unwrap();
            ends.push((journal.good_bytes, state.clone()));
        }
        let bytes = std::fs::read(journal_path(folder.path(), 1)).unwrap();
        for length in (0..bytes.len()).step_by(3).chain([bytes.len()]) {
            let expected = ends
                .iter()
                .rev()
                .find(|(end, _)| *end <= length as u64)
                .map(|(_, state)| state);
            let found = read_journal(&bytes[..length])
                .ok()
                .map(|recovered| recovered.state);
            assert_eq!(found.as_ref(), expected, "cut at {length}");
        }
        let mut damaged = bytes;
        let middle = ends[4].0 as usize + 20;
        damaged[middle] ^= 1;
        assert_eq!(
            read_journal(&damaged).unwrap().state,
            ends[4].1,
            "a damaged record ends the journal"
        );
    }

    #[cfg(unix)]
    #[test]
    fn file_names_that_are_no_text_do_not_stop_the_journal() {
        use std::os::unix::ffi::OsStringExt as _;

        let folder = tempfile::tempdir().unwrap();
        let mut state = state();
        let no_text = |name: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(name.to_vec()));
        state.file.path = Some(no_text(b"caf\xe9.wordbrush"));
        state.document.model.source = ModelSource::Path(no_text(b"mod\xe8le.safetensors"));
        JournalWriter::create(folder.path(), &state).unwrap();
        let recovered = recover(folder.path()).unwrap().unwrap().state;
        assert_eq!(recovered.document.regions, state.document.regions);
        assert_eq!(recovered.file.path, None);
        let readable = ModelSource::Path("mod\u{fffd}le.safetensors".into());
        assert_eq!(recovered.document.model.source, readable);
    }

    #[test]
    fn a_grown_journal_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = state();
        let mut journal = JournalWriter::create(folder.path(), &state).unwrap();
        journal.compact_at_bytes = 20_000;
        for number in 0..200_u32 {
            // Noise, so that it does not compress.
            let mut noise = number;
            for value in state.document.regions[0].mask.tile_mut(number % 3, number % 2) {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value = (noise >> 24) as u8;
            }
            journal.append(&state).unwrap();
            journal.compact_at_bytes = journal.compact_at_bytes.min(60_000);
        }
        assert!(journal.generation > 3, "{}", journal.generation);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(recover(folder.path()).unwrap().unwrap().state, state);
    }

    #[test]
    fn a_journal_never_grows_beyond_what_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = state();
        let mut journal = JournalWriter::create(folder.path(), &state).unwrap();
        let begun_bytes = journal.good_bytes;
        for number in 1..=20 {
            journal.max_bytes = begun_bytes + 500;
            state.document.regions[0].mask.tile_mut(0, 0)[number] = 9;
            assert!(journal.append(&state).unwrap());
            assert!(journal.good_bytes <= begun_bytes + 500, "{}", journal.good_bytes);
            assert_eq!(recover(folder.path()).unwrap().unwrap().state, state);
        }
        assert!(journal.generation > 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_newest_file_falls_back_to_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let state = state();
        JournalWriter::create(folder.path(), &state).unwrap();
        std::fs::write(journal_path(folder.path(), 2), b"WBJOURNAL\0").unwrap();
        assert_eq!(recover(folder.path()).unwrap().unwrap().state, state);
        let writer = JournalWriter::create(folder.path(), &state).unwrap();
        assert_eq!(
            writer.generation, 3,
            "a new file never overwrites one that is there"
        );
    }
}
