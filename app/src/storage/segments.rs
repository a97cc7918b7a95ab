//! Our state inside picture containers: PNG chunks, JPEG segments, WebP chunks.
//!
//! Pixels are the image codecs' business; this module only walks over the containers' outer structure. Every length
//! is checked against the data that is there.

use std::borrow::Cow;

use anyhow::Context as _;
use flate2::read::ZlibDecoder;
use wordbrush_engine::api::CanvasSize;

pub(super) const PNG_SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";
/// What a foreign compressed text may unpack to.
const MAX_TEXT_BYTES: u64 = 16 << 20;

const JPEG_STATE_MARKER: u8 = 0xEB;
const JPEG_STATE_MARK: &[u8] = b"wordbrush\0";
/// A segment holds 65,533 bytes beyond its length; the mark, the index and the count come first.
const JPEG_PART_BYTES: usize = 65_533 - JPEG_STATE_MARK.len() - 4;

const WEBP_STATE_CHUNK: &[u8; 4] = b"WBSH";

/// The type and data of each chunk, up to the first that does not fit.
fn png_chunks(png: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = png.get(PNG_SIGNATURE.len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let kind = rest.get(4..8)?.try_into().ok()?;
        let data = rest.get(8..)?.get(..length)?;
        rest = rest.get(12 + length..)?;
        Some((kind, data))
    })
}

/// Adds a compressed text chunk (iTXt) in front of the pixels.
pub(super) fn insert_into_png(png: &[u8], keyword: &str, packed: &[u8]) -> anyhow::Result<Vec<u8>> {
    const HEADER_END: usize = 33;
    let (header, rest) = png
        .split_at_checked(HEADER_END)
        .context("the picture is no PNG")?;
    let mut data = b"iTXt".to_vec();
    data.extend(keyword.as_bytes());
    // Keyword end; compressed, by zlib; no language; no translated keyword.
    data.extend([0, 1, 0, 0, 0]);
    data.extend(packed);
    let length = u32::try_from(data.len() - 4).context("the canvas is too large for a PNG")?;

    let mut bytes = Vec::with_capacity(png.len() + data.len() + 8);
    bytes.extend(header);
    bytes.extend(length.to_be_bytes());
    bytes.extend(&data);
    bytes.extend(crc32fast::hash(&data).to_be_bytes());
    bytes.extend(rest);
    Ok(bytes)
}

/// The still compressed text of the iTXt chunk with this keyword.
pub(super) fn png_packed_text<'a>(png: &'a [u8], keyword: &str) -> Option<&'a [u8]> {
    png_chunks(png).find_map(|(kind, data)| {
        let text = InternationalText::parse(data)?;
        (&kind == b"iTXt" && text.keyword == keyword.as_bytes() && text.is_compressed).then_some(text.text)
    })
}

/// The text of the first chunk with this keyword, whichever of the three kinds it is.
pub(super) fn png_text(png: &[u8], keyword: &str) -> Option<String> {
    png_chunks(png).find_map(|(kind, data)| match &kind {
        b"tEXt" => Some(latin_1(
            data.strip_prefix(keyword.as_bytes())?.strip_prefix(b"\0")?,
        )),
        b"zTXt" => {
            let packed = data.strip_prefix(keyword.as_bytes())?.strip_prefix(b"\0\0")?;
            Some(latin_1(&unpack(packed)?))
        }
        b"iTXt" => {
            let text = InternationalText::parse(data).filter(|text| text.keyword == keyword.as_bytes())?;
            let bytes = if text.is_compressed {
                Cow::from(unpack(text.text)?)
            } else {
                Cow::from(text.text)
            };
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    })
}

struct InternationalText<'a> {
    keyword: &'a [u8],
    is_compressed: bool,
    text: &'a [u8],
}

impl<'a> InternationalText<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let (keyword, rest) = split_at_zero(data)?;
        let (&[flag, _method], rest) = rest.split_first_chunk()?;
        let (_language, rest) = split_at_zero(rest)?;
        let (_translated_keyword, text) = split_at_zero(rest)?;
        Some(Self {
            keyword,
            is_compressed: flag == 1,
            text,
        })
    }
}

fn split_at_zero(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|&byte| byte == 0)?;
    Some((&data[..end], &data[end + 1..]))
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    let read = ZlibDecoder::new(packed)
        .take(MAX_TEXT_BYTES)
        .read_to_end(&mut bytes);
    read.is_ok().then_some(bytes)
}

/// Adds segments with our state behind those that the encoder wrote at the beginning.
pub(super) fn insert_into_jpeg(jpeg: &[u8], state: &[u8]) -> anyhow::Result<Vec<u8>> {
    let parts: Vec<&[u8]> = state.chunks(JPEG_PART_BYTES).collect();
    let count = u16::try_from(parts.len()).context("the canvas is too large for a JPEG")?;
    let place = jpeg_segments(jpeg)
        .take_while(|segment| matches!(segment.marker, 0xE0 | 0xE1))
        .last()
        .map_or(2, |segment| segment.end);
    let (before, after) = jpeg.split_at_checked(place).context("the picture is no JPEG")?;
    let mut bytes = before.to_vec();
    for (index, part) in (0..count).zip(parts) {
        let length = (2 + JPEG_STATE_MARK.len() + 4 + part.len()) as u16;
        bytes.extend([0xFF, JPEG_STATE_MARKER]);
        bytes.extend(length.to_be_bytes());
        bytes.extend(JPEG_STATE_MARK);
        bytes.extend(index.to_be_bytes());
        bytes.extend(count.to_be_bytes());
        bytes.extend(part);
    }
    bytes.extend(after);
    Ok(bytes)
}

