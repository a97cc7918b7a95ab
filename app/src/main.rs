//! The binary: the command line decides, the library does.

use std::process::ExitCode;

fn main() -> ExitCode {
    wordbrush::cli::run(|_file| anyhow::bail!("this build has no window yet: see --help for what it can do"))
}
