//! Attention without a matrix of scores.

use candle_core::{DType, Result, Shape, Tensor};

use super::operation::{
    Argument::{Input, Output, Real, Whole},
    Launch, Operation, Plan, run,
};

/// Widths of heads that have a kernel of their own, with its name and the queries of a block. Narrower heads take the next
/// one.
const WIDTHS: [(usize, &str, usize); 6] = [
    (32, "attention_32", 128),
    (40, "attention_40", 128),
    (64, "attention_64", 128),
    (80, "attention_80", 128),
    (128, "attention_128", 64),
    (160, "attention_160", 64),
];
/// Widest head of the kernel for all others. It could do up to 512 channels, but each of its threads reads a key alone.
const MOST_ANY: usize = 160;
/// Queries of one of its blocks.
const QUERIES_ANY: usize = 4;

struct Attention {
    rows: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    width: usize,
    is_causal: bool,
}

/// `softmax(q k^T / sqrt(d)) v`; `None` if heads are so wide that matrix products are better.
///
/// # Shapes
/// - `q`: `[b, n, g * d]`
/// - `k`, `v`: `[b, m, g * d]`
/// - returns `[b, n, g * d]`
///
/// # Errors
/// If a tensor operation fails.
pub(crate) fn attention(
    q: &Tensor,
    (k, v): (&Tensor, &Tensor),
    heads: usize,
    is_causal: bool,
) -> Result<Option<Tensor>> {
    let (rows, queries, width) = q.dims3()?;
    let operation = Attention {
        rows,
        queries,
        keys: k.dim(1)?,
        heads,
        width: width / heads,
        is_causal,
    };
    let is_possible = if q.dtype() == DType::F32 {
        operation.width <= MOST_ANY
    } else {
        operation.kernel().is_some() || operation.width <= 64
    };
    is_possible
        .then(|| run(operation, &[Some(q), Some(k), Some(v)]))
        .transpose()
}

impl Attention {
    /// The kernel with matrix instructions for these heads, and the queries of a block.
    fn kernel(&self) -> Option<(&'static str, usize)> {
        let &(_, kernel, queries) = WIDTHS.iter().find(|(width, ..)| self.width <= *width)?;
        self.width.is_multiple_of(8).then_some((kernel, queries))
    }
}

impl Operation for Attention {
    const NAME: &'static str = "attention";

    fn shape(&self) -> Shape {
        (self.rows, self.queries, self.heads * self.width).into()
    }

    fn plan(&self, dtype: DType) -> Plan {
        let (kernel, queries, threads) = match self.kernel() {
            Some((kernel, queries)) if dtype != DType::F32 => (kernel, queries, 128),
            _ => ("attention_any", QUERIES_ANY, QUERIES_ANY * 32),
        };
        let launch = Launch {
            kernel,
            grid: [self.queries.div_ceil(queries), self.heads, self.rows],
            threads,
            shared_bytes: 0,
            arguments: vec![
                Input(0),
                Input(1),
                Input(2),
                Output,
                Whole(self.queries),
                Whole(self.keys),
                Whole(self.width),
                Whole(self.heads),
                Real(1.0 / (self.width as f32).sqrt()),
                Whole(self.is_causal.into()),
            ],
        };
        launch.into()
    }

    fn twin(&self, inputs: &[Option<Vec<f32>>]) -> Vec<f32> {
        let [Some(q), Some(k), Some(v)] = inputs else {
            return Vec::new();
        };
        let stride = self.heads * self.width;
        let scale = 1.0 / (self.width as f32).sqrt();
        let mut out = vec![0.0; q.len()];
        for row in 0..self.rows {
            for query in 0..self.queries {
                for head in 0..self.heads {
                    let of = |x: &[f32], token: usize| -> std::ops::Range<usize> {
                        let start = token * stride + head * self.width;
                        debug_assert!(start + self.width <= x.len());
                        start..start + self.width
                    };
                    let at = of(q, row * self.queries + query);
                    let seen = if self.is_causal {
                        self.keys.min(query + 1)
                    } else {
                        self.keys
                    };
                    let scores: Vec<f32> = (0..seen)
                        .map(|key| {
                            let key = &k[of(k, row * self.keys + key)];
                            q[at.clone()].iter().zip(key).map(|(a, b)| a * b).sum::<f32>() * scale
                        })
                        .collect();
                    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let weights: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
                    let sum: f32 = weights.iter().sum();
                    for (key, weight) in weights.iter().enumerate() {
                        let value = &v[of(v, row * self.keys + key)];
                        for (out, value) in out[at.clone()].iter_mut().zip(value) {
                            *out += weight / sum * value;
                        }
                    }
                }
            }
        }
        out
    }
}
