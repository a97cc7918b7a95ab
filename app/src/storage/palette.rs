//! Palettes: sets of semantic brushes, in the JSON of the authors' demos.
//!
//! Reading is lenient (any lengths, any subset of keys, unknown keys ignored); writing gives every key of the chosen
//! demo in its order, and what only we know under one key, `x_wordbrush`.
//!
//! The demos are not lenient: they take lists of their own lengths only and stop at a model that they do not know. What
//! has no place with them, brushes beyond their number and the name of our model, lies under `x_wordbrush`, too.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wordbrush_engine::api::{CanvasSize, RegionId};

use super::manifest::{colour_from_hex, hex_from_colour};
use crate::document::{Document, RegionLayer, region_colour};

/// More brushes than anyone keeps in one palette.
const MAX_BRUSHES: usize = 1024;

/// A set of semantic brushes with a background.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Palette {
    /// Title for the library; may be empty.
    pub title: String,
    /// The model it was made for, as the file names it; may be empty.
    pub model: String,
    /// The background's words.
    pub background: Words,
    /// The brushes, the lowest region first.
    pub brushes: Vec<Brush>,
    /// `None` for a random one.
    pub seed: Option<u64>,
    /// Which brush was in use; 0 is the background.
    pub current: usize,
}

/// A name and two prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Name to show.
    pub name: String,
    /// What it shows.
    pub prompt: String,
    /// What it must not show.
    pub negative_prompt: String,
}

/// A brush that carries a meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Brush {
    /// Its words.
    pub words: Words,
    /// Colour of its region.
    pub colour: [u8; 3],
    /// 0.5 to 1.
    pub prompt_strength: f32,
    /// 0.5 to 1.
    pub mask_strength: f32,
    /// Edge softness in pixels, 0 to 100.
    pub mask_std_px: f32,
}

/// The demo that a palette is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demo {
    /// Stable Diffusion 1.5, five brushes.
    #[default]
    Sd15,
    /// Stable Diffusion XL, five brushes.
    Sdxl,
    /// Stable Diffusion 3, four brushes.
    Sd3,
    /// The streaming demo, three brushes.
    Streaming,
}

impl Demo {
    fn brush_count(self) -> usize {
        match self {
            Self::Sd15 | Self::Sdxl => 5,
            Self::Sd3 => 4,
            Self::Streaming => 3,
        }
    }

    /// What the demo itself writes for the model that it comes with.
    fn model_id(self) -> &'static str {
        match self {
            Self::Sd15 => "Blazing Drive V11m",
            Self::Sdxl => "Animagine XL 3.1",
            Self::Sd3 => "Stable Diffusion 3",
            Self::Streaming => "ironjr/BlazingDriveV11m",
        }
    }
}

/// The demos' keys, in their order.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    current_palette: Option<usize>,
    model_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    style_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_palettes: Option<usize>,
    prompt_names: Vec<&'a str>,
    prompts: Vec<&'a str>,
    neg_prompts: Vec<&'a str>,
    prompt_strengths: Vec<f64>,
    mask_strengths: Vec<f64>,
    mask_stds: Vec<f64>,
    seed: i64,
    x_wordbrush: Extras,
}

/// What only we know.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Extras {
    title: String,
    /// The model, where the demo has another name in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The brush in use, where the demo has no place for it or not as many brushes.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<usize>,
    /// How many brushes there are, those of `more` included; what the demo's lists have beyond them is padding.
    brushes: Option<usize>,
    /// Of all brushes.
    colours: Vec<String>,
    /// The brushes that the demo has no place for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    more: Vec<MoreBrush>,
}

/// A brush that the demo has no place for; its colour is with the others.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct MoreBrush {
    name: String,
    prompt: String,
    neg_prompt: String,
    prompt_strength: Option<f64>,
    mask_strength: Option<f64>,
    mask_std: Option<f64>,
}

impl MoreBrush {
    fn of(brush: &Brush) -> Self {
        Self {
            name: brush.words.name.clone(),
            prompt: brush.words.prompt.clone(),
            neg_prompt: brush.words.negative_prompt.clone(),
            prompt_strength: Some(short(brush.prompt_strength)),
            mask_strength: Some(short(brush.mask_strength)),
            mask_std: Some(written_std(brush.mask_std_px)),
        }
    }
}

