//! Opens NVIDIA cards.

use std::panic::catch_unwind;

use candle_core::Device;

pub(super) const IS_COMPILED_IN: bool = true;

/// Opens a card by number; the text of the error says why there is none.
///
/// A missing driver or library is a panic deep inside the CUDA bindings, which must not reach the user.
pub(super) fn open(index: usize) -> Result<(Device, String), String> {
    match catch_unwind(|| Device::new_cuda(index)) {
        Ok(Ok(device)) => Ok((device, format!("CUDA device {index}"))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("NVIDIA's driver or its libraries (cuBLAS, cuRAND, NVRTC) were not found".to_owned()),
    }
}
