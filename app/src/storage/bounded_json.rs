//! JSON that anyone may have written, read into a bounded number of values.
//!
//! A compressed text of a few kilobytes can unpack to millions of empty lists, each of which takes far more memory than
//! its two letters. The bound is on the values, not on the letters: a long prompt costs what it is long.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// More values than a project with a thousand pinned states of a hundred regions has.
const MAX_VALUES: usize = 4_000_000;

/// Reads JSON.
pub(super) fn from_slice(json: &[u8]) -> serde_json::Result<Value> {
    let budget = Budget::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = budget.value().deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// How many values may still be read.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(MAX_VALUES))
    }
}

impl Budget {
    /// Reads a value at the cost of this budget.
    pub(super) fn value(&self) -> BoundedValue<'_> {
        BoundedValue(self)
    }

    /// Takes the cost of one value.
    pub(super) fn spend<E: Error>(&self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.ok_or_else(|| E::custom("it holds too many values"))?);
        Ok(())
    }
}

/// Reads a value and what is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoundedValue<'a>(&'a Budget);

impl<'de> DeserializeSeed<'de> for BoundedValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BoundedValue<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = map.next_key()? {
            values.insert(key, map.next_value_seed(self)?);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_there() {
        let json =
            r#"{"a": [1, -2, 3.5, 18446744073709551615, "x\n木", true, null], "b": {"c": {}}, "d": 1e3}"#;
        let expected: Value = serde_json::from_str(json).unwrap();
        assert_eq!(from_slice(json.as_bytes()).unwrap(), expected);
        for bad in ["", "{", "[1,]", "1 2", "\"\u{0}\"", "nul"] {
            assert!(from_slice(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(
            from_slice(deep.as_bytes()).is_err(),
            "and the stack is deep enough"
        );
    }

    #[test]
    fn too_many_values_are_refused() {
        let list = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(from_slice(list(MAX_VALUES - 1).as_bytes()).is_ok());
        let error = from_slice(list(MAX_VALUES).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("too many values"), "{error}");
    }
}
