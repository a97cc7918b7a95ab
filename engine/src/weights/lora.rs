//! Low-rank adaptations: small files whose products are added to a model's weights.
//!
//! A [`LoraFile`] finds its pairs of matrices under any of the names that trainers use and tells which weight each
//! belongs to. [`Adapters`] keeps the adapted weights of a loaded model, so that a scale can be changed without loading
//! the model again: the networks share their storage and see the new values at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor, Var};
use parking_lot::Mutex;

use super::{Network, TensorFile, Weights, layout::UNetLayout};
use crate::{Error, Result, api::LoraSource, error::Doing as _, error::carried};

/// What a tensor of a LoRA file is, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Down,
    Up,
    Alpha,
}

/// Ends of names: kohya, PEFT, and three generations of diffusers.
const ENDS: [(&str, Role); 12] = [
    (".lora_down.weight", Role::Down),
    (".lora_up.weight", Role::Up),
    (".lora_A.weight", Role::Down),
    (".lora_B.weight", Role::Up),
    (".lora_A.default.weight", Role::Down),
    (".lora_B.default.weight", Role::Up),
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    ("_lora.down.weight", Role::Down),
    ("_lora.up.weight", Role::Up),
];

/// Parts of names that only other kinds of adaptations have.
const OTHER_KINDS: [(&str, &str); 6] = [
    (".hada_w1_a", "LoHa"),
    (".lokr_w1", "LoKr"),
    (".dora_scale", "DoRA"),
    (".lora_mid.weight", "LoCon with a middle matrix"),
    (".oft_blocks", "OFT"),
    (".diff", "full difference"),
];

fn split_role(name: &str) -> Option<(&str, Role)> {
    if let Some(module) = name.strip_suffix(".alpha") {
        return Some((module, Role::Alpha));
    }
    ENDS.iter()
        .find_map(|&(end, role)| Some((name.strip_suffix(end)?, role)))
}

/// Names of a pair of matrices in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pair {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<String>,
}

/// Which network a module's name speaks of, and the rest of the name with `_` for every dot.
///
/// Trainers write dots or underscores, and put various things before the name; with underscores everywhere, one list
/// of prefixes serves them all.
fn split_network(module: &str) -> (Network, String) {
    const PREFIXES: [(&str, Network); 9] = [
        ("lora_unet_", Network::Denoiser),
        ("unet_", Network::Denoiser),
        ("model_diffusion_model_", Network::Denoiser),
        ("diffusion_model_", Network::Denoiser),
        ("lora_te1_", Network::TextEncoder),
        ("lora_te2_", Network::TextEncoder2),
        ("lora_te_", Network::TextEncoder),
        ("text_encoder_2_", Network::TextEncoder2),
        ("text_encoder_", Network::TextEncoder),
    ];
    let name = module.replace('.', "_").replace("_processor", "");
    let name = name.strip_prefix("base_model_model_").unwrap_or(&name);
    let found = PREFIXES
        .iter()
        .find_map(|&(prefix, network)| Some((network, name.strip_prefix(prefix)?)));
    match found {
        Some((Network::Denoiser, rest)) => (Network::Denoiser, rest.to_owned()),
        Some((network, rest)) => (
            network,
            rest.strip_prefix("text_model_").unwrap_or(rest).to_owned(),
        ),
        None => (Network::Denoiser, name.to_owned()),
    }
}

/// A LoRA file with its pairs of matrices.
#[derive(Debug)]
pub(crate) struct LoraFile {
    file: Arc<TensorFile>,
    /// By the module's name in the file.
    pairs: BTreeMap<String, Pair>,
}

