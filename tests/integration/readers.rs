//! Every reader of untrusted bytes answers with a value or an error: never a panic, never without bounds.
//!
//! Inputs are whole files with some bytes changed, cut, doubled or exchanged, also behind the layers that checksums
//! would protect (the JSON inside an archive, inside a text chunk, inside a journal record), and plain noise.
//! By default each test takes 256 inputs. The long run of one million in all:
//!
//! ```text
//! PROPTEST_CASES=84000 cargo test -p integration_tests readers
//! ```

use std::{
    fmt::Write as _,
    io::{Cursor, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use flate2::{Compression, write::ZlibEncoder};
use proptest::{prelude::*, sample::Index};
use wordbrush::{
    app::preferences::Preferences,
    document::{Document, RegionLayer},
    models_store::Catalogue,
    storage::{
        export::{PictureFormat, picture_bytes},
        frames::{KeptFrame, frame_from_bytes, frame_path, write_frame},
        journal::{JournalWriter, SessionFile, SessionFrames, SessionState, read_journal},
        open::open_bytes,
        ora,
        palette::{Demo, Palette, built_in},
        project::{Pin, Project},
        project_file,
        safetensors_header::SafetensorsHeader,
        scene_file::SceneFile,
        settings,
    },
};
use wordbrush_engine::api::{CanvasSize, Mask, Picture, RegionId};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

/// A change to a file.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Double(Index, usize),
    /// A number that is often forgotten.
    Number(Index, u32),
    Text(Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let numbers = prop::sample::select(vec![
        0,
        1,
        255,
        65_535,
        100_000,
        0x7FFF_FFFF,
        0x8000_0000,
        u32::MAX,
    ]);
    let texts = prop::sample::select(vec![
        "-1",
        "1e999",
        "null",
        "[]",
        "{}",
        "\"\"",
        "99999999999999999999",
        "\\u0000",
        "../../x",
        "[[[[[[",
        "0.1",
        "true",
        "\u{1F333}",
    ]);
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Change::Byte(at, value)),
        1 => any::<Index>().prop_map(Change::Cut),
        2 => (any::<Index>(), 1_usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        2 => (any::<Index>(), 1_usize..40).prop_map(|(at, length)| Change::Double(at, length)),
        2 => (any::<Index>(), numbers).prop_map(|(at, number)| Change::Number(at, number)),
        2 => (any::<Index>(), texts).prop_map(|(at, text)| Change::Text(at, text)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..6)
}

fn changed(file: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Byte(at, value) => {
                let place = at.index(bytes.len());
                bytes[place] = *value;
            }
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Change::Remove(at, length) => {
                let start = at.index(bytes.len());
                bytes.drain(start..(start + length).min(bytes.len()));
            }
            Change::Double(at, length) => {
                let start = at.index(bytes.len());
                let part = bytes[start..(start + length).min(bytes.len())].to_vec();
                bytes.splice(start..start, part);
            }
            Change::Number(at, number) => {
                let start = at.index(bytes.len());
                for (byte, value) in bytes[start..].iter_mut().zip(number.to_be_bytes()) {
                    *byte = value;
                }
            }
            Change::Text(at, text) => {
                let start = at.index(bytes.len());
                bytes.splice(start..start, text.bytes());
            }
        }
    }
    bytes
}

fn project() -> Project {
    let size = CanvasSize::new(9, 7).unwrap();
    let mut document = Document::new(size);
    document.background.image = Some(Picture::solid(size, [1, 2, 3, 255]));
    for id in 1..4 {
        document.regions.push(RegionLayer {
            mask: Mask::full(size),
            ..RegionLayer::new(RegionId(id), size, [id as u8; 3], "a tree")
        });
    }
    Project {
        last_frame: Some(Picture::solid(size, [9, 9, 9, 255])),
        pins: vec![Pin {
            name: "pin".to_owned(),
            document: document.clone(),
            picture: None,
        }],
        ..Project::new(document)
    }
}

/// The entries of an archive.
fn unpacked(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..zip.len())
        .map(|index| {
            let mut entry = zip.by_index(index).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            (entry.name().unwrap().into_owned(), bytes)
        })
        .collect()
}

