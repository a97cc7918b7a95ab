//! A recorded case: its settings, inputs and expected tensors, and what was compared so far.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use wordbrush_engine::{
    api::Precision,
    low_level::{Compute, LoadProgress, LoadWatch, models::folder::ModelFolder, schedule::NoiseSchedule},
};

/// Relative size of a tolerance of 0 in the report's ranking.
const EXACT: f64 = 1e-12;

pub(crate) struct Case {
    directory: PathBuf,
    /// The contents of case.json.
    pub(crate) settings: Value,
    inputs: HashMap<String, Tensor>,
    expected: BTreeMap<String, Tensor>,
    checks: Vec<Check>,
    /// Share of the largest value that networks in fewer bits may be off by.
    slack: f64,
}

/// Where a replay has its masks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masks {
    /// Computed here; compared with `suggested_atol`.
    Own,
    /// Taken from the case; compared with `same_masks_suggested_atol`.
    Recorded,
}

/// One expected tensor and how near we came.
#[derive(Clone)]
pub(crate) struct Check {
    name: String,
    outcome: Outcome,
}

#[derive(Clone)]
enum Outcome {
    Compared { error: f64, tolerance: f64 },
    Shape { expected: Vec<usize>, found: Vec<usize> },
    Missing,
}

impl Check {
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.outcome, Outcome::Compared { error, tolerance } if error <= tolerance)
    }

    /// Error as a multiple of the tolerance.
    pub(crate) fn severity(&self) -> f64 {
        match self.outcome {
            Outcome::Compared { error, tolerance } if error.is_finite() => error / tolerance.max(EXACT),
            _ => f64::INFINITY,
        }
    }

    pub(crate) fn line(&self) -> String {
        match &self.outcome {
            Outcome::Compared { error, tolerance } => {
                format!("{}: error {error:.2e}, tolerance {tolerance:.2e}", self.name)
            }
            Outcome::Shape { expected, found } => {
                format!("{}: shape {found:?} where {expected:?} is expected", self.name)
            }
            Outcome::Missing => format!("{}: not computed", self.name),
        }
    }
}

impl Case {
    pub(crate) fn open(directory: &Path, device: &Device) -> Result<Self> {
        let path = directory.join("case.json");
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let load = |name: &str| {
            let path = directory.join(name);
            candle_core::safetensors::load(&path, device)
                .with_context(|| format!("reading {}", path.display()))
        };
        Ok(Self {
            directory: directory.to_owned(),
            settings: serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?,
            inputs: load("inputs.safetensors")?,
            expected: load("expected.safetensors")?.into_iter().collect(),
            checks: Vec::new(),
            slack: 0.0,
        })
    }

    pub(crate) fn kind(&self) -> Result<&str> {
        self.settings["kind"].as_str().context("case.json names no kind")
    }

    /// A path that case.json gives relative to the case's folder.
    pub(crate) fn path(&self, field: &str) -> Result<PathBuf> {
        let relative = self.settings[field]
            .as_str()
            .with_context(|| format!("case.json has no path {field:?}"))?;
        Ok(self.directory.join(relative))
    }

    /// As [`Self::path`], for a path one level down in case.json.
    pub(crate) fn path_in(&self, group: &str, field: &str) -> Result<PathBuf> {
        let relative = self.settings[group][field]
            .as_str()
            .with_context(|| format!("case.json has no path {group:?}.{field:?}"))?;
        Ok(self.directory.join(relative))
    }

