//! Finds NVIDIA's libraries where the system's loader does not look: beside a toolkit, or in an installed PyTorch.
//!
//! A library that is loaded once by its path answers later requests by name, which is how the CUDA bindings ask. Only the
//! versions that they are made for are taken, though others may lie in the same places.

use std::{
    ffi::{CStr, CString, c_void},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::LazyLock,
};

#[cfg(target_os = "linux")]
use super::library_alias::alias;

/// Elsewhere a library has one name.
#[cfg(not(target_os = "linux"))]
fn alias(_name: &str, _library: &str) -> bool {
    false
}

/// A library of the version that the bindings are made for.
#[derive(Clone, Copy)]
struct Library {
    /// Its name with this version; a file's may go on with a smaller one.
    name: &'static str,
    /// A function of it.
    symbol: &'static CStr,
}

const fn library(name: &'static str, symbol: &'static CStr) -> Library {
    Library { name, symbol }
}

/// Those without which nothing runs, those that others need first.
const NEEDED: [Library; 4] = [
    library("libcuda.so.1", c"cuInit"),
    library("libcublasLt.so.13", c"cublasLtCreate"),
    library("libcublas.so.13", c"cublasCreate_v2"),
    library("libcurand.so.10", c"curandCreateGenerator"),
];
/// What the compiler loads when it compiles, without looking where we do.
const BUILTINS: &str = "libnvrtc-builtins.so.13";
const COMPILER: Library = library("libnvrtc.so.13", c"nvrtcVersion");
const CUDNN: Library = library("libcudnn.so.9", c"cudnnCreate");

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

/// Loads what there is, once: what is loaded stays, and so do the names that it answers to.
pub(super) fn load() -> &'static Libraries {
    static FOUND: LazyLock<Libraries> = LazyLock::new(load_all);
    &FOUND
}

fn load_all() -> Libraries {
    let mut folders = None;
    let mut find = |name: &'static str| {
        is_loadable(Path::new(name))
            || folders
                .get_or_insert_with(folders_to_search)
                .iter()
                .flat_map(|folder| files_of(folder, name))
                .any(|path| is_loadable(&path))
    };
    let mut find_and_name = |library: Library| find(library.name) && answers_to_its_name(library);
    let has_cudnn = find_and_name(CUDNN);
    let missing = NEEDED.into_iter().filter(|&library| !find_and_name(library));
    let missing = missing.map(|library| library.name).collect();
    // Where it finds them itself, they need not be found here.
    find(BUILTINS);
    let has_compiler = find(COMPILER.name) && answers_to_its_name(COMPILER);
    Libraries {
        missing,
        has_compiler,
        has_cudnn,
    }
}

/// Has the bindings find a library that is loaded: they ask for it without a version first. Whether they do.
fn answers_to_its_name(Library { name, symbol }: Library) -> bool {
    let asked = &name[..name.find(".so").map_or(name.len(), |end| end + 3)];
    if !alias(asked, name) {
        tracing::debug!("{name} may not answer to {asked}");
    }
    let path = [asked, name]
        .into_iter()
        .filter_map(|name| CString::new(name).ok())
        .find_map(|name| path_of_symbol(opened(&name)?, symbol));
    let Some(path) = path else {
        tracing::warn!("{name} lacks functions that it should have");
        return false;
    };
    tracing::info!("{name} is {}", path.display());
    let is_other = is_another_version(&path, asked, name)
        && path
            .canonicalize()
            .is_ok_and(|path| is_another_version(&path, asked, name));
    if is_other {
        tracing::warn!(
            "{asked} is found at {} rather than {name}: name the folder of that in LD_LIBRARY_PATH",
            path.display()
        );
    }
    !is_other
}

/// Whether a file is the library that is asked for, of another version than its name says. The driver's is numbered after
/// the driver.
fn is_another_version(path: &Path, asked: &str, name: &str) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    asked != "libcuda.so" && file.starts_with(asked) && !is_version_of(path, name)
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

/// Files of a library in a folder, of the version that its name says.
fn files_of(folder: &Path, name: &str) -> Vec<PathBuf> {
    children(folder, name)
        .into_iter()
        .filter(|path| is_version_of(path, name))
        .collect()
}

/// Whether a file is what its name says: `libcuda.so.13` is not `libcuda.so.1`, but `libcuda.so.1.2` is.
fn is_version_of(path: &Path, name: &str) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let rest = file.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Loads a library for good. Whether that worked.
fn is_loadable(path: &Path) -> bool {
    CString::new(path.as_os_str().as_encoded_bytes()).is_ok_and(|path| opened(&path).is_some())
}

/// A library by its path or name, loaded for good.
pub(super) fn opened(path: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the path is a string that ends with 0; NVIDIA's libraries may be loaded at any time from any thread.
    NonNull::new(unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) })
}

/// The file that a function of a library, or of one that it needs, comes from.
pub(super) fn path_of_symbol(library: NonNull<c_void>, symbol: &CStr) -> Option<PathBuf> {
    // SAFETY: the library stays loaded, and the name is a string that ends with 0.
    let at = NonNull::new(unsafe { libc::dlsym(library.as_ptr(), symbol.as_ptr()) })?;
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: it writes what it finds into `found`, which may be all zeros.
    let found = unsafe {
        let is_found = libc::dladdr(at.as_ptr(), found.as_mut_ptr()) != 0;
        is_found.then(|| found.assume_init())?
    };
    if found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's name of the file lives as long as the library.
    let path = unsafe { CStr::from_ptr(found.dli_fname) };
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(path.to_bytes())))
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
    fn only_the_versions_that_are_expected_are_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "libcublas.so",
            "libcublas.so.12",
            "libcublas.so.13",
            "libcublas.so.13.4.1",
            "libcublas.so.130",
            "libcublasLt.so.13",
            "libnvrtc.alt.so.13",
            "libnvrtc.so.13",
            "libnvrtc-builtins.so.12.9",
            "libnvrtc-builtins.so.13.2",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = |name| -> Vec<String> {
            let files = files_of(folder.path(), name);
            let names = files
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy());
            names.map(String::from).collect()
        };
        assert_eq!(
            found("libcublas.so.13"),
            ["libcublas.so.13", "libcublas.so.13.4.1"]
        );
        assert_eq!(found("libnvrtc.so.13"), ["libnvrtc.so.13"]);
        assert_eq!(found(BUILTINS), ["libnvrtc-builtins.so.13.2"]);
        assert!(found("libcurand.so.10").is_empty());
        let is_other = |file: &str| is_another_version(Path::new(file), "libcublas.so", "libcublas.so.13");
        assert!(is_other("/x/libcublas.so.12.9") && is_other("libcublas.so"));
        assert!(!is_other("/x/libcublas.so.13") && !is_other("/x/libprofiler.so"));
    }
}