fn packed(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An archive with one entry changed, its checksums right.
fn with_changed_entry(archive: &[u8], which: Index, changes: &[Change]) -> Vec<u8> {
    let mut entries = unpacked(archive);
    let count = entries.len();
    let (_, bytes) = &mut entries[which.index(count)];
    *bytes = changed(bytes, changes);
    packed(&entries)
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A one-pixel PNG with a chunk of ours that holds `state`.
fn png_with_state(state: &[u8]) -> Vec<u8> {
    let mut png = Vec::new();
    let pixel = image::RgbImage::new(1, 1);
    pixel
        .write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png)
        .unwrap();
    let mut data = b"iTXtwordbrush\0\x01\0\0\0".to_vec();
    data.extend(deflated(state));
    let mut chunk = ((data.len() - 4) as u32).to_be_bytes().to_vec();
    chunk.extend(&data);
    chunk.extend(crc32fast::hash(&data).to_be_bytes());
    png.splice(33..33, chunk);
    png
}

/// The JSON of our state in an exported PNG.
fn state_json() -> Vec<u8> {
    let png = picture_bytes(&project(), PictureFormat::Png).unwrap();
    let start = png.windows(9).position(|window| window == b"wordbrush").unwrap() + 9 + 5;
    let mut json = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&png[start..]), &mut json).unwrap();
    json
}

/// A journal of a few records.
fn journal() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let mut state = SessionState {
        document: project().document,
        file: SessionFile::default(),
        frames: SessionFrames::default(),
    };
    let mut writer = JournalWriter::create(folder.path(), &state).unwrap();
    for value in 0..3 {
        state.document.regions[0].mask.tile_mut(0, 0)[value] = 7;
        state.document.regions[1].prompt.push('x');
        writer.append(&state).unwrap();
    }
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap();
    std::fs::read(file.path()).unwrap()
}

/// A journal whose first record holds these bytes, its checksum right.
fn journal_with_payload(payload: &[u8]) -> Vec<u8> {
    let packed = deflated(payload);
    let mut bytes = b"WBJOURNAL\0\x01\0\0\0\0\0".to_vec();
    bytes.extend((packed.len() as u32).to_le_bytes());
    bytes.extend(crc32fast::hash(&packed).to_le_bytes());
    bytes.extend(packed);
    bytes
}

fn first_payload(journal: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&journal[24..]), &mut payload).unwrap();
    payload
}

/// A frame of the history strip.
fn frame() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let frame = KeptFrame {
        document: project().document,
        picture: Picture::solid(CanvasSize::new(5, 3).unwrap(), [1, 2, 3, 255]),
    };
    write_frame(folder.path(), 1, &frame).unwrap();
    std::fs::read(frame_path(folder.path(), 1)).unwrap()
}

/// A frame whose picture has these bytes, its checksum right.
fn frame_with_picture(content: &[u8]) -> Vec<u8> {
    let frame = &ORIGINALS.frame;
    let canvas_length = u32::from_le_bytes(frame[16..20].try_into().unwrap()) as usize;
    let packed = deflated(content);
    let mut bytes = frame[..24 + canvas_length].to_vec();
    bytes.extend((packed.len() as u32).to_le_bytes());
    bytes.extend(crc32fast::hash(&packed).to_le_bytes());
    bytes.extend(packed);
    bytes
}

/// The whole files that are changed.
struct Originals {
    project: Vec<u8>,
    open_raster: Vec<u8>,
    /// As another program would write it.
    foreign_open_raster: Vec<u8>,
    pictures: [Vec<u8>; 3],
    state: Vec<u8>,
    journal: Vec<u8>,
    payload: Vec<u8>,
    frame: Vec<u8>,
    palettes: Vec<String>,
    preferences: String,
}

