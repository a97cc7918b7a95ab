//! One safetensors file: its header checked, its tensors read on demand.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16, slice::HalfFloatSliceExt as _};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorInfo};
use sha2::{Digest as _, Sha256};

use super::mapped::MappedFile;
use crate::{Error, Result, error::Doing as _};

/// Values that one task converts; a stack buffer of halves has this length.
const CHUNK: usize = 4096;

/// Bytes of each tensor that tell a file from others.
const SAMPLED_BYTES: usize = 64;

#[derive(Debug)]
enum Bytes {
    Mapped(MappedFile),
    Read(Vec<u8>),
    Embedded(&'static [u8]),
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file.as_ref(),
            Self::Read(bytes) => bytes,
            Self::Embedded(bytes) => bytes,
        }
    }
}

/// A safetensors file whose header is valid: every tensor lies inside the file, none overlaps another, and each has
/// the length that its shape says.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    data_start: usize,
    tensors: BTreeMap<String, TensorInfo>,
    notes: BTreeMap<String, String>,
}

impl TensorFile {
    /// Maps a file.
    ///
    /// # Errors
    /// If it cannot be read, or is no valid safetensors file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        refuse_pickle(path)?;
        Self::new(path.to_owned(), Bytes::Mapped(MappedFile::open(path)?))
    }

    /// The same with all bytes in memory, so that it does not matter what becomes of the file.
    ///
    /// # Errors
    /// If the file was changed since it was opened.
    pub(crate) fn into_memory(mut self) -> Result<Self> {
        if let Bytes::Mapped(file) = &self.bytes {
            self.check_unchanged()?;
            self.bytes = Bytes::Read(file.as_ref().to_vec());
        }
        Ok(self)
    }

    /// Takes bytes that are part of the program; `name` stands in messages.
    ///
    /// # Errors
    /// If they are no valid safetensors file.
    pub(crate) fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::new(PathBuf::from(name), Bytes::Embedded(bytes))
    }

    fn new(path: PathBuf, bytes: Bytes) -> Result<Self> {
        let (header_length, header) = SafeTensors::read_metadata(bytes.as_ref())
            .map_err(|error| invalid(&path, describe(&error, bytes.as_ref())))?;
        let notes = header.metadata().iter().flatten();
        Ok(Self {
            notes: notes.map(|(key, value)| (key.clone(), value.clone())).collect(),
            tensors: header
                .tensors()
                .into_iter()
                .map(|(name, info)| (name, info.clone()))
                .collect(),
            data_start: header_length + size_of::<u64>(),
            path,
            bytes,
        })
    }

    /// # Errors
    /// If another program changed the file since it was opened: its header does not tell any more what is where.
    fn check_unchanged(&self) -> Result<()> {
        match &self.bytes {
            Bytes::Mapped(file) if !file.is_unchanged() => Err(invalid(
                &self.path,
                "another program changed it while it was in use: load the model again".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Where it came from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Names and shapes, by name.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors
            .iter()
            .map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// What the file's maker wrote into its header.
    pub(crate) fn note(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    /// Bytes that a tensor takes in the file.
    pub(crate) fn stored_bytes(&self, name: &str) -> u64 {
        self.tensors
            .get(name)
            .map_or(0, |info| (info.data_offsets.1 - info.data_offsets.0) as u64)
    }

    /// Adds what tells this file from others to a digest, without reading gigabytes: its header, its length, and the
    /// first bytes of every tensor. Models of one family differ in nothing else.
    pub(crate) fn digest_sample(&self, digest: &mut Sha256) {
        let bytes = self.bytes.as_ref();
        digest.update(&bytes[..self.data_start]);
        digest.update((bytes.len() as u64).to_le_bytes());
        for info in self.tensors.values() {
            let (start, end) = info.data_offsets;
            let end = end.min(start + SAMPLED_BYTES);
            digest.update(&bytes[self.data_start..][start..end]);
        }
    }

    /// Reads a tensor.
    ///
    /// # Errors
    /// [`Error::InvalidFile`] if the file was changed since it was opened, [`Error::Weight`] if the tensor is missing, of
    /// a number format that no checkpoint should have, or holds a value that is not finite.
    pub(crate) fn read(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let broken = |reason: String| Error::Weight {
            name: name.to_owned(),
            reason,
        };
        let info = self
            .tensors
            .get(name)
            .ok_or_else(|| broken(format!("it is missing from {}", self.path.display())))?;
        self.check_unchanged()?;
        let bytes = &self.bytes.as_ref()[self.data_start..][info.data_offsets.0..info.data_offsets.1];
        let shape = info.shape.as_slice();
        let cpu = &Device::Cpu;
        let (tensor, is_finite) = match (info.dtype, dtype) {
            (Dtype::F16, DType::F16) => {
                let values: Vec<f16> = halves(bytes).map(f16::from_bits).collect();
                let is_finite = values.par_iter().all(|value| value.is_finite());
                (Tensor::from_vec(values, shape, cpu), is_finite)
            }
            (Dtype::BF16, DType::BF16) => {
                let values: Vec<bf16> = halves(bytes).map(bf16::from_bits).collect();
                let is_finite = values.par_iter().all(|value| value.is_finite());
                (Tensor::from_vec(values, shape, cpu), is_finite)
            }
            (stored, _) => {
                let values = floats(bytes, stored).ok_or_else(|| {
                    broken(format!(
                        "its number format {stored} is not supported: use a checkpoint in F32, F16 or BF16"
                    ))
                })?;
                let is_finite = values
                    .par_chunks(CHUNK)
                    .all(|chunk| chunk.iter().fold(true, |all, value| all & value.is_finite()));
                let tensor = Tensor::from_vec(values, shape, cpu);
                (tensor.and_then(|tensor| tensor.to_dtype(dtype)), is_finite)
            }
        };
        if !is_finite {
            return Err(broken(format!(
                "{} is damaged: it holds values that are not numbers (NaN or infinite). Download the model again",
                self.path.display()
            )));
        }
        tensor
            .and_then(|tensor| tensor.to_device(device))
            .doing("reading weights")
    }
}

fn invalid(path: &Path, reason: String) -> Error {
    Error::InvalidFile {
        path: path.to_owned(),
        reason,
    }
}

/// Says what is wrong with a file in words that tell what to do.
fn describe(error: &SafeTensorError, bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(64)];
    if start.starts_with(b"PK") || start.starts_with(b"\x80") {
        return "it is a Python pickle under another name, which could run any program when it is opened: get the model as .safetensors".to_owned();
    }
    if start.starts_with(b"version https://git-lfs") {
        return "it is a Git LFS pointer, not the weights themselves: download the file it stands for"
            .to_owned();
    }
    if start.trim_ascii_start().starts_with(b"<") {
        return "it is a web page, probably a login or an error: download the file again".to_owned();
    }
    match error {
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => {
            "its length is not what its header says; the download was probably cut short: download it again"
                .to_owned()
        }
        SafeTensorError::HeaderTooLarge => {
            "it is no safetensors file (its header would be larger than any model's)".to_owned()
        }
        other => format!("it is no valid safetensors file ({other})"),
    }
}

/// Refuses formats that run code when they are opened.
///
/// # Errors
/// [`Error::InvalidFile`] that says why and what to do.
pub(crate) fn refuse_pickle(path: &Path) -> Result<()> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "ckpt" | "pt" | "pth" | "bin" | "pkl" => Err(invalid(
            path,
            format!(
                ".{extension} files are Python pickles, which can run any program when they are opened: \
                 get the same model as .safetensors (most sites offer both), or convert it once with a tool you trust"
            ),
        )),
        _ => Ok(()),
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// Converts stored values to 32-bit floats, or says `None` for formats that are no floats.
fn floats(bytes: &[u8], stored: Dtype) -> Option<Vec<f32>> {
    let width = stored.bitsize() / 8;
    let is_float = matches!(stored, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
    if !is_float {
        return None;
    }
    let mut values = vec![0.0f32; bytes.len() / width];
    values
        .par_chunks_mut(CHUNK)
        .zip(bytes.par_chunks(CHUNK * width))
        .for_each(|(values, bytes)| match stored {
            Dtype::F16 => {
                let mut buffer = [f16::ZERO; CHUNK];
                let buffer = &mut buffer[..values.len()];
                for (value, bits) in buffer.iter_mut().zip(halves(bytes)) {
                    *value = f16::from_bits(bits);
                }
                buffer.convert_to_f32_slice(values);
            }
            Dtype::BF16 => {
                for (value, bits) in values.iter_mut().zip(halves(bytes)) {
                    *value = bf16::from_bits(bits).to_f32();
                }
            }
            Dtype::F32 => {
                for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
                    *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
            }
            _ => {
                for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(8)) {
                    let mut word = [0; 8];
                    word.copy_from_slice(bytes);
                    *value = f64::from_le_bytes(word) as f32;
                }
            }
        });
    Some(values)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use safetensors::tensor::TensorView;

    use super::*;

    /// A safetensors file in memory.
    pub(in crate::weights) fn file_bytes(tensors: &[(&str, &[usize], Dtype, Vec<u8>)]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, shape, dtype, bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    pub(in crate::weights) fn f32_bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    pub(in crate::weights) fn parsed(bytes: Vec<u8>) -> Result<TensorFile> {
        TensorFile::embedded("test.safetensors", Box::leak(bytes.into_boxed_slice()))
    }

    fn small_file() -> Vec<u8> {
        file_bytes(&[
            ("a", &[2, 2], Dtype::F32, f32_bytes(&[1.0, 2.0, 3.0, 4.0])),
            ("b", &[3], Dtype::F16, vec![0; 6]),
        ])
    }

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    // Elsewhere a file that is mapped cannot be shortened or removed.
    #[cfg(unix)]
    #[test]
    fn a_file_that_was_changed_since_it_was_opened_is_told_and_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let opened = |bytes: &[u8]| {
            // Written anew, not over what another map still shows.
            std::fs::remove_file(&path).ok();
            std::fs::write(&path, bytes).unwrap();
            TensorFile::open(&path).unwrap()
        };
        let refused = |file: &TensorFile| {
            let error = file.read("a", DType::F32, &Device::Cpu).unwrap_err();
            assert!(error.to_string().contains("load the model again"), "{error}");
        };
        // Shortened, as by a program that begins to write it anew; touching its map would end the program.
        let file = opened(&small_file());
        file.read("a", DType::F32, &Device::Cpu).unwrap();
        std::fs::File::create(&path).unwrap();
        refused(&file);
        assert!(file.into_memory().is_err());
        // Other contents of the same length.
        let file = opened(&small_file());
        let written = std::fs::File::options().write(true).open(&path).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_mins(1);
        written.set_modified(later).unwrap();
        refused(&file);
        // One that is replaced under its name, or in memory, is read as it was.
        let file = opened(&small_file());
        drop(opened(b"\x08\0\0\0\0\0\0\0{}      "));
        file.read("a", DType::F32, &Device::Cpu).unwrap();
        let file = opened(&small_file()).into_memory().unwrap();
        std::fs::File::create(&path).unwrap();
        file.read("a", DType::F32, &Device::Cpu).unwrap();
    }

    #[test]
    fn the_digest_tells_trainings_of_one_network_apart() {
        let digest_of = |values: &[f32]| {
            let shape = [values.len()];
            let tensors = [
                ("a", &[2][..], Dtype::F32, f32_bytes(&[1.0, 2.0])),
                ("b", &shape[..], Dtype::F32, f32_bytes(values)),
            ];
            let mut digest = Sha256::new();
            parsed(file_bytes(&tensors)).unwrap().digest_sample(&mut digest);
            digest.finalize()
        };
        assert_eq!(digest_of(&[3.0, 4.0]), digest_of(&[3.0, 4.0]));
        assert_ne!(digest_of(&[3.0, 4.0]), digest_of(&[3.0, 4.1]));
        assert_ne!(digest_of(&[3.0, 4.0]), digest_of(&[3.0, 4.0, 0.0]));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = small_file();
        for length in 0..whole.len() {
            let error = parsed(whole[..length].to_vec()).unwrap_err();
            assert!(matches!(error, Error::InvalidFile { .. }), "{error}");
        }
        assert!(parsed(whole).is_ok());
    }

    #[test]
    fn impossible_headers_are_refused() {
        let mut oversized = small_file();
        oversized[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let overlapping = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#;
        let outside = r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
        let wrong_length = r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
        let overflowing =
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#;
        let backwards = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#;
        for bytes in [
            oversized,
            with_header(overlapping, &[0; 6]),
            with_header(outside, &[0; 8]),
            with_header(wrong_length, &[0; 8]),
            with_header(overflowing, &[0; 8]),
            with_header(backwards, &[0; 8]),
            with_header("{", &[]),
            with_header("[1, 2]", &[]),
            Vec::new(),
        ] {
            assert!(matches!(parsed(bytes), Err(Error::InvalidFile { .. })));
        }
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        for (bytes, word) in [
            (&b"PK\x03\x04 archive/data.pkl"[..], "pickle"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "LFS"),
            (b"<!DOCTYPE html><html>please log in</html>", "web page"),
        ] {
            let error = parsed(bytes.to_vec()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for name in ["model.ckpt", "model.PT", "x/pytorch_model.bin"] {
            let error = TensorFile::open(Path::new(name)).unwrap_err().to_string();
            assert!(
                error.contains("pickle") && error.contains(".safetensors"),
                "{error}"
            );
        }
    }

    #[test]
    fn all_float_formats_read_the_same() {
        let values = [0.5f32, -2.0, 1024.0, 0.0];
        let halves = values
            .iter()
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect();
        let bfloats = values
            .iter()
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect();
        let doubles = values
            .iter()
            .flat_map(|&value| f64::from(value).to_le_bytes())
            .collect();
        let file = parsed(file_bytes(&[
            ("f32", &[2, 2], Dtype::F32, f32_bytes(&values)),
            ("f16", &[2, 2], Dtype::F16, halves),
            ("bf16", &[2, 2], Dtype::BF16, bfloats),
            ("f64", &[2, 2], Dtype::F64, doubles),
        ]))
        .unwrap();
        for name in ["f32", "f16", "bf16", "f64"] {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let tensor = file.read(name, dtype, &Device::Cpu).unwrap();
                assert_eq!(tensor.dtype(), dtype);
                let read = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
                assert_eq!(read.to_vec1::<f32>().unwrap(), values, "{name} as {dtype:?}");
            }
        }
    }

    #[test]
    fn long_tensors_of_halves_are_read_whole() {
        let values: Vec<f32> = (0..3 * CHUNK + 7).map(|index| (index % 2048) as f32).collect();
        let halves = values
            .iter()
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect();
        let file = parsed(file_bytes(&[("a", &[values.len()], Dtype::F16, halves)])).unwrap();
        let read = file.read("a", DType::F32, &Device::Cpu).unwrap();
        assert_eq!(read.to_vec1::<f32>().unwrap(), values);
    }

    #[test]
    fn values_that_are_no_numbers_are_refused_with_the_weights_name() {
        let infinite_half = f16::INFINITY.to_le_bytes().to_vec();
        let file = parsed(file_bytes(&[
            ("conv_in.weight", &[2], Dtype::F32, f32_bytes(&[1.0, f32::NAN])),
            ("half", &[1], Dtype::F16, infinite_half),
            ("whole", &[1], Dtype::I64, vec![0; 8]),
        ]))
        .unwrap();
        for (name, dtype, word) in [
            ("conv_in.weight", DType::F32, "NaN"),
            ("half", DType::F32, "NaN"),
            ("half", DType::F16, "NaN"),
            ("whole", DType::F32, "number format"),
            ("absent", DType::F32, "missing"),
        ] {
            let error = file.read(name, dtype, &Device::Cpu).unwrap_err();
            assert!(
                matches!(&error, Error::Weight { name: named, .. } if named == name),
                "{error}"
            );
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = small_file();
            for (index, value) in changes {
                let index = index.index(bytes.len());
                bytes[index] = value;
            }
            if let Ok(file) = parsed(bytes) {
                let names: Vec<String> = file.shapes().map(|(name, _)| name.to_owned()).collect();
                for name in names {
                    drop(file.read(&name, DType::F32, &Device::Cpu));
                }
            }
        }

        #[test]
        fn any_header_is_refused_or_read(header in r#"\{("[ab]":\{"dtype":"(F32|F16|U8|X)","shape":\[[0-9,]{0,24}\],"data_offsets":\[[0-9]{1,20},[0-9]{1,20}\]\},?){0,3}\}"#) {
            drop(parsed(with_header(&header, &[0; 16])));
        }
    }
}
