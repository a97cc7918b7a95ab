//! Low-rank adaptations: small files whose products are added to a model's weights.
//!
//! A [`LoraFile`] finds its pairs of matrices under any of the names that trainers use and tells which weight each
//! belongs to, and a [`TrainerConfig`] how strongly they were trained to act. [`Adapters`] keeps the adapted weights of a loaded model, so that a scale can be changed without loading
//! the model again: the networks share their storage and see the new values at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor, Var};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::{Network, TensorFile, Weights, layout::UNetLayout};
use crate::{
    Error, Result,
    api::LoraSource,
    error::{Doing as _, carried, json_reason},
};

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
const OTHER_KINDS: [(&str, &str); 8] = [
    (".hada_w1_a", "LoHa"),
    (".lokr_w1", "LoKr"),
    (".dora_scale", "DoRA"),
    (".lora_magnitude_vector", "DoRA"),
    (".lora_B.bias", "LoRA with biases"),
    (".lora_B.default.bias", "LoRA with biases"),
    (".lora_mid.weight", "LoCon with a middle matrix"),
    (".oft_blocks", "OFT"),
];

/// The kind of adaptation that a tensor belongs to, if it is another than a plain LoRA.
fn other_kind(name: &str) -> Option<&'static str> {
    // Only an end tells these: `.diff` also begins `.diffusion_model`.
    if matches!(name.rsplit('.').next(), Some("diff" | "diff_b")) {
        return Some("full difference");
    }
    OTHER_KINDS
        .iter()
        .find_map(|&(part, kind)| name.contains(part).then_some(kind))
}

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

/// What PEFT and diffusers write about a LoRA in JSON, since their files hold no alphas among the matrices. Names are
/// PEFT's, or stand behind the network's folder (`unet.lora_alpha`).
#[derive(Debug, Default)]
struct TrainerConfig(Map<String, Value>);

impl TrainerConfig {
    /// diffusers' note in the file's header, or the file that PEFT puts beside its own; empty where there is neither.
    ///
    /// # Errors
    /// If it is no JSON object, or asks for something that is not supported.
    fn of(file: &TensorFile) -> Result<Self> {
        let mut path = file.path().to_owned();
        let bytes = if let Some(note) = file.note("lora_adapter_metadata") {
            note.as_bytes().to_vec()
        } else if file
            .shapes()
            .any(|(name, _)| name.starts_with("base_model.model."))
        {
            path.set_file_name("adapter_config.json");
            match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    tracing::warn!(
                        "{} is not there, so the strength that the LoRA was trained for is a guess",
                        path.display()
                    );
                    return Ok(Self::default());
                }
                Err(error) => return Err(Error::reading(&path, error)),
            }
        } else {
            return Ok(Self::default());
        };
        let config: Map<String, Value> = match serde_json::from_slice(&bytes) {
            Ok(config) => config,
            Err(error) => {
                let reason = format!(
                    "what it says of its training cannot be read: {}",
                    json_reason(&error)
                );
                return Err(Error::InvalidFile { path, reason });
            }
        };
        let has_pattern = config.iter().any(|(key, value)| {
            let is_empty = value.as_object().is_none_or(Map::is_empty);
            key.rsplit('.').next() == Some("alpha_pattern") && !is_empty
        });
        if has_pattern {
            return Err(Error::InvalidFile {
                path,
                reason: "it gives parts of the LoRA strengths of their own (\"alpha_pattern\"), which Wordbrush cannot \
                         apply: use one that was trained with a single alpha"
                    .to_owned(),
            });
        }
        Ok(Self(config))
    }

    fn value(&self, network: Network, key: &str) -> Option<&Value> {
        let of_network = self.0.get(&format!("{}.{key}", network.folder()));
        of_network.or_else(|| self.0.get(key))
    }

    /// What the product of two matrices of this rank is multiplied by.
    fn factor(&self, network: Network, rank: f64) -> f64 {
        // https://arxiv.org/abs/2312.03732
        let is_rank_stabilized = self.value(network, "use_rslora").and_then(Value::as_bool);
        let alpha = self.value(network, "lora_alpha").and_then(Value::as_f64);
        match (alpha, is_rank_stabilized) {
            (None, _) => 1.0,
            (Some(alpha), Some(true)) => alpha / rank.sqrt(),
            (Some(alpha), _) => alpha / rank,
        }
    }
}