static ORIGINALS: LazyLock<Originals> = LazyLock::new(|| {
    let open_raster = ora::to_bytes(&project()).unwrap();
    let mut entries = unpacked(&open_raster);
    entries.retain(|(name, _)| !name.starts_with("wordbrush/"));
    let picture = |format| picture_bytes(&project(), format).unwrap();
    let journal = journal();
    Originals {
        project: project_file::to_bytes(&project()).unwrap(),
        open_raster,
        foreign_open_raster: packed(&entries),
        pictures: [
            picture(PictureFormat::Png),
            picture(PictureFormat::Jpeg { quality: 80 }),
            picture(PictureFormat::WebP { quality: 100 }),
        ],
        state: state_json(),
        payload: first_payload(&journal),
        journal,
        frame: frame(),
        palettes: built_in()
            .iter()
            .map(|palette| palette.to_json(Demo::Sdxl))
            .collect(),
        preferences: toml::to_string(&Preferences::default()).unwrap(),
    }
});

fn open(bytes: &[u8]) {
    // Whether it can be opened is not the question here.
    drop(open_bytes(bytes, Path::new("/nowhere")));
}

proptest! {
    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0_usize..7) {
        let starts: [&[u8]; 7] = [b"", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF____WEBP", b"{", b"WBJOURNAL\0\x01\0\0\0\0\0"];
        let input = [starts[start], &bytes].concat();
        open(&input);
        drop(read_journal(&input));
        drop(SafetensorsHeader::parse(&input, 100, 200));
    }

    #[test]
    fn projects(changes in changes()) {
        open(&changed(&ORIGINALS.project, &changes));
    }

    #[test]
    fn entries_of_projects(which: Index, changes in changes()) {
        open(&with_changed_entry(&ORIGINALS.project, which, &changes));
    }

    #[test]
    fn open_raster(changes in changes()) {
        open(&changed(&ORIGINALS.open_raster, &changes));
    }

    #[test]
    fn entries_of_open_raster(which: Index, changes in changes(), is_foreign: bool) {
        let archive = if is_foreign { &ORIGINALS.foreign_open_raster } else { &ORIGINALS.open_raster };
        open(&with_changed_entry(archive, which, &changes));
    }

    #[test]
    fn exported_pictures(changes in changes(), format in 0_usize..3) {
        open(&changed(&ORIGINALS.pictures[format], &changes));
    }

    #[test]
    fn state_in_pictures(changes in changes()) {
        open(&png_with_state(&changed(&ORIGINALS.state, &changes)));
    }

    #[test]
    fn journals(changes in changes()) {
        drop(read_journal(&changed(&ORIGINALS.journal, &changes)));
    }

    #[test]
    fn records_of_journals(changes in changes()) {
        drop(read_journal(&journal_with_payload(&changed(&ORIGINALS.payload, &changes))));
    }

    #[test]
    fn frames(changes in changes()) {
        drop(frame_from_bytes(&changed(&ORIGINALS.frame, &changes)));
    }

    #[test]
    fn pictures_of_frames(changes in changes()) {
        drop(frame_from_bytes(&frame_with_picture(&changed(b"\x02\0\0\0\x01\0\0\0abcdefgh", &changes))));
    }

    #[test]
    fn palettes(which in 0_usize..6, changes in changes()) {
        let json = changed(ORIGINALS.palettes[which].as_bytes(), &changes);
        let text = String::from_utf8_lossy(&json).into_owned();
        open(text.as_bytes());
        if let Ok(palette) = Palette::from_json(&text) {
            // Whatever was read can be written and read again.
            Palette::from_json(&palette.to_json(Demo::Streaming)).unwrap();
        }
    }

    #[test]
    fn scenes_settings_and_lists(changes in changes()) {
        let scene = br#"{"size": [51, 12], "seed": 7, "model": "pocket", "steps": 5, "bootstrap_steps": 2, "background": {"prompt": "x",
            "image": "y.png"}, "regions": [{"name": "t", "prompt": "p", "mask": "t.png", "mask_std": 8.0, "seed": null}]}"#;
        let scene = changed(scene, &changes);
        open(&scene);
        drop(SceneFile::parse(&String::from_utf8_lossy(&scene)));
        let text = changed(ORIGINALS.preferences.as_bytes(), &changes);
        drop(settings::parse::<Preferences>(&String::from_utf8_lossy(&text)));
        let list = changed(include_bytes!("../../assets/models.toml"), &changes);
        drop(Catalogue::from_toml(&String::from_utf8_lossy(&list)));
    }

    #[test]
    fn safetensors_headers(changes in changes()) {
        let header = br#"{"__metadata__": {"format": "pt"}, "a": {"dtype": "F16", "shape": [4, 4], "data_offsets": [0, 32]},
            "b": {"dtype": "F32", "shape": [], "data_offsets": [32, 36]}}"#;
        drop(SafetensorsHeader::parse(&changed(header, &changes), 36, 300));
    }
}

