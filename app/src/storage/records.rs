//! Records: compressed, with length and checksum in front, so that one that was cut off is known as such.
//!
//! ```text
//! record  length:u32 crc32:u32 payload     (little endian; crc32 of the payload)
//! payload zlib(content)
//! ```

use std::io::{self, Read as _};

use anyhow::{Context as _, ensure};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

/// What one record may unpack to.
const MAX_CONTENT_BYTES: u64 = 2 << 30;
/// Said of a record that nobody could read.
pub(super) const TOO_LARGE: &str = "the canvas is too large to be kept for you: save it yourself";

/// A record with the content that `write` gives.
///
/// # Errors
/// If it is more than [`unpacked`] reads.
pub(super) fn packed(
    write: impl FnOnce(&mut ZlibEncoder<Vec<u8>>) -> io::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    packed_within(MAX_CONTENT_BYTES, write)
}

fn packed_within(
    max_content_bytes: u64,
    write: impl FnOnce(&mut ZlibEncoder<Vec<u8>>) -> io::Result<()>,
) -> anyhow::Result<Vec<u8>> {
    let mut content = ZlibEncoder::new(vec![0; 8], Compression::fast());
    write(&mut content)?;
    ensure!(content.total_in() <= max_content_bytes, TOO_LARGE);
    let mut record = content.finish()?;
    let length = u32::try_from(record.len() - 8).context(TOO_LARGE)?;
    let checksum = crc32fast::hash(&record[8..]);
    record[..4].copy_from_slice(&length.to_le_bytes());
    record[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(record)
}

/// The payload of the first record if it is whole, and what comes behind it.
pub(super) fn next_payload(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(8)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?);
    let checksum = u32::from_le_bytes(head[4..].try_into().ok()?);
    let (payload, rest) = rest.split_at_checked(length as usize)?;
    (crc32fast::hash(payload) == checksum).then_some((payload, rest))
}

/// The content of a payload.
pub(super) fn unpacked(payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    ZlibDecoder::new(payload)
        .take(MAX_CONTENT_BYTES + 1)
        .read_to_end(&mut content)?;
    ensure!(
        content.len() as u64 <= MAX_CONTENT_BYTES,
        "a record unpacks to too much"
    );
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_could_not_be_unpacked_is_not_packed() {
        let packed = |bytes: usize| packed_within(1000, |content| content.write_all(&vec![7; bytes]));
        let record = packed(1000).unwrap();
        let (payload, _) = next_payload(&record).unwrap();
        assert_eq!(unpacked(payload).unwrap(), [7; 1000]);
        assert_eq!(packed(1001).unwrap_err().to_string(), TOO_LARGE);
    }
}
