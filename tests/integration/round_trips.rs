//! Whatever is saved or exported comes back as it was.

use wordbrush::{
    document::{Document, RegionLayer, region_colour},
    storage::{
        export::{PictureFormat, picture_bytes},
        open::{Opened, ProjectKind, open_bytes},
        ora,
        project::{ModelRecord, Pin, Project},
        project_file,
    },
};
use wordbrush_engine::api::{CanvasSize, Guidance, Mask, ModelSource, Picture, RegionId, Seed, StepList};

/// A project in which every field has a value of its own.
pub(crate) fn project() -> Project {
    let size = CanvasSize::new(130, 70).unwrap();
    let mut document = Document::new(size);
    document.seed = Seed(u64::MAX - 5);
    document.settings.steps = StepList::new(vec![1, 9, 30]).unwrap();
    document.settings.guidance = Guidance::SelfNegative {
        scale: 1.25,
        delta: 0.5,
    };
    document.settings.bootstrap_steps = 2;
    document
        .background
        .prompt
        .push_str("a \"white\" <background> & more");
    document
        .background
        .negative_prompt
        .push_str("żółć 木 🌳\nsecond line");
    document.background.image = Some(gradient(size, 3));
    document.background.keep_strength = 0.375;
    for index in 0..4_u64 {
        document.regions.push(RegionLayer {
            name: format!("region {index}"),
            negative_prompt: format!("not {index}"),
            mask: disc(size, 20 + index as i32 * 30, 15 + index as i32 * 3),
            visible: index != 1,
            locked: index == 2,
            prompt_strength: 0.5 + index as f32 * 0.125,
            mask_strength: 1.0 - index as f32 * 0.125,
            mask_std_px: index as f32 * 4.5,
            seed: (index == 3).then_some(Seed(77)),
            ..RegionLayer::new(
                RegionId(index * 3 + 1),
                size,
                region_colour(index as usize),
                &format!("prompt {index}"),
            )
        });
    }
    document.regions[0].mask = Mask::new(size);
    document.next_region_id = 40;
    let mut earlier = document.clone();
    earlier.regions.truncate(2);
    Project {
        model_record: Some(ModelRecord {
            name: "pocket".to_owned(),
            family: "Pocket".to_owned(),
            fingerprint: "0123456789".to_owned(),
        }),
        last_frame: Some(gradient(size, 7)),
        pins: vec![Pin {
            name: "first try".to_owned(),
            document: earlier,
            picture: Some(gradient(size, 11)),
        }],
        ..Project::new(document)
    }
}

/// A soft disc.
fn disc(size: CanvasSize, x: i32, y: i32) -> Mask {
    let coverage: Vec<u8> = (0..size.area() as i32)
        .map(|pixel| {
            let (dx, dy) = (pixel % size.width() as i32 - x, pixel / size.width() as i32 - y);
            (300 - dx * dx - dy * dy).clamp(0, 255) as u8
        })
        .collect();
    Mask::from_coverage(size, &coverage).unwrap()
}

fn gradient(size: CanvasSize, step: usize) -> Picture {
    let rgba: Vec<u8> = (0..size.area() * 4)
        .map(|i| {
            if i % 4 == 3 {
                255
            } else {
                (i * step / 16 % 256) as u8
            }
        })
        .collect();
    Picture::new(size, rgba).unwrap()
}

fn reopened(bytes: &[u8]) -> (Project, ProjectKind) {
    match open_bytes(bytes, std::path::Path::new(".")).unwrap() {
        Opened::Project { project, kind, .. } => (*project, kind),
        other => panic!("opened as {}", other.kind_name()),
    }
}

#[test]
fn projects_come_back_whole() {
    let project = project();
    let bytes = project_file::to_bytes(&project).unwrap();
    assert_eq!(reopened(&bytes), (project.clone(), ProjectKind::Project));
    assert_eq!(
        bytes,
        project_file::to_bytes(&project).unwrap(),
        "saving is reproducible"
    );
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&bytes)).unwrap();
    let mut thumbnail = Vec::new();
    std::io::copy(&mut archive.by_name("thumbnail.png").unwrap(), &mut thumbnail).unwrap();
    let thumbnail = image::load_from_memory(&thumbnail).unwrap().to_rgba8();
    assert_eq!(thumbnail.as_raw(), project.last_frame.unwrap().rgba());
}

