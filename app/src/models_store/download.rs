//! Fetching files from the hub: resumed, checked, and put in place only when whole.
//!
//! A file is written to `NAME.part` and renamed when its length and hash are right. What was fetched is kept when the
//! connection breaks, the user cancels or the program ends, and the next attempt asks for the rest (`Range`, with
//! `If-Range`, so that parts of two versions are never mixed). Redirects are followed here and not by the HTTP
//! client: the hub tells hash and length with the first answer, and the token must not go to another host.

use std::{
    fmt,
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use ureq::{
    Agent, Body,
    http::{HeaderMap, Response},
};

use super::{
    addresses::{origin, redirected, without_secrets},
    catalogue::{KnownModel, ModelFile, is_sha256},
    part::{Part, check_space},
    pull_error::{PullError, io_error},
    store::{ModelStore, part_path},
};
use crate::background_tasks::Progress;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const ENDPOINT_VARIABLE: &str = "HF_ENDPOINT";
const TOKEN_VARIABLE: &str = "HF_TOKEN";
const MAX_REDIRECTS: usize = 8;
const BUFFER_BYTES: usize = 1 << 17;

/// When to try again by itself.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts without any progress before giving up.
    pub attempts: u32,
    /// Wait after the first failure; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait, also where the hub asks for a longer one.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(1),
        }
    }
}

/// Never shown, neither in logs nor in messages.
#[derive(Clone)]
struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// Where files come from; a private mirror's address may hold a name and a password.
#[derive(Clone)]
struct Endpoint(String);

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&without_secrets(&self.0))
    }
}

/// Fetches models.
#[derive(Clone, Debug)]
pub struct Downloader {
    agent: Agent,
    endpoint: Endpoint,
    token: Option<Token>,
    retry: RetryPolicy,
}

