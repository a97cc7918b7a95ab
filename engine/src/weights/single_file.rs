//! Single-file checkpoints in the naming of the original Stable Diffusion code, as most sites offer them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use candle_core::{DType, Device};

use super::{
    Network, Part, TensorFile, Weights,
    layout::{OpenClipName, UNetLayout, codec_name, open_clip_name},
    names::canonical,
};
use crate::{Error, Result};

/// Kinds of Stable Diffusion that differ in how their parts fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 1.x: one CLIP text encoder.
    Sd1,
    /// 2.x: one OpenCLIP text encoder.
    Sd2,
    /// XL: both.
    Xl,
}

const DENOISER: &str = "model.diffusion_model.";
const CODEC: &str = "first_stage_model.";
const SD1_TEXT: &str = "cond_stage_model.transformer.";
const SD2_TEXT: &str = "cond_stage_model.model.";
const XL_TEXT: &str = "conditioner.embedders.0.transformer.";
const XL_TEXT_2: &str = "conditioner.embedders.1.model.";
/// How weights of diffusion transformers are named.
const TRANSFORMER_BLOCKS: [&str; 4] = [
    "double_blocks.",
    "joint_blocks.",
    "transformer_blocks.",
    "blocks.",
];

/// The networks of a single-file checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// Which kind it is.
    pub family: Family,
    /// Whether it predicts velocity, as far as its file tells.
    pub predicts_velocity: bool,
    pub(crate) networks: BTreeMap<Network, Weights>,
}

impl Checkpoint {
    /// Opens a checkpoint and finds out what it is.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is of no known family.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Arc::new(TensorFile::open(path)?);
        let family = detect(&file)?;
        let mut networks = BTreeMap::from([
            (Network::Denoiser, denoiser(&file)),
            (Network::Codec, codec(&file)),
        ]);
        match family {
            Family::Sd1 => {
                networks.insert(Network::TextEncoder, clip(&file, SD1_TEXT));
            }
            Family::Sd2 => {
                networks.insert(Network::TextEncoder, open_clip(&file, SD2_TEXT));
            }
            Family::Xl => {
                networks.insert(Network::TextEncoder, clip(&file, XL_TEXT));
                networks.insert(Network::TextEncoder2, open_clip(&file, XL_TEXT_2));
            }
        }
        if let Some((network, _)) = networks.iter().find(|(_, weights)| weights.is_empty()) {
            return Err(Error::UnsupportedModel {
                reason: format!(
                    "{} has no {}; take the full checkpoint, not a part of it",
                    path.display(),
                    network.label()
                ),
            });
        }
        Ok(Self {
            predicts_velocity: predicts_velocity(&file, family)?,
            family,
            networks,
        })
    }

    /// Reads a weight by the path that it would have in a diffusers folder, such as `unet/conv_in.weight`.
    ///
    /// # Errors
    /// If there is no such weight, or it is damaged.
    pub fn read(&self, path: &str) -> candle_core::Result<candle_core::Tensor> {
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        let found = self
            .networks
            .iter()
            .find(|(network, _)| network.folder() == folder);
        let Some((&network, weights)) = found else {
            candle_core::bail!("the checkpoint has no network {folder:?}");
        };
        weights.read(&canonical(network, name), DType::F32, &Device::Cpu)
    }
}

/// Tells families apart by the names of their text encoders and the width that the denoiser expects of them.
fn detect(file: &TensorFile) -> Result<Family> {
    let has = |prefix: &str| file.shapes().any(|(name, _)| name.starts_with(prefix));
    let unsupported = |reason: &str| Error::UnsupportedModel {
        reason: format!("{}: {reason}", file.path().display()),
    };
    // Some of these files put their transformer where a denoiser of Stable Diffusion would be.
    let is_transformer = file.shapes().any(|(name, _)| {
        let name = name.strip_prefix(DENOISER).unwrap_or(name);
        TRANSFORMER_BLOCKS.iter().any(|blocks| name.starts_with(blocks))
    });
    if is_transformer {
        return Err(unsupported(
            "it is a diffusion transformer (such as Flux or SD 3), which Wordbrush cannot run; choose a model of Stable \
             Diffusion 1.x, 2.x or XL",
        ));
    }
    if !has(DENOISER) {
        let reason =
            if has("lora_unet_") || has("lora_te_") || file.shapes().any(|(name, _)| name.contains(".lora_"))
            {
                "it is a LoRA: choose a model first, then add it there"
            } else if has("down_blocks.") || has("encoder.") {
                "it is one part of a model; open the whole model folder instead"
            } else {
                "it has no denoiser of Stable Diffusion 1.x, 2.x or XL"
            };
        return Err(unsupported(reason));
    }
    // Names of lone numbers that tell how a model was trained; the ones that ComfyUI looks for.
    let holds = |names: &[&str]| names.iter().any(|name| file.shape(name).is_some());
    if holds(&[
        "edm_mean",
        "edm_std",
        "edm_vpred.sigma_max",
        "edm_vpred.sigma_min",
    ]) {
        return Err(unsupported(
            "it was trained with continuous noise levels (EDM, such as Playground 2.5 and CosXL), which Wordbrush cannot \
             paint with; choose another model of Stable Diffusion 1.x, 2.x or XL",
        ));
    }
    if holds(&["ztsnr"]) {
        return Err(unsupported(
            "it was trained with a noise schedule that ends without any signal (zero terminal SNR), which Wordbrush \
             cannot paint with; choose a model that was trained with the usual one",
        ));
    }
    if has("conditioner.embedders.0.model.") {
        return Err(unsupported(
            "it is the refiner of SDXL, which cannot paint on its own",
        ));
    }
    if has(XL_TEXT_2) {
        Ok(Family::Xl)
    } else if has(SD2_TEXT) {
        Ok(Family::Sd2)
    } else if has(SD1_TEXT) {
        Ok(Family::Sd1)
    } else {
        Err(unsupported(
            "it has no text encoder; take the full checkpoint, not the pruned denoiser",
        ))
    }
}