impl LoraFile {
    /// Finds the pairs in a file.
    ///
    /// # Errors
    /// If the file holds another kind of adaptation, or half a pair.
    pub(crate) fn new(file: TensorFile) -> Result<Self> {
        let refused = |reason: String| Error::InvalidFile {
            path: file.path().to_owned(),
            reason,
        };
        let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
        for (name, _) in file.shapes() {
            if let Some((_, kind)) = OTHER_KINDS.iter().find(|(part, _)| name.contains(part)) {
                return Err(refused(format!(
                    "it is an adaptation of the kind {kind}, which Wordbrush cannot apply: use a plain LoRA"
                )));
            }
            if let Some((module, role)) = split_role(name) {
                let pair = pairs.entry(module.to_owned()).or_default();
                let slot = match role {
                    Role::Down => &mut pair.down,
                    Role::Up => &mut pair.up,
                    Role::Alpha => &mut pair.alpha,
                };
                *slot = Some(name.to_owned());
            }
        }
        if pairs.is_empty() {
            return Err(refused("it holds no LoRA matrices".to_owned()));
        }
        if let Some((module, _)) = pairs
            .iter()
            .find(|(_, pair)| pair.down.is_none() || pair.up.is_none())
        {
            return Err(refused(format!("{module:?} has only one of its two matrices")));
        }
        Ok(Self {
            file: Arc::new(file),
            pairs,
        })
    }

    /// Adds the pairs to the weights they belong to, as adaptation number `adapter`.
    ///
    /// # Errors
    /// If none belongs to this model, or a matrix has the wrong shape.
    pub(crate) fn attach(
        &self,
        adapter: usize,
        networks: &mut BTreeMap<Network, Arc<Weights>>,
    ) -> Result<()> {
        let tables: BTreeMap<Network, BTreeMap<String, String>> = networks
            .iter()
            .map(|(&network, weights)| (network, names_by_underscores(network, weights)))
            .collect();
        let mut unknown = Vec::new();
        for (module, pair) in &self.pairs {
            let (network, name) = split_network(module);
            let weight = tables
                .get(&network)
                .and_then(|table| table.get(&name).or_else(|| table.get(&format!("{name}_0"))));
            let (Some(weight), Some(weights)) = (weight, networks.get_mut(&network)) else {
                unknown.push(module);
                continue;
            };
            let delta = self.delta(adapter, pair, weights, weight)?;
            Arc::make_mut(weights)
                .deltas
                .entry(weight.clone())
                .or_default()
                .push(delta);
        }
        if unknown.len() == self.pairs.len() {
            return Err(Error::InvalidFile {
                path: self.file.path().to_owned(),
                reason: format!(
                    "none of its {} parts belongs to this model (the first is {:?}); it was made for another family",
                    unknown.len(),
                    unknown[0]
                ),
            });
        }
        if let Some(first) = unknown.first() {
            tracing::warn!(
                "{} of {} parts of {} belong to no weight of this model and are left out, the first is {first:?}",
                unknown.len(),
                self.pairs.len(),
                self.file.path().display()
            );
        }
        Ok(())
    }

    fn delta(&self, adapter: usize, pair: &Pair, weights: &Weights, name: &str) -> Result<Delta> {
        let shape = |tensor: &Option<String>| {
            let tensor = tensor.as_deref().unwrap_or_default();
            self.file.shape(tensor).unwrap_or_default().to_vec()
        };
        let (down, up) = (shape(&pair.down), shape(&pair.up));
        let base = weights.shape(name).unwrap_or_default();
        let product = |sides: &[usize]| sides.iter().product::<usize>();
        let fits = down.len() >= 2
            && up.len() >= 2
            && base.len() >= 2
            && down[0] > 0
            && up[1..].iter().product::<usize>() == down[0]
            && up[0] == base[0]
            && product(&down[1..]) == product(&base[1..]);
        if !fits {
            return Err(Error::Weight {
                name: name.to_owned(),
                reason: format!(
                    "its shape {base:?} does not take matrices of {down:?} and {up:?} from {}; \
                     the LoRA was made for another model",
                    self.file.path().display()
                ),
            });
        }
        let rank = down[0] as f64;
        let alpha = match &pair.alpha {
            None => rank,
            Some(alpha) => {
                let alpha = self.file.read(alpha, DType::F32, &Device::Cpu)?;
                let alpha = alpha
                    .flatten_all()
                    .and_then(|alpha| alpha.to_vec1::<f32>())
                    .doing("reading a LoRA")?;
                alpha.first().map_or(rank, |&alpha| f64::from(alpha))
            }
        };
        Ok(Delta {
            adapter,
            file: Arc::clone(&self.file),
            down: pair.down.clone().unwrap_or_default(),
            up: pair.up.clone().unwrap_or_default(),
            factor: alpha / rank,
        })
    }
}