impl Downloader {
    /// The hub, or the mirror that `HF_ENDPOINT` names; with the token in `HF_TOKEN`, if there is one.
    pub fn from_environment() -> Self {
        let variable = |name| {
            std::env::var(name)
                .ok()
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        Self::new(
            &variable(ENDPOINT_VARIABLE).unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            variable(TOKEN_VARIABLE),
            RetryPolicy::default(),
        )
    }

    /// Another endpoint, token and patience.
    pub fn new(endpoint: &str, token: Option<String>, retry: RetryPolicy) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .timeout_per_read(Some(Duration::from_mins(1)))
            .user_agent(concat!("wordbrush/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .build();
        Self {
            agent: config.new_agent(),
            endpoint: Endpoint(endpoint.trim_end_matches('/').to_owned()),
            token: token.map(Token),
            retry,
        }
    }

    /// Fetches what is missing of a model and of what it needs besides; progress is in bytes.
    ///
    /// # Errors
    /// See [`PullError`]; what was fetched is kept where that is of use.
    pub fn pull(&self, store: &ModelStore, model: &KnownModel, progress: &Progress) -> Result<(), PullError> {
        let files: Vec<(&KnownModel, &ModelFile)> = store
            .catalogue()
            .with_needed(model)
            .flat_map(|model| model.files.iter().map(move |file| (model, file)))
            .collect();
        let mut total: u64 = files.iter().filter_map(|(_, file)| file.bytes).sum();
        // Rather now than after an hour.
        check_space(&model.title, store.folder(), missing_bytes(store, &files))?;
        let mut done = 0;
        for (model, file) in files {
            let path = store.file_path(model, file);
            let length = match std::fs::metadata(&path) {
                // Files get their name only when they are whole.
                Ok(present) => present.len(),
                Err(_) => self.fetch(
                    file,
                    &path,
                    &mut |fetched| progress.set(done + fetched, total.max(done + fetched)),
                    progress,
                )?,
            };
            total = total - file.bytes.unwrap_or(0) + length;
            done += length;
            progress.set(done, total);
        }
        Ok(())
    }

    /// Fetches one file, trying again as long as that helps; answers with its length.
    fn fetch(
        &self,
        file: &ModelFile,
        path: &Path,
        told: &mut dyn FnMut(u64),
        progress: &Progress,
    ) -> Result<u64, PullError> {
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| io_error(folder, error))?;
        let url = format!(
            "{}/{}/resolve/{}/{}",
            self.endpoint.0, file.repository, file.revision, file.path
        );
        let Some(mut part) = Part::open(file, path, progress)? else {
            let present = std::fs::metadata(path).map_err(|error| io_error(path, error))?;
            return Ok(present.len());
        };
        let mut failures = 0;
        loop {
            let length_before = part.length;
            let failure = match self.attempt(file, &url, path, &mut part, told, progress) {
                Ok(announced) => {
                    let length = part.length;
                    part.finish(file, path, &announced)?;
                    return Ok(length);
                }
                Err(failure) => failure,
            };
            // As long as something arrives, patience is not at its end.
            failures = if part.length > length_before {
                1
            } else {
                failures + 1
            };
            let wait = match failure.retry {
                Retry::Soon if failures < self.retry.attempts => {
                    self.retry.first_wait * 2_u32.saturating_pow(failures - 1)
                }
                Retry::After(wait) if failures < self.retry.attempts => wait,
                _ => return Err(failure.error),
            };
            let wait = wait.min(self.retry.longest_wait);
            let hindrance = format!(
                "{}; trying again in {} s",
                failure.error.in_short(),
                wait.as_secs_f64().ceil()
            );
            tracing::warn!("download of {}: {hindrance}", file.path);
            progress.set_hindrance(Some(hindrance));
            sleep(wait, progress)?;
        }
    }

    /// One request for what is missing of a file, and its answer.
    fn attempt(
        &self,
        file: &ModelFile,
        url: &str,
        path: &Path,
        part: &mut Part,
        told: &mut dyn FnMut(u64),
        progress: &Progress,
    ) -> Result<Announced, Failure> {
        progress.check().map_err(PullError::from)?;
        let (response, announced) = self.request(file, url, part)?;
        let announced = announced.or_listed(file);
        match response.status().as_u16() {
            206 if content_range_start(response.headers()) == Some(part.length)
                && part.is_of(announced.version.as_deref()) => {}
            200 => part.restart()?,
            // Nothing is missing, or what is here is longer than it may be.
            416 if announced.bytes.is_some_and(|bytes| bytes == part.length) => return Ok(announced),
            206 | 416 => {
                part.restart()?;
                return Err(Failure::again(PullError::Connection {
                    reason: "the file has changed meanwhile".to_owned(),
                }));
            }
            status => return Err(failure_of_status(status, file, url, response.headers())),
        }
        progress.set_hindrance(None);
        part.note_version(announced.version.as_deref())?;
        let expected = announced
            .bytes
            .or_else(|| Some(content_length(response.headers())? + part.length));
        let missing = expected.unwrap_or(0).saturating_sub(part.length);
        check_space(&file.path, path, missing)?;

        let mut body = response.into_body().into_with_config().limit(u64::MAX).reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            progress.check().map_err(PullError::from)?;
            let length = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => {
                    return Err(Failure::again(PullError::Connection {
                        reason: error.to_string(),
                    }));
                }
            };
            part.write(&buffer[..length])?;
            told(part.length);
            if let Some(expected) = expected.filter(|&expected| part.length > expected) {
                let found = part.length;
                part.restart()?;
                return Err(Failure::from(PullError::WrongSize {
                    file: file.path.clone(),
                    expected,
                    found,
                }));
            }
        }
        match expected {
            Some(expected) if part.length < expected => Err(Failure::again(PullError::Connection {
                reason: format!("it ended after {} of {expected} bytes", part.length),
            })),
            _ => Ok(announced),
        }
    }

    /// Asks for a file from where the part ends, through all redirects.
    fn request(
        &self,
        file: &ModelFile,
        url: &str,
        part: &Part,
    ) -> Result<(Response<Body>, Announced), Failure> {
        let mut announced = Announced::default();
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&url);
            if part.length > 0 {
                request = request.header("Range", format!("bytes={}-", part.length));
                if let Some(version) = &part.version {
                    request = request.header("If-Range", version);
                }
            }
            if let Some(Token(token)) = self
                .token
                .as_ref()
                .filter(|_| origin(&url) == origin(&self.endpoint.0))
            {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| failure_of_call(&error))?;
            announced.read(response.headers());
            if !response.status().is_redirection() || response.status().as_u16() == 304 {
                return Ok((response, announced));
            }
            let location = response
                .headers()
                .get("location")
                .and_then(|value| value.to_str().ok());
            url = location
                .and_then(|location| redirected(&url, location))
                .ok_or_else(|| {
                    failure_of_status(response.status().as_u16(), file, &url, response.headers())
                })?;
        }
        Err(Failure::from(PullError::Connection {
            reason: "the hub redirects without end".to_owned(),
        }))
    }
}

