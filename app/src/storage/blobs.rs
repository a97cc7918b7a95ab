//! Pixels on their way into files and out of them, as named PNG files.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use wordbrush_engine::api::{CanvasSize, Mask, Picture};

use super::{
    manifest::{BlobSink, BlobSource},
    pictures,
};

/// What all masks and pictures of one file may take once decoded.
const MAX_DECODED_BYTES: usize = 3 << 30;

/// What may still be decoded of one file.
#[derive(Debug)]
pub(super) struct DecodingBudget {
    bytes_left: usize,
}

/// A file's masks and pictures would take more memory than [`DecodingBudget`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its masks and pictures take too much memory")]
pub(super) struct OverBudget;

impl Default for DecodingBudget {
    fn default() -> Self {
        Self::of(MAX_DECODED_BYTES)
    }
}

impl DecodingBudget {
    pub(super) fn of(bytes: usize) -> Self {
        Self { bytes_left: bytes }
    }

    /// Takes what a mask or picture keeps in memory.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), OverBudget> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(OverBudget)?;
        Ok(())
    }
}

/// Said of a canvas that would be written and could not be opened again.
pub(super) const TOO_LARGE: &str = "it could not be opened again, it would be too large: unpin frames, remove regions, or make the canvas smaller";

/// PNG files by name. A name is made from the contents, so that what is there twice is stored once.
#[derive(Clone, Debug, Default)]
pub(super) struct Blobs {
    files: BTreeMap<String, Vec<u8>>,
    known_masks: Vec<(Mask, String)>,
    known_pictures: Vec<(Picture, String)>,
    decoded_bytes: usize,
}

impl Blobs {
    pub(super) fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    fn add(&mut self, folder: &str, png: Vec<u8>) -> String {
        let name = format!("{folder}/{}.png", short_hash(&png));
        self.files.insert(name.clone(), png);
        name
    }
}

impl BlobSink for Blobs {
    fn store_mask(&mut self, mask: &Mask) -> anyhow::Result<String> {
        if let Some((_, name)) = self.known_masks.iter().find(|(known, _)| known == mask) {
            return Ok(name.clone());
        }
        let name = self.add("masks", pictures::png_from_mask(mask)?);
        self.decoded_bytes += mask.memory_bytes();
        self.known_masks.push((mask.clone(), name.clone()));
        Ok(name)
    }

    fn store_picture(&mut self, picture: &Picture) -> anyhow::Result<String> {
        let known = self
            .known_pictures
            .iter()
            .find(|(known, _)| known.is_same(picture));
        if let Some((_, name)) = known {
            return Ok(name.clone());
        }
        let name = self.add("pictures", pictures::png_from_picture(picture)?);
        self.decoded_bytes += picture.rgba().len();
        self.known_pictures.push((picture.clone(), name.clone()));
        Ok(name)
    }

    fn check_amount(&self) -> anyhow::Result<()> {
        ensure!(self.decoded_bytes <= MAX_DECODED_BYTES, TOO_LARGE);
        Ok(())
    }
}

/// Decodes blobs once each, within a limit for all of them together.
pub(super) struct BlobReader<F> {
    fetch: F,
    masks: BTreeMap<String, Mask>,
    pictures: BTreeMap<String, Picture>,
    budget: DecodingBudget,
}

impl<F: FnMut(&str) -> anyhow::Result<Vec<u8>>> BlobReader<F> {
    /// `fetch` gives a blob's bytes by its name, itself within a limit.
    pub(super) fn new(fetch: F) -> Self {
        Self::within(DecodingBudget::default(), fetch)
    }

    /// As [`Self::new`], within a limit that is shared with others.
    pub(super) fn within(budget: DecodingBudget, fetch: F) -> Self {
        Self {
            fetch,
            masks: BTreeMap::new(),
            pictures: BTreeMap::new(),
            budget,
        }
    }
}

impl<F: FnMut(&str) -> anyhow::Result<Vec<u8>>> BlobSource for BlobReader<F> {
    fn mask(&mut self, name: &str, canvas: CanvasSize) -> anyhow::Result<Mask> {
        if let Some(known) = self.masks.get(name).filter(|known| known.size() == canvas) {
            return Ok(known.clone());
        }
        let bytes = (self.fetch)(name)?;
        let mask = pictures::mask_from_bytes(&bytes, canvas).with_context(|| format!("mask {name:?}"))?;
        self.budget.spend(mask.memory_bytes())?;
        self.masks.insert(name.to_owned(), mask.clone());
        Ok(mask)
    }

    fn picture(&mut self, name: &str) -> anyhow::Result<Picture> {
        if let Some(known) = self.pictures.get(name) {
            return Ok(known.clone());
        }
        let bytes = (self.fetch)(name)?;
        let picture = pictures::picture_from_bytes(&bytes).with_context(|| format!("picture {name:?}"))?;
        self.budget.spend(picture.rgba().len())?;
        self.pictures.insert(name.to_owned(), picture.clone());
        Ok(picture)
    }
}

fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let start = digest.first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    format!("{start:016x}")
}
