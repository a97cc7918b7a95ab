//! Models are fetched whole or not at all, from a server that does what real ones do on bad days.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use wordbrush::{
    background_tasks::Progress,
    models_store::{Catalogue, Check, Downloader, ModelState, ModelStore, PullError, RetryPolicy},
};

/// What the server does with one request; the last one is repeated.
#[derive(Clone, Debug)]
enum Answer {
    /// All of it, or the range that was asked for.
    Whole,
    /// Promises all of it and hangs up after so many bytes.
    HangUpAfter(usize),
    /// Closes the connection at once.
    HangUp,
    /// An error, with further headers.
    Status(u16, &'static str),
    /// Elsewhere: on this server (`/path`) or at a whole address.
    Redirect(String),
    /// Other bytes than promised.
    Body(Vec<u8>),
    /// All of it whatever range is asked for.
    IgnoreRange,
    /// A range that cannot be.
    RangeNotSatisfiable,
    /// The range that was asked for, but of a newer version of the file.
    RangeOfAnotherVersion,
    /// Another range than was asked for.
    AnotherRange,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    path: String,
    headers: BTreeMap<String, String>,
}

/// A server on this machine, with a script of answers.
struct Server {
    endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

const FILE: &[u8] =
    b"the weights of a model, of which there are not many, but they are all different: 0123456789";

impl Server {
    fn start(script: Vec<Answer>) -> Self {
        Self::with_headers(script, String::new())
    }

    /// `headers` go with every answer.
    fn with_headers(script: Vec<Answer>, headers: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || {
                let mut script = script.into_iter();
                let mut answer = Answer::Whole;
                for stream in listener.incoming().map_while(Result::ok) {
                    answer = script.next().unwrap_or(answer);
                    // A client that hangs up is part of the game.
                    serve(stream, &answer, &headers, &log).ok();
                }
            })
            .unwrap();
        Self { endpoint, seen }
    }

    fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// From which byte on each request asked, if not for everything.
    fn ranges(&self) -> Vec<Option<String>> {
        let requests = self.requests();
        requests
            .iter()
            .map(|seen| seen.headers.get("range").cloned())
            .collect()
    }
}

fn serve(
    mut stream: TcpStream,
    answer: &Answer,
    headers: &str,
    log: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut seen = Seen {
        path: line.split(' ').nth(1).unwrap_or_default().to_owned(),
        ..Seen::default()
    };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        seen.headers
            .insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let range_start: usize = seen
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        .unwrap_or(0);
    log.lock().unwrap().push(seen);

    let rest = FILE.get(range_start..).unwrap_or_default();
    let (status, content_range) = match range_start {
        0 => (200, String::new()),
        start => (
            206,
            format!(
                "Content-Range: bytes {start}-{}/{}\r\n",
                FILE.len() - 1,
                FILE.len()
            ),
        ),
    };
    let version = match answer {
        Answer::RangeOfAnotherVersion => "v2",
        _ => "v1",
    };
    let mut send = |status: u16, extra: &str, length: usize, body: &[u8]| {
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nETag: \"{version}\"\r\n{headers}{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(body)
    };
    match answer {
        Answer::Whole | Answer::RangeOfAnotherVersion => send(status, &content_range, rest.len(), rest),
        Answer::AnotherRange => {
            let range = format!("Content-Range: bytes 1-{}/{}\r\n", FILE.len() - 1, FILE.len());
            send(206, &range, FILE.len() - 1, &FILE[1..])
        }
        Answer::HangUpAfter(bytes) => send(status, &content_range, rest.len(), &rest[..*bytes]),
        Answer::HangUp => Ok(()),
        Answer::Status(status, extra) => send(*status, extra, 0, b""),
        Answer::Redirect(to) => send(302, &format!("Location: {to}\r\n"), 0, b""),
        Answer::Body(body) => send(200, "", body.len(), body),
        Answer::IgnoreRange => send(200, "", FILE.len(), FILE),
        Answer::RangeNotSatisfiable => {
            send(416, &format!("Content-Range: bytes */{}\r\n", FILE.len()), 0, b"")
        }
    }
}

/// Of [`FILE`].
const FILE_SHA256: &str = "391e63ebd8748ef64e79a7f6969c8fb92f17d1e42da920d3fc8515970fb2ede0";

fn patient() -> RetryPolicy {
    RetryPolicy {
        attempts: 4,
        first_wait: Duration::from_millis(2),
        longest_wait: Duration::from_millis(20),
    }
}

fn catalogue(binding: &str) -> Catalogue {
    Catalogue::from_toml(&format!(
        "[[model]]\nname='tiny'\ntitle='Tiny'\nfamily='x'\nnative_side=64\nlicence='MIT'\nlicence_url='x'\n\
         checkpoint='w.safetensors'\n[[model.file]]\nrepository='someone/tiny'\npath='w.safetensors'\n{binding}"
    ))
    .unwrap()
}

fn binding() -> String {
    format!("bytes={}\nsha256='{FILE_SHA256}'\n", FILE.len())
}

/// A store in a folder of its own.
struct Place {
    folder: tempfile::TempDir,
    store: ModelStore,
}

impl Place {
    fn new(binding: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::new(folder.path().to_owned(), catalogue(binding));
        Self { folder, store }
    }