#[test]
fn open_raster_comes_back_whole() {
    let project = project();
    let bytes = ora::to_bytes(&project).unwrap();
    assert_eq!(&bytes[30..38], b"mimetype", "the first entry tells the type");
    assert_eq!(&bytes[38..54], b"image/openraster");
    assert_eq!(reopened(&bytes), (project, ProjectKind::OpenRaster));
}

#[test]
fn a_dropped_export_restores_the_canvas() {
    let project = project();
    for format in [
        PictureFormat::Png,
        PictureFormat::Jpeg { quality: 90 },
        PictureFormat::WebP { quality: 100 },
        PictureFormat::WebP { quality: 90 },
    ] {
        let (back, kind) = reopened(&picture_bytes(&project, format).unwrap());
        assert_eq!(kind, ProjectKind::Export);
        assert_eq!(back.document, project.document, "{format:?}");
        assert_eq!(back.model_record, project.model_record);
        if matches!(
            format,
            PictureFormat::Jpeg { .. } | PictureFormat::WebP { quality: 90 }
        ) {
            assert_similar(&back.last_frame.unwrap(), project.last_frame.as_ref().unwrap());
        } else {
            assert_eq!(back.last_frame, project.last_frame, "{format:?}");
        }
    }
}

#[test]
fn lower_qualities_make_smaller_pictures_and_keep_transparency() {
    let size = CanvasSize::new(96, 64).unwrap();
    let rgba: Vec<u8> = (0..96_u32 * 64)
        .flat_map(|i| {
            let (x, y) = (i % 96, i / 96);
            [
                ((x * 37) ^ (y * 11)) as u8,
                (x * y) as u8,
                (x + y) as u8,
                if x < 48 { 255 } else { 80 },
            ]
        })
        .collect();
    let project = Project {
        last_frame: Some(Picture::new(size, rgba).unwrap()),
        ..Project::new(Document::new(size))
    };
    let bytes =
        [20, 60, 95, 100].map(|quality| picture_bytes(&project, PictureFormat::WebP { quality }).unwrap());
    let lengths = bytes.each_ref().map(Vec::len);
    assert!(lengths.is_sorted() && lengths[0] * 2 < lengths[2], "{lengths:?}");
    for bytes in bytes {
        let back = image::load_from_memory(&bytes).unwrap().to_rgba8();
        assert_eq!((back.width(), back.height()), (96, 64));
        assert_eq!(back.get_pixel(0, 0).0[3], 255);
        assert_eq!(back.get_pixel(95, 63).0[3], 80);
    }
}

fn assert_similar(a: &Picture, b: &Picture) {
    let difference: u64 = a
        .rgba()
        .iter()
        .zip(b.rgba())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    assert!(
        difference / (a.rgba().len() as u64) < 12,
        "mean difference {difference}"
    );
}

#[test]
fn exports_tell_no_folders_of_this_machine() {
    let mut project = project();
    project.document.model.source = ModelSource::Path("/home/someone/secret/model.safetensors".into());
    for format in [PictureFormat::Png, PictureFormat::Jpeg { quality: 90 }] {
        let (back, _) = reopened(&picture_bytes(&project, format).unwrap());
        assert_eq!(
            back.document.model.source,
            ModelSource::Path("model.safetensors".into())
        );
    }
}

#[cfg(unix)]
#[test]
fn a_model_whose_path_is_no_text_does_not_stop_saving() {
    use std::os::unix::ffi::OsStringExt as _;

    let mut project = project();
    let path = std::ffi::OsString::from_vec(b"/models/mod\xe8le.safetensors".to_vec());
    project.document.model.source = ModelSource::Path(path.into());
    let readable = ModelSource::Path("/models/mod\u{fffd}le.safetensors".into());
    for bytes in [
        project_file::to_bytes(&project).unwrap(),
        ora::to_bytes(&project).unwrap(),
    ] {
        assert_eq!(reopened(&bytes).0.document.model.source, readable);
    }
    picture_bytes(&project, PictureFormat::Png).unwrap();
}
