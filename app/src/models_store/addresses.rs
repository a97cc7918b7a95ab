//! What may be asked where: hosts, redirects, secrets in addresses.

/// Scheme, host and port.
pub(super) fn origin(url: &str) -> &str {
    let host_start = url.find("://").map_or(0, |at| at + 3);
    let end = url[host_start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| host_start + at);
    &url[..end]
}

/// Where a redirect leads; never from a secure connection to an open one.
pub(super) fn redirected(from: &str, location: &str) -> Option<String> {
    let target = if location.starts_with("https://") || location.starts_with("http://") {
        location.to_owned()
    } else if location.starts_with("//") {
        let scheme = from.split("//").next()?;
        format!("{scheme}{location}")
    } else if location.starts_with('/') {
        format!("{}{location}", origin(from))
    } else {
        return None;
    };
    let is_downgrade = from.starts_with("https://") && !target.starts_with("https://");
    (!is_downgrade).then_some(target)
}

/// Signed addresses carry secrets behind the question mark.
pub(super) fn without_query(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_never_leave_a_secure_connection() {
        let from = "https://hub.example/a/b";
        assert_eq!(redirected(from, "/c").as_deref(), Some("https://hub.example/c"));
        assert_eq!(
            redirected(from, "//cdn.example/c").as_deref(),
            Some("https://cdn.example/c")
        );
        assert_eq!(
            redirected(from, "https://cdn.example/c?x").as_deref(),
            Some("https://cdn.example/c?x")
        );
        assert_eq!(redirected(from, "http://cdn.example/c"), None);
        assert_eq!(redirected(from, "ftp://cdn.example/c"), None);
    }
}
