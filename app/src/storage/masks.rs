//! Masks as pictures: one grey PNG per region, or all of them in one colour-coded picture.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wordbrush_engine::api::{CanvasSize, Mask, Picture};

use super::{
    atomic::{PreviousVersion, write_bytes_atomically},
    blobs::DecodingBudget,
    pictures,
};
use crate::document::{Document, RegionLayer};

/// A picture with more colours than this is a picture, not a colour-coded mask.
pub(super) const MAX_CODED_COLOURS: usize = 64;
/// Smaller patches than this part of the canvas are taken for the blended rim between two regions.
const MIN_COLOUR_SHARE: f64 = 0.000_5;

/// Every region in its colour on black, the uppermost wins; hard edges, so that each pixel has exactly one colour.
///
/// # Errors
/// If there is not enough memory.
pub fn colour_coded(document: &Document) -> anyhow::Result<Picture> {
    let size = document.size;
    let mut rgba = [0, 0, 0, 255].repeat(size.area());
    for region in &document.regions {
        let [red, green, blue] = region.colour;
        for (pixel, coverage) in rgba.chunks_exact_mut(4).zip(region.mask.to_coverage()) {
            if coverage >= 128 {
                pixel.copy_from_slice(&[red, green, blue, 255]);
            }
        }
    }
    Ok(Picture::new(size, rgba)?)
}

/// Finds the masks in a colour-coded picture: one for each colour but black, the largest first.
///
/// `None` if the picture is no such picture: too many colours, nothing but one, or masks that would take too much memory,
/// as those of a large dithered picture would.
pub fn from_colour_coded(picture: &Picture) -> Option<Vec<([u8; 3], Mask)>> {
    from_colour_coded_within(DecodingBudget::default(), picture)
}

fn from_colour_coded_within(mut budget: DecodingBudget, picture: &Picture) -> Option<Vec<([u8; 3], Mask)>> {
    budget.spend(picture.rgba().len()).ok()?;
    let mut counts = std::collections::BTreeMap::<[u8; 3], usize>::new();
    for pixel in picture.rgba().chunks_exact(4) {
        let colour = match pixel[3] {
            0..128 => [0, 0, 0],
            _ => [pixel[0], pixel[1], pixel[2]],
        };
        *counts.entry(colour).or_default() += 1;
        if counts.len() > MAX_CODED_COLOURS {
            return None;
        }
    }
    let area = picture.size().area();
    let mut colours: Vec<([u8; 3], usize)> = counts
        .into_iter()
        .filter(|&(colour, count)| colour != [0, 0, 0] && count as f64 >= area as f64 * MIN_COLOUR_SHARE)
        .collect();
    colours.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let covers_everything = matches!(colours.as_slice(), [(_, count)] if *count == area);
    if colours.is_empty() || covers_everything {
        return None;
    }
    let mut masks = Vec::with_capacity(colours.len());
    for (colour, _) in colours {
        let mask = mask_of_colour(picture, colour)?;
        budget.spend(mask.memory_bytes()).ok()?;
        masks.push((colour, mask));
    }
    Some(masks)
}

fn mask_of_colour(picture: &Picture, colour: [u8; 3]) -> Option<Mask> {
    let coverage: Vec<u8> = picture
        .rgba()
        .chunks_exact(4)
        .map(|pixel| {
            if pixel[..3] == colour && pixel[3] >= 128 {
                255
            } else {
                0
            }
        })
        .collect();
    Mask::from_coverage(picture.size(), &coverage).ok()
}

/// Puts the masks of a colour-coded picture on a canvas of another size.
///
/// # Errors
/// If they would take too much memory.
pub fn fit(masks: Vec<([u8; 3], Mask)>, size: CanvasSize) -> anyhow::Result<Vec<([u8; 3], Mask)>> {
    fit_within(DecodingBudget::default(), masks, size)
}

fn fit_within(
    mut budget: DecodingBudget,
    masks: Vec<([u8; 3], Mask)>,
    size: CanvasSize,
) -> anyhow::Result<Vec<([u8; 3], Mask)>> {
    let fitted = masks.into_iter().map(|(colour, mask)| {
        let mask = pictures::scale_mask(&mask, size)?;
        budget.spend(mask.memory_bytes())?;
        Ok((colour, mask))
    });
    fitted.collect()
}

/// What [`export_masks`] writes: `01-tree.png`, `02-sun.png`, ... for the regions, and `colours.png` at last.
pub fn exported_files(document: &Document, folder: &Path) -> Vec<PathBuf> {
    let of_region = |(number, region): (usize, &RegionLayer)| {
        let stem = file_stem(&region.title(), "region");
        folder.join(format!("{number:02}-{stem}.png"))
    };
    let regions = (1..).zip(&document.regions).map(of_region);
    regions.chain([folder.join("colours.png")]).collect()
}