impl Palette {
    /// Reads the JSON of a palette.
    ///
    /// # Errors
    /// If it is no JSON object.
    pub fn from_json(json: &str) -> anyhow::Result<Self> {
        let value: Value =
            serde_json::from_str(json.trim_start_matches('\u{feff}')).context("the JSON is damaged")?;
        Self::from_value(&value)
    }

    pub(super) fn from_value(value: &Value) -> anyhow::Result<Self> {
        ensure!(value.is_object(), "a palette is a JSON object");
        let extras: Extras = value
            .get("x_wordbrush")
            .and_then(|extras| Extras::deserialize(extras).ok())
            .unwrap_or_default();
        let names = strings(value, "prompt_names");
        let prompts = strings(value, "prompts");
        let negatives = strings(value, "neg_prompts");
        let prompt_strengths = numbers(value, "prompt_strengths");
        let mask_strengths = numbers(value, "mask_strengths");
        let mask_stds = numbers(value, "mask_stds");
        let words = |index: usize| Words {
            name: names.get(index).cloned().unwrap_or_default(),
            prompt: prompts.get(index).cloned().unwrap_or_default(),
            negative_prompt: negatives.get(index).cloned().unwrap_or_default(),
        };
        let longest = names
            .len()
            .max(prompts.len())
            .max(negatives.len())
            .saturating_sub(1);
        let listed = extras.brushes.unwrap_or(longest).min(longest);
        let count = listed + extras.more.len();
        ensure!(
            count <= MAX_BRUSHES,
            "a palette has {count} brushes, {MAX_BRUSHES} are possible"
        );
        let colour = |index: usize| {
            let colour = extras.colours.get(index);
            colour
                .and_then(|colour| colour_from_hex(colour))
                .unwrap_or_else(|| region_colour(index))
        };
        let number = |number: Option<f64>, missing: f64, highest: f64| {
            number.unwrap_or(missing).clamp(0.0, highest) as f32
        };
        let of_list = |list: &[Option<f64>], index: usize| list.get(index).copied().flatten();
        let in_lists = (0..listed).map(|index| Brush {
            words: words(index + 1),
            colour: colour(index),
            prompt_strength: number(of_list(&prompt_strengths, index), 1.0, 1.0),
            mask_strength: number(of_list(&mask_strengths, index), 1.0, 1.0),
            mask_std_px: number(of_list(&mask_stds, index), 0.0, 100.0),
        });
        let more = (listed..).zip(extras.more).map(|(index, brush)| Brush {
            words: Words {
                name: brush.name,
                prompt: brush.prompt,
                negative_prompt: brush.neg_prompt,
            },
            colour: colour(index),
            prompt_strength: number(brush.prompt_strength, 1.0, 1.0),
            mask_strength: number(brush.mask_strength, 1.0, 1.0),
            mask_std_px: number(brush.mask_std, 0.0, 100.0),
        });
        let brushes = in_lists.chain(more).collect();
        let model = || value.get("model_id").and_then(Value::as_str);
        let current = || value.get("current_palette").and_then(Value::as_u64);
        Ok(Self {
            title: extras.title,
            model: extras
                .model
                .unwrap_or_else(|| model().unwrap_or_default().to_owned()),
            background: words(0),
            brushes,
            seed: value.get("seed").and_then(Value::as_u64),
            current: extras
                .current
                .unwrap_or_else(|| current().unwrap_or(0).min(count as u64) as usize)
                .min(count),
        })
    }

