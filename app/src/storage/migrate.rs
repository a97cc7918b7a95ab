//! Manifests of older versions, brought up to the present one.
//!
//! A step takes the JSON of version `n` and gives that of version `n + 1`; it works on JSON, not on records, so that
//! it stays true when the records change. To change the format: raise
//! [`FORMAT_VERSION`], add a step at the end of [`STEPS`], and keep a file of the
//! old version in `tests/fixtures/projects`.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::{
    bounded_json,
    manifest::{FORMAT_NAME, FORMAT_VERSION, Manifest},
};

type Step = fn(Value) -> anyhow::Result<Value>;

/// `STEPS[i]` leads from version `i + 1` to version `i + 2`.
const STEPS: &[Step] = &[];

const _: () = assert!(
    STEPS.len() + 1 == FORMAT_VERSION as usize,
    "every older version needs a step"
);

/// Reads a manifest of any version up to the present one.
///
/// # Errors
/// If it is no manifest, is damaged, or was written by a newer program.
pub(super) fn manifest_from_json(json: &[u8]) -> anyhow::Result<Manifest> {
    manifest_from_value(bounded_json::from_slice(json).context("its description is damaged")?)
}

/// As [`manifest_from_json`], from JSON that is read already.
///
/// # Errors
/// As there.
pub(super) fn manifest_from_value(value: Value) -> anyhow::Result<Manifest> {
    serde_json::from_value(upgrade(value, STEPS)?).context("its description is damaged")
}

fn upgrade(mut value: Value, steps: &[Step]) -> anyhow::Result<Value> {
    ensure!(
        value.get("format").and_then(Value::as_str) == Some(FORMAT_NAME),
        "its description is not Wordbrush's"
    );
    let newest = steps.len() as u64 + 1;
    let version = value.get("version").and_then(Value::as_u64).unwrap_or(0);
    match version {
        0 => bail!("its description has no version"),
        version if version > newest => bail!(
            "it was written by a newer Wordbrush (format {version}, this one reads up to {newest}): update Wordbrush"
        ),
        version => {
            for (index, step) in steps.iter().enumerate().skip(version as usize - 1) {
                value =
                    step(value).with_context(|| format!("cannot bring it up from format {}", index + 1))?;
            }
        }
    }
    value["version"] = newest.into();
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rename_a(mut value: Value) -> anyhow::Result<Value> {
        let a = value.get_mut("a").context("there is an a")?.take();
        value["b"] = a;
        Ok(value)
    }

    fn double_b(mut value: Value) -> anyhow::Result<Value> {
        value["b"] = (value["b"].as_u64().context("b is a number")? * 2).into();
        Ok(value)
    }

    #[test]
    fn every_step_from_the_files_version_on_is_taken() {
        let steps: &[Step] = &[rename_a, double_b];
        let old = upgrade(json!({"format": "wordbrush", "version": 1, "a": 4}), steps).unwrap();
        assert_eq!((&old["b"], &old["version"]), (&json!(8), &json!(3)));
        let newer = upgrade(json!({"format": "wordbrush", "version": 2, "b": 4}), steps).unwrap();
        assert_eq!(newer["b"], json!(8));
        let newest = upgrade(json!({"format": "wordbrush", "version": 3, "b": 4}), steps).unwrap();
        assert_eq!(newest["b"], json!(4));
    }

    #[test]
    fn a_newer_format_says_so() {
        let error = manifest_from_json(br#"{"format": "wordbrush", "version": 99}"#).unwrap_err();
        assert!(error.to_string().contains("newer Wordbrush"), "{error}");
    }

    #[test]
    fn other_json_is_refused() {
        for json in [&b"{}"[..], b"[]", b"3", b"{", br#"{"format": "wordbrush"}"#] {
            assert!(manifest_from_json(json).is_err());
        }
    }
}
