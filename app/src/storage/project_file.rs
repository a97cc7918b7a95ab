//! Project files, `.wordbrush`: a zip of a manifest, PNG pixels and a thumbnail. `docs/FILE_FORMAT.md` describes it.

use std::{io::Cursor, path::Path};

use anyhow::Context as _;
use wordbrush_engine::api::{CanvasSize, Picture};

use super::{
    archive::{ArchiveReader, ArchiveWriter},
    atomic::{PreviousVersion, write_bytes_atomically},
    blobs::{BlobReader, Blobs, DecodingBudget},
    manifest::Manifest,
    migrate::manifest_from_json,
    pictures,
    project::Project,
};

/// The first entry, stored, so that a program can tell the type from the first bytes.
pub(super) const MIME_ENTRY: &str = "mimetype";
const MIME_TYPE: &str = "application/x-wordbrush";
const MANIFEST_ENTRY: &str = "manifest.json";
const THUMBNAIL_ENTRY: &str = "thumbnail.png";
/// Longest side of a thumbnail in pixels.
const THUMBNAIL_SIDE: u32 = 256;

/// Saves a project; the file is either the old or the new version at every moment, and the version before it stays
/// beside it under the name of [`super::atomic::backup_path`].
///
/// # Errors
/// If the folder cannot be written to, the disk is full, or the file would be too large to be opened again; what was there
/// before is untouched.
pub fn save(project: &Project, path: &Path) -> anyhow::Result<()> {
    let bytes = to_bytes(project).with_context(|| format!("cannot write {}", path.display()))?;
    write_bytes_atomically(path, PreviousVersion::Keep, &bytes)
}

/// A project as the bytes of a project file.
///
/// # Errors
/// If [`from_bytes`] would refuse them.
pub fn to_bytes(project: &Project) -> anyhow::Result<Vec<u8>> {
    let mut blobs = Blobs::default();
    let manifest = Manifest::from_project(project, &mut blobs)?;
    let manifest = serde_json::to_vec_pretty(&manifest).context("cannot describe the canvas")?;

    let mut bytes = Cursor::new(Vec::new());
    let mut archive = ArchiveWriter::new(&mut bytes);
    archive.store(MIME_ENTRY, MIME_TYPE.as_bytes())?;
    archive.deflate(MANIFEST_ENTRY, &manifest)?;
    archive.store(
        THUMBNAIL_ENTRY,
        &pictures::png_from_picture(&thumbnail_of(project)?)?,
    )?;
    for (name, png) in blobs.files() {
        archive.store(name, png)?;
    }
    archive.finish()?;
    Ok(bytes.into_inner())
}

/// Reads the bytes of a project file.
///
/// # Errors
/// If it is no project, is damaged, was written by a newer version, or would take too much memory.
pub fn from_bytes(bytes: &[u8]) -> anyhow::Result<Project> {
    from_bytes_within(DecodingBudget::default(), bytes)
}

fn from_bytes_within(budget: DecodingBudget, bytes: &[u8]) -> anyhow::Result<Project> {
    let mut archive = ArchiveReader::new(bytes)?;
    let manifest = manifest_from_json(&archive.read_description(MANIFEST_ENTRY)?)?;
    manifest.into_project(&mut BlobReader::within(budget, |name: &str| archive.read(name)))
}

/// The last frame in small; the regions' colours where there is none yet.
pub(super) fn thumbnail_of(project: &Project) -> anyhow::Result<Picture> {
    let picture = match project.last_frame.clone() {
        Some(frame) => frame,
        None => super::masks::colour_coded(&project.document)?,
    };
    let size = picture.size();
    let longest = size.width().max(size.height());
    if longest <= THUMBNAIL_SIDE {
        return Ok(picture);
    }
    let side = |side: u32| (u64::from(side) * u64::from(THUMBNAIL_SIDE) / u64::from(longest)).max(1) as u32;
    pictures::scale_picture(
        &picture,
        CanvasSize::new(side(size.width()), side(size.height()))?,
    )
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{Mask, RegionId};

    use super::*;
    use crate::{
        document::{Document, RegionLayer},
        storage::project::Pin,
    };

    #[test]
    fn a_project_with_more_pins_than_memory_has_room_for_opens_without_the_last_of_them() {
        let size = CanvasSize::new(256, 256).unwrap();
        let mut document = Document::new(size);
        document.next_region_id = 2;
        document.regions.push(RegionLayer {
            mask: Mask::full(size),
            ..RegionLayer::new(RegionId(1), size, [1, 2, 3], "a tree")
        });
        let pin = |shade| Pin {
            name: format!("pin {shade}"),
            document: document.clone(),
            picture: Some(Picture::solid(size, [shade, 0, 0, 255])),
        };
        let project = Project {
            last_frame: Some(Picture::solid(size, [9; 4])),
            pins: (0..5).map(pin).collect(),
            ..Project::new(document.clone())
        };
        let bytes = to_bytes(&project).unwrap();
        let opened = |bytes_allowed| from_bytes_within(DecodingBudget::of(bytes_allowed), &bytes);
        let (mask, picture) = (256 * 256, 256 * 256 * 4);
        // Masks take some bytes beside their pixels.
        let room = 1024;
        assert_eq!(opened(mask + 6 * picture + room).unwrap(), project);
        let less = opened(mask + 3 * picture + room).unwrap();
        assert_eq!(less.document, project.document);
        assert_eq!(less.last_frame, project.last_frame);
        assert_eq!(less.pins, project.pins[..2]);
        assert_eq!(less.pins_left_out, 3);
        let error = opened(mask / 2).unwrap_err();
        assert!(format!("{error:#}").contains("too much memory"), "{error:#}");
    }

    #[test]
    fn what_could_not_be_opened_is_not_saved_and_the_old_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wordbrush");
        let mut project = Project::new(Document::new(CanvasSize::new(8, 8).unwrap()));
        save(&project, &path).unwrap();
        project.pins = vec![
            Pin {
                name: String::new(),
                document: project.document.clone(),
                picture: None,
            };
            1025
        ];
        let error = format!("{:#}", save(&project, &path).unwrap_err());
        assert!(error.starts_with("cannot write "), "{error}");
        assert!(
            error.ends_with("there are 1025 pinned states, a file takes 1024: unpin some"),
            "{error}"
        );
        assert!(
            from_bytes(&std::fs::read(&path).unwrap())
                .unwrap()
                .pins
                .is_empty()
        );
        project.pins.pop();
        save(&project, &path).unwrap();
        assert_eq!(from_bytes(&std::fs::read(&path).unwrap()).unwrap(), project);
    }
}