    /// Writes the JSON for a demo: its own number of brushes, padded where there are fewer, and its own model. What that
    /// leaves out is still read back.
    pub fn to_json(&self, demo: Demo) -> String {
        let padding = Brush {
            words: Words::default(),
            colour: [0; 3],
            prompt_strength: 1.0,
            mask_strength: 1.0,
            mask_std_px: 0.0,
        };
        let (listed, more) = self.brushes.split_at(self.brushes.len().min(demo.brush_count()));
        let brushes = || {
            let padded = listed.iter().chain(std::iter::repeat(&padding));
            padded.take(demo.brush_count())
        };
        let words = || std::iter::once(&self.background).chain(brushes().map(|brush| &brush.words));
        let has_styles = demo != Demo::Sd15;
        let is_streaming = demo == Demo::Streaming;
        let current_palette = (!is_streaming).then_some(self.current.min(listed.len()));
        let written = Written {
            current_palette,
            model_id: demo.model_id(),
            style_name: has_styles.then_some("(None)"),
            quality_name: has_styles.then_some("(None)"),
            active_palettes: (!is_streaming).then_some(listed.len()),
            prompt_names: words().map(|words| words.name.as_str()).collect(),
            prompts: words().map(|words| words.prompt.as_str()).collect(),
            neg_prompts: words().map(|words| words.negative_prompt.as_str()).collect(),
            prompt_strengths: brushes().map(|brush| short(brush.prompt_strength)).collect(),
            mask_strengths: brushes().map(|brush| short(brush.mask_strength)).collect(),
            mask_stds: brushes().map(|brush| written_std(brush.mask_std_px)).collect(),
            seed: self.seed.and_then(|seed| i64::try_from(seed).ok()).unwrap_or(-1),
            x_wordbrush: Extras {
                title: self.title.clone(),
                model: (self.model != demo.model_id()).then(|| self.model.clone()),
                current: (current_palette.unwrap_or(0) != self.current).then_some(self.current),
                brushes: Some(self.brushes.len()),
                colours: self
                    .brushes
                    .iter()
                    .map(|brush| hex_from_colour(brush.colour))
                    .collect(),
                more: more.iter().map(MoreBrush::of).collect(),
            },
        };
        serde_json::to_string_pretty(&written).expect("strings and finite numbers can be written")
    }

    /// The brushes of a canvas.
    pub fn from_document(document: &Document) -> Self {
        let words = |name: &str, prompt: &str, negative: &str| Words {
            name: name.to_owned(),
            prompt: prompt.to_owned(),
            negative_prompt: negative.to_owned(),
        };
        let background = &document.background;
        Self {
            title: String::new(),
            model: String::new(),
            background: words("Background", &background.prompt, &background.negative_prompt),
            brushes: document
                .regions
                .iter()
                .map(|region| Brush {
                    words: words(&region.name, &region.prompt, &region.negative_prompt),
                    colour: region.colour,
                    prompt_strength: region.prompt_strength,
                    mask_strength: region.mask_strength,
                    mask_std_px: region.mask_std_px,
                })
                .collect(),
            seed: Some(document.seed.0),
            current: 0,
        }
    }
}

impl Brush {
    /// An unpainted region with this brush's words.
    pub fn to_region(&self, id: RegionId, size: CanvasSize) -> RegionLayer {
        RegionLayer {
            name: self.words.name.clone(),
            negative_prompt: self.words.negative_prompt.clone(),
            prompt_strength: self.prompt_strength,
            mask_strength: self.mask_strength,
            mask_std_px: self.mask_std_px,
            ..RegionLayer::new(id, size, self.colour, &self.words.prompt)
        }
    }
}

/// The demos' lowest softness is not quite none.
fn written_std(std_px: f32) -> f64 {
    short(std_px).max(0.0001)
}

/// `0.85`, not `0.8500000238418579`.
fn short(value: f32) -> f64 {
    (f64::from(value) * 10_000.0).round() / 10_000.0
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    list(value, key)
        .map(|entry| entry.as_str().unwrap_or_default().to_owned())
        .collect()
}

fn numbers(value: &Value, key: &str) -> Vec<Option<f64>> {
    list(value, key).map(Value::as_f64).collect()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_BRUSHES + 2)
}