    fn pull(&self, server: &Server) -> Result<(), PullError> {
        self.pull_with(
            &Downloader::new(&server.endpoint, None, patient()),
            &Progress::default(),
        )
    }

    fn pull_with(&self, downloader: &Downloader, progress: &Progress) -> Result<(), PullError> {
        downloader.pull(
            &self.store,
            self.store.catalogue().find("tiny").unwrap(),
            progress,
        )
    }

    fn state(&self) -> ModelState {
        self.store.state(self.store.catalogue().find("tiny").unwrap())
    }

    fn file(&self) -> Option<Vec<u8>> {
        std::fs::read(self.folder.path().join("tiny/w.safetensors")).ok()
    }

    fn assert_fetched(&self) {
        assert_eq!(self.file().as_deref(), Some(FILE));
        assert_eq!(self.state(), ModelState::Present);
        let left: Vec<_> = std::fs::read_dir(self.folder.path().join("tiny"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                Path::new(name)
                    .extension()
                    .is_none_or(|ending| ending != "safetensors")
            })
            .collect();
        assert_eq!(left, ["w.safetensors.sha256"], "nothing else is left behind");
    }
}

#[test]
fn a_model_is_fetched_once_and_checked() {
    let place = Place::new(&binding());
    assert_eq!(place.state(), ModelState::Missing);
    let server = Server::start(vec![Answer::Whole]);
    let progress = Progress::default();
    let downloader = Downloader::new(&server.endpoint, None, patient());
    place.pull_with(&downloader, &progress).unwrap();
    place.assert_fetched();
    assert_eq!(progress.amounts(), (FILE.len() as u64, FILE.len() as u64));
    assert_eq!(
        server.requests()[0].path,
        "/someone/tiny/resolve/main/w.safetensors"
    );
    place.pull(&server).unwrap();
    assert_eq!(server.requests().len(), 1, "what is here is not asked for");

    let model = place.store.catalogue().find("tiny").unwrap();
    let check = || {
        place
            .store
            .check(model, &model.files[0], &Progress::default())
            .unwrap()
    };
    assert_eq!(check(), Check::Good);
    std::fs::write(place.store.file_path(model, &model.files[0]), b"gnawed at").unwrap();
    assert_eq!(check(), Check::Damaged);
}

#[test]
fn a_shared_decoder_begins_no_download_of_the_models_that_need_it() {
    let entry = |name: &str, more: &str| {
        format!(
            "[[model]]\nname='{name}'\ntitle=''\nfamily=''\nnative_side=64\nlicence=''\nlicence_url=''\n\
             checkpoint='w.safetensors'\n{more}[[model.file]]\nrepository='someone/{name}'\npath='w.safetensors'\n"
        )
    };
    let needs = "tiny_autoencoder='decoder'\n";
    let list = entry("first", needs) + &entry("second", needs) + &entry("decoder", "");
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::new(folder.path().to_owned(), Catalogue::from_toml(&list).unwrap());
    let state = |name: &str| store.state(store.catalogue().find(name).unwrap());
    let put = |name: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("w.safetensors"), b"12345").unwrap();
    };
    put("first");
    assert_eq!(state("first"), ModelState::Partial { bytes: 5 });
    put("decoder");
    assert_eq!(state("first"), ModelState::Present);
    assert_eq!(state("second"), ModelState::Missing);
}

