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

pub(super) fn peak_bytes(_device: &Device) -> Option<u64> {
    None
}

pub(super) fn give_back_memory(_device: &Device) {}

/// There is none.
pub(super) enum Mark {}

impl Mark {
    pub(super) fn now(_device: &Device) -> Option<Self> {
        None
    }

    pub(super) fn ms_until(&self, _later: &Self) -> Option<f32> {
        match *self {}
    }
}

pub(super) fn keep_uploads(_device: &Device) -> Option<Box<dyn Any>> {
    None
}
