//! From what the user chose to a model that paints.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::{
    config::{CodecConfig, SchedulerConfig, UNetConfig},
    folder::{Codec, ModelFolder, TextNetwork},
    pocket,
    sd::clip::{DualTextEncoder, SingleTextEncoder},
    toy,
    traits::{ImageCodec, ModelParts, ModelSpec, Prediction, SamplerKind, TextEncoder},
};
use crate::{
    Error, Result,
    api::{ModelChoice, ModelSource, ModelSummary},
    device::Compute,
    weights::{Folder, LoadWatch, Network},
};

/// A model and what is known about it.
pub struct LoadedModel {
    /// What paints.
    pub parts: ModelParts,
    /// What the user is shown.
    pub summary: ModelSummary,
}

/// Loads a model onto a device.
///
/// # Errors
/// [`Error::Cancelled`] if `watch` says so; otherwise what is wrong with the model's files, and what to do.
pub fn load(choice: &ModelChoice, compute: &Compute, watch: &LoadWatch<'_>) -> Result<LoadedModel> {
    match &choice.source {
        ModelSource::Pocket => {
            let folder = pocket::folder().ok_or_else(|| Error::UnsupportedModel {
                reason: "this program was built without the pocket model (cargo's feature \"pocket\")"
                    .to_owned(),
            })?;
            load_folder(folder, "Pocket", choice, compute, watch)
        }
        ModelSource::Path(path) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            load_folder(Folder::Disk(path.clone()), &name, choice, compute, watch)
        }
        ModelSource::Toy => toy::load(choice, compute),
        ModelSource::RandomSd15 => Err(Error::UnsupportedModel {
            reason: "not yet".to_owned(),
        }),
    }
}

fn load_folder(
    folder: Folder,
    name: &str,
    choice: &ModelChoice,
    compute: &Compute,
    watch: &LoadWatch<'_>,
) -> Result<LoadedModel> {
    let has_second = folder.contains(Network::TextEncoder2.folder());
    let denoiser_weights = folder.weights(Network::Denoiser)?;
    watch.expect_bytes(denoiser_weights.stored_bytes());
    watch.expect_bytes(folder.weights(Network::TextEncoder)?.stored_bytes());
    watch.expect_bytes(folder.weights(Network::Codec)?.stored_bytes());
    if has_second {
        watch.expect_bytes(folder.weights(Network::TextEncoder2)?.stored_bytes());
    }
    let mut digest = Sha256::new();
    denoiser_weights.digest_headers(&mut digest);

    let model = ModelFolder::new(folder, compute, watch);
    let config = model.unet_config()?;
    let codec_config = model.codec_config(Network::Codec.folder())?;
    let scheduler = model.scheduler()?;
    let spec = spec(&config, &codec_config, &scheduler)?;
    let text_encoder: Arc<dyn TextEncoder> = if has_second {
        Arc::new(DualTextEncoder {
            first: model.text_encoder(TextNetwork::First)?,
            second: model.text_encoder(TextNetwork::Second)?,
        })
    } else {
        Arc::new(SingleTextEncoder(model.text_encoder(TextNetwork::First)?))
    };
    let codec: Box<dyn ImageCodec> = match model.codec(Network::Codec.folder())? {
        Codec::Tiny(codec) => Box::new(codec),
        Codec::Kl(codec) => Box::new(codec),
    };
    let summary = ModelSummary {
        choice: choice.clone(),
        name: name.to_owned(),
        family: family(&config, name).to_owned(),
        fingerprint: fingerprint(digest),
        native_side: spec.native_side,
        device: compute.name.clone(),
        precision: compute.precision,
        parameters: denoiser_weights.parameters(),
        tokenizer: text_encoder.tokenizer(),
    };
    let parts = ModelParts {
        spec,
        text_encoder,
        denoiser: Box::new(model.unet()?),
        codec,
        device: compute.device.clone(),
        dtype: compute.dtype(),
    };
    Ok(LoadedModel { parts, summary })
}

fn fingerprint(digest: Sha256) -> String {
    let bytes = digest.finalize();
    bytes[..5].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn family(config: &UNetConfig, name: &str) -> &'static str {
    match (config.added.is_some(), config.context_width) {
        (true, _) => "Stable Diffusion XL",
        (false, 768) => "Stable Diffusion 1.x",
        (false, 1024) => "Stable Diffusion 2.x",
        _ if name == "Pocket" => "Pocket",
        _ => "Stable Diffusion",
    }
}

/// The facts that the stream computes with.
fn spec(config: &UNetConfig, codec: &CodecConfig, scheduler: &SchedulerConfig) -> Result<ModelSpec> {
    if config.in_channels != codec.latent_channels() || config.out_channels != config.in_channels {
        return Err(Error::UnsupportedModel {
            reason: format!(
                "its denoiser takes {} channels and gives {} where its latents have {}; models for inpainting or editing do not paint regions",
                config.in_channels,
                config.out_channels,
                codec.latent_channels()
            ),
        });
    }
    let downscale = codec.downscale();
    let native_cells = config.sample_size.unwrap_or(64).clamp(1, 1024);
    let is_xl = config.added.is_some();
    let is_euler = scheduler.is_euler_trailing || (is_xl && !scheduler.is_lcm);
    Ok(ModelSpec {
        latent_channels: config.in_channels,
        downscale,
        prediction: if scheduler.predicts_velocity {
            Prediction::V
        } else {
            Prediction::Epsilon
        },
        native_side: native_cells * downscale as u32,
        sampler: if is_euler {
            SamplerKind::EulerTrailing
        } else {
            SamplerKind::Lcm
        },
        has_added_conditioning: is_xl,
        beta_start: scheduler.beta_start,
        beta_end: scheduler.beta_end,
        train_steps: scheduler.train_steps,
    })
}
