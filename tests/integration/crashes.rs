//! What survives when the program is killed, the disk is full, or a folder is read-only.
//!
//! The painter that is killed is this very test binary, started again with one test and an environment variable; it
//! paints by a script that depends on a seed alone, through the same edits, autosave and saving as the app. Every
//! edit is told on a pipe after it was handed to autosave, so that the test knows what may be lost.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use wordbrush::{
    background_tasks::{Task, TaskThread},
    document::{BackgroundField, Document, Edit, History, RegionField},
    storage::{
        autosave::Autosave,
        folders::Folders,
        journal::{SessionFile, SessionFrames, SessionState},
        project::Project,
        project_file,
        sessions::find_cut_off,
    },
};
use wordbrush_engine::api::{CanvasSize, Picture, Seed};

/// Set in the painter's process: its home folder.
const PAINTER_HOME: &str = "WORDBRUSH_TEST_PAINTER";
const PAINTER_SEED: &str = "WORDBRUSH_TEST_SEED";
/// How many painters are killed; set it higher for a long run.
const KILLS_VARIABLE: &str = "WORDBRUSH_KILLS";
/// What may be lost, as promised to the user.
const PROMISE: Duration = Duration::from_secs(1);
/// The document after an edit is known by this: the seed field holds the edit's number.
const PROJECT_FILE: &str = "painting.wordbrush";

/// A small generator of numbers (xorshift), so that painter and test follow the same script.
struct Script {
    state: u64,
    document: Document,
    history: History,
    edits: u64,
}

impl Script {
    fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            document: Document::new(CanvasSize::new(640, 480).unwrap()),
            history: History::default(),
            edits: 0,
        }
    }

    fn number(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    /// One more edit: mostly paint, and now and then everything else that an editor offers.
    fn step(&mut self) {
        let edit = match self.number(40) {
            _ if self.document.regions.is_empty() => Edit::new_region(&self.document, "first").1,
            0 if self.document.regions.len() < 8 => Edit::new_region(&self.document, "another").1,
            1 if self.document.regions.len() > 2 => Edit::RemoveRegion(self.region()),
            2 => {
                let text = format!("prompt {}", self.number(1000));
                Edit::Region(self.region(), RegionField::Prompt(text))
            }
            3 => Edit::MoveRegion {
                region: self.region(),
                index: 0,
            },
            4 => {
                let shade = self.number(256) as u8;
                let picture = Picture::solid(self.document.size, [shade, 90, 20, 255]);
                Edit::Background(BackgroundField::Image(Some(picture)))
            }
            5 | 6 => {
                self.history.undo(&mut self.document);
                Edit::Batch(Vec::new())
            }
            _ => self.dab(),
        };
        self.history.apply(&mut self.document, edit, "step", None);
        self.edits += 1;
        self.document.seed = Seed(self.edits);
    }

    fn region(&mut self) -> wordbrush_engine::api::RegionId {
        let index = self.number(self.document.regions.len() as u64) as usize;
        self.document.regions[index].id
    }

    fn dab(&mut self) -> Edit {
        let id = self.region();
        let mut mask = self.document.region(id).unwrap().mask.clone();
        let (columns, rows) = mask.tile_grid();
        for _ in 0..4 {
            let column = self.number(u64::from(columns)) as u32;
            // The last row of tiles reaches beyond the canvas; pixels there must stay 0.
            let row = self.number(u64::from(rows) - 1) as u32;
            let value = self.number(256) as u8;
            let start = self.number(3000) as usize;
            mask.tile_mut(column, row)[start..start + 900].fill(value);
        }
        Edit::set_mask(&self.document, id, &mask)
    }
}

