//! Every kernel beside its twin, over shapes that networks use and shapes that lie across every edge.

use candle_core::{DType, Device, Result, Tensor};

use super::{
    Averaged, Convolution, End, Fields, Tables, add, attention, channels_first, convolve, cut_masks, geglu,
    group_norm, layer_norm, packed_weight, rgba, roll, stream_average, stream_noise, stream_rows,
};

/// How far a kernel is from its twin.
#[derive(Clone, Debug)]
pub struct KernelCheck {
    /// Kernel, number format and shapes.
    pub name: String,
    /// Largest difference, as a part of the largest value.
    pub error: f64,
    /// What is allowed.
    pub tolerance: f64,
}

impl KernelCheck {
    /// Whether the kernel does what its twin does.
    pub fn is_good(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// Runs every kernel on a device and its twin on the processor.
///
/// # Errors
/// If a kernel does not run at all.
pub fn check_kernels(device: &Device) -> Result<Vec<KernelCheck>> {
    cases()?
        .iter()
        .map(|case| case.check(|case| case.run_on(device)))
        .collect()
}

type Run = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// One call of one kernel.
pub(super) struct Case {
    name: String,
    dtype: DType,
    inputs: Vec<Tensor>,
    run: Run,
}

impl Case {
    /// Compares what `found` computes with the twin.
    pub(super) fn check(&self, found: impl Fn(&Self) -> Result<Tensor>) -> Result<KernelCheck> {
        let numbers = |tensor: &Tensor| -> Result<Vec<f32>> {
            tensor
                .to_device(&Device::Cpu)?
                .to_dtype(DType::F32)?
                .flatten_all()?
                .to_vec1()
        };
        let expected = numbers(&(self.run)(&self.inputs)?)?;
        let found = numbers(&found(self)?)?;
        if expected.len() != found.len() {
            candle_core::bail!(
                "{}: {} values where {} are expected",
                self.name,
                found.len(),
                expected.len()
            );
        }
        let largest = expected
            .iter()
            .fold(1e-3_f64, |largest, x| largest.max(f64::from(x.abs())));
        let difference = expected.iter().zip(&found).map(|(a, b)| f64::from((a - b).abs()));
        // Not-a-number is further away than anything.
        let difference = difference.fold(0.0, |worst, x| if x <= worst { worst } else { x });
        Ok(KernelCheck {
            name: self.name.clone(),
            error: difference / largest,
            tolerance: match self.dtype {
                DType::F16 => 2e-3,
                DType::BF16 => 1.2e-2,
                _ => 1e-5,
            },
        })
    }

    /// Runs the kernel.
    pub(super) fn run_on(&self, device: &Device) -> Result<Tensor> {
        let inputs: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|input| input.to_device(device))
            .collect::<Result<_>>()?;
        (self.run)(&inputs)
    }
}

/// Numbers without a pattern, about normally distributed around `mean`.
fn random(shape: &[usize], dtype: DType, mean: f32) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ count as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 24) as f32 - 0.5
    };
    // The sum of four even distributions.
    let values: Vec<f32> = (0..count)
        .map(|_| mean + 1.7 * (next() + next() + next() + next()))
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)
}

/// All cases, in every number format.
pub(super) fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        norms(dtype, &mut cases)?;
        gates(dtype, &mut cases)?;
        attentions(dtype, &mut cases)?;
        convolutions(dtype, &mut cases)?;
        ends(dtype, &mut cases)?;
        steps(dtype, &mut cases)?;
    }
    streams(&mut cases)?;
    Ok(cases)
}

fn norms(dtype: DType, cases: &mut Vec<Case>) -> Result<()> {
    for (shape, groups, mean, has_silu) in [
        ([2, 48, 5, 7], 16, 0.0, true),
        ([1, 20, 3, 11], 4, 3.0, false), // channels that do not fill a pack
        ([2, 320, 16, 16], 32, 1.0, true),
        ([1, 2560, 8, 8], 32, 0.0, true),
        ([1, 64, 40, 40], 32, 20.0, false), // far from 0, several spans
    ] {
        let channels = shape[1];
        cases.push(Case {
            name: format!("group_norm {dtype:?} {shape:?} in {groups} groups"),
            dtype,
            inputs: vec![
                random(&shape, dtype, mean)?,
                random(&[channels], dtype, 1.0)?,
                random(&[channels], dtype, 0.5)?,
            ],
            run: Box::new(move |x| group_norm(&x[0], groups, (&x[1], &x[2]), 1e-5, has_silu)),
        });
    }
    for shape in [[2, 9, 320], [1, 5, 37], [1, 64, 1280]] {
        cases.push(Case {
            name: format!("layer_norm {dtype:?} {shape:?}"),
            dtype,
            inputs: vec![
                random(&shape, dtype, 2.0)?,
                random(&[shape[2]], dtype, 1.0)?,
                random(&[shape[2]], dtype, 0.5)?,
            ],
            run: Box::new(|x| layer_norm(&x[0], (&x[1], &x[2]), 1e-5)),
        });
    }
    Ok(())
}