/// Every matrix and convolution of a network by its name with underscores; a denoiser's also by its original name.
fn names_by_underscores(network: Network, weights: &Weights) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    let layout = (network == Network::Denoiser).then(|| UNetLayout::from_diffusers(&weights.names()));
    for name in weights.names() {
        let Some(module) = name.strip_suffix(".weight") else {
            continue;
        };
        if let Some(original) = layout.as_ref().and_then(|layout| layout.original_name(module)) {
            table.insert(original.replace('.', "_"), name.to_owned());
        }
        table.insert(module.replace('.', "_"), name.to_owned());
    }
    table
}

/// What an adaptation adds to one weight: `scale * factor * up down`.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    adapter: usize,
    file: Arc<TensorFile>,
    down: String,
    up: String,
    factor: f64,
}

impl Delta {
    /// The addition at scale 1, in the shape of the weight.
    fn product(&self, shape: &[usize]) -> candle_core::Result<Tensor> {
        let read = |name: &str| {
            let matrix = self.file.read(name, DType::F32, &Device::Cpu).map_err(carried)?;
            matrix.flatten_from(1)
        };
        (read(&self.up)?.matmul(&read(&self.down)?)? * self.factor)?.reshape(shape)
    }
}

/// A weight with everything added that adaptations say, on the CPU in 32 bits.
pub(super) fn adapted(base: &Tensor, deltas: &[Delta], scales: &[f32]) -> candle_core::Result<Tensor> {
    let mut sum = base.clone();
    for delta in deltas {
        let scale = scales.get(delta.adapter).copied().unwrap_or(0.0);
        if scale != 0.0 {
            sum = (sum + (delta.product(base.dims())? * f64::from(scale))?)?;
        }
    }
    Ok(sum)
}

/// A weight that a network holds and that can be written anew.
#[derive(Debug)]
pub(super) struct LiveWeight {
    pub(super) network: Network,
    pub(super) name: String,
    pub(super) value: Var,
}

/// What became of a change of scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Retuned {
    /// The scales are changed; these networks hold copies that are outdated now.
    Done {
        /// Which.
        outdated: BTreeSet<Network>,
    },
    /// Nothing was changed: other files are wanted, and the model must be loaded again.
    OtherFiles,
}

/// The adaptations of a loaded model.
#[derive(Debug, Default)]
pub struct Adapters {
    sources: Vec<LoraSource>,
    networks: BTreeMap<Network, Arc<Weights>>,
    live: Mutex<Vec<LiveWeight>>,
    /// Networks that hold copies of their weights (packed for the processor, say) and must be made anew.
    copied: BTreeSet<Network>,
}

impl Adapters {
    /// Reads the adaptations and adds them to the networks' weights.
    ///
    /// # Errors
    /// If a file cannot be read or does not fit the model.
    pub(crate) fn attach(
        sources: &[LoraSource],
        networks: &mut BTreeMap<Network, Arc<Weights>>,
    ) -> Result<Self> {
        for (adapter, source) in sources.iter().enumerate() {
            LoraFile::new(TensorFile::open(&source.path)?)?.attach(adapter, networks)?;
        }
        Ok(Self {
            sources: sources.to_vec(),
            networks: if sources.is_empty() {
                BTreeMap::new()
            } else {
                networks.clone()
            },
            live: Mutex::default(),
            copied: BTreeSet::new(),
        })
    }

    /// A weight of the denoiser with everything added that the adaptations say, in 32 bits on the CPU.
    ///
    /// # Errors
    /// If there are no adaptations, or no such weight.
    pub fn denoiser_weight(&self, name: &str) -> Result<Tensor> {
        let weights = self
            .networks
            .get(&Network::Denoiser)
            .ok_or_else(|| Error::Weight {
                name: name.to_owned(),
                reason: "nothing is added to this model's weights".to_owned(),
            })?;
        weights
            .read_adapted(name, &self.scales(), DType::F32, &Device::Cpu)
            .doing("reading an adapted weight")
    }

    /// Tells that a network will not share its weights' storage.
    pub(crate) fn expect_copies(&mut self, network: Network) {
        self.copied.insert(network);
    }

