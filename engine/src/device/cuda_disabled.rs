//! Stands in for `cuda_enabled` where the feature `cuda` is off.

use candle_core::Device;

pub(super) const IS_COMPILED_IN: bool = false;

pub(super) fn open(_index: usize) -> Result<(Device, String), String> {
    Err("this program was built without CUDA; build it with `--features cuda`".to_owned())
}
