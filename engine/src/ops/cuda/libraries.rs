//! Finds NVIDIA's libraries where the system's loader does not look: beside a toolkit, or in an installed PyTorch.
//!
//! A library that is loaded once by its path answers later requests by name, which is how the CUDA bindings ask.

use std::{
    ffi::CString,
    path::{Path, PathBuf},
};

/// Libraries by the start of their file names, those that others need first.
const LIBRARIES: [(&str, &str); 6] = [
    ("libcuda.so", "libcuda.so.1"),
    ("libcublasLt.so", "libcublasLt.so.13"),
    ("libcublas.so", "libcublas.so.13"),
    ("libcurand.so", "libcurand.so.10"),
    ("libnvrtc-builtins.so", "libnvrtc-builtins.so.13.0"),
    ("libnvrtc.so", "libnvrtc.so.13"),
];
const CUDNN: (&str, &str) = ("libcudnn.so", "libcudnn.so.9");

/// What can be loaded here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Libraries {
    /// Libraries without which nothing runs.
    pub(super) missing: Vec<&'static str>,
    /// Whether kernels can be compiled.
    pub(super) has_compiler: bool,
    /// Whether there is cuDNN.
    pub(super) has_cudnn: bool,
}

/// Loads what there is.
pub(super) fn load() -> Libraries {
    let mut folders = None;
    let mut find = |(stem, name): (&str, &str)| {
        is_loadable(Path::new(name))
            || folders
                .get_or_insert_with(folders_to_search)
                .iter()
                .flat_map(|folder| files_of(folder, stem))
                .any(|path| is_loadable(&path))
    };
    let mut found = Libraries {
        has_cudnn: find(CUDNN),
        has_compiler: true,
        missing: Vec::new(),
    };
    for library in LIBRARIES {
        if find(library) {
            continue;
        }
        if library.0.starts_with("libnvrtc") {
            found.has_compiler = false;
        } else {
            found.missing.push(library.1);
        }
    }
    found
}

/// Folders in the order in which they are tried.
fn folders_to_search() -> Vec<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let mut folders: Vec<PathBuf> = std::env::var_os("WORDBRUSH_CUDA_LIBRARIES")
        .map(|folders| std::env::split_paths(&folders).collect())
        .unwrap_or_default();
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(named);
    for toolkit in toolkits.chain(["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from)) {
        folders.push(toolkit.join("lib64"));
        folders.push(toolkit.join("lib"));
    }
    // Where the driver lies under Windows, and in containers.
    for driver in [
        "/usr/lib/wsl/lib",
        "/usr/local/nvidia/lib64",
        "/usr/local/nvidia/lib",
    ] {
        folders.push(PathBuf::from(driver));
    }
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(named);
    let on_path = std::env::var_os("PATH").map(|path| prefixes_of_pythons(std::env::split_paths(&path)));
    let local = named("HOME").map(|home| home.join(".local"));
    let here = [".venv", "venv", "/usr/local", "/usr"].map(PathBuf::from);
    for prefix in environments
        .chain(on_path.into_iter().flatten())
        .chain(local)
        .chain(here)
    {
        folders.extend(folders_of_wheels(&prefix));
    }
    folders
}

/// The environments whose Python is found on a path: `python3` lies in their folder `bin`.
fn prefixes_of_pythons(path: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    path.filter(|folder| folder.join("python3").exists())
        .filter_map(|folder| folder.parent().map(Path::to_owned))
        .collect()
}

/// The folders of NVIDIA's wheels in a Python environment: one for each library before CUDA 13, and one for most of them
/// since.
fn folders_of_wheels(prefix: &Path) -> Vec<PathBuf> {
    let mut packages = Vec::new();
    for python in children(&prefix.join("lib"), "python3") {
        packages.push(python.join("site-packages"));
        packages.push(python.join("dist-packages"));
    }
    let parts = packages
        .iter()
        .flat_map(|packages| children(&packages.join("nvidia"), ""));
    parts.map(|part| part.join("lib")).collect()
}

/// What lies in a folder and begins with `start`, sorted.
fn children(folder: &Path, start: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Files of a library in a folder, whatever their version.
fn files_of(folder: &Path, stem: &str) -> Vec<PathBuf> {
    children(folder, stem)
        .into_iter()
        .filter(|path| !path.to_string_lossy().contains(".alt."))
        .collect()
}

/// Loads a library for good. Whether that worked.
fn is_loadable(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return false;
    };
    // SAFETY: the path is a string that ends with 0; NVIDIA's libraries may be loaded at any time from any thread.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) };
    !handle.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_said_to_be_missing() {
        assert!(!is_loadable(Path::new("libno-such-library.so.13")));
        assert!(is_loadable(Path::new("libc.so.6")));
    }

    #[test]
    fn the_wheels_of_a_python_on_the_path_are_searched() {
        let environment = tempfile::tempdir().unwrap();
        let wheels = environment.path().join("lib/python3.12/site-packages/nvidia");
        for folder in [wheels.join("cu13/lib"), environment.path().join("bin")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let path = || [PathBuf::from("/no/such/folder"), environment.path().join("bin")].into_iter();
        assert!(prefixes_of_pythons(path()).is_empty());
        std::fs::write(environment.path().join("bin/python3"), "").unwrap();
        let found: Vec<PathBuf> = prefixes_of_pythons(path())
            .iter()
            .flat_map(|prefix| folders_of_wheels(prefix))
            .collect();
        assert_eq!(found, [wheels.join("cu13/lib")]);
    }

    #[test]
    fn every_version_of_a_library_is_found_but_no_other_library() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "libcublas.so.13",
            "libcublasLt.so.13",
            "libnvrtc.alt.so.13",
            "libnvrtc.so.13",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = |stem| {
            let files = files_of(folder.path(), stem);
            files.len()
        };
        assert_eq!(
            [found("libcublas.so"), found("libnvrtc.so"), found("libcurand.so")],
            [1, 1, 0]
        );
    }
}
