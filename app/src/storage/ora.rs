//! OpenRaster, `.ora`: a zip with one PNG per layer that Krita, GIMP and MyPaint open.
//!
//! Layers from the top: the regions (their colour, alpha = coverage), the picture as last seen, the background.
//! Prompts, seeds and settings lie in an extra entry that others ignore. Reading takes the masks from the layers, so
//! that a mask that was painted over elsewhere comes back as it is now; without the extra entry every layer becomes a
//! region to be named.

use std::{collections::BTreeMap, io::Cursor, path::Path};

use anyhow::{Context as _, bail, ensure};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use wordbrush_engine::api::{CanvasSize, Mask, Picture, RegionId};

use super::{
    archive::{ArchiveReader, ArchiveWriter},
    atomic::{PreviousVersion, write_bytes_atomically},
    blobs::{BlobReader, Blobs, DecodingBudget, TOO_LARGE},
    manifest::Manifest,
    migrate::manifest_from_json,
    pictures,
    project::Project,
    project_file::{MIME_ENTRY, thumbnail_of},
};
use crate::document::{Document, RegionLayer, region_colour};

const MIME_TYPE: &str = "image/openraster";
const STACK_ENTRY: &str = "stack.xml";
const MERGED_ENTRY: &str = "mergedimage.png";
const THUMBNAIL_ENTRY: &str = "Thumbnails/thumbnail.png";
const STATE_ENTRY: &str = "wordbrush/manifest.json";
const STATE_FOLDER: &str = "wordbrush/";
const BACKGROUND_ENTRY: &str = "data/background.png";
const FRAME_ENTRY: &str = "data/picture.png";
/// What the layer of the last frame is called.
const PICTURE_TITLE: &str = "Picture";
/// More layers than anyone paints, fewer than a made-up file could ask for.
const MAX_LAYERS: usize = 4096;

/// Saves a canvas as OpenRaster.
///
/// # Errors
/// If the folder cannot be written to, the disk is full, or the file would be too large to be opened again; what was there
/// before is untouched.
pub fn save(project: &Project, path: &Path) -> anyhow::Result<()> {
    let bytes = to_bytes(project).with_context(|| format!("cannot write {}", path.display()))?;
    write_bytes_atomically(path, PreviousVersion::Keep, &bytes)
}

/// A canvas as the bytes of an OpenRaster file.
///
/// # Errors
/// If [`from_bytes`] would refuse them.
pub fn to_bytes(project: &Project) -> anyhow::Result<Vec<u8>> {
    let document = &project.document;
    let size = document.size;
    let mut budget = DecodingBudget::default();
    for region in &document.regions {
        budget.spend(region.mask.memory_bytes()).context(TOO_LARGE)?;
    }
    let white = || Picture::solid(size, [255; 4]);
    let background = match &document.background.image {
        Some(image) => pictures::scale_picture(image, size)?,
        None => white(),
    };
    let frame = project
        .last_frame
        .as_ref()
        .map(|frame| pictures::scale_picture(frame, size))
        .transpose()?;
    let merged = merged_picture(document, &background, frame.as_ref())?;

    let mut blobs = Blobs::default();
    let manifest = Manifest::from_project(&without_layers(project), &mut blobs)?;

    let mut bytes = Cursor::new(Vec::new());
    let mut archive = ArchiveWriter::new(&mut bytes);
    archive.store(MIME_ENTRY, MIME_TYPE.as_bytes())?;
    archive.deflate(STACK_ENTRY, stack_xml(document, frame.is_some()).as_bytes())?;
    for region in &document.regions {
        archive.store(&region_entry(region.id), &layer_png(region)?)?;
    }
    if let Some(frame) = &frame {
        archive.store(FRAME_ENTRY, &pictures::png_from_picture(frame)?)?;
    }
    archive.store(BACKGROUND_ENTRY, &pictures::png_from_picture(&background)?)?;
    archive.store(MERGED_ENTRY, &pictures::png_from_picture(&merged)?)?;
    let thumbnail = thumbnail_of(&Project {
        last_frame: Some(merged),
        ..project.clone()
    })?;
    archive.store(THUMBNAIL_ENTRY, &pictures::png_from_picture(&thumbnail)?)?;
    archive.deflate(STATE_ENTRY, &serde_json::to_vec_pretty(&manifest)?)?;
    for (name, png) in blobs.files() {
        archive.store(&format!("{STATE_FOLDER}{name}"), png)?;
    }
    archive.finish()?;
    Ok(bytes.into_inner())
}

