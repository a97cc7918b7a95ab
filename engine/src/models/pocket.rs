//! The small model that is part of the program.

use crate::weights::Folder;

macro_rules! embedded {
    ($($path:literal),+ $(,)?) => {
        &[$((
            $path,
            include_bytes!(concat!("../../../assets/pocket/model/", $path)).as_slice(),
        )),+]
    };
}

/// Its files, or `None` if the program was built without it.
pub(super) fn folder() -> Option<Folder> {
    #[cfg(feature = "pocket")]
    {
        #[expect(
            clippy::large_include_file,
            reason = "the model is meant to be part of the program"
        )]
        static FILES: &[(&str, &[u8])] = embedded![
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
        ];
        Some(Folder::Embedded(FILES))
    }
    #[cfg(not(feature = "pocket"))]
    None
}
