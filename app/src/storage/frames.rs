//! Frames of the history strip on disk: what was painted, and the picture that came of it.
//!
//! They lie beside a session's journal and go with it. The strip keeps old ones here instead of in memory; after a
//! crash, those that the journal calls pinned, those that hold a canvas which was left unsaved, and the newest one come
//! back with the session.
//!
//! ```text
//! frames/NUMBER.frame   "WBFRAME\0\0\0" version:u16 0:u32, record of the canvas as in the journal, record of the picture
//! picture               width:u32 height:u32 RGBA
//! ```

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use wordbrush_engine::api::{CanvasSize, Picture};

use super::{
    atomic::sync_folder,
    journal::{self, LeftCanvas, SessionFrames},
    records,
};
use crate::document::Document;

const MAGIC: &[u8; 10] = b"WBFRAME\0\0\0";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
const ENDING: &str = "frame";

/// A frame with what was painted; cloning is cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptFrame {
    /// The canvas.
    pub document: Document,
    /// What came of it.
    pub picture: Picture,
}

/// Where a frame lies in the folder of a session's frames.
pub fn frame_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.{ENDING}"))
}

/// Writes a frame into the folder of a session's frames, which is made if the session's folder is there, and brings it to
/// the disk; answers how many bytes it takes.
///
/// # Errors
/// If the disk is full or the session has ended.
pub fn write_frame(folder: &Path, number: u64, frame: &KeptFrame) -> anyhow::Result<u64> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(journal::record_of_document(&frame.document)?);
    bytes.extend(records::packed(|content| {
        let size = frame.picture.size();
        content.write_all(&size.width().to_le_bytes())?;
        content.write_all(&size.height().to_le_bytes())?;
        content.write_all(frame.picture.rgba())
    })?);
    let path = frame_path(folder, number);
    let failed = || format!("cannot keep the frame {}", path.display());
    // Only this one folder: that of a session which has ended must not come back.
    match std::fs::create_dir(folder) {
        Ok(()) => folder.parent().into_iter().for_each(sync_folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(failed),
    }
    let temporary = path.with_extension("tmp");
    let written = write_synced(&temporary, &bytes).and_then(|()| std::fs::rename(&temporary, &path));
    if written.is_err() {
        // It may never have come into being.
        std::fs::remove_file(&temporary).ok();
    }
    written.with_context(failed)?;
    sync_folder(folder);
    Ok(bytes.len() as u64)
}

/// The journal lets a canvas go once its frame is written, so that the frame must outlast a power cut, too.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a frame.
///
/// # Errors
/// If there is no such file, or it is damaged.
pub fn read_frame(path: &Path) -> anyhow::Result<KeptFrame> {
    std::fs::read(path)
        .map_err(anyhow::Error::from)
        .and_then(|bytes| frame_from_bytes(&bytes))
        .with_context(|| format!("cannot read the frame {}", path.display()))
}

/// A frame from the bytes of its file.
///
/// # Errors
/// If they are damaged.
pub fn frame_from_bytes(bytes: &[u8]) -> anyhow::Result<KeptFrame> {
    ensure!(bytes.starts_with(MAGIC), "it is no frame");
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES).context("it is too short")?;
    ensure!(
        header[10..12] == VERSION.to_le_bytes(),
        "it is of another format than this program reads"
    );
    let (canvas, rest) = records::next_payload(rest).context("its canvas is damaged")?;
    let (picture, _) = records::next_payload(rest).context("its picture is damaged")?;
    Ok(KeptFrame {
        document: journal::document_of_record(canvas)?,
        picture: picture_from_payload(picture)?,
    })
}

fn picture_from_payload(payload: &[u8]) -> anyhow::Result<Picture> {
    let content = records::unpacked(payload)?;
    let (width, rest) = content.split_first_chunk().context("its picture is damaged")?;
    let (height, rgba) = rest.split_first_chunk().context("its picture is damaged")?;
    let size = CanvasSize::new(u32::from_le_bytes(*width), u32::from_le_bytes(*height))?;
    Ok(Picture::new(size, rgba)?)
}

/// What came back of a session's frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecoveredFrames {
    /// The pinned ones with their numbers, oldest first.
    pub pins: Vec<(u64, KeptFrame)>,
    /// The newest one of the session's canvas, pinned or not.
    pub last: Option<KeptFrame>,
    /// The canvases that were left unsaved, oldest first.
    pub left: Vec<(LeftCanvas, KeptFrame)>,
}

