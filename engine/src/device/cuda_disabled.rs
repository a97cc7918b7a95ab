//! Stands in for `cuda_enabled` where the feature `cuda` is off.

use std::any::Any;

use candle_core::{DType, Device};

pub(super) const IS_COMPILED_IN: bool = false;

pub(super) fn open(_index: usize, _dtype: DType) -> Result<(Device, String), String> {
    Err("this program was built without CUDA; build it with `--features cuda`".to_owned())
}

pub(super) fn memory_bytes(_device: &Device) -> Option<u64> {
    None
}

pub(super) fn keep_uploads(_device: &Device) -> Option<Box<dyn Any>> {
    None
}
