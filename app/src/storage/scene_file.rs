//! Scenes written by hand or by scripts, as JSON.
//!
//! ```json
//! {"size": [512, 512], "seed": 7, "model": "pocket", "steps": 5, "bootstrap_steps": 2,
//!  "background": {"prompt": "a white background", "negative_prompt": "", "image": "optional.png",
//!                 "keep_strength": 1.0},
//!  "regions": [{"name": "tree", "prompt": "a large tree", "negative_prompt": "", "mask": "tree.png",
//!               "prompt_strength": 1.0, "mask_strength": 1.0, "mask_std": 8.0, "seed": null}]}
//! ```
//!
//! Paths are relative to the file. Scripts get typing errors told: a field that is not known is an error that names
//! it, and so is a value out of its range.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, ensure};
use serde::Deserialize;
use wordbrush_engine::api::{Background, CanvasSize, Mask, RegionId, Seed, StepList};

use super::{blobs::DecodingBudget, manifest::MAX_REGIONS, open::read_bounded, pictures};
use crate::document::{Document, RegionLayer, region_colour};

/// What a scene file says, its paths not yet followed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a scene in braces")]
pub struct SceneFile {
    size: CanvasSize,
    #[serde(default)]
    seed: u64,
    /// The model by its name or its path.
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    steps: Option<Steps>,
    #[serde(default)]
    bootstrap_steps: Option<u8>,
    #[serde(default)]
    background: SceneBackground,
    regions: Vec<SceneRegion>,
}

/// Either how many steps or which ones.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(
    untagged,
    expecting = "steps: neither a count (1 to 50) nor a rising list of indexes below 50"
)]
enum Steps {
    Count(usize),
    List(StepList),
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "prompt, negative_prompt, image and keep_strength in braces"
)]
struct SceneBackground {
    prompt: String,
    negative_prompt: String,
    image: Option<PathBuf>,
    keep_strength: Option<f32>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a region in braces")]
struct SceneRegion {
    #[serde(default)]
    name: String,
    prompt: String,
    #[serde(default)]
    negative_prompt: String,
    mask: PathBuf,
    #[serde(default = "one")]
    prompt_strength: f32,
    #[serde(default = "one")]
    mask_strength: f32,
    #[serde(default = "default_mask_std")]
    mask_std: f32,
    #[serde(default)]
    seed: Option<u64>,
}

fn one() -> f32 {
    1.0
}

fn default_mask_std() -> f32 {
    8.0
}

impl SceneFile {
    /// Reads the JSON and checks every value.
    ///
    /// # Errors
    /// If it is no such JSON, has an unknown field, or a value is out of its range.
    pub fn parse(json: &str) -> anyhow::Result<Self> {
        let scene: Self = serde_json::from_str(json).map_err(|error| named(json, &error))?;
        if let Some(Steps::Count(count)) = scene.steps {
            ensure!(
                (1..=StepList::GRID as usize).contains(&count),
                "steps: {count} is out of range, it must be 1 to {}",
                StepList::GRID
            );
        }
        let step_count = scene.step_list().count();
        if let Some(bootstrap_steps) = scene.bootstrap_steps {
            ensure!(
                usize::from(bootstrap_steps) <= step_count,
                "bootstrap_steps: {bootstrap_steps} is out of range, it must be 0 to {step_count} (the number of steps)"
            );
        }
        ensure!(
            scene.regions.len() <= MAX_REGIONS,
            "regions: there are {}, {MAX_REGIONS} are possible",
            scene.regions.len()
        );
        let in_range = |field: &str, value: f32, highest: f32| {
            ensure!(
                (0.0..=highest).contains(&value),
                "{field}: {value} is out of range, it must be 0 to {highest}"
            );
            Ok(())
        };
        in_range(
            "background.keep_strength",
            scene.background.keep_strength.unwrap_or(1.0),
            1.0,
        )?;
        for (index, region) in scene.regions.iter().enumerate() {
            let in_range =
                |field: &str, value, highest| in_range(&format!("regions[{index}].{field}"), value, highest);
            in_range("prompt_strength", region.prompt_strength, 1.0)?;
            in_range("mask_strength", region.mask_strength, 1.0)?;
            in_range("mask_std", region.mask_std, 100.0)?;
        }
        Ok(scene)
    }

    /// The files of masks and background; relative paths start at `folder`.
    pub fn pictures(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        let masks = self.regions.iter().map(|region| &region.mask);
        masks.chain(&self.background.image).map(|path| folder.join(path))
    }

    /// The canvas, with masks and background loaded; relative paths start at `folder`, and its model is the default one.
    ///
    /// # Errors
    /// If a picture cannot be read, or they would take too much memory together.
    pub fn load(&self, folder: &Path) -> anyhow::Result<Document> {
        self.load_within(DecodingBudget::default(), folder)
    }