/// Our state in a JPEG, if it is complete.
pub(super) fn jpeg_state(jpeg: &[u8]) -> Option<Vec<u8>> {
    let mut state = Vec::new();
    let (mut found, mut expected) = (0, 0);
    for segment in jpeg_segments(jpeg).filter(|segment| segment.marker == JPEG_STATE_MARKER) {
        let Some(data) = segment.data.strip_prefix(JPEG_STATE_MARK) else {
            continue;
        };
        let (&[index_high, index_low, count_high, count_low], part) = data.split_first_chunk()?;
        if u16::from_be_bytes([index_high, index_low]) != found {
            return None;
        }
        expected = u16::from_be_bytes([count_high, count_low]);
        found += 1;
        state.extend(part);
        if found == expected {
            break;
        }
    }
    (found > 0 && found == expected).then_some(state)
}

struct JpegSegment<'a> {
    marker: u8,
    data: &'a [u8],
    /// Where the next segment begins.
    end: usize,
}

/// The segments in front of the pixels.
fn jpeg_segments(jpeg: &[u8]) -> impl Iterator<Item = JpegSegment<'_>> {
    const START_OF_SCAN: u8 = 0xDA;
    let mut start = 2;
    std::iter::from_fn(move || {
        let &[prefix, marker, high, low] = jpeg.get(start..)?.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if prefix != 0xFF || marker == START_OF_SCAN || length < 2 {
            return None;
        }
        let data = jpeg.get(start + 4..start + 2 + length)?;
        start += 2 + length;
        Some(JpegSegment {
            marker,
            data,
            end: start,
        })
    })
}

/// What an extended WebP tells besides its picture.
pub(super) struct WebPMetadata<'a> {
    pub(super) has_alpha: bool,
    pub(super) exif: &'a [u8],
    pub(super) state: &'a [u8],
}

/// Wraps an encoder's WebP, extended already or not, in an extended one with EXIF and our state at the end; readers
/// skip chunks that they do not know.
pub(super) fn extended_webp(
    encoded: &[u8],
    size: CanvasSize,
    metadata: &WebPMetadata<'_>,
) -> anyhow::Result<Vec<u8>> {
    const ALPHA: u8 = 0x10;
    const EXIF: u8 = 0x08;
    let mut header = vec![EXIF | if metadata.has_alpha { ALPHA } else { 0 }, 0, 0, 0];
    // Sides less one, in three bytes each.
    for side in [size.width(), size.height()] {
        header.extend(&(side - 1).to_le_bytes()[..3]);
    }
    let mut bytes = b"RIFF\0\0\0\0WEBP".to_vec();
    push_webp_chunk(&mut bytes, *b"VP8X", &header)?;
    for (kind, data) in webp_chunks(encoded) {
        if matches!(&kind, b"ALPH" | b"VP8 " | b"VP8L") {
            push_webp_chunk(&mut bytes, kind, data)?;
        }
    }
    push_webp_chunk(&mut bytes, *b"EXIF", metadata.exif)?;
    push_webp_chunk(&mut bytes, *WEBP_STATE_CHUNK, metadata.state)?;
    let riff_length = u32::try_from(bytes.len() - 8).context("the canvas is too large for a WebP")?;
    bytes[4..8].copy_from_slice(&riff_length.to_le_bytes());
    Ok(bytes)
}

fn push_webp_chunk(bytes: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) -> anyhow::Result<()> {
    let length = u32::try_from(data.len()).context("the canvas is too large for a WebP")?;
    bytes.extend(kind);
    bytes.extend(length.to_le_bytes());
    bytes.extend(data);
    if data.len() % 2 == 1 {
        bytes.push(0);
    }
    Ok(())
}

/// Our state in a WebP.
pub(super) fn webp_state(webp: &[u8]) -> Option<&[u8]> {
    webp_chunks(webp).find_map(|(kind, data)| (&kind == WEBP_STATE_CHUNK).then_some(data))
}

/// The chunks of a WebP, up to the first that is broken; none if it is no WebP.
fn webp_chunks(webp: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let is_webp = webp.starts_with(b"RIFF") && webp.get(8..12) == Some(b"WEBP");
    let mut rest = if is_webp { &webp[12..] } else { &[] };
    std::iter::from_fn(move || {
        let kind = rest.first_chunk::<4>()?;
        let length = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        let data = rest.get(8..)?.get(..length)?;
        // The byte that makes an odd length even may be missing at the end.
        rest = rest.get(8 + length + length % 2..).unwrap_or(&[]);
        Some((*kind, data))
    })
}
