//! What other programs read of ours: the `parameters` text by the expressions that viewers use, and OpenRaster by the
//! rules of its specification.

use std::io::{Cursor, Read as _};

use wordbrush::{
    document::{Document, RegionLayer},
    storage::{
        export::{PictureFormat, picture_bytes, read_picture},
        ora,
        project::{ModelRecord, Project},
    },
};
use wordbrush_engine::api::{CanvasSize, Mask, Picture, RegionId, Seed};

/// What a reader of `parameters` makes of a text: prompt, negative prompt and fields, by the rules of the web UI that
/// invented it.
struct Parsed {
    prompt: String,
    negative_prompt: String,
    fields: Vec<(String, String)>,
}

impl Parsed {
    fn new(text: &str) -> Self {
        let mut lines: Vec<&str> = text.trim().lines().collect();
        let last = lines.pop().unwrap();
        let fields = fields(last);
        assert!(fields.len() >= 3, "the last line is not recognised: {last:?}");
        let (mut prompt, mut negative) = (Vec::new(), Vec::new());
        let mut is_negative = false;
        for line in lines {
            let mut line = line.trim();
            if let Some(rest) = line.strip_prefix("Negative prompt:") {
                is_negative = true;
                line = rest.trim();
            }
            if is_negative { &mut negative } else { &mut prompt }.push(line);
        }
        Self {
            prompt: prompt.join("\n"),
            negative_prompt: negative.join("\n"),
            fields,
        }
    }

    fn field(&self, key: &str) -> &str {
        &self.fields.iter().find(|(known, _)| known == key).unwrap().1
    }
}

/// `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)`, applied from left to right.
fn fields(line: &str) -> Vec<(String, String)> {
    let expression = regex::Regex::new(r#"\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)"#).unwrap();
    expression
        .captures_iter(line)
        .map(|found| {
            let value = &found[2];
            let is_quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
            let unquoted = is_quoted.then(|| serde_json::from_str(value).ok()).flatten();
            (found[1].to_owned(), unquoted.unwrap_or_else(|| value.to_owned()))
        })
        .collect()
}

/// Pieces of which awkward prompts and names are made.
const AWKWARD: [&str; 24] = [
    "a tree",
    ", masterpiece, (best quality:1.2)",
    "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 1x1",
    "Negative prompt: blurry",
    "\n",
    "\r\n",
    "\n\n\n",
    "\"quoted\"",
    "\\",
    "\\\"",
    "<lora:x:0.8>",
    "{a|b|c}",
    "[from:to:0.5]",
    "größe 木 🌳",
    "\u{0}",
    "\u{2028}",
    "\t",
    "  ",
    ":",
    "::,,;;",
    "Model: other",
    "AND BREAK",
    "\u{202e}backwards",
    "x=1&y=2%20",
];

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn text(&mut self, pieces: usize) -> String {
        (0..self.below(pieces + 1))
            .map(|_| AWKWARD[self.below(AWKWARD.len())])
            .collect()
    }
}

/// What is the same for a reader: lines trimmed, ends of lines alike, no empty lines.
fn plain(text: &str) -> String {
    text.replace('\u{200b}', "")
        .split(['\n', '\r', '\u{2028}', '\0', ' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_hundred_awkward_prompts_are_read_back_by_the_common_expression() {
    let size = CanvasSize::new(24, 16).unwrap();
    for seed in 1..=120_u64 {
        let mut dice = Dice(seed * 0x9E37_79B9);
        let mut document = Document::new(size);
        document.seed = Seed(seed * 1000);
        document.background.prompt = dice.text(6);
        document.background.negative_prompt = dice.text(3);
        let (region_prompt, name) = (dice.text(6), dice.text(3));
        document.regions.push(RegionLayer {
            mask: Mask::full(size),
            ..RegionLayer::new(RegionId(1), size, [1, 2, 3], &region_prompt)
        });
        let project = Project {
            model_record: Some(ModelRecord {
                name: format!("m{name}"),
                family: String::new(),
                fingerprint: "1a2b3c4d5e".to_owned(),
            }),
            last_frame: Some(Picture::solid(size, [5, 6, 7, 255])),
            ..Project::new(document.clone())
        };
        for format in [
            PictureFormat::Png,
            PictureFormat::Jpeg { quality: 80 },
            PictureFormat::WebP { quality: 90 },
        ] {
            let bytes = picture_bytes(&project, format).unwrap();
            let text = read_picture(&bytes).unwrap().parameters.unwrap();
            let parsed = Parsed::new(&text);
            let context = || format!("seed {seed}, {format:?}: {text:?}");
            assert_eq!(parsed.field("Steps"), "5", "{}", context());
            assert_eq!(parsed.field("Seed"), (seed * 1000).to_string(), "{}", context());
            assert_eq!(parsed.field("Size"), "24x16", "{}", context());
            assert_eq!(parsed.field("Model hash"), "1a2b3c4d5e", "{}", context());
            assert_eq!(parsed.field("Model"), format!("m{name}"), "{}", context());
            let mut prompts = vec![plain(&document.background.prompt), plain(&region_prompt)];
            prompts.retain(|prompt| !prompt.is_empty());
            prompts.dedup();
            assert_eq!(plain(&parsed.prompt), prompts.join(" "), "{}", context());
            let negative = plain(&document.background.negative_prompt);
            assert_eq!(plain(&parsed.negative_prompt), negative, "{}", context());
        }
    }
}

#[test]
fn open_raster_follows_its_specification() {
    let size = CanvasSize::new(600, 300).unwrap();
    let mut document = Document::new(size);
    document.regions.push(RegionLayer {
        name: "<&\"'> 木".to_owned(),
        mask: Mask::full(size),
        ..RegionLayer::new(RegionId(7), size, [250, 10, 20], "x")
    });
    let bytes = ora::to_bytes(&Project::new(document)).unwrap();
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    {
        let first = zip.by_index(0).unwrap();
        assert_eq!(first.name().unwrap(), "mimetype");
        assert_eq!(first.compression(), zip::CompressionMethod::Stored);
    }
    let mut read = |name: &str| {
        let mut bytes = Vec::new();
        zip.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let stack = String::from_utf8(read("stack.xml")).unwrap();
    assert!(
        stack.contains(r#"<image version="0.0.3" w="600" h="300""#),
        "{stack}"
    );
    assert!(stack.contains("&lt;&amp;&quot;&apos;&gt; 木"), "{stack}");
    let layer = image::load_from_memory(&read("data/region-7.png"))
        .unwrap()
        .to_rgba8();
    assert_eq!(layer.get_pixel(3, 3).0, [250, 10, 20, 255]);
    let thumbnail = image::load_from_memory(&read("Thumbnails/thumbnail.png")).unwrap();
    assert_eq!((thumbnail.width(), thumbnail.height()), (256, 128));
    let merged = image::load_from_memory(&read("mergedimage.png")).unwrap();
    assert_eq!((merged.width(), merged.height()), (600, 300));
}