    fn load_within(&self, mut budget: DecodingBudget, folder: &Path) -> anyhow::Result<Document> {
        let mut document = Document::new(self.size);
        document.seed = Seed(self.seed);
        document.settings.steps = self.step_list();
        if let Some(bootstrap_steps) = self.bootstrap_steps {
            document.settings.bootstrap_steps = bootstrap_steps;
        }
        document.background = Background {
            prompt: self.background.prompt.clone(),
            negative_prompt: self.background.negative_prompt.clone(),
            image: None,
            keep_strength: self.background.keep_strength.unwrap_or(1.0),
        };
        if let Some(path) = &self.background.image {
            let picture = read(&folder.join(path), pictures::picture_from_bytes);
            let picture = picture.context("background.image")?;
            budget.spend(picture.rgba().len())?;
            document.background.image = Some(picture);
        }
        // Masks share their pixels: a file that several regions name is read once.
        let mut masks = BTreeMap::<&Path, Mask>::new();
        for (index, region) in self.regions.iter().enumerate() {
            let mask = if let Some(known) = masks.get(region.mask.as_path()) {
                known.clone()
            } else {
                let mask = read(&folder.join(&region.mask), |bytes| {
                    pictures::mask_from_bytes(bytes, self.size)
                })
                .with_context(|| format!("regions[{index}].mask"))?;
                budget.spend(mask.memory_bytes())?;
                masks.insert(&region.mask, mask.clone());
                mask
            };
            document.regions.push(RegionLayer {
                name: region.name.clone(),
                negative_prompt: region.negative_prompt.clone(),
                mask,
                prompt_strength: region.prompt_strength,
                mask_strength: region.mask_strength,
                mask_std_px: region.mask_std,
                seed: region.seed.map(Seed),
                ..RegionLayer::new(
                    RegionId(index as u64 + 1),
                    self.size,
                    region_colour(index),
                    &region.prompt,
                )
            });
        }
        document.next_region_id = self.regions.len() as u64 + 1;
        Ok(document)
    }

