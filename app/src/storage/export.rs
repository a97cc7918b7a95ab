//! Pictures for others, with readable metadata, and with our whole state in them so that dropping one back in
//! restores the canvas.
//!
//! | container | `parameters` text | state |
//! |---|---|---|
//! | PNG | text chunk | compressed iTXt chunk `wordbrush` (JSON) |
//! | JPEG | EXIF `UserComment` | APP11 segments `wordbrush\0`, zlib-compressed JSON |
//! | WebP | EXIF `UserComment` | chunk `WBSH`, zlib-compressed JSON |

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::OsStr,
    io::{Cursor, Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, anyhow, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use image::{ExtendedColorType, ImageEncoder as _, codecs::jpeg::JpegEncoder, codecs::webp::WebPEncoder};
use serde::{
    Deserialize, Serialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;
use wordbrush_engine::api::Picture;

use super::{
    atomic::{PreviousVersion, write_bytes_atomically},
    blobs::{BlobReader, Blobs},
    bounded_json, exif,
    manifest::Manifest,
    migrate::manifest_from_value,
    parameters::parameters_text,
    pictures,
    project::Project,
    segments,
};

/// Keyword of our text chunk, and the mark of our JPEG segments.
pub(super) const STATE_KEYWORD: &str = "wordbrush";
const PARAMETERS_KEYWORD: &str = "parameters";
/// What our state may unpack to.
const MAX_STATE_BYTES: usize = 1 << 30;

/// A file format of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless.
    Png,
    /// Lossy and without transparency.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
    /// Lossy, or lossless at the highest quality.
    WebP {
        /// 1 to 100; 100 is lossless.
        quality: u8,
    },
}

impl PictureFormat {
    /// By the end of a file's name; `None` if it is another kind of file.
    pub fn from_path(path: &Path, quality: u8) -> Option<Self> {
        let quality = quality.clamp(1, 100);
        let extension = path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase();
        match extension.as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg { quality }),
            "webp" => Some(Self::WebP { quality }),
            _ => None,
        }
    }
}

/// Exports the project's last frame with metadata and state.
///
/// # Errors
/// If there is no frame yet, or the file cannot be written; what was there before is untouched.
pub fn export_picture(project: &Project, format: PictureFormat, path: &Path) -> anyhow::Result<()> {
    write_bytes_atomically(path, PreviousVersion::Discard, &picture_bytes(project, format)?)
}

/// As [`export_picture`], as bytes.
///
/// # Errors
/// If there is no frame yet.
pub fn picture_bytes(project: &Project, format: PictureFormat) -> anyhow::Result<Vec<u8>> {
    let frame = project
        .last_frame
        .as_ref()
        .context("there is no picture yet: let the stream finish one")?;
    let parameters = parameters_text(project);
    let state = state_json(project)?;
    match format {
        PictureFormat::Png => png_bytes(frame, parameters, &state),
        PictureFormat::Jpeg { quality } => jpeg_bytes(frame, quality, &parameters, &state),
        PictureFormat::WebP { quality } => webp_bytes(frame, quality, &parameters, &state),
    }
}

fn png_bytes(frame: &Picture, parameters: String, state: &str) -> anyhow::Result<Vec<u8>> {
    let is_opaque = is_opaque(frame);
    let rgb;
    let (colour_type, pixels) = if is_opaque {
        rgb = rgb_pixels(frame);
        (png::ColorType::Rgb, rgb.as_slice())
    } else {
        (png::ColorType::Rgba, frame.rgba())
    };
    pictures::encode_png(frame.size(), colour_type, pixels, |encoder| {
        let is_latin_1 = parameters.chars().all(|character| u32::from(character) <= 0xFF);
        let keyword = PARAMETERS_KEYWORD.to_owned();
        if is_latin_1 {
            encoder.add_text_chunk(keyword, parameters)?;
        } else {
            encoder.add_itxt_chunk(keyword, parameters)?;
        }
        Ok(())
    })
    .and_then(|png| segments::insert_into_png(&png, STATE_KEYWORD, &deflate(state.as_bytes())?))
}

fn jpeg_bytes(frame: &Picture, quality: u8, parameters: &str, state: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    let exif = exif::with_user_comment(parameters);
    // A segment holds 64 KB; a text beyond that is in our state all the same.
    if exif.len() < 65_000 {
        encoder
            .set_exif_metadata(exif)
            .context("cannot encode the picture")?;
    }
    let (width, height) = (frame.size().width(), frame.size().height());
    encoder
        .write_image(&rgb_pixels(frame), width, height, ExtendedColorType::Rgb8)
        .context("cannot encode the picture")?;
    segments::insert_into_jpeg(&bytes, &deflate(state.as_bytes())?)
}

fn webp_bytes(frame: &Picture, quality: u8, parameters: &str, state: &str) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (frame.size().width(), frame.size().height());
    let encoded = if quality < 100 {
        webp::Encoder::from_rgba(frame.rgba(), width, height)
            .encode_simple(false, f32::from(quality))
            .map_err(|error| anyhow!("cannot encode the picture: {error:?}"))?
            .to_vec()
    } else {
        let mut bytes = Vec::new();
        WebPEncoder::new_lossless(&mut bytes)
            .write_image(frame.rgba(), width, height, ExtendedColorType::Rgba8)
            .context("cannot encode the picture")?;
        bytes
    };
    let metadata = segments::WebPMetadata {
        has_alpha: !is_opaque(frame),
        exif: &exif::with_user_comment(parameters),
        state: &deflate(state.as_bytes())?,
    };
    segments::extended_webp(&encoded, frame.size(), &metadata)
}

