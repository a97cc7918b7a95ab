//! Project files, `.wordbrush`: a zip of a manifest, PNG pixels and a thumbnail. `docs/FILE_FORMAT.md` describes it.

use std::{io::Cursor, path::Path};

use anyhow::Context as _;
use wordbrush_engine::api::{CanvasSize, Picture};

use super::{
    archive::{ArchiveReader, ArchiveWriter},
    atomic::{PreviousVersion, write_bytes_atomically},
    blobs::{BlobReader, Blobs},
    manifest::Manifest,
    migrate::manifest_from_json,
    pictures,
    project::Project,
};

/// The first entry, stored, so that a program can tell the type from the first bytes.
pub(super) const MIME_ENTRY: &str = "mimetype";
pub(super) const MIME_TYPE: &str = "application/x-wordbrush";
pub(super) const MANIFEST_ENTRY: &str = "manifest.json";
const THUMBNAIL_ENTRY: &str = "thumbnail.png";
/// Longest side of a thumbnail in pixels.
pub(super) const THUMBNAIL_SIDE: u32 = 256;

/// Saves a project; the file is either the old or the new version at every moment, and the version before it stays
/// beside it under the name of [`super::atomic::backup_path`].
///
/// # Errors
/// If the folder cannot be written to or the disk is full; what was there before is untouched.
pub fn save(project: &Project, path: &Path) -> anyhow::Result<()> {
    write_bytes_atomically(path, PreviousVersion::Keep, &to_bytes(project)?)
}

/// A project as the bytes of a project file.
///
/// # Errors
/// If there is not enough memory.
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
    let mut archive = ArchiveReader::new(bytes)?;
    let manifest = manifest_from_json(&archive.read_description(MANIFEST_ENTRY)?)?;
    manifest.into_project(&mut BlobReader::new(|name: &str| archive.read(name)))
}

/// The thumbnail of a project file, without reading anything else of it.
///
/// # Errors
/// If it is no project or has no thumbnail.
pub fn thumbnail(bytes: &[u8]) -> anyhow::Result<Picture> {
    pictures::picture_from_bytes(&ArchiveReader::new(bytes)?.read(THUMBNAIL_ENTRY)?)
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
