//! The `parameters` text that A1111, Forge, ComfyUI loaders, Civitai and many viewers read.
//!
//! ```text
//! <prompt, may span lines>
//! Negative prompt: <negative>
//! Steps: 5, Sampler: LCM, CFG scale: 1.0, Seed: 2024, Size: 768x512, Model hash: 1a2b3c4d5e, Model: name, ...
//! ```

use wordbrush_engine::api::{Guidance, ModelSource};

use super::{manifest::program_name, project::Project};

const NEGATIVE_MARK: &str = "Negative prompt:";

/// Describes a project as readers expect it: the background's prompt, then each visible region's on its own line.
pub fn parameters_text(project: &Project) -> String {
    let document = &project.document;
    let visible = || document.regions.iter().filter(|region| region.visible);
    let prompts = std::iter::once(&document.background.prompt).chain(visible().map(|region| &region.prompt));
    let negatives = std::iter::once(&document.background.negative_prompt)
        .chain(visible().map(|region| &region.negative_prompt));
    let mut text = joined(prompts, "\n");
    let negative = joined(negatives, ", ");
    if !negative.is_empty() {
        push_line(&mut text, &format!("{NEGATIVE_MARK} {negative}"));
    }
    push_line(&mut text, &fields(project));
    text
}

/// The prompts that say something, each once, in their order.
fn joined<'a>(prompts: impl Iterator<Item = &'a String>, separator: &str) -> String {
    let mut known = Vec::new();
    for prompt in prompts {
        let prompt = readable(prompt);
        if !prompt.is_empty() && !known.contains(&prompt) {
            known.push(prompt);
        }
    }
    known.join(separator)
}

/// A prompt as a reader will find it again: lines trimmed, no characters that end a chunk, and no line that would
/// be taken for the beginning of the negative prompt.
fn readable(prompt: &str) -> String {
    let mut text = String::with_capacity(prompt.len());
    for line in prompt.split([
        '\n', '\r', '\u{2028}', '\u{2029}', '\u{85}', '\u{b}', '\u{c}', '\0',
    ]) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with(NEGATIVE_MARK) {
            // On the line before it, it is read as a part of the prompt; without one, an invisible space stands in.
            text.push(if text.is_empty() { '\u{200b}' } else { ' ' });
        } else if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
}

fn fields(project: &Project) -> String {
    let document = &project.document;
    let size = document.size;
    let scale = match document.settings.guidance {
        Guidance::None => 1.0,
        Guidance::Full { scale }
        | Guidance::SelfNegative { scale, .. }
        | Guidance::Initialize { scale, .. } => scale,
    };
    let mut line = format!(
        "Steps: {}, Sampler: LCM, CFG scale: {scale:.1}, Seed: {}, Size: {}x{}",
        document.settings.steps.count(),
        document.seed.0,
        size.width(),
        size.height(),
    );
    let record = project.model_record.clone().unwrap_or_default();
    let name = match &document.model.source {
        _ if !record.name.is_empty() => record.name,
        ModelSource::Path(path) => path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        source => source.built_in_name().unwrap_or_default().to_owned(),
    };
    let fields = [
        ("Model hash", record.fingerprint),
        ("Model", name),
        ("RNG", "CPU".to_owned()),
        ("Regions", document.regions.len().to_string()),
        ("Version", program_name()),
    ];
    for (key, value) in fields {
        if !value.is_empty() {
            line.extend([", ", key, ": ", &quoted(&value)]);
        }
    }
    line
}

/// A value as it stands in the list of fields: as a JSON string where it could be misread.
fn quoted(value: &str) -> String {
    let could_be_misread = value.contains([',', ':', '\n', '\r', '"', '\\']) || value.trim() != value;
    if could_be_misread {
        serde_json::Value::from(value).to_string()
    } else {
        value.to_owned()
    }
}

fn push_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

#[cfg(test)]
mod tests {
    use wordbrush_engine::api::{CanvasSize, RegionId, Seed};

    use super::*;
    use crate::{
        document::{Document, RegionLayer},
        storage::project::ModelRecord,
    };

    fn project(prompts: &[(&str, &str)]) -> Project {
        let size = CanvasSize::new(768, 512).unwrap();
        let mut document = Document::new(size);
        document.seed = Seed(2024);
        document.background.prompt = prompts[0].0.to_owned();
        document.background.negative_prompt = prompts[0].1.to_owned();
        for (index, (prompt, negative)) in prompts.iter().enumerate().skip(1) {
            document.regions.push(RegionLayer {
                negative_prompt: (*negative).to_owned(),
                ..RegionLayer::new(RegionId(index as u64), size, [0; 3], prompt)
            });
        }
        Project::new(document)
    }

    #[test]
    fn a_plain_scene_reads_as_expected() {
        let mut project = project(&[("a beach", "blurry"), ("a boat", ""), ("the sun", "blurry")]);
        project.model_record = Some(ModelRecord {
            name: "dream, v8: pruned".to_owned(),
            family: String::new(),
            fingerprint: "1a2b3c4d5e".to_owned(),
        });
        assert_eq!(
            parameters_text(&project),
            format!(
                "a beach\na boat\nthe sun\nNegative prompt: blurry\nSteps: 5, Sampler: LCM, CFG scale: 1.0, Seed: 2024, \
                 Size: 768x512, Model hash: 1a2b3c4d5e, Model: \"dream, v8: pruned\", RNG: CPU, Regions: 2, Version: {}",
                program_name()
            )
        );
    }

    #[test]
    fn prompts_cannot_pose_as_negative_prompts() {
        let text = parameters_text(&project(&[
            ("Negative prompt: x", ""),
            ("a\nNegative prompt: b\n", ""),
        ]));
        assert!(
            !text.lines().any(|line| line.trim().starts_with(NEGATIVE_MARK)),
            "{text}"
        );
        assert!(text.contains("a Negative prompt: b"));
    }
}
