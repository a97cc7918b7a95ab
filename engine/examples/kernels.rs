//! Checks every CUDA kernel against its plain twin on the card.
//!
//! ```text
//! cargo run --release -p wordbrush-engine --features cuda,cudnn --example kernels
//! ```
//!
//! Needs a card; the same checks run without one in a test, where a C++ compiler makes the kernels for the processor.
//! `kernels card` opens the card and tells its name, and whether it runs these kernels. `kernels compile 9.0` compiles them for a capability and needs no card, only NVIDIA's run-time compiler (NVRTC).
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is what this program is for"
)]

use std::process::ExitCode;

use wordbrush_engine::{
    api::{DeviceChoice, Precision},
    card_state,
    low_level::{
        Compute,
        ops::{check_kernels, compile_kernels},
    },
};

/// Compiles all kernels for a capability such as 9.0.
fn compile(capability: &str) -> ExitCode {
    let numbers = capability.split_once('.').and_then(|(major, minor)| {
        let numbers: (i32, i32) = (major.parse().ok()?, minor.parse().ok()?);
        Some(numbers)
    });
    let Some(capability) = numbers else {
        eprintln!("a capability is written 9.0");
        return ExitCode::FAILURE;
    };
    match compile_kernels(capability) {
        Ok(parts) => {
            for (part, bytes) in parts {
                println!("{part:<8} {bytes:>8} bytes for {capability:?}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => check(),
        [word] if word == "card" => card().map_or_else(|code| code, |_| ExitCode::SUCCESS),
        [word, capability] if word == "compile" => compile(capability),
        _ => {
            eprintln!("kernels, kernels card, or kernels compile 9.0");
            ExitCode::from(2)
        }
    }
}

/// Opens the card and tells its name and what it runs.
fn card() -> Result<Compute, ExitCode> {
    match Compute::choose(DeviceChoice::Cuda(0), Some(Precision::F16)) {
        Ok(compute) => {
            println!("{}", compute.name);
            if let Some(state) = card_state() {
                println!("{state}");
            }
            Ok(compute)
        }
        Err(error) => {
            eprintln!("{error}");
            Err(ExitCode::FAILURE)
        }
    }
}

fn check() -> ExitCode {
    let compute = match card() {
        Ok(compute) => compute,
        Err(code) => return code,
    };
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