/// The palettes that come with the program, those for the embedded model first.
pub fn built_in() -> Vec<Palette> {
    const FILES: [&str; 6] = [
        include_str!("../../../assets/palettes/pocket-meadow.json"),
        include_str!("../../../assets/palettes/pocket-seaside.json"),
        include_str!("../../../assets/palettes/pocket-fire-and-ice.json"),
        include_str!("../../../assets/palettes/sd-landscape.json"),
        include_str!("../../../assets/palettes/sd-fantasy-town.json"),
        include_str!("../../../assets/palettes/sd-character.json"),
    ];
    FILES
        .iter()
        .map(|json| Palette::from_json(json).expect("the palettes in assets are tested"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_subset_of_keys_is_read() {
        let palette = Palette::from_json(
            r#"{"prompts": ["sky", "a tree", "a house"], "mask_stds": [4.5, null], "x": 1}"#,
        );
        let palette = palette.unwrap();
        assert_eq!(palette.background.prompt, "sky");
        assert_eq!(palette.brushes.len(), 2);
        assert_eq!(palette.brushes[0].mask_std_px, 4.5);
        assert_eq!(palette.brushes[1].mask_std_px, 0.0);
        assert_eq!(palette.brushes[1].prompt_strength, 1.0);
        assert_eq!(palette.brushes[1].colour, region_colour(1));
        assert_eq!(palette.seed, None);
    }

    #[test]
    fn every_demo_gets_its_keys_and_we_get_our_palette_back() {
        let large = Palette {
            current: 9,
            ..built_in().swap_remove(0)
        };
        assert_eq!(large.brushes.len(), 10);
        let small = Palette {
            current: 1,
            model: String::new(),
            brushes: large.brushes[..2].to_vec(),
            ..large.clone()
        };
        let of_a_demo = Palette {
            model: "Animagine XL 3.1".to_owned(),
            ..small.clone()
        };
        for palette in [small, large, of_a_demo] {
            for (demo, keys, brushes, model) in [
                (Demo::Sd15, 11, 5, "Blazing Drive V11m"),
                (Demo::Sdxl, 13, 5, "Animagine XL 3.1"),
                (Demo::Sd3, 13, 4, "Stable Diffusion 3"),
                (Demo::Streaming, 11, 3, "ironjr/BlazingDriveV11m"),
            ] {
                let json = palette.to_json(demo);
                let value: Value = serde_json::from_str(&json).unwrap();
                assert_eq!(value.as_object().unwrap().len(), keys, "{demo:?}");
                for key in ["prompt_names", "prompts", "neg_prompts"] {
                    assert_eq!(value[key].as_array().unwrap().len(), brushes + 1, "{demo:?}");
                }
                for key in ["prompt_strengths", "mask_strengths", "mask_stds"] {
                    assert_eq!(value[key].as_array().unwrap().len(), brushes, "{demo:?}");
                }
                assert_eq!(value["model_id"], model);
                for key in ["current_palette", "active_palettes"] {
                    let number = value.get(key).map_or(0, |number| number.as_u64().unwrap());
                    assert!(number <= brushes as u64, "{demo:?}: {key} {number}");
                }
                assert_eq!(Palette::from_json(&json).unwrap(), palette, "{demo:?}");
            }
        }
    }

    #[test]
    fn palettes_of_earlier_versions_are_read_with_all_their_brushes() {
        let json = include_str!("../../../assets/palettes/sd-landscape.json");
        let palette = Palette::from_json(json).unwrap();
        assert_eq!(palette.model, "Stable Diffusion 1.5");
        assert_eq!((palette.brushes.len(), palette.current), (6, 1));
        assert_eq!(palette.brushes[5].words.name, "Cabin");
    }

    #[test]
    fn keys_come_in_the_demos_order() {
        let json = Palette::default().to_json(Demo::Sdxl);
        let order = [
            "current_palette",
            "model_id",
            "style_name",
            "quality_name",
            "active_palettes",
            "prompt_names",
            "prompts",
            "neg_prompts",
            "prompt_strengths",
            "mask_strengths",
            "mask_stds",
            "seed",
            "x_wordbrush",
        ];
        let places: Vec<_> = order
            .iter()
            .map(|key| json.find(&format!("\"{key}\"")).unwrap())
            .collect();
        assert!(places.is_sorted(), "{json}");
    }

    #[test]
    fn the_built_in_palettes_are_complete() {
        let palettes = built_in();
        assert_eq!(palettes.len(), 6);
        for palette in palettes {
            assert!(!palette.title.is_empty());
            assert!(palette.brushes.len() >= 5, "{}", palette.title);
            assert!(palette.brushes.iter().all(|brush| !brush.words.prompt.is_empty()));
        }
    }

    #[test]
    fn the_colours_of_a_built_in_palette_are_told_apart_at_a_glance() {
        // Differences in red weigh more among bright reds, green weighs most: the "redmean" approximation of how far
        // apart colours look. 0 is the same, 764 is black beside white.
        let distance = |a: [u8; 3], b: [u8; 3]| {
            let difference = |channel: usize| f64::from(a[channel]) - f64::from(b[channel]);
            let red = f64::midpoint(f64::from(a[0]), f64::from(b[0])) / 256.0;
            let weights = [2.0 + red, 4.0, 3.0 - red];
            (0..3)
                .map(|channel| weights[channel] * difference(channel).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        for palette in built_in() {
            for (index, brush) in palette.brushes.iter().enumerate() {
                for other in &palette.brushes[..index] {
                    let apart = distance(brush.colour, other.colour);
                    let names = (&palette.title, &brush.words.name, &other.words.name);
                    assert!(apart > 100.0, "{names:?}: {apart:.0}");
                }
            }
        }
    }
}