/// Not a test: the painter's process. Without its variables it does nothing.
#[test]
#[expect(clippy::infinite_loop, reason = "it paints until it is killed")]
fn painter_process() {
    let (Some(home), Ok(seed)) = (std::env::var_os(PAINTER_HOME), std::env::var(PAINTER_SEED)) else {
        return;
    };
    let folder = PathBuf::from(home);
    let autosave = Autosave::start(Folders::below(&folder)).unwrap();
    let files = TaskThread::start("file-io", || ()).unwrap();
    let mut saving: Option<Task<()>> = None;
    let mut script = Script::new(seed.parse().unwrap());
    loop {
        script.step();
        autosave.note(SessionState {
            document: script.document.clone(),
            file: SessionFile::default(),
            frames: SessionFrames::default(),
        });
        println!("edit {}", script.edits);
        if saving.as_ref().is_none_or(|task| task.poll().is_some()) {
            let (edits, path) = (script.edits, folder.join(PROJECT_FILE));
            let project = Project::new(script.document.clone());
            saving = Some(files.run("save", move |_| {
                let saved = project_file::save(&project, &path);
                println!("saved {edits} {}", saved.is_ok());
                Ok(())
            }));
        }
        for event in autosave.events() {
            println!("event {event:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A painter, and what it has told with the time of telling.
struct Painter {
    child: Child,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Painter {
    fn start(home: &Path, seed: u64, wrap: impl FnOnce(Command) -> Command) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "crashes::painter_process",
            "--nocapture",
            "--test-threads=1",
        ]);
        let mut child = wrap(command)
            .env(PAINTER_HOME, home)
            .env(PAINTER_SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        let reader = std::thread::Builder::new()
            .name("painter-output".to_owned())
            .spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    told.lock().unwrap().push((Instant::now(), line));
                }
            })
            .unwrap();
        Self { child, lines, reader }
    }

    /// Lets it paint until it has told enough.
    #[cfg(unix)]
    fn wait_until(&mut self, is_enough: impl Fn(&[(Instant, String)]) -> bool) {
        let begun = Instant::now();
        while !is_enough(&self.lines.lock().unwrap()) {
            assert_eq!(self.child.try_wait().unwrap(), None, "painting goes on");
            assert!(begun.elapsed() < Duration::from_mins(1), "it was not told");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it without warning; answers with what it had told, and when it was killed.
    fn kill(mut self) -> (Vec<(Instant, String)>, Instant) {
        let killed_at = Instant::now();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        (lines, killed_at)
    }
}

/// The number of the last edit that was told at least `age` before `now`.
fn last_edit_older_than(lines: &[(Instant, String)], now: Instant, age: Duration) -> u64 {
    lines
        .iter()
        .filter(|(told, _)| now.saturating_duration_since(*told) >= age)
        .filter_map(|(_, line)| line.strip_prefix("edit ")?.parse().ok())
        .next_back()
        .unwrap_or(0)
}

/// The longest that the disk takes for a small file, measured until it is dropped or asked: where other programs keep
/// the disk or the processors busy, no program can keep a promise about time.
struct SlowestWrite {
    stops: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Duration>,
}

impl SlowestWrite {
    fn measure() -> Self {
        let stops = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stops);
        let measure = move || {
            let folder = tempfile::tempdir().unwrap();
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let mut file = std::fs::File::create(folder.path().join("probe")).unwrap();
                file.write_all(&[0; 4096]).unwrap();
                file.sync_all().unwrap();
                longest = longest.max(begin.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            longest
        };
        let thread = std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(measure);
        Self {
            stops,
            thread: thread.unwrap(),
        }
    }

    fn longest(self) -> Duration {
        self.stops.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Kills one painter, checks what is left; answers how many milliseconds of painting were lost.
fn kill_once(seed: u64) -> u128 {
    let home = tempfile::tempdir().unwrap();
    let folders = Folders::below(home.path());
    let mut dice = Script::new(seed);
    let disk = SlowestWrite::measure();
    let painter = Painter::start(home.path(), seed, |command| command);
    // Some before the first record, most while painting, some after more than a second.
    let life = Duration::from_millis(20 + dice.number(if seed.is_multiple_of(3) { 2500 } else { 700 }));
    std::thread::sleep(life);
    let (lines, killed_at) = painter.kill();
    // An edit may come while one record is being written, and waits for that and its own.
    let age = PROMISE + 2 * disk.longest();

    let sessions = find_cut_off(&folders).unwrap().cut_off;
    let promised = last_edit_older_than(&lines, killed_at, age);
    let Some(session) = sessions.first() else {
        assert_eq!(promised, 0, "seed {seed}: a session is lost");
        return 0;
    };
    let recovered = &session.recovered().state.document;
    let recovered_edits = recovered.seed.0;
    assert!(
        recovered_edits >= promised,
        "seed {seed}: edit {promised} was older than {age:?}, {recovered_edits} came back"
    );
    let mut script = Script::new(seed);
    while script.edits < recovered_edits {
        script.step();
    }
    assert_eq!(
        *recovered, script.document,
        "seed {seed}: another canvas came back"
    );

    check_project_file(&home.path().join(PROJECT_FILE), seed, &lines);
    let left: Vec<String> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // Besides the journal's folder, the project and its previous version: what one save had under way, its file and the
    // second name of the version that it replaces.
    let under_way = |ending: &str| left.iter().filter(|name| name.ends_with(ending)).count();
    let (files, names) = (under_way(".tmp"), under_way(".bak"));
    assert!(
        files <= 1 && names <= 1 && left.len() - files - names <= 3,
        "seed {seed}: files were left behind: {left:?}"
    );

    lines
        .iter()
        .find(|(_, line)| *line == format!("edit {}", recovered_edits + 1))
        .map_or(0, |(told, _)| {
            killed_at.saturating_duration_since(*told).as_millis()
        })
}

/// The saved project is a whole one: the last that was told, or the one after it.
fn check_project_file(path: &Path, seed: u64, lines: &[(Instant, String)]) {
    let told = lines
        .iter()
        .filter_map(|(_, line)| {
            line.strip_prefix("saved ")?
                .strip_suffix(" true")?
                .parse::<u64>()
                .ok()
        })
        .next_back();
    let Ok(bytes) = std::fs::read(path) else {
        assert_eq!(told, None, "seed {seed}: the project is gone");
        return;
    };
    let saved = project_file::from_bytes(&bytes).unwrap().document;
    assert!(saved.seed.0 >= told.unwrap_or(0), "seed {seed}");
    let mut script = Script::new(seed);
    while script.edits < saved.seed.0 {
        script.step();
    }
    assert_eq!(saved, script.document, "seed {seed}: another canvas was saved");
}

#[test]
fn a_killed_painter_loses_less_than_a_second() {
    let kills: u64 = std::env::var(KILLS_VARIABLE)
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(100);
    // What a build has just written waits for the disk, and a painter's records would wait behind it.
    #[cfg(unix)]
    assert!(Command::new("sync").status().unwrap().success());
    // Painters mostly sleep; a few at a time keep the test short.
    let mut lost: Vec<u128> = Vec::new();
    for first in (0..kills).step_by(5) {
        let threads: Vec<_> = (first..kills.min(first + 5))
            .map(|seed| {
                std::thread::Builder::new()
                    .name(format!("kill-{seed}"))
                    .spawn(move || kill_once(seed + 1))
                    .unwrap()
            })
            .collect();
        lost.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    }
    lost.sort_unstable();
    println!(
        "{kills} kills: lost milliseconds of painting: median {}, worst {}",
        lost[lost.len() / 2],
        lost[lost.len() - 1]
    );
}

/// A painter whose files may not grow beyond a limit, as on a full disk.
#[cfg(unix)]
#[test]
fn on_a_full_disk_painting_goes_on_and_nothing_becomes_unreadable() {
    let home = tempfile::tempdir().unwrap();
    let seed = 4;
    let limited = |command: Command| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "trap '' XFSZ; ulimit -f 40; exec \"$0\" \"$@\""])
            .arg(command.get_program())
            .args(command.get_args());
        shell
    };
    let mut painter = Painter::start(home.path(), seed, limited);
    painter.wait_until(|lines| {
        let failing = lines
            .iter()
            .position(|(_, line)| line.starts_with("event Failing"));
        let is_unsaved = lines.iter().any(|(_, line)| line.ends_with(" false"));
        // Painting goes on after it, also when autosave tries again.
        is_unsaved
            && failing
                .is_some_and(|at| lines[at].0.elapsed() > Duration::from_secs(4) && at + 50 < lines.len())
    });
    let (lines, _) = painter.kill();
    let lines_with = |start: &str| lines.iter().filter(|(_, line)| line.starts_with(start)).count();
    assert_eq!(lines_with("event Failing"), 1, "the user is told once");

    let sessions = find_cut_off(&Folders::below(home.path())).unwrap().cut_off;
    let recovered = &sessions[0].recovered().state.document;
    let mut script = Script::new(seed);
    while script.edits < recovered.seed.0 {
        script.step();
    }
    assert_eq!(*recovered, script.document, "what was written before is readable");
    check_project_file(&home.path().join(PROJECT_FILE), seed, &lines);
}

/// A small file system of its own, unmounted at the end. Only root may make one.
#[cfg(target_os = "linux")]
struct SmallDisk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn new(options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let disk = Self(folder);
        disk.mount(options).then_some(disk)
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(self.0.path());
        mount
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It was never mounted if that was not allowed.
        Command::new("umount")
            .arg(self.0.path())
            .stderr(Stdio::null())
            .status()
            .ok();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_keeps_the_old_project_and_autosave_resumes_when_there_is_room() {
    let Some(disk) = SmallDisk::new("size=2m") else {
        println!("not checked: only root may mount a small disk");
        return;
    };
    let mut script = Script::new(9);
    for _ in 0..30 {
        script.step();
    }
    let path = disk.path().join("old.wordbrush");
    let old = Project::new(script.document.clone());
    project_file::save(&old, &path).unwrap();

    let autosave = Autosave::start(Folders::below(disk.path())).unwrap();
    let ballast = disk.path().join("ballast");
    // All that is left.
    let mut file = std::fs::File::create(&ballast).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1).take(4 << 20), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(file);

    for _ in 0..300 {
        script.step();
    }
    let error = project_file::save(&Project::new(script.document.clone()), &path).unwrap_err();
    let message = format!("{error:#}");
    assert!(
        message.contains("No space left") && message.contains("old.wordbrush"),
        "{message}"
    );
    assert_eq!(
        project_file::from_bytes(&std::fs::read(&path).unwrap()).unwrap(),
        old
    );

    let state = SessionState {
        document: script.document.clone(),
        file: SessionFile::default(),
        frames: SessionFrames::default(),
    };
    autosave.note(state.clone());
    assert!(wait_for_event(&autosave).contains("Failing"));
    std::fs::remove_file(&ballast).unwrap();
    assert!(wait_for_event(&autosave).contains("WorksAgain"));
    drop(autosave);
    let sessions = find_cut_off(&Folders::below(disk.path())).unwrap().cut_off;
    assert_eq!(sessions[0].recovered().state, state);
}

#[cfg(target_os = "linux")]
fn wait_for_event(autosave: &Autosave) -> String {
    let begun = Instant::now();
    loop {
        if let Some(event) = autosave.events().next() {
            return format!("{event:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was told");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_told_and_left_as_it_is() {
    let disk = SmallDisk::new("size=2m");
    let plain = tempfile::tempdir().unwrap();
    let folder = disk.as_ref().map_or_else(|| plain.path(), SmallDisk::path);
    let path = folder.join("old.wordbrush");
    let old = Project::new(Script::new(1).document);
    project_file::save(&old, &path).unwrap();
    if let Some(disk) = &disk {
        assert!(disk.mount("remount,ro"));
    } else {
        let mut permissions = std::fs::metadata(folder).unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(folder, permissions).unwrap();
    }
    let mut other = old.clone();
    other.document.seed = Seed(5);
    let message = format!("{:#}", project_file::save(&other, &path).unwrap_err());
    assert!(
        message.contains("cannot write") && message.contains("old.wordbrush"),
        "{message}"
    );
    assert_eq!(
        project_file::from_bytes(&std::fs::read(&path).unwrap()).unwrap(),
        old
    );
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);

    let autosave = Autosave::start(Folders::below(folder)).unwrap();
    autosave.note(SessionState {
        document: other.document,
        file: SessionFile::default(),
        frames: SessionFrames::default(),
    });
    assert!(wait_for_event(&autosave).contains("Failing"));
}
