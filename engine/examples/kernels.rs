//! Checks every CUDA kernel against its plain twin on the card.
//!
//! ```text
//! cargo run --release -p wordbrush-engine --features cuda,cudnn --example kernels
//! ```
//!
//! Needs a card; the same checks run without one in a test, where a C++ compiler makes the kernels for the processor.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is what this program is for"
)]

use std::process::ExitCode;

use wordbrush_engine::{
    api::{DeviceChoice, Precision},
    low_level::{Compute, ops::check_kernels},
};

fn main() -> ExitCode {
    let compute = match Compute::choose(DeviceChoice::Cuda(0), Some(Precision::F16)) {
        Ok(compute) => compute,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", compute.name);
    let checks = match check_kernels(&compute.device) {
        Ok(checks) => checks,
        Err(error) => {
            eprintln!("a kernel does not run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut failed = 0;
    for check in &checks {
        let verdict = if check.is_good() { "ok    " } else { "FAILED" };
        failed += usize::from(!check.is_good());
        println!(
            "{verdict}  {:.1e} of {:.1e}  {}",
            check.error, check.tolerance, check.name
        );
    }
    println!(
        "{} of {} kernel calls are right",
        checks.len() - failed,
        checks.len()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