/// A PNG header that promises a giant.
fn giant_png() -> Vec<u8> {
    let mut png = Vec::new();
    image::GrayImage::new(1, 1)
        .write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png)
        .unwrap();
    png[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
    let checksum = crc32fast::hash(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    png
}

/// Every entry of an archive replaced by something hostile, one after the other.
fn bombs() -> Vec<Vec<u8>> {
    let zeros = vec![0; 520 << 20];
    // Far more values than letters, and far more names than pictures.
    let lists = format!(r#"{{"manifest": [{}0]}}"#, "0,".repeat(150_000_000));
    let names = (0..2_000_000).fold(String::new(), |mut names, name| {
        write!(names, "\"{name}\":\"\",").unwrap();
        names
    });
    let names = format!(r#"{{"manifest": {{}}, "blobs": {{{names}"x":""}}}}"#);
    let mut bombs = vec![
        giant_png(),
        png_with_state(&zeros),
        png_with_state(lists.as_bytes()),
        png_with_state(names.as_bytes()),
    ];
    drop(names);
    for archive in [
        project_file::to_bytes(&project()).unwrap(),
        ora::to_bytes(&project()).unwrap(),
    ] {
        let entries = unpacked(&archive);
        for index in 0..entries.len() {
            let mut hostile = entries.clone();
            hostile[index].1 = giant_png();
            bombs.push(packed(&hostile));
        }
        let mut hostile = entries.clone();
        let manifest = hostile
            .iter_mut()
            .find(|(name, _)| name.ends_with("manifest.json"))
            .unwrap();
        manifest.1.clone_from(&zeros);
        bombs.push(packed(&hostile));
        let manifest = hostile
            .iter_mut()
            .find(|(name, _)| name.ends_with("manifest.json"))
            .unwrap();
        manifest.1 = lists.as_bytes()[..60 << 20].to_vec();
        bombs.push(packed(&hostile));
    }
    bombs.push(journal_with_payload(&zeros));
    bombs
}

const BOMB_FOLDER: &str = "WORDBRUSH_TEST_BOMBS";

/// Not a test: opens the files in a folder, in a process whose memory is limited. Without its variable it does nothing.
#[test]
fn bomb_process() {
    let Some(folder) = std::env::var_os(BOMB_FOLDER) else {
        return;
    };
    let mut opened = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        open(&bytes);
        drop(read_journal(&bytes));
        opened += 1;
    }
    println!("survived {opened}");
}

#[cfg(unix)]
#[test]
fn bombs_are_refused_within_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let bombs = bombs();
    for (index, bomb) in bombs.iter().enumerate() {
        assert!(bomb.len() < 64 << 20, "a bomb is small");
        std::fs::write(folder.path().join(format!("{index}")), bomb).unwrap();
    }
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 3000000; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "readers::bomb_process",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(BOMB_FOLDER, folder.path())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains(&format!("survived {}", bombs.len())), "{told}");
}

#[test]
fn names_that_lead_elsewhere_write_nothing() {
    let mut entries = unpacked(&project_file::to_bytes(&project()).unwrap());
    entries.push(("../../../tmp/wordbrush-escaped".to_owned(), b"x".to_vec()));
    entries.push(("/tmp/wordbrush-escaped".to_owned(), b"x".to_vec()));
    let mut manifest = String::from_utf8(entries[1].1.clone()).unwrap();
    assert!(manifest.contains("masks/"));
    open_bytes(&packed(&entries), Path::new(".")).unwrap();
    manifest = manifest.replace("masks/", "../../masks/");
    entries[1].1 = manifest.into_bytes();
    assert!(open_bytes(&packed(&entries), Path::new(".")).is_err());
    assert!(!Path::new("/tmp/wordbrush-escaped").exists());
}