#[test]
fn dropped_connections_are_resumed_where_they_broke() {
    let place = Place::new(&binding());
    let server = Server::start(vec![
        Answer::HangUp,
        Answer::HangUpAfter(10),
        Answer::HangUpAfter(0),
        Answer::HangUpAfter(25),
        Answer::Whole,
    ]);
    place.pull(&server).unwrap();
    place.assert_fetched();
    let from = |start: &str| Some(format!("bytes={start}-"));
    assert_eq!(server.ranges(), [None, None, from("10"), from("10"), from("35")]);
    assert_eq!(server.requests()[4].headers["if-range"], "\"v1\"");
}

#[test]
fn a_later_session_goes_on_where_the_first_one_stopped() {
    let place = Place::new(&binding());
    let breaking = Server::start(vec![Answer::HangUpAfter(30), Answer::HangUp]);
    assert!(matches!(place.pull(&breaking), Err(PullError::Connection { .. })));
    assert_eq!(place.state(), ModelState::Partial { bytes: 30 });
    let server = Server::start(vec![Answer::Whole]);
    place.pull(&server).unwrap();
    place.assert_fetched();
    assert_eq!(server.requests()[0].headers["range"], "bytes=30-");
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let place = Place::new(&binding());
    let server = Server::start(vec![Answer::HangUpAfter(30), Answer::IgnoreRange]);
    place.pull(&server).unwrap();
    place.assert_fetched();
    let place = Place::new(&binding());
    let server = Server::start(vec![
        Answer::HangUpAfter(30),
        Answer::RangeNotSatisfiable,
        Answer::Whole,
    ]);
    place.pull(&server).unwrap();
    place.assert_fetched();
}

#[test]
fn parts_of_two_files_are_never_mixed() {
    // Without a hash, so that nothing else would notice.
    for other in [Answer::RangeOfAnotherVersion, Answer::AnotherRange] {
        let place = Place::new("");
        let server = Server::start(vec![Answer::HangUpAfter(30), other, Answer::Whole]);
        place.pull(&server).unwrap();
        place.assert_fetched();
        assert_eq!(server.ranges(), [None, Some("bytes=30-".to_owned()), None]);
    }
}

#[test]
fn two_instances_do_not_fetch_one_file_at_once() {
    let place = Place::new(&binding());
    let breaking = Server::start(vec![Answer::HangUpAfter(30), Answer::HangUp]);
    assert!(place.pull(&breaking).is_err());
    let part = place.folder.path().join("tiny/w.safetensors.part");
    let of_another_instance = std::fs::OpenOptions::new().write(true).open(&part).unwrap();
    of_another_instance.lock().unwrap();
    let server = Server::start(vec![Answer::Whole]);
    let error = place.pull(&server).unwrap_err();
    assert!(matches!(error, PullError::Busy { .. }), "{error:?}");
    assert!(server.requests().is_empty());
    assert_eq!(std::fs::read(&part).unwrap(), FILE[..30], "it is left alone");
    drop(of_another_instance);
    place.pull(&server).unwrap();
    place.assert_fetched();
}