/// What is in no layer; masks and the last frame are not stored twice.
fn without_layers(project: &Project) -> Project {
    let mut rest = project.clone();
    rest.last_frame = None;
    for region in &mut rest.document.regions {
        region.mask = Mask::new(project.document.size);
    }
    rest
}

fn region_entry(id: RegionId) -> String {
    format!("data/region-{}.png", id.0)
}

/// A region's colour under its coverage.
fn layer_png(region: &RegionLayer) -> anyhow::Result<Vec<u8>> {
    let [red, green, blue] = region.colour;
    let rgba: Vec<u8> = region
        .mask
        .to_coverage()
        .into_iter()
        .flat_map(|coverage| [red, green, blue, coverage])
        .collect();
    pictures::png_from_picture(&Picture::new(region.mask.size(), rgba)?)
}

/// How much of a region's colour other programs show above the picture.
const REGION_OPACITY: f32 = 0.5;

fn stack_xml(document: &Document, has_frame: bool) -> String {
    use std::fmt::Write as _;

    let (width, height) = (document.size.width(), document.size.height());
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<image version=\"0.0.3\" w=\"{width}\" h=\"{height}\" xres=\"72\" \
         yres=\"72\">\n  <stack>\n"
    );
    let mut layer = |name: &str, src: &str, opacity: f32, is_visible: bool| {
        let visibility = if is_visible { "visible" } else { "hidden" };
        writeln!(
            xml,
            // Writing to a string cannot fail.
            "    <layer name=\"{}\" src=\"{src}\" x=\"0\" y=\"0\" opacity=\"{opacity:.4}\" visibility=\"{visibility}\" \
             composite-op=\"svg:src-over\"/>",
            escaped(name)
        )
        .ok();
    };
    for region in document.regions.iter().rev() {
        layer(
            &region.title(),
            &region_entry(region.id),
            REGION_OPACITY,
            region.visible,
        );
    }
    if has_frame {
        layer(PICTURE_TITLE, FRAME_ENTRY, 1.0, true);
    }
    layer("Background", BACKGROUND_ENTRY, 1.0, true);
    xml.push_str("  </stack>\n</image>\n");
    xml
}

/// An attribute's value; control characters, which XML has no way to write, become spaces.
fn escaped(text: &str) -> String {
    let writable: String = text
        .chars()
        .map(|character| match character {
            '\u{fffe}' | '\u{ffff}' => ' ',
            character if character.is_control() => ' ',
            character => character,
        })
        .collect();
    quick_xml::escape::escape(writable).into_owned()
}

/// What another program shows for the whole stack.
fn merged_picture(
    document: &Document,
    background: &Picture,
    frame: Option<&Picture>,
) -> anyhow::Result<Picture> {
    let white = [255; 4].repeat(document.size.area());
    let mut rgba = white;
    blend(
        &mut rgba,
        background
            .rgba()
            .chunks_exact(4)
            .map(|pixel| [pixel[0], pixel[1], pixel[2], pixel[3]]),
    );
    if let Some(frame) = frame {
        blend(
            &mut rgba,
            frame
                .rgba()
                .chunks_exact(4)
                .map(|pixel| [pixel[0], pixel[1], pixel[2], pixel[3]]),
        );
    }
    for region in document.regions.iter().filter(|region| region.visible) {
        let [red, green, blue] = region.colour;
        let coverage = region.mask.to_coverage();
        let opacity = |value: u8| (f32::from(value) * REGION_OPACITY).round() as u8;
        blend(
            &mut rgba,
            coverage
                .into_iter()
                .map(|value| [red, green, blue, opacity(value)]),
        );
    }
    Ok(Picture::new(document.size, rgba)?)
}

/// Source over an opaque ground.
fn blend(ground: &mut [u8], above: impl Iterator<Item = [u8; 4]>) {
    for (ground, above) in ground.chunks_exact_mut(4).zip(above) {
        let alpha = u32::from(above[3]);
        for (low, high) in ground.iter_mut().zip(above).take(3) {
            *low = ((u32::from(high) * alpha + u32::from(*low) * (255 - alpha) + 127) / 255) as u8;
        }
    }
}

/// Whether an archive says that it is OpenRaster; some programs forget the type but never the stack.
pub(super) fn is_ora(bytes: &[u8]) -> bool {
    ArchiveReader::new(bytes).is_ok_and(|archive| archive.contains(STACK_ENTRY))
}