fn gates(dtype: DType, cases: &mut Vec<Case>) -> Result<()> {
    for shape in [[2, 9, 96], [1, 3, 14]] {
        cases.push(Case {
            name: format!("geglu {dtype:?} {shape:?}"),
            dtype,
            inputs: vec![random(&shape, dtype, 0.0)?, random(&[shape[2]], dtype, 0.5)?],
            run: Box::new(|x| geglu(&x[0], Some(&x[1]))),
        });
        cases.push(Case {
            name: format!("add {dtype:?} {shape:?}"),
            dtype,
            inputs: vec![
                random(&shape, dtype, 0.0)?,
                random(&[shape[2]], dtype, 0.5)?,
                random(&shape, dtype, 1.0)?,
            ],
            run: Box::new(|x| add(&add(&x[0], Some(&x[1]), None)?, None, Some(&x[2]))),
        });
    }
    Ok(())
}

fn attentions(dtype: DType, cases: &mut Vec<Case>) -> Result<()> {
    // Rows, queries, keys, heads, width of a head, causal.
    for (b, n, m, heads, width, is_causal) in [
        (2, 70, 77, 2, 40, false),
        (1, 130, 130, 3, 64, true),
        (1, 64, 64, 2, 80, false),
        (1, 100, 77, 1, 160, false),
        (1, 65, 129, 2, 32, false),
        (1, 33, 65, 1, 128, false),
        (2, 9, 9, 3, 12, true), // not a multiple of 8
        (1, 17, 40, 2, 48, false),
        (1, 150, 150, 1, 40, true),
        (1, 131, 96, 1, 8, false),
    ] {
        let wide = heads * width;
        cases.push(Case {
            name: format!(
                "attention {dtype:?} {b} x {n} to {m}, {heads} heads of {width}, causal {is_causal}"
            ),
            dtype,
            inputs: vec![
                random(&[b, n, wide], dtype, 0.0)?,
                random(&[b, m, wide], dtype, 0.1)?,
                random(&[b, m, wide], dtype, 0.5)?,
            ],
            run: Box::new(move |x| {
                let seen = attention(&x[0], (&x[1], &x[2]), heads, is_causal)?;
                seen.ok_or_else(|| candle_core::Error::msg("these heads have no kernel"))
            }),
        });
    }
    Ok(())
}

fn convolutions(dtype: DType, cases: &mut Vec<Case>) -> Result<()> {
    // Shape of the input, output channels, kernel, stride, padding before and after, size after repeating pixels.
    for (shape, out, kernel, stride, padding, size) in [
        ([2, 16, 9, 7], 24, 3, 1, (1, 1), None),
        ([1, 4, 8, 8], 72, 3, 1, (1, 1), None), // input channels that do not fill a pack
        ([1, 3, 8, 9], 5, 3, 2, (1, 1), None),
        ([1, 24, 13, 8], 130, 3, 2, (0, 1), None), // more than one column of blocks
        ([2, 40, 5, 6], 32, 3, 1, (1, 1), Some((10, 12))),
        ([1, 16, 4, 4], 8, 3, 1, (1, 1), Some((7, 7))), // repeated unevenly
        ([1, 72, 12, 12], 70, 1, 1, (0, 0), None),
        // Whole slices of input channels: a few, and so many that several blocks share them.
        ([2, 32, 9, 7], 24, 3, 1, (1, 1), None),
        ([1, 64, 13, 8], 131, 3, 2, (0, 1), None),
        ([3, 64, 9, 16], 136, 1, 1, (0, 0), None),
        ([2, 96, 5, 6], 32, 3, 1, (1, 1), Some((10, 12))),
        ([1, 64, 4, 4], 72, 3, 1, (1, 1), Some((7, 7))),
        ([1, 320, 8, 8], 64, 3, 1, (1, 1), None),
        ([1, 160, 6, 8], 130, 3, 1, (1, 1), None),
    ] {
        for (end, has_all) in [(End::Plain, false), (End::Relu, true), (End::Silu, true)] {
            let convolution = Convolution {
                kernel,
                stride,
                padding_before: padding.0,
                padding_after: padding.1,
                end,
            };
            let (height, width) = size.unwrap_or((shape[2], shape[3]));
            let side = |side: usize| (side + padding.0 + padding.1 - kernel) / stride + 1;
            let scale = 1.0 / ((shape[1] * kernel * kernel) as f64).sqrt();
            let weight = (random(&[out, shape[1], kernel, kernel], DType::F32, 0.0)? * scale)?;
            let bias: &[usize] = if has_all { &[shape[0], out] } else { &[out] };
            cases.push(Case {
                name: format!("convolve {dtype:?} {shape:?} to {out}, {convolution:?}, seen as {size:?}"),
                dtype,
                inputs: vec![
                    random(&shape, dtype, 0.0)?,
                    packed_weight(&weight.to_dtype(dtype)?)?,
                    random(bias, dtype, 0.5)?,
                    random(&[shape[0], out, side(height), side(width)], dtype, 0.0)?,
                ],
                run: Box::new(move |x| {
                    let residual = has_all.then_some(&x[3]);
                    convolve(convolution, &x[0], size, &x[1], Some(&x[2]), residual)
                }),
            });
        }
    }
    Ok(())
}

