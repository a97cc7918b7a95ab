//! A model in diffusers' layout, part by part.

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use super::{
    config::{ClipConfig, CodecConfig, SchedulerConfig, UNetConfig},
    sd::{clip::ClipEncoder, unet::UNet},
    taesd::TinyAutoencoder,
    traits::ImageCodec,
    vae::KlAutoencoder,
};
use crate::{
    Error, Result,
    device::Compute,
    error::Doing as _,
    tokenizer::{PromptTokenizer, TokenizerError, TokenizerFiles},
    weights::{Adapters, Folder, LoadWatch, Network, Weights, canonical},
};

/// One of the two kinds of autoencoder.
pub enum Codec {
    /// AutoencoderTiny.
    Tiny(TinyAutoencoder),
    /// AutoencoderKL.
    Kl(Box<KlAutoencoder>),
}

impl Codec {
    /// Reads the weights.
    pub(crate) fn new(config: CodecConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        match config {
            CodecConfig::Tiny(config) => TinyAutoencoder::new(config, vb).map(Self::Tiny),
            CodecConfig::Kl(config) => {
                // SDXL's leaves the range of 16-bit floats with 5 bits of exponent; with 8 bits there is range enough, and on
                // a card no other format is as fast.
                let dtype = match vb.dtype() {
                    DType::F16 if vb.device().is_cuda() => DType::BF16,
                    DType::F16 => DType::F32,
                    dtype => dtype,
                };
                KlAutoencoder::new(config, &vb.to_dtype(dtype)).map(|codec| Self::Kl(Box::new(codec)))
            }
        }
        .doing("loading the image codec")
    }

    /// As the stream wants it.
    pub(crate) fn boxed(self) -> Box<dyn ImageCodec> {
        match self {
            Self::Tiny(codec) => Box::new(codec),
            Self::Kl(codec) => codec,
        }
    }
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
        PromptTokenizer::new(&files, capacity).map_err(|error| match error {
            TokenizerError::File { file, reason } => Error::InvalidFile {
                path: self.folder.path(&format!("{subfolder}/{file}")),
                reason,
            },
            TokenizerError::NoVocabulary => Error::InvalidFile {
                path: self.folder.path(subfolder),
                reason: error.to_string(),
            },
        })
    }

    /// A text encoder with its tokenizer, always in 32 bits on the CPU and in the model's format elsewhere.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn text_encoder(&self, network: TextNetwork) -> Result<ClipEncoder> {
        let network = match network {
            TextNetwork::First => Network::TextEncoder,
            TextNetwork::Second => Network::TextEncoder2,
        };
        let (config, tokenizer) = self.text_parts(network)?;
        let weights = self.weights(network)?;
        let adapters = Adapters::default();
        let vb = self.builder(network, &weights, &adapters);
        ClipEncoder::new(&config, tokenizer, &vb).doing("loading the text encoder")
    }

    /// Configuration and tokenizer of a text encoder.
    pub(crate) fn text_parts(&self, network: Network) -> Result<(ClipConfig, Arc<PromptTokenizer>)> {
        let tokenizer = if network == Network::TextEncoder2 {
            "tokenizer_2"
        } else {
            "tokenizer"
        };
        let config = self.config(network.folder(), ClipConfig::from_json)?;
        let subfolder = tokenizer;
        let tokenizer = self.tokenizer(subfolder, config.positions)?;
        if tokenizer.largest_id() as usize >= config.vocabulary {
            return Err(Error::InvalidFile {
                path: self.folder.path(subfolder),
                reason: format!(
                    "it knows tokens up to {} where the text encoder knows {}; they are not of the same model",
                    tokenizer.largest_id(),
                    config.vocabulary
                ),
            });
        }
        Ok((config, Arc::new(tokenizer)))
    }

    fn builder<'b>(
        &'b self,
        network: Network,
        weights: &'b Weights,
        adapters: &'b Adapters,
    ) -> VarBuilder<'b> {
        let (dtype, device) = (self.compute.dtype(), &self.compute.device);
        weights.builder(network, dtype, device, adapters, self.watch)
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
        let adapters = Adapters::default();
        let vb = self.builder(Network::Denoiser, &weights, &adapters);
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
        let adapters = Adapters::default();
        Codec::new(config, &self.builder(Network::Codec, &weights, &adapters))
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

    /// A weight by its path inside the folder, such as `unet/conv_in.weight`, in 32 bits on the CPU.
    ///
    /// # Errors
    /// If there is no such weight, or it is damaged.
    pub fn weight(&self, path: &str) -> Result<Tensor> {
        let networks = [
            Network::TextEncoder,
            Network::TextEncoder2,
            Network::Denoiser,
            Network::Codec,
        ];
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        let network = networks.into_iter().find(|network| network.folder() == folder);
        let network = network.ok_or_else(|| Error::MissingFile {
            what: "a network".to_owned(),
            path: self.folder.path(folder),
        })?;
        self.weights(network)?
            .read(&canonical(network, name), DType::F32, &Device::Cpu)
            .doing("reading a weight")
    }

    /// The weights of a network.
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