#[test]
fn wrong_files_are_thrown_away() {
    let mut damaged = FILE.to_vec();
    damaged[40] ^= 1;
    for (body, expects_wrong_hash) in [
        (damaged, true),
        (FILE[..50].to_vec(), false),
        ([FILE, FILE].concat(), false),
    ] {
        let place = Place::new(&binding());
        let server = Server::start(vec![Answer::Body(body)]);
        match place.pull(&server) {
            Err(PullError::WrongHash { .. }) if expects_wrong_hash => {}
            Err(PullError::WrongSize { .. } | PullError::Connection { .. }) if !expects_wrong_hash => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(place.file(), None, "it never gets its name");
        // Once the server is sane again, so is the file.
        place.pull(&Server::start(vec![Answer::Whole])).unwrap();
        place.assert_fetched();
    }
}

#[test]
fn the_hash_that_the_hub_announces_is_checked() {
    let place = Place::new("");
    let announce = |hash: &str| format!("X-Linked-ETag: \"{hash}\"\r\nX-Linked-Size: {}\r\n", FILE.len());
    let lying = Server::with_headers(vec![Answer::Whole], announce(&"0".repeat(64)));
    assert!(matches!(place.pull(&lying), Err(PullError::WrongHash { .. })));
    place
        .pull(&Server::with_headers(vec![Answer::Whole], announce(FILE_SHA256)))
        .unwrap();
    place.assert_fetched();
}

#[test]
fn redirects_are_followed_and_the_token_stays_at_home() {
    let elsewhere = Server::start(vec![Answer::Whole]);
    let hub = Server::start(vec![
        Answer::Redirect("/moved/w.safetensors".to_owned()),
        Answer::Redirect(format!("{}/signed?secret=1", elsewhere.endpoint)),
    ]);
    let place = Place::new(&binding());
    let downloader = Downloader::new(&hub.endpoint, Some("hf_token".to_owned()), patient());
    place.pull_with(&downloader, &Progress::default()).unwrap();
    place.assert_fetched();
    for seen in hub.requests() {
        assert_eq!(seen.headers["authorization"], "Bearer hf_token");
    }
    assert_eq!(hub.requests()[1].path, "/moved/w.safetensors");
    assert_eq!(elsewhere.requests()[0].headers.get("authorization"), None);

    let endless = Server::start(vec![Answer::Redirect("/again".to_owned())]);
    assert!(matches!(
        Place::new("").pull(&endless),
        Err(PullError::Connection { .. })
    ));
    assert!(endless.requests().len() < 20);
}

#[test]
fn refusals_say_what_to_do() {
    type IsExpected = fn(&PullError) -> bool;
    let cases: [(u16, IsExpected, &str, bool); 6] = [
        (
            401,
            |error| matches!(error, PullError::AccessRefused { .. }),
            "HF_TOKEN",
            false,
        ),
        (
            403,
            |error| matches!(error, PullError::AccessRefused { .. }),
            "licence",
            false,
        ),
        (
            404,
            |error| matches!(error, PullError::NotFound { .. }),
            "HF_ENDPOINT",
            false,
        ),
        (
            429,
            |error| matches!(error, PullError::TooManyRequests),
            "later",
            true,
        ),
        (
            500,
            |error| matches!(error, PullError::Server { status: 500, .. }),
            "later",
            true,
        ),
        (
            503,
            |error| matches!(error, PullError::Server { status: 503, .. }),
            "later",
            true,
        ),
    ];
    for (status, is_expected, advice, is_tried_again) in cases {
        let server = Server::start(vec![Answer::Status(status, "")]);
        let error = Place::new("").pull(&server).unwrap_err();
        assert!(is_expected(&error), "{status}: {error:?}");
        assert!(error.to_string().contains(advice), "{error}");
        let attempts = server.requests().len();
        assert_eq!(attempts, if is_tried_again { 4 } else { 1 }, "{status}");
    }
}

#[test]
fn a_busy_hub_is_asked_again_when_it_says() {
    let place = Place::new(&binding());
    let server = Server::start(vec![
        Answer::Status(429, "Retry-After: 3600\r\n"),
        Answer::Status(503, "Retry-After: 0\r\n"),
        Answer::Whole,
    ]);
    let progress = Progress::default();
    let downloader = Downloader::new(&server.endpoint, None, patient());
    // The longest wait bounds what the hub may ask for.
    place.pull_with(&downloader, &progress).unwrap();
    place.assert_fetched();
    assert_eq!(progress.hindrance(), None, "it went on");
}

#[test]
fn a_cancelled_download_keeps_what_it_has() {
    let place = Place::new(&binding());
    let progress = Progress::default();
    progress.cancel();
    let server = Server::start(vec![Answer::Whole]);
    let downloader = Downloader::new(&server.endpoint, None, patient());
    assert!(matches!(
        place.pull_with(&downloader, &progress),
        Err(PullError::Cancelled(_))
    ));
    assert!(server.requests().is_empty());

    let slow = Server::start(vec![
        Answer::HangUpAfter(20),
        Answer::Status(503, "Retry-After: 60\r\n"),
    ]);
    let patience = RetryPolicy {
        longest_wait: Duration::from_mins(1),
        ..patient()
    };
    let downloader = Downloader::new(&slow.endpoint, None, patience);
    let progress = Progress::default();
    std::thread::scope(|scope| {
        let pulling = scope.spawn(|| place.pull_with(&downloader, &progress));
        let waits = "the hub answers with error 503; trying again in 60 s";
        while progress.hindrance().as_deref() != Some(waits) {
            assert!(!pulling.is_finished(), "it waits for the hub");
            std::thread::yield_now();
        }
        progress.cancel();
        assert!(matches!(pulling.join().unwrap(), Err(PullError::Cancelled(_))));
    });
    assert_eq!(place.state(), ModelState::Partial { bytes: 20 });
}

#[test]
fn a_model_larger_than_the_disk_is_not_even_asked_for() {
    let place = Place::new(&format!("bytes={}\n", 1_u64 << 60));
    let server = Server::start(vec![Answer::Whole]);
    let error = place.pull(&server).unwrap_err();
    assert!(matches!(error, PullError::NoSpace { .. }), "{error:?}");
    assert!(server.requests().is_empty());
}

#[test]
fn a_file_larger_than_the_disk_is_not_begun() {
    let place = Place::new("");
    let server = Server::with_headers(vec![Answer::Whole], format!("X-Linked-Size: {}\r\n", 1_u64 << 60));
    let error = place.pull(&server).unwrap_err();
    assert!(matches!(error, PullError::NoSpace { .. }), "{error:?}");
    assert!(error.to_string().contains("make room"));
}

const LOGGED_HOME: &str = "WORDBRUSH_TEST_LOGGED_DOWNLOAD";
const SECRETS: [&str; 3] = ["hf_verysecret", "signature_secret", "mirror_secret"];

/// Not a test: fetches with a token and logs everything that can be logged. Without its variable it does nothing.
#[test]
fn logged_download_process() {
    let Some(home) = std::env::var_os(LOGGED_HOME) else {
        return;
    };
    wordbrush::storage::logs::start(Path::new(&home)).unwrap();
    let [token, signature, password] = SECRETS;
    let elsewhere = Server::start(vec![
        Answer::Status(503, ""),
        Answer::HangUpAfter(5),
        Answer::Whole,
    ]);
    let hub = Server::start(vec![Answer::Redirect(format!(
        "{}/signed?signature={signature}",
        elsewhere.endpoint
    ))]);
    let mirror = hub.endpoint.replace("http://", &format!("http://me:{password}@"));
    let downloader = Downloader::new(&mirror, Some(token.to_owned()), patient());
    Place::new(&binding())
        .pull_with(&downloader, &Progress::default())
        .unwrap();
    let refusing = Server::start(vec![Answer::Status(404, "")]);
    let mirror = refusing
        .endpoint
        .replace("http://", &format!("http://me:{password}@"));
    let downloader = Downloader::new(&mirror, Some(token.to_owned()), patient());
    let error = Place::new("")
        .pull_with(&downloader, &Progress::default())
        .unwrap_err();
    println!("refused: {error} {error:?} {downloader:?}");
    assert_eq!(
        hub.requests()[0].headers["authorization"],
        format!("Bearer {token}")
    );
}

#[test]
fn secrets_are_neither_logged_nor_shown() {
    let home = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "downloads::logged_download_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(LOGGED_HOME, home.path())
        .env("WORDBRUSH_LOG", "trace")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{told}");
    let log = std::fs::read_to_string(home.path().join("wordbrush.log")).unwrap();
    assert!(log.contains("trying again in"), "something was logged: {log}");
    assert!(told.contains("refused: the hub has no such file"), "{told}");
    for secret in SECRETS {
        assert!(!log.contains(secret), "{log}");
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn what_cannot_be_asked_for_is_not_asked_for_again() {
    let never_waits = RetryPolicy {
        first_wait: Duration::from_hours(1),
        longest_wait: Duration::from_hours(1),
        ..patient()
    };
    let server = Server::start(vec![Answer::Whole]);
    for (endpoint, token) in [
        ("not an address", None),
        ("ftp://hub.example", None),
        (server.endpoint.as_str(), Some("two\nlines".to_owned())),
    ] {
        let downloader = Downloader::new(endpoint, token, never_waits);
        let error = Place::new("")
            .pull_with(&downloader, &Progress::default())
            .unwrap_err();
        assert!(matches!(error, PullError::NoRequest { .. }), "{error:?}");
        assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
    }
}

#[test]
fn nobody_at_home_is_a_network_failure() {
    let place = Place::new("");
    let endpoint = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let downloader = Downloader::new(&endpoint, None, patient());
    let error = place.pull_with(&downloader, &Progress::default()).unwrap_err();
    assert!(error.to_string().contains("check the network"), "{error}");
}
