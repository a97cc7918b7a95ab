//! Checkpoints in the original naming against the same model's folder.

use anyhow::{Context as _, Result};
use candle_core::Tensor;
use serde_json::Value;
use wordbrush_engine::low_level::{Checkpoint, Compute, models::folder::ModelFolder};

use super::case::Case;

/// Kind "single-file": every weight of the checkpoint equals the named weight of the folder.
pub(crate) fn replay(case: &mut Case, compute: &Compute) -> Result<()> {
    let checkpoint = Checkpoint::open(&case.path("checkpoint")?)?;
    let same_as = case.settings["same_as"]
        .as_object()
        .context("case.json has no same_as")?;
    let targets: Vec<String> = same_as.values().flat_map(names).collect();
    let compared: Vec<(String, bool)> = case.with_model(compute, |model| {
        targets
            .into_iter()
            .map(|target| Ok((target.clone(), is_same(&checkpoint, model, &target)?)))
            .collect()
    })?;
    for (target, is_equal) in compared {
        if case.expects(&target) {
            case.check(&target, &checkpoint.read(&target)?)?;
        } else {
            case.check_equal(&target, is_equal);
        }
    }
    Ok(())
}

/// Whether both hold the same numbers; a matrix may be stored as a 1x1 convolution.
fn is_same(checkpoint: &Checkpoint, model: &ModelFolder<'_>, name: &str) -> Result<bool> {
    let values = |tensor: Tensor| -> Result<Vec<f32>> { Ok(tensor.flatten_all()?.to_vec1()?) };
    Ok(values(checkpoint.read(name)?)? == values(model.weight(name)?)?)
}

/// A weight of the folder, or several that the checkpoint stores as one.
fn names(value: &Value) -> Vec<String> {
    match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(list) => list.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}