/// Reads the bytes of an OpenRaster file, ours or another program's.
///
/// # Errors
/// If it is no such file, is damaged, or would take too much memory.
pub fn from_bytes(bytes: &[u8]) -> anyhow::Result<Project> {
    from_bytes_within(DecodingBudget::default(), bytes)
}

fn from_bytes_within(budget: DecodingBudget, bytes: &[u8]) -> anyhow::Result<Project> {
    let mut archive = ArchiveReader::new(bytes)?;
    let stack = Stack::parse(&archive.read_description(STACK_ENTRY)?)?;
    if archive.contains(STATE_ENTRY) {
        restored(budget, &mut archive, &stack)
    } else {
        foreign(budget, &mut archive, &stack)
    }
}

/// Our own file: the state from its entry, masks, order and visibility from the layers as they are now.
fn restored(
    mut budget: DecodingBudget,
    archive: &mut ArchiveReader<'_>,
    stack: &Stack,
) -> anyhow::Result<Project> {
    let manifest = manifest_from_json(&archive.read_description(STATE_ENTRY)?)?;
    let size = stack.size;
    // The layers before the pins: the canvas must open, however many states were pinned.
    let last_frame = match stack.find(FRAME_ENTRY) {
        Some(_) => Some(pictures::picture_from_bytes(&archive.read(FRAME_ENTRY)?)?),
        None => None,
    };
    let regions = manifest.canvas.regions.iter();
    let mut wanted: BTreeMap<String, RegionId> = regions
        .map(|region| (region_entry(region.id), region.id))
        .collect();
    let mut masks = BTreeMap::new();
    for (place, layer) in stack.layers.iter().enumerate() {
        let Some(id) = wanted.remove(&layer.source) else {
            continue;
        };
        let mask = layer_mask(&archive.read(&layer.source)?, layer, size)
            .with_context(|| format!("layer {:?}", layer.name))?;
        budget.spend(mask.memory_bytes())?;
        masks.insert(id, (place, mask, layer.is_visible));
    }
    let mut blobs = BlobReader::within(budget, |name: &str| {
        archive.read(&format!("{STATE_FOLDER}{name}"))
    });
    let mut project = manifest.into_project(&mut blobs)?;
    project.last_frame = last_frame.or(project.last_frame);
    if size != project.document.size {
        // It was cropped or extended elsewhere.
        project.document.size = size;
        for region in &mut project.document.regions {
            region.mask = Mask::new(size);
        }
    }
    let mut places = BTreeMap::new();
    for region in &mut project.document.regions {
        if let Some((place, mask, is_visible)) = masks.remove(&region.id) {
            region.mask = mask;
            region.visible = is_visible;
            places.insert(region.id, place);
        }
    }
    // The first layer is the top one; the last region is.
    let height = |region: &RegionLayer| places.get(&region.id).map(|&place| usize::MAX - place);
    if places.len() == project.document.regions.len() {
        project.document.regions.sort_by_key(height);
    }
    Ok(project)
}

/// Another program's file: the bottom layer is the background if it is shown and fills the canvas, the others are regions.
/// One of ours that another program has written anew has our picture right above the background.
fn foreign(
    mut budget: DecodingBudget,
    archive: &mut ArchiveReader<'_>,
    stack: &Stack,
) -> anyhow::Result<Project> {
    let size = stack.size;
    let mut document = Document::new(size);
    let mut last_frame = None;
    for (index, layer) in stack.layers.iter().rev().enumerate() {
        let png = archive.read(&layer.source)?;
        let mask = layer_mask(&png, layer, size).with_context(|| format!("layer {:?}", layer.name))?;
        if index == 0 && stack.layers.len() > 1 && layer.is_visible && mask == Mask::full(size) {
            let picture = pictures::picture_from_bytes(&png)?;
            budget.spend(picture.rgba().len())?;
            document.background.image = Some(placed(&picture, layer, size)?);
            continue;
        }
        if index == 1 && layer.name == PICTURE_TITLE && document.background.image.is_some() {
            last_frame = Some(pictures::picture_from_bytes(&png)?).filter(|picture| picture.size() == size);
            continue;
        }
        budget.spend(mask.memory_bytes())?;
        let id = document.next_region_id;
        document.next_region_id += 1;
        let number = document.regions.len();
        document.regions.push(RegionLayer {
            name: layer.name.clone(),
            mask,
            visible: layer.is_visible,
            ..RegionLayer::new(RegionId(id), size, region_colour(number), "")
        });
    }
    let mut project = Project::new(document);
    project.last_frame = last_frame;
    if project.last_frame.is_none() && archive.contains(MERGED_ENTRY) {
        let merged = archive.read(MERGED_ENTRY)?;
        project.last_frame = pictures::picture_from_bytes(&merged)
            .ok()
            .filter(|picture| picture.size() == size);
    }
    Ok(project)
}

