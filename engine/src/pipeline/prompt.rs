//! Encoded prompts of a region: its own, drawn towards the background's.

use candle_core::{Result, Tensor};

use crate::models::traits::Conditioning;

/// A prompt and what it must not show.
#[derive(Clone, Debug)]
pub struct GuidedPrompt {
    /// What is shown.
    pub positive: Conditioning,
    /// What is not.
    pub negative: Conditioning,
}

/// A region's prompt with `strength` of its own and the rest of the background's, pooled embeddings included.
///
/// # Errors
/// If the two were made by different encoders.
pub fn mixed(background: &Conditioning, own: &Conditioning, strength: f64) -> Result<Conditioning> {
    let mix = |from: &Tensor, to: &Tensor| from + ((to - from)? * strength)?;
    Ok(Conditioning {
        context: mix(&background.context, &own.context)?,
        pooled: match (&background.pooled, &own.pooled) {
            (Some(from), Some(to)) => Some(mix(from, to)?),
            _ => None,
        },
        time_ids: own.time_ids,
    })
}

/// The mean of several prompts.
///
/// # Errors
/// If there are none, or they were made by different encoders.
pub fn averaged(prompts: &[Conditioning]) -> Result<Conditioning> {
    let mean = |tensors: Vec<&Tensor>| Tensor::stack(&tensors, 0)?.mean(0);
    let pooled: Option<Vec<&Tensor>> = prompts.iter().map(|prompt| prompt.pooled.as_ref()).collect();
    Ok(Conditioning {
        context: mean(prompts.iter().map(|prompt| &prompt.context).collect())?,
        pooled: pooled.map(mean).transpose()?,
        time_ids: prompts.first().and_then(|prompt| prompt.time_ids),
    })
}