fn ends(dtype: DType, cases: &mut Vec<Case>) -> Result<()> {
    if dtype == DType::F32 {
        let shifts = Tensor::from_vec(vec![1_u32, 4, 0, 0, 5, 2], (3, 2), &Device::Cpu)?;
        cases.push(Case {
            name: "roll F32 [3, 4, 6, 5]".to_owned(),
            dtype,
            inputs: vec![random(&[3, 4, 6, 5], dtype, 0.0)?, shifts],
            run: Box::new(|x| roll(&x[0], &x[1])),
        });
    }
    for is_last in [false, true] {
        let shape = if is_last { [1, 9, 11, 3] } else { [1, 3, 9, 11] };
        cases.push(Case {
            name: format!("rgba {dtype:?} of {shape:?}"),
            dtype,
            inputs: vec![random(&shape, dtype, 0.0)?],
            run: Box::new(move |x| {
                let picture = if is_last {
                    channels_first(&x[0])?
                } else {
                    x[0].clone()
                };
                rgba(&picture, 8, 10)
            }),
        });
    }
    Ok(())
}

/// Two noise levels of three regions, and what each of their rows is: five rows behind a negative one, the first two
/// levels' rows denoised alone.
struct Step {
    /// Latents, masks, white, background, noise; then the tables of rows, of slots, divisors and shares.
    inputs: Vec<Tensor>,
}

impl Step {
    const CHANNELS: usize = 4;
    const SIZE: (usize, usize) = (6, 5);
    const ROWS: usize = 6;

    fn new() -> Result<Self> {
        let (h, w) = Self::SIZE;
        let fields = |count: usize| random(&[count, Self::CHANNELS, h, w], DType::F32, 0.0);
        let whole: [[u32; 8]; Self::ROWS] = [
            // The negative row is that of the first cell.
            [0, 0, 1, 0, 2, 4, 0, 1],
            [0, 0, 1, 0, 2, 4, 1, 1],
            [0, 0, 3, 2, 0, 0, 2, 0],
            [1, 2, 0, 4, 5, 1, 3, 0],
            [1, 2, 0, 3, 0, 2, 4, 0],
            [1, 2, 0, 5, 3, 0, 5, 0],
        ];
        let real = random(&[Self::ROWS, 8], DType::F32, 0.6)?;
        let slots: [[u32; 4]; 2] = [[0, 2, 0, 2], [2, 3, 2, 0]];
        let whole_table = |values: Vec<u32>, width: usize| {
            let rows = values.len() / width;
            Tensor::from_vec(values, (rows, width), &Device::Cpu)
        };
        let inputs = vec![
            fields(2)?,
            random(&[6, 1, h, w], DType::F32, 0.5)?,
            fields(1)?,
            fields(1)?,
            fields(3)?,
            whole_table(whole.concat(), 8)?,
            real,
            whole_table(slots.concat(), 4)?,
            random(&[2, 2], DType::F32, 0.7)?,
            random(&[3, 1, h, w], DType::F32, 6.0)?,
            random(&[3, 1, h, w], DType::F32, 0.5)?,
        ];
        Ok(Self { inputs })
    }

    fn fields(x: &[Tensor]) -> Fields<'_> {
        Fields {
            latents: &x[0],
            masks: &x[1],
            white: &x[2],
            background: &x[3],
            stock: &x[4],
        }
    }
}