    /// Opens the model folder that case.json names and reads something from it.
    pub(crate) fn with_model<T>(
        &self,
        compute: &Compute,
        read: impl FnOnce(&ModelFolder<'_>) -> Result<T>,
    ) -> Result<T> {
        with_folder(&self.path("model")?, compute, read)
    }

    /// Names of a network's batches, sorted.
    pub(crate) fn batches(&self) -> Result<Vec<String>> {
        let batches = self.settings["batches"].as_object();
        let batches = batches.context("case.json has no batches")?;
        Ok(batches
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect())
    }

    pub(crate) fn input(&self, name: &str) -> Result<&Tensor> {
        self.inputs
            .get(name)
            .with_context(|| format!("the case has no input {name:?}"))
    }

    /// An input in the number format that networks compute in.
    pub(crate) fn network_input(&self, name: &str, compute: &Compute) -> Result<Tensor> {
        Ok(self.input(name)?.to_dtype(compute.dtype())?)
    }

    pub(crate) fn has_input(&self, name: &str) -> bool {
        self.inputs.contains_key(name)
    }

    /// An expected tensor that a replay builds on instead of computing it.
    pub(crate) fn recorded(&self, name: &str) -> Option<&Tensor> {
        self.expected.get(name)
    }

    pub(crate) fn expects(&self, name: &str) -> bool {
        self.expected.contains_key(name)
    }

    /// Compares with the tolerance that the case suggests. Without one, whole numbers must be equal, and others as near
    /// as the least tolerance that cases suggest.
    pub(crate) fn check(&mut self, name: &str, found: &Tensor) -> Result<()> {
        let tolerance = match self.settings["suggested_atol"][name].as_f64() {
            Some(tolerance) => tolerance,
            None => self.least_tolerance(name)?,
        };
        self.check_within(name, found, tolerance)
    }

    /// As [`Self::check`], with the tolerance for where the masks come from.
    pub(crate) fn check_in(&mut self, name: &str, found: &Tensor, masks: Masks) -> Result<()> {
        let tolerance = match masks {
            Masks::Own => return self.check(name, found),
            Masks::Recorded => self.settings["same_masks_suggested_atol"][name].as_f64(),
        };
        match tolerance {
            Some(tolerance) => self.check_within(name, found, tolerance),
            None => self.check(name, found),
        }
    }

    /// Allows for networks in this number format.
    ///
    /// Recordings are in 32-bit floats, and several steps multiply what a rounding changes.
    pub(crate) fn allow_for(&mut self, precision: Precision) {
        self.slack = match precision {
            Precision::F32 => 0.0,
            Precision::F16 => 0.03,
            Precision::Bf16 => 0.2,
        };
    }

    /// Names of all expected tensors, sorted.
    pub(crate) fn expected_names(&self) -> Vec<String> {
        self.expected.keys().cloned().collect()
    }

    fn least_tolerance(&self, name: &str) -> Result<f64> {
        const RELATIVE: f64 = 2e-5;
        let Some(expected) = self.expected.get(name) else {
            bail!("the case expects no tensor {name:?}");
        };
        if !expected.dtype().is_float() || expected.elem_count() == 0 {
            return Ok(0.0);
        }
        let largest = expected
            .to_dtype(DType::F64)?
            .abs()?
            .max_all()?
            .to_scalar::<f64>()?;
        Ok(RELATIVE * largest.max(1.0))
    }

    /// Notes a comparison of something that is no tensor: it must be equal.
    pub(crate) fn check_equal(&mut self, name: &str, is_equal: bool) {
        self.checks.push(Check {
            name: name.to_owned(),
            outcome: Outcome::Compared {
                error: if is_equal { 0.0 } else { f64::INFINITY },
                tolerance: 0.0,
            },
        });
    }

    /// Compares with a tolerance of its own. Leading and trailing dimensions of 1 do not count.
    pub(crate) fn check_within(&mut self, name: &str, found: &Tensor, tolerance: f64) -> Result<()> {
        let Some(expected) = self.expected.get(name) else {
            bail!("the case expects no tensor {name:?}");
        };
        // What must be equal stays so.
        let tolerance = if self.slack > 0.0 && tolerance > 0.0 {
            let largest = expected
                .to_dtype(DType::F64)?
                .abs()?
                .max_all()?
                .to_scalar::<f64>()?;
            tolerance.max(self.slack * largest)
        } else {
            tolerance
        };
        let outcome = compare(expected, found, tolerance).with_context(|| format!("comparing {name}"))?;
        self.checks.push(Check {
            name: name.to_owned(),
            outcome,
        });
        Ok(())
    }

    /// As [`Self::check`], where the case expects the tensor at all.
    pub(crate) fn check_if_expected(&mut self, name: &str, found: &Tensor) -> Result<()> {
        if self.expects(name) {
            self.check(name, found)?;
        }
        Ok(())
    }

    /// As [`Self::check`], for a tensor that several parts of a case compute.
    pub(crate) fn check_once(&mut self, name: &str, found: &Tensor) -> Result<()> {
        if self.expects(name) && !self.checks.iter().any(|check| check.name == name) {
            self.check(name, found)?;
        }
        Ok(())
    }

    /// Height and width of an expected tensor.
    pub(crate) fn recorded_size(&self, name: &str) -> Result<(usize, usize)> {
        let expected = self
            .expected
            .get(name)
            .with_context(|| format!("the case expects no tensor {name:?}"))?;
        Ok((
            expected.dim(candle_core::D::Minus2)?,
            expected.dim(candle_core::D::Minus1)?,
        ))
    }

    /// The noise schedule in the scheduler's folder that case.json names.
    pub(crate) fn noise_schedule(&self, field: &str) -> Result<NoiseSchedule> {
        read_noise_schedule(&self.path(field)?)
    }

    /// The noise schedule in the folder of the model that case.json names.
    pub(crate) fn noise_schedule_of_model(&self) -> Result<NoiseSchedule> {
        read_noise_schedule(&self.path("model")?.join("scheduler"))
    }

    /// All comparisons; what the case expects and nobody computed counts as missing.
    pub(crate) fn finish(self) -> Vec<Check> {
        let mut checks = self.checks;
        for name in self.expected.keys() {
            if !checks.iter().any(|check| check.name == *name) {
                checks.push(Check {
                    name: name.clone(),
                    outcome: Outcome::Missing,
                });
            }
        }
        checks
    }
}

fn read_noise_schedule(folder: &Path) -> Result<NoiseSchedule> {
    let path = folder.join("scheduler_config.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let config: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
    let number = |name: &str| {
        config[name]
            .as_f64()
            .with_context(|| format!("{} has no {name}", path.display()))
    };
    Ok(NoiseSchedule::scaled_linear(
        number("beta_start")?,
        number("beta_end")?,
        number("num_train_timesteps")? as usize,
    ))
}

fn compare(expected: &Tensor, found: &Tensor, tolerance: f64) -> Result<Outcome> {
    let significant =
        |tensor: &Tensor| -> Vec<usize> { tensor.dims().iter().copied().filter(|&dim| dim != 1).collect() };
    if significant(expected) != significant(found) {
        return Ok(Outcome::Shape {
            expected: expected.dims().to_vec(),
            found: found.dims().to_vec(),
        });
    }
    let values = |tensor: &Tensor| -> Result<Vec<f64>> {
        Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?)
    };
    // `f64::max` passes over what is not a number, which must fail wherever it stands.
    let error = values(expected)?
        .iter()
        .zip(values(found)?)
        .map(|(a, b)| (a - b).abs())
        .map(|error| if error.is_nan() { f64::INFINITY } else { error })
        .fold(0.0, f64::max);
    Ok(Outcome::Compared { error, tolerance })
}

/// Opens a model folder and reads something from it.
pub(crate) fn with_folder<T>(
    path: &Path,
    compute: &Compute,
    read: impl FnOnce(&ModelFolder<'_>) -> Result<T>,
) -> Result<T> {
    let ignore = |_: LoadProgress<'_>| {};
    let cancel = false.into();
    let watch = LoadWatch::new(&ignore, &cancel);
    read(&ModelFolder::on_disk(path, compute, &watch))
}

/// How many steps have a number below this one, which may be a fraction; the first step's is 0.
pub(crate) fn steps_below(number: f64) -> usize {
    number.ceil() as usize
}

/// A list of whole numbers.
pub(crate) fn usizes(list: &Value) -> Result<Vec<usize>> {
    list.as_array()
        .and_then(|list| {
            list.iter()
                .map(|value| value.as_u64().map(|value| value as usize))
                .collect::<Option<Vec<usize>>>()
        })
        .with_context(|| format!("{list} is not a list of whole numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_step_is_a_step() {
        for (number, steps) in [(-1.0, 0), (0.0, 0), (0.5, 1), (1.0, 1), (1.5, 2), (3.0, 3)] {
            assert_eq!(steps_below(number), steps);
            assert_eq!((0..10).filter(|&step| number > f64::from(step)).count(), steps);
        }
    }
}
