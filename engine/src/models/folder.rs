//! A model in diffusers' layout, part by part.

use std::{path::Path, sync::Arc};

use candle_core::DType;

use super::{
    config::{ClipConfig, CodecConfig, SchedulerConfig, UNetConfig},
    sd::{clip::ClipEncoder, unet::UNet},
    taesd::TinyAutoencoder,
    vae::KlAutoencoder,
};
use crate::{
    Error, Result,
    device::Compute,
    error::Doing as _,
    tokenizer::{PromptTokenizer, TokenizerFiles},
    weights::{Folder, LoadWatch, Network, Weights},
};

/// One of the two kinds of autoencoder.
pub enum Codec {
    /// AutoencoderTiny.
    Tiny(TinyAutoencoder),
    /// AutoencoderKL.
    Kl(KlAutoencoder),
}

/// Opens the parts of a model folder one by one.
pub struct ModelFolder<'a> {
    folder: Folder,
    compute: &'a Compute,
    watch: &'a LoadWatch<'a>,
}

impl<'a> ModelFolder<'a> {
    /// Opens a folder on disk; nothing is read yet.
    pub fn on_disk(path: &Path, compute: &'a Compute, watch: &'a LoadWatch<'a>) -> Self {
        Self::new(Folder::Disk(path.to_owned()), compute, watch)
    }

    pub(crate) fn new(folder: Folder, compute: &'a Compute, watch: &'a LoadWatch<'a>) -> Self {
        Self {
            folder,
            compute,
            watch,
        }
    }

    /// Whether the model has this file or folder.
    pub(crate) fn contains(&self, inside: &str) -> bool {
        self.folder.contains(inside)
    }

    /// A tokenizer; `capacity` is the number of positions of its text encoder.
    ///
    /// # Errors
    /// If its files are missing or damaged.
    pub fn tokenizer(&self, subfolder: &str, capacity: usize) -> Result<PromptTokenizer> {
        let read = |name: &str| self.folder.read(&format!("{subfolder}/{name}"));
        let vocab = read("vocab.json")?;
        let merges = read("merges.txt")?;
        let tokenizer = read("tokenizer.json")?;
        let config = read("tokenizer_config.json")?;
        let special_tokens = read("special_tokens_map.json")?;
        let files = TokenizerFiles {
            vocab: vocab.as_deref(),
            merges: merges.as_deref(),
            tokenizer: tokenizer.as_deref(),
            config: config.as_deref(),
            special_tokens: special_tokens.as_deref(),
        };
        PromptTokenizer::new(&files, capacity).map_err(|error| Error::InvalidFile {
            path: self.folder.path(subfolder),
            reason: error.to_string(),
        })
    }

    /// A text encoder with its tokenizer, always in 32 bits on the CPU and in the model's format elsewhere.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn text_encoder(&self, network: TextNetwork) -> Result<ClipEncoder> {
        let (network, tokenizer) = match network {
            TextNetwork::First => (Network::TextEncoder, "tokenizer"),
            TextNetwork::Second => (Network::TextEncoder2, "tokenizer_2"),
        };
        let config = self.config(network.folder(), ClipConfig::from_json)?;
        let tokenizer = Arc::new(self.tokenizer(tokenizer, config.positions)?);
        let weights = self.weights(network)?;
        let vb = weights.builder(
            network.label(),
            self.compute.dtype(),
            &self.compute.device,
            self.watch,
        );
        ClipEncoder::new(&config, tokenizer, &vb).doing("loading the text encoder")
    }

    /// The configuration of the UNet.
    ///
    /// # Errors
    /// If it is missing, damaged, or of a kind that is not supported.
    pub fn unet_config(&self) -> Result<UNetConfig> {
        self.config(Network::Denoiser.folder(), UNetConfig::from_json)
    }

    /// The UNet.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn unet(&self) -> Result<UNet> {
        let config = self.unet_config()?;
        let weights = self.weights(Network::Denoiser)?;
        let vb = weights.builder(
            Network::Denoiser.label(),
            self.compute.dtype(),
            &self.compute.device,
            self.watch,
        );
        UNet::new(config, &vb).doing("loading the denoiser")
    }

    /// The configuration of an autoencoder.
    ///
    /// # Errors
    /// If it is missing, damaged, or of a kind that is not supported.
    pub fn codec_config(&self, subfolder: &str) -> Result<CodecConfig> {
        self.config(subfolder, CodecConfig::from_json)
    }

    /// An autoencoder.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn codec(&self, subfolder: &str) -> Result<Codec> {
        let config = self.codec_config(subfolder)?;
        let weights = self.folder.weights_in(Network::Codec, subfolder)?;
        let label = Network::Codec.label();
        let (dtype, device) = (self.compute.dtype(), &self.compute.device);
        match config {
            CodecConfig::Tiny(config) => {
                let vb = weights.builder(label, dtype, device, self.watch);
                TinyAutoencoder::new(config, &vb).map(Codec::Tiny)
            }
            CodecConfig::Kl(config) => {
                // SDXL's overflows 16-bit floats with exponents of 5 bits; all of them fit bfloats.
                let dtype = if dtype == DType::F16 { DType::F32 } else { dtype };
                let vb = weights.builder(label, dtype, device, self.watch);
                KlAutoencoder::new(config, &vb).map(Codec::Kl)
            }
        }
        .doing("loading the image codec")
    }

    /// The noise schedule; Stable Diffusion's where the folder names none.
    ///
    /// # Errors
    /// If the file is damaged or names a schedule that is not supported.
    pub(crate) fn scheduler(&self) -> Result<SchedulerConfig> {
        if self.contains("scheduler/scheduler_config.json") {
            let path = "scheduler/scheduler_config.json";
            self.parse(path, SchedulerConfig::from_json)
        } else {
            Ok(SchedulerConfig::default())
        }
    }

    pub(crate) fn weights(&self, network: Network) -> Result<Weights> {
        self.folder.weights(network)
    }

    fn config<T>(
        &self,
        subfolder: &str,
        parse: impl Fn(&[u8]) -> std::result::Result<T, String>,
    ) -> Result<T> {
        self.parse(&format!("{subfolder}/config.json"), parse)
    }

    fn parse<T>(&self, inside: &str, parse: impl Fn(&[u8]) -> std::result::Result<T, String>) -> Result<T> {
        let bytes = self.folder.read(inside)?.ok_or_else(|| Error::MissingFile {
            what: "a configuration of the model".to_owned(),
            path: self.folder.path(inside),
        })?;
        parse(&bytes).map_err(|reason| Error::InvalidFile {
            path: self.folder.path(inside),
            reason,
        })
    }
}

/// Which text encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextNetwork {
    /// The first or only one.
    First,
    /// The second one of SDXL.
    Second,
}