    /// Whether a network shares its weights' storage.
    pub(super) fn is_shared(&self, network: Network) -> bool {
        !self.copied.contains(&network)
    }

    /// How strongly each acts.
    pub(super) fn scales(&self) -> Vec<f32> {
        self.sources.iter().map(|source| source.scale).collect()
    }

    /// Remembers a weight that a network took.
    pub(super) fn add_live(&self, weight: LiveWeight) {
        self.live.lock().push(weight);
    }

    /// What acts, and how strongly.
    pub(crate) fn sources(&self) -> &[LoraSource] {
        &self.sources
    }

    /// Goes back to what acted before a change that failed. Where that fails too, weights are mixed: the next change takes
    /// none of them for what it says.
    pub(crate) fn restore(&mut self, before: &[LoraSource]) {
        if let Err(error) = self.retune(before) {
            tracing::warn!("the strengths of LoRAs cannot be set back: {error}");
            for source in &mut self.sources {
                source.scale = f32::NAN;
            }
        }
    }

    /// Changes the scales of a loaded model; of networks that share their weights' storage, only those weights are
    /// computed that the changed adaptations touch.
    ///
    /// Returns what must be done besides; after a change, prompts must be encoded and prepared anew.
    ///
    /// # Errors
    /// If a file cannot be read any more.
    pub(crate) fn retune(&mut self, wanted: &[LoraSource]) -> Result<Retuned> {
        let is_same_file = |(a, b): (&LoraSource, &LoraSource)| a.path == b.path;
        if wanted.len() != self.sources.len() || !wanted.iter().zip(&self.sources).all(is_same_file) {
            return Ok(Retuned::OtherFiles);
        }
        let pairs = wanted.iter().zip(&self.sources).enumerate();
        let changed: BTreeSet<usize> = pairs
            .filter(|(_, (new, old))| new.scale != old.scale)
            .map(|(adapter, _)| adapter)
            .collect();
        self.sources = wanted.to_vec();
        let scales = self.scales();
        for weight in self.live.get_mut().iter() {
            let Some(weights) = self.networks.get(&weight.network) else {
                continue;
            };
            let deltas = weights.deltas.get(&weight.name).map_or(&[][..], Vec::as_slice);
            if deltas.iter().any(|delta| changed.contains(&delta.adapter)) {
                let value = &weight.value;
                weights
                    .read_adapted(&weight.name, &scales, value.dtype(), value.device())
                    .and_then(|new| value.set(&new.reshape(value.shape())?))
                    .doing("changing the strength of a LoRA")?;
            }
        }
        let is_touched = |network: &&Network| {
            let deltas = self
                .networks
                .get(network)
                .into_iter()
                .flat_map(|weights| weights.deltas.values());
            deltas.flatten().any(|delta| changed.contains(&delta.adapter))
        };
        Ok(Retuned::Done {
            outdated: self.copied.iter().filter(is_touched).copied().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_all_trainers_speak_of_the_same_weight() {
        let expected = "down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q";
        for name in [
            "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora.down.weight",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
            "base_model.model.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
        ] {
            let (module, role) = split_role(name).unwrap();
            assert_eq!(role, Role::Down, "{name}");
            assert_eq!(
                split_network(module),
                (Network::Denoiser, expected.to_owned()),
                "{name}"
            );
        }
        for (name, network) in [
            (
                "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",
                Network::TextEncoder,
            ),
            (
                "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha",
                Network::TextEncoder2,
            ),
            (
                "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.alpha",
                Network::TextEncoder2,
            ),
            (
                "text_encoder.text_model.encoder.layers.0.mlp.fc1.alpha",
                Network::TextEncoder,
            ),
        ] {
            let (module, _) = split_role(name).unwrap();
            assert_eq!(
                split_network(module),
                (network, "encoder_layers_0_mlp_fc1".to_owned()),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_the_parsers_panic(name in "[a-z0-9_.]{0,80}", tail in ".{0,20}") {
            let name = format!("{name}{tail}");
            if let Some((module, _)) = split_role(&name) {
                let (_, rest) = split_network(module);
                prop_assert!(!rest.contains('.'));
            }
        }
    }
}
