//! The small model that is part of the program.

/// Its files, path by path, or `None` if the program was built without it.
pub(super) const FILES: Option<&[(&str, &[u8])]> = EMBEDDED;

#[cfg(not(feature = "pocket"))]
const EMBEDDED: Option<&[(&str, &[u8])]> = None;

#[cfg(feature = "pocket")]
const EMBEDDED: Option<&[(&str, &[u8])]> = Some(embedded![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]);

#[cfg(feature = "pocket")]
macro_rules! embedded {
    ($($path:literal),+ $(,)?) => {
        &[$((
            $path,
            include_bytes!(concat!("../../../assets/pocket/model/", $path)).as_slice(),
        )),+]
    };
}
#[cfg(feature = "pocket")]
use embedded;