/// Whether the denoiser predicts velocity: some files say so, others show it.
fn predicts_velocity(file: &TensorFile, family: Family) -> Result<bool> {
    if file.shape("v_pred").is_some() {
        return Ok(true);
    }
    if let Some(note) = file.note("modelspec.prediction_type") {
        return Ok(note.starts_with('v'));
    }
    // SD 2.x comes in both kinds under the same names. Velocity models have widely spread biases in this norm
    // (the threshold is the one that ComfyUI found).
    const TELLTALE: &str = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    if family != Family::Sd2 || file.shape(TELLTALE).is_none() {
        return Ok(false);
    }
    let biases = file.read(TELLTALE, DType::F32, &Device::Cpu)?;
    let biases = biases.flatten_all().and_then(|biases| biases.to_vec1::<f32>());
    let biases = biases.unwrap_or_default();
    let mean = biases.iter().sum::<f32>() / biases.len().max(1) as f32;
    let variance = biases.iter().map(|bias| (bias - mean).powi(2)).sum::<f32>();
    Ok((variance / (biases.len().max(2) - 1) as f32).sqrt() > 0.09)
}

fn names_below<'a>(file: &'a TensorFile, prefix: &'a str) -> impl Iterator<Item = &'a str> + Clone {
    let names: Vec<&str> = file
        .shapes()
        .filter_map(|(name, _)| name.strip_prefix(prefix))
        .collect();
    names.into_iter()
}

fn denoiser(file: &Arc<TensorFile>) -> Weights {
    let names = names_below(file, DENOISER);
    let layout = UNetLayout::from_original(&names);
    let mut weights = Weights::default();
    for name in names {
        if let Some(renamed) = layout.diffusers_name(name) {
            weights.insert(renamed, file, &format!("{DENOISER}{name}"), Part::Whole);
        }
    }
    weights
}

fn codec(file: &Arc<TensorFile>) -> Weights {
    let names = names_below(file, CODEC);
    let level = |name: &str| {
        name.strip_prefix("decoder.up.")?
            .split('.')
            .next()?
            .parse::<usize>()
            .ok()
    };
    let levels = names
        .clone()
        .filter_map(level)
        .max()
        .map_or(0, |last| last.saturating_add(1));
    let mut weights = Weights::default();
    for name in names {
        if let Some(renamed) = codec_name(name, levels) {
            weights.insert(renamed, file, &format!("{CODEC}{name}"), Part::Whole);
        }
    }
    weights
}

fn clip(file: &Arc<TensorFile>, prefix: &str) -> Weights {
    let mut weights = Weights::default();
    for name in names_below(file, prefix) {
        // Old files carry the numbers 0..77 as a tensor.
        if !name.ends_with("position_ids") {
            let renamed = canonical(Network::TextEncoder, name);
            weights.insert(renamed, file, &format!("{prefix}{name}"), Part::Whole);
        }
    }
    weights
}

fn open_clip(file: &Arc<TensorFile>, prefix: &str) -> Weights {
    let mut weights = Weights::default();
    for name in names_below(file, prefix) {
        let stored = format!("{prefix}{name}");
        match open_clip_name(name) {
            Some(OpenClipName::One(renamed)) => weights.insert(renamed, file, &stored, Part::Whole),
            Some(OpenClipName::Transposed(renamed)) => {
                weights.insert(renamed, file, &stored, Part::Transposed);
            }
            Some(OpenClipName::Three(renamed)) => {
                for (index, renamed) in renamed.into_iter().enumerate() {
                    weights.insert(renamed, file, &stored, Part::Slice { index, count: 3 });
                }
            }
            None => {}
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::{
        super::tensor_file::tests::{f32_bytes, file_bytes, parsed},
        *,
    };

    fn detected(names: &[&str]) -> Result<Family> {
        let tensors: Vec<_> = names
            .iter()
            .map(|name| (*name, &[1][..], Dtype::F32, f32_bytes(&[1.0])))
            .collect();
        detect(&parsed(file_bytes(&tensors))?)
    }

    #[test]
    fn checkpoints_that_were_trained_with_other_noise_are_refused() {
        let xl = [
            "model.diffusion_model.input_blocks.0.0.weight",
            "conditioner.embedders.0.transformer.a",
            "conditioner.embedders.1.model.a",
        ];
        assert_eq!(detected(&xl).unwrap(), Family::Xl);
        assert_eq!(detected(&[&xl[..], &["v_pred"]].concat()).unwrap(), Family::Xl);
        for (marks, word) in [
            (&["edm_mean", "edm_std"][..], "EDM"),
            (&["edm_vpred.sigma_max"], "EDM"),
            (&["v_pred", "ztsnr"], "zero terminal SNR"),
        ] {
            let error = detected(&[&xl[..], marks].concat()).unwrap_err().to_string();
            assert!(error.contains(word), "{marks:?}: {error}");
        }
    }
}
