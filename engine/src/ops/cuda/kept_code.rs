//! Machine code of kernels, kept from one start of the program to the next: compiling it takes seconds.
//!
//! An entry is a file named after everything that the code depends on. It begins with a hash of the code, so that what
//! was cut short or damaged is noticed and compiled anew. Without a folder, nothing is kept.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use candle_core::Result;
use sha2::{Digest as _, Sha256};

const HASH_BYTES: usize = 32;

/// Where the user's programs keep what can be made anew, after the XDG base directory specification.
pub(super) fn folder() -> Option<PathBuf> {
    folder_of(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

fn folder_of(cache: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let caches = cache
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".cache")))?;
    Some(caches.join("wordbrush").join("kernels"))
}

/// The name of what is compiled from all these texts.
pub(super) fn name_of(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        // With its length, so that no two lists of texts are the same bytes.
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let number = hash
        .finalize()
        .iter()
        .take(16)
        .fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
    format!("{number:032x}")
}

/// The code that is kept under a name, or else what `compile` makes, which is kept from then on.
///
/// # Errors
/// Those of `compile`. Code that cannot be read or written is no error.
pub(super) fn kept_or(
    folder: Option<&Path>,
    name: &str,
    compile: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let path = folder.map(|folder| folder.join(name));
    if let Some(code) = path.as_deref().and_then(read) {
        return Ok(code);
    }
    let code = compile()?;
    if let Some(path) = path
        && let Err(error) = write(&path, &code)
    {
        tracing::debug!("compiled kernels are not kept: {error}");
    }
    Ok(code)
}

/// What a file holds, if it is whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut code = fs::read(path).ok()?;
    if code.len() <= HASH_BYTES {
        return None;
    }
    let hash: Vec<u8> = code.drain(..HASH_BYTES).collect();
    (Sha256::digest(&code)[..] == hash[..]).then_some(code)
}

/// Under another name first, so that no other program finds half of it.
fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written =
        fs::write(&part, [&Sha256::digest(code)[..], code].concat()).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // It may never have been made.
        fs::remove_file(&part).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &[u8] = b"machine code";

    /// A compiler that works, and one that is not there.
    type Compiler = fn() -> Result<Vec<u8>>;
    const WORKING: Compiler = || Ok(CODE.to_vec());
    const MISSING: Compiler = || candle_core::bail!("there is no compiler");

    #[test]
    fn what_was_compiled_once_is_not_compiled_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("not/made/yet");
        assert_eq!(kept_or(Some(&folder), "a", WORKING).unwrap(), CODE);
        assert_eq!(kept_or(Some(&folder), "a", MISSING).unwrap(), CODE);
        assert!(kept_or(Some(&folder), "b", MISSING).is_err());
        let files: Vec<_> = fs::read_dir(&folder).unwrap().collect();
        assert_eq!(files.len(), 1);
    }

    #[test]
    fn what_is_damaged_or_cut_short_is_compiled_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        kept_or(Some(folder.path()), "a", WORKING).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[HASH_BYTES + 2] ^= 1;
        for bytes in [&changed[..], &whole[..whole.len() - 1], &whole[..HASH_BYTES], &[]] {
            fs::write(&path, bytes).unwrap();
            assert!(kept_or(Some(folder.path()), "a", MISSING).is_err());
            assert_eq!(kept_or(Some(folder.path()), "a", WORKING).unwrap(), CODE);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn without_a_folder_that_can_be_written_everything_is_compiled() {
        assert_eq!(kept_or(None, "a", WORKING).unwrap(), CODE);
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(kept_or(Some(file.path()), "a", WORKING).unwrap(), CODE);
    }

    #[test]
    fn other_texts_have_other_names() {
        let names = [name_of(&["ab", "c"]), name_of(&["a", "bc"]), name_of(&["abc"])];
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
        assert_eq!(names[0].len(), 32);
    }

    #[test]
    fn the_folder_is_the_users() {
        let path = |text: &str| Some(OsString::from(text));
        let below = |root: &str| Some(Path::new(root).join("wordbrush/kernels"));
        assert_eq!(folder_of(path("/c"), path("/home/a")), below("/c"));
        assert_eq!(folder_of(path("c"), path("/home/a")), below("/home/a/.cache"));
        assert_eq!(folder_of(None, path("/home/a")), below("/home/a/.cache"));
        assert_eq!(folder_of(path(""), path("")), None);
        assert_eq!(folder_of(None, None), None);
    }
}
