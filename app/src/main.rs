//! The binary: the command line decides, the library does.

use std::process::ExitCode;

fn main() -> ExitCode {
    wordbrush::cli::run(wordbrush::window::open)
}
