//! The one EXIF tag that exports need: `UserComment`, as UTF-16, in a minimal TIFF structure.
//!
//! Containers (the JPEG segment, the WebP chunk) are the image codecs' business. Reading is bounded by the data's
//! length at every step.

const EXIF_FOLDER_TAG: u16 = 0x8769;
const USER_COMMENT_TAG: u16 = 0x9286;
const TYPE_LONG: u16 = 4;
const TYPE_UNDEFINED: u16 = 7;
const UNICODE_MARK: &[u8; 8] = b"UNICODE\0";

/// EXIF data whose only content is a comment.
pub(super) fn with_user_comment(comment: &str) -> Vec<u8> {
    let mut value = UNICODE_MARK.to_vec();
    value.extend(comment.encode_utf16().flat_map(u16::to_be_bytes));
    let (first_folder, exif_folder) = (8_u32, 26_u32);
    let value_offset = exif_folder + 18;

    let mut exif = b"MM\0\x2a".to_vec();
    exif.extend(first_folder.to_be_bytes());
    push_folder(&mut exif, (EXIF_FOLDER_TAG, TYPE_LONG, 1, exif_folder));
    push_folder(
        &mut exif,
        (USER_COMMENT_TAG, TYPE_UNDEFINED, value.len() as u32, value_offset),
    );
    exif.extend(value);
    exif
}

/// A folder with a single entry: tag, type, count, value or offset.
fn push_folder(exif: &mut Vec<u8>, (tag, kind, count, value): (u16, u16, u32, u32)) {
    exif.extend(1_u16.to_be_bytes());
    exif.extend(tag.to_be_bytes());
    exif.extend(kind.to_be_bytes());
    exif.extend(count.to_be_bytes());
    exif.extend(value.to_be_bytes());
    exif.extend(0_u32.to_be_bytes());
}

/// The comment of EXIF data that anyone may have written.
pub(super) fn user_comment(exif: &[u8]) -> Option<String> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let is_big_endian = match exif.get(..4)? {
        b"MM\0\x2a" => true,
        b"II\x2a\0" => false,
        _ => return None,
    };
    let tiff = Tiff {
        bytes: exif,
        is_big_endian,
    };
    let exif_folder = tiff.find(tiff.u32(4)?, EXIF_FOLDER_TAG)?.1;
    let (count, offset) = tiff.find(exif_folder, USER_COMMENT_TAG)?;
    let start = offset as usize;
    let value = exif.get(start..start.checked_add(count as usize)?)?;
    match value.split_at_checked(8)? {
        (mark, text) if mark == UNICODE_MARK => Some(decode_utf16(text, is_big_endian)),
        (b"ASCII\0\0\0" | b"\0\0\0\0\0\0\0\0", text) => {
            Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
        }
        _ => None,
    }
}

struct Tiff<'a> {
    bytes: &'a [u8],
    is_big_endian: bool,
}

impl Tiff<'_> {
    /// Count and value of a tag in the folder at an offset.
    fn find(&self, folder: u32, tag: u16) -> Option<(u32, u32)> {
        let folder = folder as usize;
        (0..usize::from(self.u16(folder)?))
            .map(|index| folder + 2 + index * 12)
            .find(|&entry| self.u16(entry) == Some(tag))
            .and_then(|entry| Some((self.u32(entry + 4)?, self.u32(entry + 8)?)))
    }

    fn u16(&self, offset: usize) -> Option<u16> {
        let bytes = self.bytes.get(offset..offset.checked_add(2)?)?.try_into().ok()?;
        Some(if self.is_big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&self, offset: usize) -> Option<u32> {
        let bytes = self.bytes.get(offset..offset.checked_add(4)?)?.try_into().ok()?;
        Some(if self.is_big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        })
    }
}

/// Programs disagree about the byte order of the comment; a byte order mark or the zero bytes of Latin text tell it.
fn decode_utf16(bytes: &[u8], file_is_big_endian: bool) -> String {
    let (even, odd) = bytes.chunks_exact(2).fold((0, 0), |(even, odd), pair| {
        (even + usize::from(pair[0] == 0), odd + usize::from(pair[1] == 0))
    });
    let (bytes, is_big_endian) = match bytes {
        [0xFE, 0xFF, rest @ ..] => (rest, true),
        [0xFF, 0xFE, rest @ ..] => (rest, false),
        bytes if even == odd => (bytes, file_is_big_endian),
        bytes => (bytes, even > odd),
    };
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| {
            let pair = [pair[0], pair[1]];
            if is_big_endian {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            }
        })
        .collect();
    String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_come_back() {
        for comment in ["", "a tree\nSteps: 5", "Größe 木 🌳", "木木木木"] {
            assert_eq!(
                user_comment(&with_user_comment(comment)).as_deref(),
                Some(comment)
            );
        }
    }

    #[test]
    fn every_truncation_is_survived() {
        let exif = with_user_comment("a tree");
        for length in 0..exif.len() {
            assert_eq!(user_comment(&exif[..length]), None, "{length}");
        }
    }
}