    fn step_list(&self) -> StepList {
        match &self.steps {
            None => StepList::default(),
            Some(Steps::Count(count)) => StepList::with_count(*count),
            Some(Steps::List(list)) => list.clone(),
        }
    }
}

/// An error of the JSON reader with the field that it is about, which it tells for some errors only.
fn named(json: &str, error: &serde_json::Error) -> anyhow::Error {
    let text = error
        .to_string()
        .replace(
            "expected u64",
            "expected a whole number from 0 to 18446744073709551615",
        )
        .replace("expected u8", "expected a whole number from 0 to 255");
    let is_about_a_value = text.starts_with("invalid ");
    match last_key(json, error.line(), error.column()).filter(|_| is_about_a_value) {
        Some(key) => anyhow!("{key}: {text}"),
        None => anyhow!(text),
    }
}

/// The last key in front of a place in JSON; lines and columns count from one, columns in bytes.
fn last_key(json: &str, line: usize, column: usize) -> Option<&str> {
    let before_line: usize = json
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let end = (before_line + column).min(json.len());
    let bytes = json.as_bytes();
    let mut key = None;
    let mut at = 0;
    while at < end {
        if bytes[at] != b'"' {
            at += 1;
            continue;
        }
        let start = at + 1;
        at = start;
        while at < bytes.len() && bytes[at] != b'"' {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        let text = json.get(start..at)?;
        at += 1;
        if json.get(at..)?.trim_start().starts_with(':') {
            key = Some(text);
        }
    }
    key
}

fn read<T>(path: &Path, decode: impl FnOnce(&[u8]) -> anyhow::Result<T>) -> anyhow::Result<T> {
    read_bounded(path)
        .and_then(|bytes| decode(&bytes))
        .with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> String {
        format!("{:#}", SceneFile::parse(json).unwrap_err())
    }

    #[test]
    fn only_size_and_regions_are_needed() {
        let scene = SceneFile::parse(r#"{"size": [64, 48], "regions": []}"#).unwrap();
        let document = scene.load(Path::new(".")).unwrap();
        assert_eq!(document, Document::new(CanvasSize::new(64, 48).unwrap()));
        assert_eq!(scene.model, None);
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = message(r#"{"size": [64, 48], "regions": [{"promt": "a tree", "mask": "m.png"}]}"#);
        assert!(error.contains("`promt`"), "{error}");
        let error = message(r#"{"size": [64, 48], "regions": [], "background": {"colour": 1}}"#);
        assert!(error.contains("`colour`"), "{error}");
        let error = message(r#"{"size": [64, 48], "regions": [], "sed": 1}"#);
        assert!(error.contains("`sed`"), "{error}");
    }

    #[test]
    fn values_of_a_wrong_kind_are_told_with_their_field() {
        for (field, value) in [
            ("seed", "-1"),
            ("seed", "18446744073709551616"),
            ("size", "\"64x64\""),
            ("size", "[64, -1]"),
            ("size", "[64.5, 1]"),
            ("background", "null"),
            ("model", "3"),
            ("bootstrap_steps", "300"),
            ("steps", "\"five\""),
        ] {
            let rest = match field {
                "size" => String::new(),
                _ => r#""size": [64, 48],"#.to_owned(),
            };
            let json = format!(
                "{{\n {rest} \"{field}\": {value}, \"regions\": [] , \"model\": \"a: \\\"b\\\": \"}}"
            );
            let error = message(&json);
            assert!(error.starts_with(&format!("{field}: ")), "{value}: {error}");
        }
        assert!(
            message(r#"{"size": [6, 4], "seed": -1}"#)
                .contains("expected a whole number from 0 to 18446744073709551615")
        );
        let error =
            message("{\"size\": [6, 4],\n\"regions\": [{\"prompt\": \"größe\", \"mask\": [], \"seed\": 1}]}");
        assert!(error.starts_with("mask: invalid type"), "{error}");
        assert!(error.contains("line 2"), "{error}");
        assert!(message("[]").contains("a scene in braces"));
    }

    #[test]
    fn values_out_of_range_are_told_with_their_place() {
        let region = |extra: &str| {
            message(&format!(
                r#"{{"size": [64, 48], "regions": [{{"prompt": "x", "mask": "m.png", {extra}}}]}}"#
            ))
        };
        assert!(region(r#""mask_std": 101"#).starts_with("regions[0].mask_std: 101"));
        assert!(region(r#""mask_strength": -0.1"#).starts_with("regions[0].mask_strength"));
        assert!(region(r#""prompt_strength": 1.5"#).starts_with("regions[0].prompt_strength"));
        let background = r#"{"size": [64, 48], "regions": [], "background": {"keep_strength": 1.01}}"#;
        assert!(message(background).starts_with("background.keep_strength: 1.01"));
        assert!(message(r#"{"size": [64, 48], "regions": [], "steps": 0}"#).starts_with("steps: 0"));
        assert!(
            message(r#"{"size": [64, 48], "regions": [], "bootstrap_steps": 6}"#)
                .starts_with("bootstrap_steps: 6")
        );
        assert!(message(r#"{"size": [0, 48], "regions": []}"#).contains("0 x 48"));
    }

    #[test]
    fn a_missing_mask_is_told_with_its_region_and_path() {
        let scene =
            SceneFile::parse(r#"{"size": [64, 48], "regions": [{"prompt": "x", "mask": "gone.png"}]}"#)
                .unwrap();
        let error = format!("{:#}", scene.load(Path::new("somewhere")).unwrap_err());
        assert!(error.starts_with("regions[0].mask: cannot read "), "{error}");
        assert!(error.contains("gone.png"), "{error}");
    }

    #[test]
    fn the_masks_of_a_scene_are_bounded_and_those_of_one_file_share_their_pixels() {
        let folder = tempfile::tempdir().unwrap();
        let size = CanvasSize::new(256, 256).unwrap();
        let white = pictures::png_from_mask(&Mask::full(size)).unwrap();
        for name in ["a.png", "b.png", "c.png"] {
            std::fs::write(folder.path().join(name), &white).unwrap();
        }
        let load = |masks: &[&str]| {
            let region = |mask: &&str| format!(r#"{{"prompt": "x", "mask": "{mask}"}}"#);
            let regions: Vec<String> = masks.iter().map(region).collect();
            let json = format!(r#"{{"size": [256, 256], "regions": [{}]}}"#, regions.join(","));
            // Masks take some bytes beside their pixels.
            let budget = DecodingBudget::of(2 * 256 * 256 + 1024);
            SceneFile::parse(&json)
                .unwrap()
                .load_within(budget, folder.path())
        };
        assert_eq!(load(&["a.png"; 100]).unwrap().regions.len(), 100);
        assert!(load(&["a.png", "b.png", "a.png"]).is_ok());
        let error = load(&["a.png", "b.png", "c.png"]).unwrap_err();
        assert!(error.to_string().contains("too much memory"), "{error}");
    }

    #[test]
    fn steps_may_be_listed() {
        let scene = SceneFile::parse(r#"{"size": [64, 48], "regions": [], "steps": [0, 10, 20]}"#).unwrap();
        assert_eq!(scene.step_list().indexes(), [0, 10, 20]);
    }
}
