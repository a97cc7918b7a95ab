//! The numbers of tensors, without copies where that is possible.
use candle_core::{DType, Result, Storage, Tensor};

/// Calls `job` with a tensor's values in order. They are copied only if they are no `f32`, do not follow each other, or
/// lie on another device.
pub(super) fn with_values<T>(tensor: &Tensor, job: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    if tensor.dtype() == DType::F32 {
        let (storage, layout) = tensor.storage_and_layout();
        if let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) {
            return job(&storage.as_slice::<f32>()?[start..end]);
        }
    }
    let copy: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    job(&copy)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn values_come_in_order_whatever_the_layout() {
        let tensor = Tensor::arange(0_f32, 24.0, &Device::Cpu).unwrap();
        let tensor = tensor.reshape((2, 3, 4)).unwrap();
        let turned = tensor.transpose(0, 2).unwrap();
        let part = tensor.narrow(0, 1, 1).unwrap();
        let half = tensor.to_dtype(DType::F16).unwrap();
        for tensor in [tensor, turned, part, half] {
            let expected: Vec<f32> = tensor
                .to_dtype(DType::F32)
                .and_then(|tensor| tensor.flatten_all()?.to_vec1())
                .unwrap();
            let found = with_values(&tensor, |values| Ok(values.to_vec())).unwrap();
            assert_eq!(found, expected);
        }
    }
}