/// A layer's alpha, placed on the canvas.
fn layer_mask(png: &[u8], layer: &Layer, canvas: CanvasSize) -> anyhow::Result<Mask> {
    let picture = pictures::picture_from_bytes(png)?;
    let mut coverage = vec![0; canvas.area()];
    let width = canvas.width() as usize;
    for_each_placed(&picture, layer, canvas, |x, y, pixel| {
        coverage[y * width + x] = pixel[3];
    });
    Ok(Mask::from_coverage(canvas, &coverage)?)
}

fn placed(picture: &Picture, layer: &Layer, canvas: CanvasSize) -> anyhow::Result<Picture> {
    let mut rgba = vec![255; canvas.area() * 4];
    let width = canvas.width() as usize;
    for_each_placed(picture, layer, canvas, |x, y, pixel| {
        let start = (y * width + x) * 4;
        rgba[start..start + 4].copy_from_slice(pixel);
    });
    Ok(Picture::new(canvas, rgba)?)
}

/// Calls back for every pixel of a layer that lies on the canvas.
fn for_each_placed(
    picture: &Picture,
    layer: &Layer,
    canvas: CanvasSize,
    mut draw: impl FnMut(usize, usize, &[u8]),
) {
    let row_bytes = picture.size().width() as usize * 4;
    for (row, y) in picture.rgba().chunks_exact(row_bytes).zip(i64::from(layer.y)..) {
        if !(0..i64::from(canvas.height())).contains(&y) {
            continue;
        }
        for (pixel, x) in row.chunks_exact(4).zip(i64::from(layer.x)..) {
            if (0..i64::from(canvas.width())).contains(&x) {
                draw(x as usize, y as usize, pixel);
            }
        }
    }
}

/// `stack.xml`.
#[derive(Debug)]
struct Stack {
    size: CanvasSize,
    /// The top layer first; groups are flattened, and what is in a hidden one is hidden.
    layers: Vec<Layer>,
}

#[derive(Debug, Default)]
struct Layer {
    name: String,
    source: String,
    x: i32,
    y: i32,
    is_visible: bool,
}

impl Stack {
    fn parse(xml: &[u8]) -> anyhow::Result<Self> {
        let xml = std::str::from_utf8(xml).context("stack.xml is not UTF-8")?;
        let mut reader = Reader::from_str(xml);
        let mut size = None;
        let mut layers = Vec::new();
        // Whether the groups that are open here are shown, those around them taken into account.
        let mut groups = Vec::new();
        loop {
            let event = reader.read_event().context("stack.xml is damaged")?;
            let is_shown = groups.last().copied().unwrap_or(true);
            match event {
                Event::Start(element) if element.name().as_ref() == "stack" => {
                    groups.push(is_shown && is_visible(&element)?);
                }
                Event::End(element) if element.name().as_ref() == "stack" => drop(groups.pop()),
                Event::Start(element) | Event::Empty(element) => match element.name().as_ref() {
                    "image" => size = Some(canvas_size(&element)?),
                    "layer" => {
                        let layer = Layer::parse(&element)?;
                        layers.extend(layer.map(|layer| Layer {
                            is_visible: layer.is_visible && is_shown,
                            ..layer
                        }));
                        ensure!(layers.len() <= MAX_LAYERS, "it has more than {MAX_LAYERS} layers");
                    }
                    _ => {}
                },
                Event::Eof => break,
                _ => {}
            }
        }
        let Some(size) = size else {
            bail!("stack.xml has no image");
        };
        Ok(Self { size, layers })
    }

    fn find(&self, source: &str) -> Option<(usize, &Layer)> {
        self.layers
            .iter()
            .enumerate()
            .find(|(_, layer)| layer.source == source)
    }
}