/// A LoRA file with its pairs of matrices.
#[derive(Debug)]
pub(crate) struct LoraFile {
    file: Arc<TensorFile>,
    config: TrainerConfig,
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
            if let Some(kind) = other_kind(name) {
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
            config: TrainerConfig::of(&file)?,
            // It is read again whenever its strength changes, and trainers write over it while it is tried.
            file: Arc::new(file.into_memory()?),
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
            let delta = self.delta(adapter, network, pair, weights, weight)?;
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

    fn delta(
        &self,
        adapter: usize,
        network: Network,
        pair: &Pair,
        weights: &Weights,
        name: &str,
    ) -> Result<Delta> {
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
        let factor = match &pair.alpha {
            None => self.config.factor(network, rank),
            Some(alpha) => {
                let alpha = self.file.read(alpha, DType::F32, &Device::Cpu)?;
                let alpha = alpha
                    .flatten_all()
                    .and_then(|alpha| alpha.to_vec1::<f32>())
                    .doing("reading a LoRA")?;
                alpha.first().map_or(1.0, |&alpha| f64::from(alpha) / rank)
            }
        };
        Ok(Delta {
            adapter,
            file: Arc::clone(&self.file),
            down: pair.down.clone().unwrap_or_default(),
            up: pair.up.clone().unwrap_or_default(),
            factor,
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
    use std::{collections::HashMap, path::Path};

    use proptest::prelude::*;
    use safetensors::{Dtype, tensor::TensorView};

    use super::*;

    /// Writes a LoRA of rank 4 for the denoiser whose tensors have these names.
    fn write(path: &Path, names: &[&str], note: Option<&str>) {
        let bytes = [0; 32];
        let shape = |name: &str| {
            let is_up = split_role(name).is_some_and(|(_, role)| role == Role::Up);
            if is_up { vec![2, 4] } else { vec![4, 2] }
        };
        let view = |name: &str| TensorView::new(Dtype::F32, shape(name), &bytes).unwrap();
        let views = names.iter().map(|name| (*name, view(name)));
        let note = note.map(|note| ("lora_adapter_metadata".to_owned(), note.to_owned()));
        let notes: HashMap<String, String> = note.into_iter().collect();
        std::fs::write(path, safetensors::serialize(views, Some(notes)).unwrap()).unwrap();
    }

    fn opened(path: &Path) -> Result<LoraFile> {
        LoraFile::new(TensorFile::open(path)?)
    }

    /// The factor of the only pair of a LoRA for the denoiser.
    fn factor(path: &Path) -> Result<f64> {
        let lora = opened(path)?;
        let mut weights = Weights::default();
        let base = Arc::new(TensorFile::open(path)?);
        let down = lora.pairs.values().next().and_then(|pair| pair.down.clone());
        weights.insert(
            "to_q.weight".to_owned(),
            &base,
            &down.unwrap(),
            super::super::Part::Slice { index: 0, count: 2 },
        );
        let mut networks = BTreeMap::from([(Network::Denoiser, Arc::new(weights))]);
        lora.attach(0, &mut networks)?;
        Ok(networks[&Network::Denoiser].deltas["to_q.weight"][0].factor)
    }

    #[test]
    fn loras_act_as_strongly_as_their_trainers_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pytorch_lora_weights.safetensors");
        let names = ["unet.to_q.lora_A.weight", "unet.to_q.lora_B.weight"];
        for (note, expected) in [
            (None, 1.0),
            (
                Some(r#"{"unet.lora_alpha": 8, "unet.r": 4, "text_encoder.lora_alpha": 1}"#),
                2.0,
            ),
            (
                Some(r#"{"lora_alpha": 2.0, "r": 4, "alpha_pattern": {}, "use_rslora": false}"#),
                0.5,
            ),
            (Some(r#"{"unet.lora_alpha": 8, "unet.use_rslora": true}"#), 4.0),
            (Some(r#"{"text_encoder.lora_alpha": 8}"#), 1.0),
        ] {
            write(&path, &names, note);
            assert_eq!(factor(&path).unwrap(), expected, "{note:?}");
        }
        for (note, word) in [
            (r#"{"unet.alpha_pattern": {"to_q": 4}}"#, "alpha_pattern"),
            ("[]", "cannot be read"),
            ("{", "cannot be read"),
        ] {
            write(&path, &names, Some(note));
            let error = opened(&path).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn loras_of_peft_act_as_strongly_as_the_file_beside_them_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter_model.safetensors");
        let names = [
            "base_model.model.to_q.lora_A.weight",
            "base_model.model.to_q.lora_B.weight",
        ];
        write(&path, &names, None);
        assert_eq!(factor(&path).unwrap(), 1.0);
        let config = folder.path().join("adapter_config.json");
        std::fs::write(&config, r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 16}"#).unwrap();
        assert_eq!(factor(&path).unwrap(), 4.0);
        std::fs::write(&config, "{").unwrap();
        let error = factor(&path).unwrap_err().to_string();
        assert!(error.contains("adapter_config.json"), "{error}");
        // Other trainers' files have nothing to do with it.
        write(
            &path,
            &["unet.to_q.lora_A.weight", "unet.to_q.lora_B.weight"],
            None,
        );
        assert_eq!(factor(&path).unwrap(), 1.0);
    }

    #[test]
    fn names_of_all_trainers_speak_of_the_same_weight() {
        let expected = "down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q";
        for name in [
            "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora.down.weight",
            "unet.down_blocks.0.attentions.1.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
            "base_model.model.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
            "model.diffusion_model.down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q.lora_A.weight",
        ] {
            assert_eq!(other_kind(name), None, "{name}");
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

    #[test]
    fn other_kinds_of_adaptations_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let pair = ["unet.to_q.lora_A.weight", "unet.to_q.lora_B.weight"];
        for (name, kind) in [
            ("lora_unet_conv_in.diff", "full difference"),
            ("diffusion_model.input_blocks.0.0.diff_b", "full difference"),
            ("lora_unet_to_q.dora_scale", "DoRA"),
            ("unet.to_q.lora_magnitude_vector", "DoRA"),
            (
                "base_model.model.to_q.lora_magnitude_vector.default.weight",
                "DoRA",
            ),
            ("unet.to_q.lora_B.bias", "LoRA with biases"),
        ] {
            write(&path, &[pair[0], pair[1], name], None);
            let error = opened(&path).unwrap_err().to_string();
            assert!(error.contains(kind), "{name}: {error}");
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
