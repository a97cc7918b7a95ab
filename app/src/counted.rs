//! Numbers of things in sentences.

/// A number with the word for what is counted: "1 region", "2 regions".
pub(crate) fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_from_the_others() {
        let regions = |count| counted(count, "region", "regions");
        assert_eq!([0, 1, 2].map(regions), ["0 regions", "1 region", "2 regions"]);
    }
}
