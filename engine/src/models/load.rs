//! From what the user chose to a model that paints.

use std::sync::Arc;

use candle_nn::VarBuilder;
use sha2::{Digest as _, Sha256};

use super::{
    blueprint::{Blueprint, Supply},
    config::CodecConfig,
    cpu::{CpuPrecision, CpuTinyAutoencoder, CpuUnet},
    folder::Codec,
    sd::{
        clip::{ClipEncoder, DualTextEncoder, SingleTextEncoder},
        unet::UNet,
    },
    toy,
    traits::{Denoiser, ImageCodec, ModelParts, ModelSpec, Prediction, SamplerKind, TextEncoder},
};
use crate::{
    Error, Result,
    api::{ModelChoice, ModelSource, ModelSummary},
    device::Compute,
    error::Doing as _,
    ops::Workers,
    weights::{Adapters, LoadWatch, Network, random_weights},
};

/// Parameters of Stable Diffusion 1.5's denoiser.
const SD15_PARAMETERS: u64 = 859_520_964;

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
    if choice.source == ModelSource::Toy {
        return toy::load(choice, compute);
    }
    watch.check()?;
    let mut blueprint = Blueprint::draw(choice, compute, watch)?;
    let spec = spec(&blueprint)?;
    let mut adapters = match &mut blueprint.supply {
        Supply::Files(networks) => Adapters::attach(&choice.loras, networks)?,
        Supply::Random => Adapters::default(),
    };
    let construction = Construction {
        blueprint: &blueprint,
        adapters: &adapters,
        compute,
        watch,
    };
    construction.announce();
    let text_encoder = construction.text_encoder()?;
    let codec = construction.codec()?;
    let denoiser = construction.denoiser()?;
    if construction.cpu().is_some() {
        // Packed weights are copies.
        adapters.pin();
    }
    let summary = ModelSummary {
        choice: choice.clone(),
        name: blueprint.name.clone(),
        family: blueprint.family.to_owned(),
        fingerprint: fingerprint(&blueprint.supply),
        native_side: spec.native_side,
        device: compute.name.clone(),
        precision: compute.precision,
        parameters: match &blueprint.supply {
            Supply::Files(networks) => networks
                .get(&Network::Denoiser)
                .map_or(0, |weights| weights.parameters()),
            Supply::Random => SD15_PARAMETERS,
        },
        tokenizer: text_encoder.tokenizer(),
    };
    let parts = ModelParts {
        spec,
        text_encoder,
        denoiser,
        codec,
        device: compute.device.clone(),
        dtype: compute.dtype(),
        adapters,
    };
    Ok(LoadedModel { parts, summary })
}

/// Makes the networks of a blueprint on a device.
struct Construction<'a> {
    blueprint: &'a Blueprint,
    adapters: &'a Adapters,
    compute: &'a Compute,
    watch: &'a LoadWatch<'a>,
}

impl<'a> Construction<'a> {
    /// Tells how much there is to read.
    fn announce(&self) {
        match &self.blueprint.supply {
            Supply::Files(networks) => {
                for weights in networks.values() {
                    self.watch.expect_bytes(weights.stored_bytes());
                }
            }
            Supply::Random => {
                // The text encoder adds 123 million parameters, the codec two.
                let width = self.compute.dtype().size_in_bytes() as u64;
                self.watch.expect_bytes((SD15_PARAMETERS + 125_000_000) * width);
            }
        }
    }

