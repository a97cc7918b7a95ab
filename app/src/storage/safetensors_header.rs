//! What a `.safetensors` file says about itself, from its header alone.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write},
    path::Path,
};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{bounded_json, open::open_file};

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The header in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SafetensorsHeader {
    /// Number of tensors.
    pub tensors: usize,
    /// Numbers in all tensors together.
    pub parameters: u64,
    /// Number formats with how many tensors have them.
    pub dtypes: BTreeMap<String, usize>,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// Free texts of whoever made the file.
    pub metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TensorEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl SafetensorsHeader {
    /// Reads a file's header.
    ///
    /// # Errors
    /// If it is no such file, or its header does not fit its length.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::try_read(path).with_context(|| format!("cannot read the model {}", path.display()))
    }

    fn try_read(path: &Path) -> anyhow::Result<Self> {
        let (mut file, file_bytes) = open_file(path)?;
        let mut length = [0; 8];
        ensure!(file_bytes >= 8, "it is too short for a safetensors file");
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        ensure!(
            length <= MAX_HEADER_BYTES && length <= file_bytes.saturating_sub(8),
            "its header claims {length} bytes: the file is damaged, incomplete, or no safetensors file"
        );
        let mut header = Vec::new();
        file.take(length).read_to_end(&mut header)?;
        Self::parse(&header, file_bytes - 8 - length, file_bytes)
    }

    /// From the header's JSON and the number of bytes behind it.
    ///
    /// # Errors
    /// If it is no such JSON, or a tensor reaches beyond the data.
    pub fn parse(header: &[u8], data_bytes: u64, file_bytes: u64) -> anyhow::Result<Self> {
        let entries = bounded_json::from_slice(header).context("its header is damaged")?;
        let Value::Object(entries) = entries else {
            bail!("its header is damaged");
        };
        let mut summary = Self {
            tensors: 0,
            parameters: 0,
            dtypes: BTreeMap::new(),
            file_bytes,
            metadata: BTreeMap::new(),
        };
        for (name, value) in entries {
            if name == "__metadata__" {
                summary.metadata = serde_json::from_value(value).unwrap_or_default();
                continue;
            }
            let tensor: TensorEntry =
                serde_json::from_value(value).with_context(|| format!("its entry {name:?} is damaged"))?;
            let [start, end] = tensor.data_offsets;
            if start > end || end > data_bytes {
                bail!("tensor {name:?} reaches beyond the file's end: the file is incomplete");
            }
            let numbers = tensor
                .shape
                .iter()
                .try_fold(1_u64, |product, &side| product.checked_mul(side))
                .with_context(|| format!("tensor {name:?} is impossibly large"))?;
            summary.tensors += 1;
            summary.parameters = summary.parameters.saturating_add(numbers);
            *summary.dtypes.entry(tensor.dtype).or_default() += 1;
        }
        Ok(summary)
    }

    pub(crate) fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let dtypes: Vec<String> = self
            .dtypes
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        writeln!(
            out,
            "safetensors, {} tensors ({}), {:.1} million numbers, {:.1} MB",
            self.tensors,
            dtypes.join(", "),
            self.parameters as f64 / 1e6,
            self.file_bytes as f64 / 1e6
        )?;
        for (key, value) in self.metadata.iter().take(40) {
            // Anyone may have written them: nothing in them may command the terminal.
            let plain = |text: &str| -> String {
                let shown = text.chars().take(200);
                shown
                    .map(|character| if character.is_control() { ' ' } else { character })
                    .collect()
            };
            writeln!(out, "  {}: {}", plain(key), plain(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_millions_of_values_is_refused_before_it_fills_the_memory() {
        let header = format!(r#"{{"a": [{}[]]}}"#, "[],".repeat(5_000_000));
        let error = SafetensorsHeader::parse(header.as_bytes(), 0, 0).unwrap_err();
        assert!(format!("{error:#}").contains("too many values"), "{error:#}");
        let header = br#"{"__metadata__": {"a": "b"}, "w": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}"#;
        let summary = SafetensorsHeader::parse(header, 12, 200).unwrap();
        assert_eq!((summary.tensors, summary.parameters), (1, 6));
        assert_eq!(summary.metadata["a"], "b");
        assert!(SafetensorsHeader::parse(b"[]", 0, 0).is_err());
    }
}
