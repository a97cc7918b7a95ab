//! Replays the recorded cases of tests/fixtures/parity: each must be within its tolerance.

#[expect(dead_code, reason = "the program's own command line is not used here")]
#[path = "../examples/replay/main.rs"]
mod program;

use std::path::{Path, PathBuf};

use wordbrush_engine::low_level::Compute;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/parity")
}

#[test]
fn every_recorded_case_is_within_tolerance() {
    let compute = Compute::cpu();
    let mut replayed = 0;
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("case.json").exists() {
            continue;
        }
        let case = program::case::Case::open(&path, &compute.device).unwrap();
        let checks = program::replay(case, &compute).unwrap();
        assert!(!checks.is_empty(), "{}", path.display());
        replayed += 1;
        let failed = checks.iter().filter(|check| !check.is_good());
        failures.extend(failed.map(|check| format!("{}: {}", path.display(), check.line())));
    }
    assert!(replayed > 0, "there are no cases in {}", fixtures().display());
    assert!(failures.is_empty(), "{failures:#?}");
}
