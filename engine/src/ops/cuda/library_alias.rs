//! Has a shared library that is loaded answer to another name.
//!
//! The CUDA bindings ask for `libcublas.so` before `libcublas.so.13`. Where another toolkit lies in the system's search
//! path, that name is its library, of whatever version, though the right one is loaded. The loader finds what is loaded by
//! the name that a library gives itself, and so an empty library of that name, which needs the right one, comes first.

use std::{ffi::CString, fs::File, io::Write as _, os::fd::FromRawFd as _, os::fd::IntoRawFd as _};

use super::libraries::opened;

#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(not(target_arch = "aarch64"))]
const MACHINE: u16 = 62;

/// Has `library`, which is loaded, answer to `name`, too. Whether it does.
pub(super) fn alias(name: &str, library: &str) -> bool {
    // SAFETY: the name is a string that ends with 0.
    let file = unsafe { libc::memfd_create(c"alias".as_ptr(), 0) };
    if file < 0 {
        return false;
    }
    // SAFETY: the file was opened just now, and nothing else knows of it.
    let mut file = unsafe { File::from_raw_fd(file) };
    if file.write_all(&empty_library(name, library)).is_err() {
        return false;
    }
    // It stays open: the loader takes another file of this path for the same library.
    let path = CString::new(format!("/proc/self/fd/{}", file.into_raw_fd()));
    path.is_ok_and(|path| opened(&path).is_some())
}

/// An ELF file without anything in it, that calls itself `name` and needs `library`.
fn empty_library(name: &str, library: &str) -> Vec<u8> {
    const HEADER: u64 = 64;
    const SEGMENTS: u64 = 3;
    const ENTRIES: u64 = 8;
    const DYNAMIC: u64 = HEADER + SEGMENTS * 56;
    const HASH: u64 = DYNAMIC + ENTRIES * 16;
    const SYMBOLS: u64 = HASH + 16;
    const TEXTS: u64 = SYMBOLS + 24;
    let texts = format!("\0{name}\0{library}\0");
    let size = TEXTS + texts.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // A shared library for this machine, whose segments are told behind the header.
    for half in [3, MACHINE] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1_u32.to_le_bytes());
    for long in [0, HEADER, 0_u64] {
        file.extend(long.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [HEADER as u16, 56, SEGMENTS as u16, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // What is loaded: all; where the entries are; and that the stack need not be executable.
    let (load, dynamic, stack) = (1_u32, 2_u32, 0x6474_e551_u32);
    for (kind, start, size, align) in [
        (load, 0, size, 0x1_0000),
        (dynamic, DYNAMIC, ENTRIES * 16, 8),
        (stack, 0, 0, 16_u64),
    ] {
        let readable_and_writable = 6_u32;
        file.extend(kind.to_le_bytes());
        file.extend(readable_and_writable.to_le_bytes());
        for long in [start, start, start, size, size, align] {
            file.extend(long.to_le_bytes());
        }
    }
    let (soname, needed, hash, strings, symbols, strings_size, symbol_size) = (14, 1, 4, 5, 6, 10, 11);
    for (kind, value) in [
        (soname, 1),
        (needed, 2 + name.len() as u64),
        (hash, HASH),
        (strings, TEXTS),
        (symbols, SYMBOLS),
        (strings_size, texts.len() as u64),
        (symbol_size, 24),
        (0, 0_u64),
    ] {
        file.extend(u64::to_le_bytes(kind));
        file.extend(value.to_le_bytes());
    }
    // One bucket and one symbol, which is none.
    for word in [1_u32, 1, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    file.resize(TEXTS as usize, 0);
    file.extend(texts.as_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cuda::libraries::path_of_symbol;

    #[test]
    fn a_library_answers_to_another_name() {
        const NAME: &str = "libwordbrush-test-alias.so";
        let name = CString::new(NAME).unwrap();
        assert!(opened(&name).is_none());
        assert!(opened(c"libm.so.6").is_some());
        assert!(alias(NAME, "libm.so.6"));
        let path = path_of_symbol(opened(&name).unwrap(), c"cbrtf").unwrap();
        assert!(path.file_name().unwrap().to_string_lossy().starts_with("libm"));
        // Several at once, and what is not there is no alias.
        assert!(alias("libwordbrush-test-other.so", "libc.so.6"));
        let other = opened(c"libwordbrush-test-other.so").unwrap();
        assert!(path_of_symbol(other, c"malloc").is_some());
        assert!(!alias("libwordbrush-test-third.so", "libno-such-library.so.13"));
    }
}
