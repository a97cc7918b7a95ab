//! Replays recorded parity cases and compares every tensor with what the reference gave.
//!
//! ```text
//! cargo run --release -p wordbrush-engine --example replay -- CASE_DIR...
//! ```
//!
//! One line per case: the tensor that comes nearest to its tolerance, or exceeds it most; on a card, what it ran in the
//! end. The exit code is 1 if a tensor
//! is over its tolerance or was not computed, or if a case cannot be replayed.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is what this program is for"
)]

pub(crate) mod case;
mod centering;
mod image_prep;
mod masks;
mod networks;
mod scheduler;
mod single;
mod single_file;
mod stream;
mod text;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use wordbrush_engine::{
    api::{DeviceChoice, Precision},
    card_state,
    low_level::{Compute, traits::SamplerKind},
};

use case::{Case, Check};

/// Replays parity cases; fails if any tensor is over its tolerance or missing.
#[derive(Parser)]
pub(crate) struct Options {
    /// Case folders (each with a case.json).
    #[arg(required = true)]
    cases: Vec<PathBuf>,
    /// Where to compute.
    #[arg(long, value_enum, default_value_t = DeviceName::Cpu)]
    device: DeviceName,
    /// Number format of the networks.
    #[arg(long, value_enum, default_value_t = TypeName::F32)]
    dtype: TypeName,
    /// List every tensor, not only the worst.
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum DeviceName {
    Cpu,
    Cuda,
}

#[derive(Clone, Copy, ValueEnum)]
enum TypeName {
    F32,
    F16,
    Bf16,
}

impl Options {
    /// Where and in which number format cases are replayed.
    fn compute(&self) -> Result<Compute> {
        let device = match self.device {
            DeviceName::Cpu => DeviceChoice::Cpu,
            DeviceName::Cuda => DeviceChoice::Cuda(0),
        };
        let precision = match self.dtype {
            TypeName::F32 => Precision::F32,
            TypeName::F16 => Precision::F16,
            TypeName::Bf16 => Precision::Bf16,
        };
        Ok(Compute::choose(device, Some(precision))?)
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let options = Options::parse();
    let compute = match options.compute() {
        Ok(compute) => compute,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for path in &options.cases {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        match guarded(|| Case::open(path, &compute.device).and_then(|case| replay(case, &compute))) {
            Ok(checks) => {
                let is_good = report(&name, &checks, options.verbose);
                failed += u32::from(!is_good);
            }
            Err(error) => {
                println!("FAILED  {name}: {error:#}");
                failed += 1;
            }
        }
    }
    println!(
        "{} of {} cases replay within tolerance",
        options.cases.len() - failed as usize,
        options.cases.len()
    );
    if let Some(state) = card_state() {
        println!("{state}");
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Replays a case, whose panic is a failure of its own and does not keep others from being replayed.
fn guarded<T>(replay: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(replay)).unwrap_or_else(|panic| bail!("a panic: {}", panic_text(&*panic)))
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown reason")
}

/// Computes everything that a case expects and compares it.
pub(crate) fn replay(mut case: Case, compute: &Compute) -> Result<Vec<Check>> {
    case.allow_for(compute.precision);
    let kind = case.kind()?.to_owned();
    match kind.as_str() {
        "lcm-scheduler" => scheduler::replay(&mut case)?,
        "masks" => masks::replay(&mut case)?,
        "image-prep" => image_prep::replay(&mut case)?,
        "centering" => centering::replay(&mut case)?,
        "tokenizer" => text::tokenizer(&mut case, compute)?,
        "text-encoder" => text::encoders(&mut case, compute)?,
        "unet" => networks::unet(&mut case, compute)?,
        "vae-tiny" => networks::tiny_codec(&mut case, compute)?,
        "single-file" => single_file::replay(&mut case, compute)?,
        "vae-kl" => networks::kl_codec(&mut case, compute)?,
        "single-call" | "single-__call__" => single::call(&mut case, compute, SamplerKind::Lcm)?,
        "single-xl-call" => single::call(&mut case, compute, SamplerKind::EulerTrailing)?,
        "single-sample" => single::sample(&mut case, compute)?,
        "single-sample_panorama" => single::panorama(&mut case, compute)?,
        "stream" => stream::replay(&mut case, SamplerKind::Lcm, compute)?,
        "stream-xl" => stream::replay(&mut case, SamplerKind::EulerTrailing, compute)?,
        _ => bail!("cases of kind {kind:?} are unknown"),
    }
    Ok(case.finish())
}

/// Prints a case's line and says whether everything is within tolerance.
fn report(name: &str, checks: &[Check], is_verbose: bool) -> bool {
    let is_good = checks.iter().all(Check::is_good);
    if is_verbose {
        for check in checks {
            println!("        {}", check.line());
        }
    }
    let worst = checks.iter().max_by(|a, b| a.severity().total_cmp(&b.severity()));
    let verdict = if is_good { "ok    " } else { "FAILED" };
    let worst = worst.map_or_else(|| "nothing to compare".to_owned(), Check::line);
    println!("{verdict}  {name}: {} tensors, worst {worst}", checks.len());
    is_good && !checks.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_panics_is_a_failure_that_says_why() {
        let failure = guarded(|| -> Result<()> { panic!("no {}", "layers") }).unwrap_err();
        assert_eq!(failure.to_string(), "a panic: no layers");
        let failure = guarded(|| -> Result<()> { bail!("no masks") }).unwrap_err();
        assert_eq!(failure.to_string(), "no masks");
        assert_eq!(guarded(|| Ok(3)).unwrap(), 3);
    }
}