/// Writes one grey PNG per region, and all of them colour-coded, into a folder that is made if it is missing; answers
/// with the files written.
///
/// # Errors
/// If the folder cannot be written to.
pub fn export_masks(document: &Document, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let files = exported_files(document, folder);
    let masks = document
        .regions
        .iter()
        .map(|region| pictures::png_from_mask(&region.mask));
    let coded = || pictures::png_from_picture(&colour_coded(document)?);
    for (path, png) in files.iter().zip(masks.chain(std::iter::once_with(coded))) {
        write_bytes_atomically(path, PreviousVersion::Discard, &png?)?;
    }
    Ok(files)
}

/// A title as part of a file name: letters and digits of any script, the rest as single dashes; `otherwise` if there
/// are none.
pub(super) fn file_stem(title: &str, otherwise: &str) -> String {
    let words: Vec<&str> = title
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let stem: String = words.join("-").chars().take(40).collect();
    if stem.is_empty() {
        otherwise.to_owned()
    } else {
        stem
    }
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::RegionId;

    use super::*;

    fn document() -> Document {
        let size = CanvasSize::new(100, 60).unwrap();
        let mut document = Document::new(size);
        for (id, colour, columns) in [(1, [200, 0, 0], 0..50), (2, [0, 0, 200], 40..90)] {
            let coverage: Vec<u8> = (0..size.area())
                .map(|pixel| u8::from(columns.contains(&(pixel % 100))) * 255)
                .collect();
            document.regions.push(RegionLayer {
                mask: Mask::from_coverage(size, &coverage).unwrap(),
                ..RegionLayer::new(RegionId(id), size, colour, "../a / tree: \u{e9}t\u{e9}")
            });
        }
        document
    }

    #[test]
    fn colour_coded_masks_come_back() {
        let document = document();
        let masks = from_colour_coded(&colour_coded(&document).unwrap()).unwrap();
        let colours: Vec<_> = masks.iter().map(|(colour, _)| *colour).collect();
        assert_eq!(colours, [[0, 0, 200], [200, 0, 0]], "the largest first");
        assert_eq!(masks[0].1, document.regions[1].mask, "the upper one is whole");
        assert_eq!(masks[1].1.bounds().unwrap().x1, 40, "the lower one is cut");
    }

    #[test]
    fn photographs_and_plain_areas_are_no_masks() {
        let size = CanvasSize::new(64, 64).unwrap();
        assert_eq!(from_colour_coded(&Picture::solid(size, [9, 9, 9, 255])), None);
        let noise: Vec<u8> = (0..size.area() * 4)
            .map(|i| (i * 31 % 251) as u8 | 0x80)
            .collect();
        assert_eq!(from_colour_coded(&Picture::new(size, noise).unwrap()), None);
    }

    #[test]
    fn the_masks_of_a_dithered_picture_are_bounded() {
        let size = CanvasSize::new(128, 128).unwrap();
        let dithered: Vec<u8> = (0..size.area())
            .flat_map(|pixel| [(pixel % 7) as u8 * 30, 1, 1, 255])
            .collect();
        let picture = Picture::new(size, dithered).unwrap();
        // Every mask has pixels in every tile, and some bytes beside them.
        let (pixels, masks) = (128 * 128 * 4, 7 * (128 * 128 + 64));
        let found = |bytes| from_colour_coded_within(DecodingBudget::of(bytes), &picture);
        let enough = found(pixels + masks).unwrap();
        assert_eq!(enough.len(), 7);
        assert_eq!(found(pixels + masks - 1024), None);

        let double = CanvasSize::new(256, 256).unwrap();
        let fitted = |bytes| fit_within(DecodingBudget::of(bytes), enough.clone(), double);
        assert_eq!(fitted(4 * masks).unwrap().len(), 7);
        let error = fitted(3 * masks).unwrap_err();
        assert!(error.to_string().contains("too much memory"), "{error}");
    }

    #[test]
    fn exported_masks_are_named_safely() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("masks");
        let files = export_masks(&document(), &target).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "01-a-tree-\u{e9}t\u{e9}.png",
                "02-a-tree-\u{e9}t\u{e9}.png",
                "colours.png"
            ]
        );
        let mask = std::fs::read(&files[1]).unwrap();
        assert_eq!(
            pictures::mask_from_bytes(&mask, document().size).unwrap(),
            document().regions[1].mask
        );
    }
}