fn is_opaque(picture: &Picture) -> bool {
    picture.rgba().chunks_exact(4).all(|pixel| pixel[3] == 255)
}

fn rgb_pixels(picture: &Picture) -> Vec<u8> {
    picture
        .rgba()
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

/// Our state as JSON: the manifest, and blobs in base64 by their names.
#[derive(Serialize)]
struct WrittenState<'a> {
    manifest: &'a Manifest,
    blobs: BTreeMap<&'a str, String>,
}

/// As [`WrittenState`], from anyone: what it takes is bounded by the length of the text.
#[derive(Default)]
struct ReadState<'de> {
    manifest: Option<Value>,
    blobs: BTreeMap<Text<'de>, Text<'de>>,
}

/// Borrowed from the JSON where nothing in it is escaped.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> ReadState<'de> {
    fn from_json(json: &'de [u8]) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let state = deserializer.deserialize_map(StateVisitor)?;
        deserializer.end()?;
        Ok(state)
    }
}

struct StateVisitor;

impl<'de> Visitor<'de> for StateVisitor {
    type Value = ReadState<'de>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a canvas")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let budget = bounded_json::Budget::default();
        let mut state = ReadState::default();
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "manifest" => state.manifest = Some(map.next_value_seed(budget.value())?),
                "blobs" => state.blobs = map.next_value_seed(BlobsSeed)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(state)
    }
}

/// More blobs than any canvas has.
const MAX_BLOBS: usize = 20_000;

struct BlobsSeed;

impl<'de> DeserializeSeed<'de> for BlobsSeed {
    type Value = BTreeMap<Text<'de>, Text<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BlobsSeed {
    type Value = BTreeMap<Text<'de>, Text<'de>>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("pictures by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut blobs = BTreeMap::new();
        while let Some((name, text)) = map.next_entry()? {
            blobs.insert(name, text);
            if blobs.len() > MAX_BLOBS {
                return Err(A::Error::custom("it holds too many pictures"));
            }
        }
        Ok(blobs)
    }
}

fn state_json(project: &Project) -> anyhow::Result<String> {
    // The exported picture is the last frame, and pins stay with the project.
    let bare = Project {
        model_record: project.model_record.clone(),
        ..Project::new(project.document.clone())
    };
    let mut blobs = Blobs::default();
    let manifest = Manifest::from_project(&bare, &mut blobs)?.without_local_paths();
    let state = WrittenState {
        manifest: &manifest,
        blobs: blobs
            .files()
            .iter()
            .map(|(name, png)| (name.as_str(), BASE64.encode(png)))
            .collect(),
    };
    Ok(serde_json::to_string(&state)?)
}

fn project_from_state(json: &[u8]) -> anyhow::Result<Project> {
    let state = ReadState::from_json(json).context("the canvas in it is damaged")?;
    let manifest = manifest_from_value(state.manifest.context("the canvas in it is missing")?)?;
    manifest.into_project(&mut BlobReader::new(|name: &str| {
        let Text(text) = state
            .blobs
            .get(&Text(name.into()))
            .with_context(|| format!("{name:?} is missing"))?;
        BASE64
            .decode(&**text)
            .with_context(|| format!("{name:?} is damaged"))
    }))
}

/// What an exported picture tells.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedPicture {
    /// The canvas, if the picture is one of ours; its last frame is the picture itself.
    pub project: Option<Project>,
    /// The `parameters` text, ours or another program's.
    pub parameters: Option<String>,
    /// The picture.
    pub picture: Picture,
}

/// Reads a PNG, JPEG or WebP with what its metadata tells.
///
/// # Errors
/// If it is no picture or is damaged. State of ours that is damaged or from a newer version is an error, too, so
/// that nobody takes a bare picture for a restored canvas.
pub fn read_picture(bytes: &[u8]) -> anyhow::Result<ExportedPicture> {
    let picture = pictures::picture_from_bytes(bytes)?;
    let (parameters, state) = metadata(bytes)?;
    let project = match state {
        None => None,
        Some(state) => {
            let mut project = project_from_state(&state)?;
            project.last_frame = Some(picture.clone());
            Some(project)
        }
    };
    Ok(ExportedPicture {
        project,
        parameters,
        picture,
    })
}

/// The texts of a picture file: `parameters`, and our state unpacked.
fn metadata(bytes: &[u8]) -> anyhow::Result<(Option<String>, Option<Vec<u8>>)> {
    if bytes.starts_with(segments::PNG_SIGNATURE) {
        let parameters = segments::png_text(bytes, PARAMETERS_KEYWORD);
        let state = segments::png_packed_text(bytes, STATE_KEYWORD)
            .map(inflate)
            .transpose()?;
        return Ok((parameters, state));
    }
    let parameters = pictures::exif_data(bytes).and_then(|exif| exif::user_comment(&exif));
    let packed = if bytes.starts_with(&[0xFF, 0xD8]) {
        segments::jpeg_state(bytes)
    } else {
        segments::webp_state(bytes).map(<[u8]>::to_vec)
    };
    Ok((parameters, packed.map(|packed| inflate(&packed)).transpose()?))
}

fn deflate(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn inflate(packed: impl AsRef<[u8]>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(Cursor::new(packed.as_ref()))
        .take(MAX_STATE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .context("the canvas in it is damaged")?;
    ensure!(
        bytes.len() <= MAX_STATE_BYTES,
        "the canvas in it unpacks to too much"
    );
    Ok(bytes)
}