    fn builder(&self, network: Network) -> Result<VarBuilder<'a>> {
        let (dtype, device) = (self.compute.dtype(), &self.compute.device);
        match &self.blueprint.supply {
            Supply::Random => Ok(random_weights(network.label(), dtype, device, self.watch)),
            Supply::Files(networks) => {
                let weights = networks.get(&network).ok_or_else(|| Error::UnsupportedModel {
                    reason: format!("{:?} has no {}", self.blueprint.name, network.label()),
                })?;
                Ok(weights.builder(network, dtype, device, self.adapters, self.watch))
            }
        }
    }

    fn text_encoder(&self) -> Result<Arc<dyn TextEncoder>> {
        let mut encoders = Vec::new();
        for (network, config, tokenizer) in &self.blueprint.texts {
            let vb = self.builder(*network)?;
            let encoder = ClipEncoder::new(config, Arc::clone(tokenizer), &vb);
            encoders.push(encoder.doing("loading the text encoder")?);
        }
        let mut encoders = encoders.into_iter();
        match (encoders.next(), encoders.next()) {
            (Some(first), Some(second)) => Ok(Arc::new(DualTextEncoder { first, second })),
            (Some(only), None) => Ok(Arc::new(SingleTextEncoder(only))),
            (None, _) => Err(Error::UnsupportedModel {
                reason: "it has no text encoder".to_owned(),
            }),
        }
    }

    fn codec(&self) -> Result<Box<dyn ImageCodec>> {
        let vb = self.builder(Network::Codec)?;
        if let (Some((precision, workers)), CodecConfig::Tiny(config)) = (self.cpu(), &self.blueprint.codec)
            && CpuTinyAutoencoder::supports(config)
        {
            let codec = CpuTinyAutoencoder::load(config, vb, precision, workers);
            return Ok(Box::new(codec.doing("loading the image codec")?));
        }
        Ok(Codec::new(self.blueprint.codec.clone(), &vb)?.boxed())
    }

    fn denoiser(&self) -> Result<Box<dyn Denoiser>> {
        let vb = self.builder(Network::Denoiser)?;
        let config = &self.blueprint.unet;
        if let Some((precision, workers)) = self.cpu()
            && CpuUnet::supports(config)
        {
            let unet = CpuUnet::load(config, vb, precision, workers);
            return Ok(Box::new(unet.doing("loading the denoiser")?));
        }
        let unet = UNet::new(config.clone(), &vb);
        Ok(Box::new(unet.doing("loading the denoiser")?))
    }

    /// How the processor computes, where it is the device.
    fn cpu(&self) -> Option<(CpuPrecision, Arc<Workers>)> {
        let Compute {
            device,
            precision,
            workers,
            ..
        } = self.compute;
        device
            .is_cpu()
            .then(|| (CpuPrecision::from(*precision), Arc::clone(workers)))
    }
}

/// Tells model files apart without reading them whole.
fn fingerprint(supply: &Supply) -> String {
    let mut digest = Sha256::new();
    let denoiser = match supply {
        Supply::Files(networks) => networks.get(&Network::Denoiser),
        Supply::Random => None,
    };
    if let Some(weights) = denoiser {
        weights.digest_headers(&mut digest);
    }
    let bytes = digest.finalize();
    let number = bytes[..5]
        .iter()
        .fold(0u64, |number, &byte| number << 8 | u64::from(byte));
    format!("{number:010x}")
}

/// The facts that the stream computes with.
fn spec(blueprint: &Blueprint) -> Result<ModelSpec> {
    let Blueprint {
        unet,
        codec,
        scheduler,
        texts,
        ..
    } = blueprint;
    let unsupported = |reason: String| Err(Error::UnsupportedModel { reason });
    if unet.in_channels != codec.latent_channels() || unet.out_channels != unet.in_channels {
        return unsupported(format!(
            "its denoiser takes {} channels and gives {} where its latents have {}; \
             models for inpainting or editing do not paint regions",
            unet.in_channels,
            unet.out_channels,
            codec.latent_channels()
        ));
    }
    let text_width: usize = texts.iter().map(|(_, config, _)| config.width).sum();
    if text_width != unet.context_width {
        return unsupported(format!(
            "its text encoders give {text_width} numbers a token where its denoiser takes {}",
            unet.context_width
        ));
    }
    let is_xl = unet.added.is_some();
    if is_xl && texts.len() != 2 {
        return unsupported("an SDXL model needs two text encoders".to_owned());
    }
    let downscale = codec.downscale();
    let native_cells = unet.sample_size.unwrap_or(64).clamp(1, 1024);
    let is_euler = scheduler.is_euler_trailing || (is_xl && !scheduler.is_lcm);
    Ok(ModelSpec {
        latent_channels: unet.in_channels,
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