/// Reads from the folder of a session's frames what is to come back. What is damaged or was not written before the
/// session was cut off is left out.
pub fn recover_frames(folder: &Path, frames: &SessionFrames) -> RecoveredFrames {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return RecoveredFrames::default();
    };
    let numbers: BTreeSet<u64> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?
                .strip_suffix(ENDING)?
                .strip_suffix('.')?
                .parse()
                .ok()
        })
        .collect();
    let read = |number: &u64| {
        read_frame(&frame_path(folder, *number))
            .inspect_err(|error| tracing::warn!("{error:#}"))
            .ok()
    };
    RecoveredFrames {
        pins: numbers
            .iter()
            .filter(|number| frames.pinned.contains(number))
            .filter_map(|number| Some((*number, read(number)?)))
            .collect(),
        last: numbers
            .iter()
            .rev()
            .filter(|number| **number >= frames.since)
            .filter(|number| frames.left.iter().all(|left| left.frame != **number))
            .find_map(read),
        left: frames
            .left
            .iter()
            .filter_map(|left| Some((left.clone(), read(&left.frame)?)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{RegionId, Seed};

    use super::*;
    use crate::document::RegionLayer;

    fn frame(seed: u64) -> KeptFrame {
        let size = CanvasSize::new(130, 70).unwrap();
        let mut document = Document::new(size);
        document.seed = Seed(seed);
        let mut region = RegionLayer::new(RegionId(1), size, [1, 2, 3], "a tree");
        region.mask.tile_mut(1, 0)[7] = 9;
        document.regions.push(region);
        document.next_region_id = 2;
        document.background.image = Some(Picture::solid(size, [5, 6, 7, 8]));
        let pixels: Vec<u8> = (0..64 * 32 * 4).map(|index| (index * 7 % 251) as u8).collect();
        KeptFrame {
            document,
            picture: Picture::new(CanvasSize::new(64, 32).unwrap(), pixels).unwrap(),
        }
    }

    #[test]
    fn a_frame_comes_back_as_it_was_and_damage_is_noticed() {
        let session = tempfile::tempdir().unwrap();
        let folder = session.path().join("frames");
        let bytes = write_frame(&folder, 12, &frame(3)).unwrap();
        let path = frame_path(&folder, 12);
        assert_eq!(read_frame(&path).unwrap(), frame(3));
        let good = std::fs::read(&path).unwrap();
        assert_eq!(good.len() as u64, bytes);
        for length in (0..good.len()).step_by(7) {
            assert!(frame_from_bytes(&good[..length]).is_err(), "cut at {length}");
        }
        let mut damaged = good;
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(frame_from_bytes(&damaged).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_frame_counts_as_written_only_once_it_is_on_the_disk() {
        let session = tempfile::tempdir().unwrap();
        let folder = session.path().join("frames");
        write_frame(&folder, 1, &frame(1)).unwrap();
        // What takes all bytes and cannot bring them to any disk.
        std::os::unix::fs::symlink("/dev/null", frame_path(&folder, 2).with_extension("tmp")).unwrap();
        assert!(write_frame(&folder, 2, &frame(2)).is_err());
        assert!(!frame_path(&folder, 2).exists());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        write_frame(&folder, 2, &frame(2)).unwrap();
    }

    #[test]
    fn pins_and_the_newest_frame_come_back() {
        let session = tempfile::tempdir().unwrap();
        let folder = session.path().join("frames");
        let pinned = |pinned: &[u64]| SessionFrames {
            pinned: pinned.to_vec(),
            ..SessionFrames::default()
        };
        assert_eq!(recover_frames(&folder, &pinned(&[1])), RecoveredFrames::default());
        for number in [2, 9, 10, 11] {
            write_frame(&folder, number, &frame(number)).unwrap();
        }
        std::fs::write(frame_path(&folder, 11), b"WBFRAME").unwrap();
        let recovered = recover_frames(&folder, &pinned(&[2, 5, 9, 11]));
        assert_eq!(recovered.pins, [(2, frame(2)), (9, frame(9))]);
        assert_eq!(recovered.last, Some(frame(10)), "the newest that is whole");
    }

    #[test]
    fn canvases_that_were_left_come_back_and_are_not_taken_for_the_last_one() {
        let session = tempfile::tempdir().unwrap();
        let folder = session.path().join("frames");
        for number in 1..=4 {
            write_frame(&folder, number, &frame(number)).unwrap();
        }
        let left = |frame| LeftCanvas {
            frame,
            ..LeftCanvas::default()
        };
        let mut frames = SessionFrames {
            left: vec![left(2), left(4), left(7)],
            ..SessionFrames::default()
        };
        let recovered = recover_frames(&folder, &frames);
        assert_eq!(recovered.left, [(left(2), frame(2)), (left(4), frame(4))]);
        assert_eq!(recovered.last, Some(frame(3)));
        frames.since = 4;
        let recovered = recover_frames(&folder, &frames);
        assert_eq!(recovered.last, None, "no older one is of the canvas in hand");
    }

    #[test]
    fn the_folder_of_an_ended_session_does_not_come_back() {
        let root = tempfile::tempdir().unwrap();
        let session = root.path().join("gone");
        assert!(write_frame(&session.join("frames"), 1, &frame(1)).is_err());
        assert!(!session.exists());
    }
}
