//! Values on the command line: sizes, devices, models.

use std::path::Path;

use wordbrush_engine::api::{CanvasSize, DeviceChoice, ModelChoice, ModelSource, Seed};

use crate::{models_store::ModelStore, storage::folders::Folders};

/// `WIDTHxHEIGHT`.
pub(crate) fn parse_size(text: &str) -> Result<CanvasSize, String> {
    let (width, height) = text
        .split_once(['x', 'X', '×'])
        .ok_or_else(|| "write WIDTHxHEIGHT, such as 768x512".to_owned())?;
    let side = |side: &str| {
        let pixels = side.trim().parse::<u32>();
        pixels.map_err(|_no_number| {
            format!("{side:?} is no number of pixels: write WIDTHxHEIGHT, such as 768x512")
        })
    };
    CanvasSize::new(side(width)?, side(height)?).map_err(|error| error.to_string())
}

/// Any number of 64 bits.
pub(crate) fn parse_seed(text: &str) -> Result<Seed, String> {
    let seed = text.parse().map(Seed);
    seed.map_err(|_no_number| format!("write a whole number from 0 to {}", u64::MAX))
}

/// `auto`, `cpu`, `cuda`, `cuda:1`, `metal`.
pub(crate) fn parse_device(text: &str) -> Result<DeviceChoice, String> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(DeviceChoice::Auto),
        "cpu" => Ok(DeviceChoice::Cpu),
        "cuda" | "gpu" => Ok(DeviceChoice::Cuda(0)),
        "metal" => Ok(DeviceChoice::Metal),
        other => other
            .strip_prefix("cuda:")
            .and_then(|number| number.parse().ok())
            .map(DeviceChoice::Cuda)
            .ok_or_else(|| "write auto, cpu, cuda, cuda:NUMBER or metal".to_owned()),
    }
}

/// A model by its name or its path; relative paths start at `folder`.
pub(crate) fn model_from_name(name: &str, folder: &Path) -> anyhow::Result<ModelChoice> {
    ModelStore::of_user(&Folders::of_user()?).resolve(name, folder)
}

/// An exported picture names a model without its folder: looks whether it is among the downloaded ones.
pub(crate) fn find_again(model: &mut ModelChoice) -> anyhow::Result<()> {
    if let ModelSource::Path(path) = &model.source
        && !path.exists()
        && let Some(found) = ModelStore::of_user(&Folders::of_user()?).locate(model)
    {
        *model = found;
    }
    Ok(())
}

/// `#rrggbb`.
pub(crate) fn hex(colour: [u8; 3]) -> String {
    crate::storage::hex_from_colour(colour)
}

/// How a model is called in listings.
pub(crate) fn model_name(choice: &ModelChoice) -> String {
    match &choice.source {
        ModelSource::Path(path) => path.display().to_string(),
        source => source.built_in_name().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_width_by_height() {
        assert_eq!(parse_size("768x512"), Ok(CanvasSize::new(768, 512).unwrap()));
        for bad in ["768", "x", "0x5", "9000x10", "-1x5", "axb"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_are_named() {
        assert_eq!(parse_device("CPU"), Ok(DeviceChoice::Cpu));
        assert_eq!(parse_device("cuda:1"), Ok(DeviceChoice::Cuda(1)));
        assert!(parse_device("cuda:x").is_err());
    }
}