fn canvas_size(image: &BytesStart<'_>) -> anyhow::Result<CanvasSize> {
    let mut sides = (0, 0);
    for (key, value) in attributes(image)? {
        match key.as_str() {
            "w" => sides.0 = value.parse().context("the image's width is no number")?,
            "h" => sides.1 = value.parse().context("the image's height is no number")?,
            _ => {}
        }
    }
    Ok(CanvasSize::new(sides.0, sides.1)?)
}

fn is_visible(element: &BytesStart<'_>) -> anyhow::Result<bool> {
    let attributes = attributes(element)?;
    let mut visibilities = attributes.iter().filter(|(key, _)| key == "visibility");
    Ok(visibilities.all(|(_, value)| value != "hidden"))
}

impl Layer {
    /// `None` for a layer without pixels of its own.
    fn parse(element: &BytesStart<'_>) -> anyhow::Result<Option<Self>> {
        let mut layer = Self {
            is_visible: is_visible(element)?,
            ..Self::default()
        };
        for (key, value) in attributes(element)? {
            match key.as_str() {
                "name" => layer.name = value,
                "src" => layer.source = value,
                "x" => layer.x = value.parse().unwrap_or(0),
                "y" => layer.y = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        Ok((!layer.source.is_empty()).then_some(layer))
    }
}

fn attributes(element: &BytesStart<'_>) -> anyhow::Result<Vec<(String, String)>> {
    element
        .attributes()
        .map(|attribute| {
            let attribute = attribute.context("stack.xml is damaged")?;
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .context("stack.xml is damaged")?;
            Ok((attribute.key.as_ref().to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::project::Pin;

    /// The entries of an archive, each changed by `change` or left out.
    fn rewritten(archive: &[u8], change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> Vec<u8> {
        let zip = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
        let names: Vec<String> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
        let mut reader = ArchiveReader::new(archive).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = ArchiveWriter::new(&mut bytes);
        for name in names {
            if let Some(entry) = change(&name, reader.read(&name).unwrap()) {
                writer.store(&name, &entry).unwrap();
            }
        }
        writer.finish().unwrap();
        bytes.into_inner()
    }

    fn project_with_picture() -> Project {
        let size = CanvasSize::new(40, 30).unwrap();
        let mut document = Document::new(size);
        let half: Vec<u8> = (0..size.area())
            .map(|i| if i % 40 < 20 { 255 } else { 0 })
            .collect();
        document.regions.push(RegionLayer {
            name: "tree".to_owned(),
            mask: Mask::from_coverage(size, &half).unwrap(),
            ..RegionLayer::new(RegionId(1), size, [1, 2, 3], "a tree")
        });
        document.next_region_id = 2;
        Project {
            last_frame: Some(Picture::solid(size, [9, 8, 7, 255])),
            ..Project::new(document)
        }
    }

    #[test]
    fn a_file_of_ours_that_another_program_wrote_anew_keeps_its_picture_and_regions() {
        let project = project_with_picture();
        // Other programs drop entries that they do not know.
        let theirs = rewritten(&to_bytes(&project).unwrap(), |name, entry| {
            (!name.starts_with(STATE_FOLDER)).then_some(entry)
        });
        let back = from_bytes(&theirs).unwrap();
        assert_eq!(back.last_frame, project.last_frame);
        assert_eq!(back.document.regions.len(), 1);
        assert_eq!(back.document.regions[0].name, "tree");
        assert_eq!(back.document.regions[0].mask, project.document.regions[0].mask);
        assert!(back.document.background.image.is_some());
    }

    #[test]
    fn a_canvas_that_was_cropped_elsewhere_has_its_new_size() {
        let project = project_with_picture();
        let cropped = rewritten(&to_bytes(&project).unwrap(), |name, entry| {
            if name != STACK_ENTRY {
                return Some(entry);
            }
            let stack = String::from_utf8(entry).unwrap();
            let stack = stack.replace("w=\"40\" h=\"30\"", "w=\"25\" h=\"30\"");
            Some(stack.replace("x=\"0\"", "x=\"-15\"").into_bytes())
        });
        let back = from_bytes(&cropped).unwrap().document;
        assert_eq!(back.size, CanvasSize::new(25, 30).unwrap());
        assert_eq!(back.regions[0].prompt, "a tree");
        let mask = &back.regions[0].mask;
        assert_eq!(mask.size(), back.size);
        assert_eq!((mask.coverage(4, 9), mask.coverage(5, 9)), (255, 0));
    }

    #[test]
    fn layers_of_a_hidden_group_are_hidden() {
        let stack = Stack::parse(
            br#"<image w="8" h="8"><stack>
                <layer name="top" src="a.png"/>
                <stack visibility="hidden"><layer name="in" src="b.png"/>
                    <stack><layer name="deep" src="c.png"/></stack><stack/><stack visibility="hidden"/>
                    <layer name="in too" src="d.png"/></stack>
                <stack><layer name="shown" src="e.png"/><layer name="itself" src="f.png" visibility="hidden"/></stack>
                </stack></image>"#,
        );
        let layers = stack.unwrap().layers;
        let shown: Vec<&str> = layers
            .iter()
            .filter(|layer| layer.is_visible)
            .map(|layer| layer.name.as_str())
            .collect();
        assert_eq!((layers.len(), shown), (6, vec!["top", "shown"]));
    }

    #[test]
    fn a_hidden_lowest_layer_is_no_background() {
        let theirs = |visibility: &str| {
            rewritten(&to_bytes(&project_with_picture()).unwrap(), |name, entry| {
                let stack = format!(
                    "<image w=\"40\" h=\"30\"><stack><layer name=\"tree\" src=\"data/region-1.png\"/>\
                     <stack visibility=\"{visibility}\"><layer name=\"paper\" src=\"data/background.png\"/></stack>\
                     </stack></image>"
                );
                match name {
                    STACK_ENTRY => Some(stack.into_bytes()),
                    _ => (!name.starts_with(STATE_FOLDER)).then_some(entry),
                }
            })
        };
        let shown = from_bytes(&theirs("visible")).unwrap().document;
        assert!(shown.background.image.is_some());
        let hidden = from_bytes(&theirs("hidden")).unwrap().document;
        assert_eq!(hidden.background.image, None);
        let regions: Vec<_> = hidden
            .regions
            .iter()
            .map(|region| (region.name.as_str(), region.visible))
            .collect();
        assert_eq!(regions, [("paper", false), ("tree", true)]);
    }

    #[test]
    fn more_pins_than_memory_has_room_for_do_not_keep_a_canvas_from_opening() {
        let size = CanvasSize::new(256, 256).unwrap();
        let mut project = project_with_picture();
        project.document = Document::new(size);
        project.document.regions.push(RegionLayer {
            mask: Mask::full(size),
            ..RegionLayer::new(RegionId(1), size, [1, 2, 3], "a tree")
        });
        project.document.next_region_id = 2;
        project.last_frame = Some(Picture::solid(size, [9, 8, 7, 255]));
        let pin = |shade| Pin {
            name: String::new(),
            document: Document::new(size),
            picture: Some(Picture::solid(size, [shade, 0, 0, 255])),
        };
        project.pins = (0..3).map(pin).collect();
        let bytes = to_bytes(&project).unwrap();
        assert_eq!(from_bytes(&bytes).unwrap(), project);
        // Masks take some bytes beside their pixels.
        let budget = DecodingBudget::of(256 * 256 + 256 * 256 * 4 + 1024);
        let opened = from_bytes_within(budget, &bytes).unwrap();
        assert_eq!(opened.document, project.document);
        assert_eq!((opened.pins.len(), opened.pins_left_out), (1, 2));
    }

    #[test]
    fn layers_count_towards_what_a_file_may_take() {
        let size = CanvasSize::new(256, 256).unwrap();
        let mut document = Document::new(size);
        for id in 1..=4 {
            document.regions.push(RegionLayer {
                mask: Mask::full(size),
                ..RegionLayer::new(RegionId(id), size, [1, 2, 3], "a tree")
            });
        }
        document.next_region_id = 5;
        let project = Project::new(document);
        let ours = to_bytes(&project).unwrap();
        let mut archive = ArchiveReader::new(&ours).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = ArchiveWriter::new(&mut bytes);
        let layers = (1..=4).map(|id| region_entry(RegionId(id)));
        for name in layers.chain([STACK_ENTRY.to_owned(), BACKGROUND_ENTRY.to_owned()]) {
            writer.store(&name, &archive.read(&name).unwrap()).unwrap();
        }
        writer.finish().unwrap();
        let theirs = bytes.into_inner();

        let mask = 256 * 256;
        for file in [&ours, &theirs] {
            assert!(from_bytes_within(DecodingBudget::of(20 * mask), file).is_ok());
            let error = from_bytes_within(DecodingBudget::of(3 * mask), file).unwrap_err();
            assert!(format!("{error:#}").contains("too much memory"), "{error:#}");
        }
    }
}
