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

/// An address as it may be shown and logged: signed ones carry secrets behind the question mark, and those of private
/// mirrors a name and a password in front of the host.
pub(super) fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let origin = origin(url);
    match (origin.find("://"), origin.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://{}", &url[..scheme], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_addresses_are_not_shown() {
        for (url, shown) in [
            ("https://hub.example/a?sig=secret", "https://hub.example/a"),
            (
                "https://me:secret@hub.example:8080/a#x",
                "https://hub.example:8080/a",
            ),
            ("https://hub.example/a@b", "https://hub.example/a@b"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }

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
