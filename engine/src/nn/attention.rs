//! Attention in chunks of queries, so that large canvases do not need the whole matrix of scores at once.

use candle_core::{D, DType, Result, Tensor};

use crate::ops::{self, cuda};

/// Scores that are held at once. A 512x512 picture has 4096 cells: the full matrix would take half a gigabyte per row.
const MAX_SCORES_CPU: usize = 16 << 20;
/// Graphics cards have more to hold and lose more time on small pieces.
const MAX_SCORES_GPU: usize = 256 << 20;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttentionMask {
    /// All of them.
    None,
    /// Those at its own position and before.
    Causal,
}

/// `softmax(q k^T / sqrt(d)) v`, for `b` rows with `g` heads each.
///
/// # Shapes
/// - `q`: `[b, n, g * d]`
/// - `k`, `v`: `[b, m, g * d]`
/// - returns `[b, n, g * d]`
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: AttentionMask,
    upcast_scores: bool,
) -> Result<Tensor> {
    ops::count(2 * q.elem_count() * k.dim(1)?);
    if cuda::are_used_on(q.device())
        && let Some(seen) = cuda::attention(q, (k, v), heads, mask == AttentionMask::Causal)?
    {
        return Ok(seen);
    }
    let (b, n, width) = q.dims3()?;
    let m = k.dim(1)?;
    let d = width / heads;
    let dtype = q.dtype();
    let scale = 1.0 / (d as f64).sqrt();
    let split = |x: &Tensor| -> Result<Tensor> {
        let length = x.dim(1)?;
        x.reshape((b, length, heads, d))?
            .transpose(1, 2)?
            .contiguous()? // [b, g, length, d]
            .reshape((b * heads, length, d))
    };
    let q = (split(q)? * scale)?;
    let k = split(k)?;
    let v = split(v)?;
    let scores_dtype = if upcast_scores { DType::F32 } else { dtype };
    let k = k.to_dtype(scores_dtype)?.transpose(1, 2)?; // [b * g, d, m]

    let budget = if q.device().is_cpu() {
        MAX_SCORES_CPU
    } else {
        MAX_SCORES_GPU
    };
    let chunk = (budget / (b * heads * m).max(1)).clamp(1, n);
    let mut parts = Vec::with_capacity(n.div_ceil(chunk));
    for start in (0..n).step_by(chunk) {
        let length = chunk.min(n - start);
        let q = q.narrow(1, start, length)?.to_dtype(scores_dtype)?;
        let mut scores = q.contiguous()?.matmul(&k)?; // [b * g, length, m]
        if mask == AttentionMask::Causal {
            scores = scores.broadcast_add(&causal(start, length, m, &scores)?)?;
        }
        let weights = candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(dtype)?;
        parts.push(weights.matmul(&v)?);
    }
    let out = match &parts[..] {
        [whole] => whole.clone(),
        parts => Tensor::cat(parts, 1)?,
    };
    out.reshape((b, heads, n, d))?
        .transpose(1, 2)?
        .flatten_from(D::Minus2)
}

/// Minus infinity where a query must not look, `[length, m]`.
fn causal(start: usize, length: usize, m: usize, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f32> = (start..start + length)
        .flat_map(|query| (0..m).map(move |key| if key > query { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(values, (length, m), like.device())?.to_dtype(like.dtype())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// The definition, one number at a time.
    fn slow(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, mask: AttentionMask) -> Vec<f32> {
        let (b, n, width) = q.dims3().unwrap();
        let d = width / heads;
        let [q, k, v] = [q, k, v].map(|x| x.to_vec3::<f32>().unwrap());
        let mut out = Vec::new();
        for row in 0..b {
            for query in 0..n {
                for head in 0..heads {
                    let of = |x: &[f32]| x[head * d..(head + 1) * d].to_vec();
                    let q = of(&q[row][query]);
                    let visible = match mask {
                        AttentionMask::None => k[row].len(),
                        AttentionMask::Causal => query + 1,
                    };
                    let scores: Vec<f32> = k[row][..visible]
                        .iter()
                        .map(|k| {
                            let dot: f32 = of(k).iter().zip(&q).map(|(a, b)| a * b).sum();
                            (dot / (d as f32).sqrt()).exp()
                        })
                        .collect();
                    let sum: f32 = scores.iter().sum();
                    for channel in 0..d {
                        let value = |key: usize| v[row][key][head * d + channel];
                        let total: f32 = scores.iter().enumerate().map(|(key, s)| s * value(key)).sum();
                        out.push(total / sum);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn attention_is_its_definition() {
        let random = |shape: (usize, usize, usize)| Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
        for mask in [AttentionMask::None, AttentionMask::Causal] {
            let (q, k, v) = (random((2, 9, 12)), random((2, 9, 12)), random((2, 9, 12)));
            let fast = attend(&q, &k, &v, 3, mask, false).unwrap();
            let fast: Vec<f32> = fast.flatten_all().unwrap().to_vec1().unwrap();
            for (a, b) in fast.iter().zip(slow(&q, &k, &v, 3, mask)) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn chunks_of_queries_give_what_the_whole_gives() {
        // 20 million scores: two chunks on the CPU.
        let q = Tensor::randn(0f32, 1.0, (1, 5000, 4), &Device::Cpu).unwrap();
        let k = Tensor::randn(0f32, 1.0, (1, 4000, 4), &Device::Cpu).unwrap();
        let whole = attend(&q, &k, &k, 1, AttentionMask::None, false).unwrap();
        let tail = q.narrow(1, 4800, 200).unwrap();
        let part = attend(&tail, &k, &k, 1, AttentionMask::None, false).unwrap();
        let difference = (whole.narrow(1, 4800, 200).unwrap() - part).unwrap();
        let largest = difference.abs().unwrap().max_all().unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 1e-6);
    }
}