/// What is not here of some files, as far as their lengths are known.
fn missing_bytes(store: &ModelStore, files: &[(&KnownModel, &ModelFile)]) -> u64 {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    files
        .iter()
        .map(|(model, file)| (store.file_path(model, file), file.bytes.unwrap_or(0)))
        .filter(|(path, _)| !path.exists())
        .map(|(path, bytes)| bytes.saturating_sub(length(&part_path(&path))))
        .sum()
}

/// What the hub tells about a file before it sends it.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub(super) bytes: Option<u64>,
    pub(super) sha256: Option<String>,
    /// Names this version of the file.
    version: Option<String>,
}

impl Announced {
    fn read(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(tag) = text("x-linked-etag")
            .map(|tag| tag.trim_matches('"'))
            .filter(|tag| is_sha256(tag))
        {
            self.sha256 = Some(tag.to_owned());
        }
        if let Some(bytes) = text("x-linked-size").and_then(|bytes| bytes.parse().ok()) {
            self.bytes = Some(bytes);
        }
        // A weak tag must not be used for ranges.
        if let Some(tag) = text("etag").filter(|tag| !tag.starts_with("W/")) {
            self.version = Some(tag.to_owned());
        }
        if let Some(bytes) = text("content-range").and_then(|range| range.rsplit('/').next()?.parse().ok()) {
            self.bytes.get_or_insert(bytes);
        }
    }

    /// Our own list's word counts more than the hub's, so that a mirror cannot pass on something else.
    fn or_listed(mut self, file: &ModelFile) -> Self {
        if let Some(hash) = &file.sha256 {
            self.sha256 = Some(hash.clone());
            self.bytes = file.bytes.or(self.bytes);
        }
        self
    }
}

/// Whether another attempt helps.
enum Retry {
    Never,
    Soon,
    /// The hub says when.
    After(Duration),
}

/// A failed attempt.
struct Failure {
    error: PullError,
    retry: Retry,
}

impl Failure {
    fn again(error: PullError) -> Self {
        Self {
            error,
            retry: Retry::Soon,
        }
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        Self {
            error,
            retry: Retry::Never,
        }
    }
}

/// Why no answer came. What cannot even be asked for is not asked for again.
fn failure_of_call(error: &ureq::Error) -> Failure {
    let reason = error.to_string();
    match error {
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::from(PullError::NoRequest { reason }),
        _ => Failure::again(PullError::Connection { reason }),
    }
}

fn failure_of_status(status: u16, file: &ModelFile, url: &str, headers: &HeaderMap) -> Failure {
    let url = without_secrets(url);
    let retry = headers
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(Retry::Soon, |seconds| Retry::After(Duration::from_secs(seconds)));
    match status {
        401 | 403 => Failure::from(PullError::AccessRefused {
            repository: file.repository.clone(),
        }),
        404 | 410 => Failure::from(PullError::NotFound { url }),
        429 => Failure {
            error: PullError::TooManyRequests,
            retry,
        },
        500..=599 => Failure {
            error: PullError::Server { status, url },
            retry,
        },
        status => Failure::from(PullError::Server { status, url }),
    }
}

fn sleep(duration: Duration, progress: &Progress) -> Result<(), PullError> {
    const SLICE: Duration = Duration::from_millis(50);
    let until = Instant::now() + duration;
    loop {
        progress.check()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(SLICE));
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get("content-length")?.to_str().ok()?.parse().ok()
}

/// `bytes 100-199/200` begins at 100.
fn content_range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let downloader = Downloader::new(
            "https://hub.example",
            Some("hf_verysecret".to_owned()),
            RetryPolicy::default(),
        );
        assert!(!format!("{downloader:?}").contains("verysecret"));
    }
}