/// What a step does around the denoiser, for each format of the denoiser's numbers.
fn steps(dtype: DType, cases: &mut Vec<Case>) -> Result<()> {
    let (h, w) = Step::SIZE;
    cases.push(Case {
        name: format!("stream_rows {dtype:?}"),
        dtype,
        inputs: Step::new()?.inputs,
        run: Box::new(move |x| {
            let tables = Tables {
                whole: &x[5],
                real: &x[6],
            };
            stream_rows(Step::fields(x), tables, dtype)
        }),
    });
    for (guidance, is_channels_last, has_before) in [
        (None, true, false),
        (Some((1.5, 0.8)), false, false),
        (Some((2.0, 1.0)), true, true),
    ] {
        let mut inputs = Step::new()?.inputs;
        inputs.push(random(&[Step::ROWS, h, w, Step::CHANNELS], dtype, 0.0)?);
        inputs.push(random(&[2, Step::CHANNELS, h, w], DType::F32, 0.0)?);
        cases.push(Case {
            name: format!(
                "stream_average {dtype:?}, guidance {guidance:?}, channels last {is_channels_last}, before \
                 {has_before}"
            ),
            // Everything but the prediction is in 32-bit floats, and it is the same for both.
            dtype: DType::F32,
            inputs,
            run: Box::new(move |x| {
                let predicted = channels_first(&x[11])?;
                let predicted = if is_channels_last {
                    predicted
                } else {
                    predicted.contiguous()?
                };
                // Without the negative row.
                let own = Tables {
                    whole: &x[5].narrow(0, 1, Step::ROWS - 1)?,
                    real: &x[6].narrow(0, 1, Step::ROWS - 1)?,
                };
                let averaged = Averaged {
                    predicted: &predicted,
                    slots: Tables {
                        whole: &x[7],
                        real: &x[8],
                    },
                    divisors: &x[9],
                    shares: &x[10],
                    before: has_before.then_some(&x[12]),
                    is_last: true,
                    guidance,
                };
                let whole = stream_average(Step::fields(x), own, averaged)?;
                // Calls that others follow leave the sums as they are.
                let part = Averaged {
                    is_last: false,
                    ..averaged
                };
                let part = stream_average(Step::fields(x), own, part)?;
                Tensor::cat(&[&whole, &part], 0)
            }),
        });
    }
    Ok(())
}

/// What a step does with 32-bit floats alone.
fn streams(cases: &mut Vec<Case>) -> Result<()> {
    let dtype = DType::F32;
    cases.push(Case {
        name: "stream_noise F32 [3, 4, 6, 5]".to_owned(),
        dtype,
        inputs: vec![
            random(&[3, 4, 6, 5], dtype, 0.0)?,
            random(&[4, 4, 6, 5], dtype, 0.0)?,
            Tensor::from_vec(vec![3_u32, 1, 2], 3, &Device::Cpu)?,
            random(&[3, 2], dtype, 0.5)?,
        ],
        run: Box::new(|x| stream_noise(&x[0], &x[1], &x[2], &x[3])),
    });
    for regions in [1, 3] {
        cases.push(Case {
            name: format!("stream_masks F32 of {regions} regions"),
            dtype,
            inputs: vec![
                random(&[regions, 9, 31], dtype, 0.5)?,
                Tensor::from_vec(vec![0.99_f32, 0.7, 0.7, 0.3, 0.3, 0.0], (3, 2), &Device::Cpu)?,
            ],
            run: Box::new(|x| {
                let cut = cut_masks(&x[0], &x[1], &[false, true, false])?;
                Tensor::cat(&[&cut.masks, &cut.divisors, &cut.shares], 0)
            }),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn;

    #[test]
    fn twins_are_what_candle_computes() {
        // The twins of everything that candle has too, in 32-bit floats.
        let largest = |a: &Tensor, b: &Tensor| -> f32 {
            let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            difference.to_scalar().unwrap()
        };
        let of = |shape: &[usize]| random(shape, DType::F32, 0.5).unwrap();
        let x = of(&[2, 24, 9, 7]);
        let weight = of(&[10, 24, 3, 3]);
        let convolution = Convolution {
            kernel: 3,
            stride: 2,
            padding_before: 1,
            padding_after: 1,
            end: End::Relu,
        };
        let bias = of(&[10]);
        let packed = packed_weight(&weight).unwrap();
        let found = convolve(convolution, &x, None, &packed, Some(&bias), None).unwrap();
        let expected = x.conv2d(&weight, 1, 2, 1, 1).unwrap();
        let expected = expected
            .broadcast_add(&bias.reshape((1, 10, 1, 1)).unwrap())
            .unwrap();
        assert!(largest(&found, &expected.relu().unwrap()) < 1e-3);

        let (q, k, v) = (of(&[2, 9, 24]), of(&[2, 13, 24]), of(&[2, 13, 24]));
        let found = attention(&q, (&k, &v), 3, false).unwrap().unwrap();
        let expected = nn::attend(&q, &k, &v, 3, nn::AttentionMask::None, false).unwrap();
        assert!(largest(&found, &expected) < 1e-5);

        let token = of(&[2, 5, 24]);
        let halves = token.chunk(2, 2).unwrap();
        let gate = halves[1].contiguous().unwrap().gelu_erf().unwrap();
        let expected = (&halves[0] * gate).unwrap();
        assert!(largest(&geglu(&token, None).unwrap(), &expected) < 1e-5);
    }
}
