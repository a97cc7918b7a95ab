//! What the selected region or the background shows, and how.

use std::ops::RangeInclusive;

use eframe::egui::{self, Align, Id, Label, Layout, Popup, RichText, Ui, vec2};
use wordbrush_engine::api::{Seed, StreamSettings};

use super::{
    super::{
        outbox::{Intent, Outbox},
        prompt::prompt_ui,
        stream::FULL_GUIDANCE,
    },
    RegionsState, RegionsView,
};
use crate::{
    command::AppCommand,
    document::{BackgroundField, Edit, RegionField, RegionLayer, Target},
    theme::{
        CORNER, icons, palette, space, strong,
        widgets::{
            NumberFormat, PER_CENT, PIXELS, action_button, caption, hint, icon_button, icon_toggle,
            slider_row,
        },
    },
};

/// A property of a region that a slider sets.
struct Strength {
    label: &'static str,
    hint: &'static str,
    range: RangeInclusive<f32>,
    format: NumberFormat<'static>,
    of: fn(&RegionLayer) -> f32,
    field: fn(f32) -> RegionField,
}

const STRENGTHS: [Strength; 3] = [
    Strength {
        label: "Prompt strength",
        hint: "How much of its own prompt the region takes; the rest is the background's.",
        range: 0.5..=1.0,
        format: PER_CENT,
        of: |region| region.prompt_strength,
        field: RegionField::PromptStrength,
    },
    Strength {
        label: "Mask strength",
        hint: "How firmly the region holds its place against others.",
        range: 0.5..=1.0,
        format: PER_CENT,
        of: |region| region.mask_strength,
        field: RegionField::MaskStrength,
    },
    Strength {
        label: "Edge softness",
        hint: "How far the region melts into what is around it.",
        range: 0.0..=100.0,
        format: PIXELS,
        of: |region| region.mask_std_px,
        field: RegionField::MaskStd,
    },
];

/// What the background shows.
pub(super) fn background_properties_ui(ui: &mut Ui, view: RegionsView<'_>, outbox: &mut Outbox) {
    let background = &view.document.background;
    ui.add_space(space::XS);
    ui.label(RichText::new("Background").text_style(strong()));
    let id = Id::unique(("background prompt", view.canvas));
    let (response, text) = prompt_ui(
        ui,
        id,
        "Prompt",
        "What shows where nothing is painted",
        &background.prompt,
        2,
        view.aids,
    );
    if let Some(text) = text {
        outbox.background(&response, BackgroundField::Prompt(text), "Background prompt");
    }
    outbox.end_with(&response);
    let id = Id::unique(("background negative prompt", view.canvas));
    let (response, text) = prompt_ui(
        ui,
        id,
        "Negative prompt",
        "What it must not show",
        &background.negative_prompt,
        1,
        view.aids,
    );
    if let Some(text) = text {
        outbox.background(
            &response,
            BackgroundField::NegativePrompt(text),
            "Background negative prompt",
        );
    }
    outbox.end_with(&response);
    negative_hint_ui(ui, view, &background.negative_prompt, outbox);

    keep_ui(ui, view, outbox);

    ui.add_space(space::S);
    caption(ui, "Picture");
    match view.thumbnails.background() {
        Some(texture) => {
            let size = texture.size_vec2();
            let width = ui.available_width().min(160.0);
            let picture = egui::Image::new(texture)
                .corner_radius(CORNER)
                .fit_to_exact_size(vec2(width, width * size.y / size.x.max(1.0)))
                .alt_text("Background picture");
            ui.add(picture);
        }
        None => hint(
            ui,
            "Drop a picture on the canvas, paste one, or choose a file. Regions are painted over it.",
        ),
    }
    ui.horizontal_wrapped(|ui| {
        if action_button(ui, icons::IMAGE_PLUS, "Choose…").clicked() {
            outbox.run(AppCommand::BackgroundImage);
        }
        if background.image.is_some() && action_button(ui, icons::IMAGE_OFF, "Remove").clicked() {
            outbox.run(AppCommand::RemoveBackgroundImage);
        }
    });
}

/// How much of the background stays, and what its prompt does about the rest.
fn keep_ui(ui: &mut Ui, view: RegionsView<'_>, outbox: &mut Outbox) {
    let background = &view.document.background;
    let has_prompt = !background.prompt.trim().is_empty();
    let mut keep_strength = background.keep_strength;
    let response = slider_row(
        ui,
        "Keep",
        "How much of the background stays as it is. The less, the more the prompt paints over it.",
        &mut keep_strength,
        0.0..=1.0,
        PER_CENT,
    );
    if response.changed() {
        outbox.background(
            &response,
            BackgroundField::KeepStrength(keep_strength),
            "Keep background",
        );
    }
    outbox.end_with(&response);
    if keep_strength < 1.0 {
        if !has_prompt {
            hint(ui, "Write a prompt above: it is what paints the background.");
        }
    } else if has_prompt {
        hint(
            ui,
            "All of the background is kept as it is, so that the prompt is not painted.",
        );
        if action_button(ui, icons::BRUSH, "Paint the background").clicked() {
            let edit = Edit::Background(BackgroundField::KeepStrength(0.0));
            outbox.edit(edit, "Paint the background");
        }
    } else {
        hint(
            ui,
            "At 100 % the background stays as it is. Below that the prompt paints it, at 0 % alone.",
        );
    }
}

/// Says what keeps a negative prompt from having an effect, with the way out.
fn negative_hint_ui(ui: &mut Ui, view: RegionsView<'_>, negative_prompt: &str, outbox: &mut Outbox) {
    let settings = &view.document.settings;
    if negative_prompt.trim().is_empty() || settings.guidance.takes_negative_prompts() {
        return;
    }
    hint(
        ui,
        "It has no effect as the stream's guidance is set. Full guidance takes it in, and twice the time.",
    );
    if action_button(ui, icons::SLIDERS_HORIZONTAL, "Turn on full guidance").clicked() {
        let settings = StreamSettings {
            guidance: FULL_GUIDANCE,
            ..settings.clone()
        };
        outbox.edit(Edit::Settings(settings), "Full guidance");
    }
}

/// What a region shows and how firmly.
pub(super) fn region_properties_ui(
    ui: &mut Ui,
    view: RegionsView<'_>,
    region: &RegionLayer,
    state: &mut RegionsState,
    outbox: &mut Outbox,
) {
    ui.add_space(space::XS);
    ui.horizontal(|ui| {
        region_colour_ui(ui, region, state, outbox);
        ui.add(Label::new(RichText::new(region.title()).text_style(strong())).truncate());
    });
    let id = Id::unique(("prompt", view.canvas, region.id.0));
    if std::mem::take(&mut state.wants_prompt) {
        ui.memory_mut(|memory| memory.request_focus(id));
    }
    let (response, text) = prompt_ui(
        ui,
        id,
        "Prompt",
        "What this region shows, such as: a large tree",
        &region.prompt,
        2,
        view.aids,
    );
    if let Some(text) = text {
        outbox.region(&response, region.id, RegionField::Prompt(text), "Prompt");
    }
    outbox.end_with(&response);
    let id = Id::unique(("negative prompt", view.canvas, region.id.0));
    let (response, text) = prompt_ui(
        ui,
        id,
        "Negative prompt",
        "What it must not show",
        &region.negative_prompt,
        1,
        view.aids,
    );
    if let Some(text) = text {
        outbox.region(
            &response,
            region.id,
            RegionField::NegativePrompt(text),
            "Negative prompt",
        );
    }
    outbox.end_with(&response);
    negative_hint_ui(ui, view, &region.negative_prompt, outbox);
    ui.add_space(space::XS);

    // By the region's number, so that what is being typed for one does not go to another that is selected meanwhile.
    ui.push_id(("region", view.canvas, region.id.0), |ui| {
        strengths_ui(ui, region, outbox);
        region_seed_ui(ui, region, outbox);
    });
}

fn strengths_ui(ui: &mut Ui, region: &RegionLayer, outbox: &mut Outbox) {
    for property in &STRENGTHS {
        let mut value = (property.of)(region);
        let range = property.range.clone();
        let response = slider_row(
            ui,
            property.label,
            property.hint,
            &mut value,
            range,
            property.format,
        );
        if response.changed() {
            outbox.region(&response, region.id, (property.field)(value), property.label);
        }
        outbox.end_with(&response);
    }
}

fn region_colour_ui(ui: &mut Ui, region: &RegionLayer, state: &mut RegionsState, outbox: &mut Outbox) {
    let mut colour = region.colour;
    // The button is the same one for every region; its id alone would join the colours of two.
    let (response, is_open) = ui
        .push_id(region.id.0, |ui| {
            // As egui names the picker that belongs to the button.
            let popup = ui.auto_id_with("popup");
            let response = ui.color_edit_button_srgb(&mut colour);
            (response, Popup::is_id_open(ui.ctx(), popup))
        })
        .inner;
    ui.ctx()
        .accesskit_node_builder(response.id, |node| node.set_label("Region colour".to_owned()));
    let open = is_open.then_some(region.id);
    if state.colouring != open {
        if state.colouring.is_some() {
            outbox.end_in(response.id);
        }
        state.colouring = open;
    }
    if colour != region.colour {
        let edit = Edit::Region(region.id, RegionField::Colour(colour));
        outbox.edit_in(response.id, edit, "Region colour");
    }
}

fn region_seed_ui(ui: &mut Ui, region: &RegionLayer, outbox: &mut Outbox) {
    ui.horizontal(|ui| {
        ui.label("Seed");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if icon_button(
                ui,
                icons::DICES,
                "Reroll region",
                "New noise inside this region only.",
            )
            .clicked()
            {
                outbox.push(Intent::RunOn(Target::Region(region.id), AppCommand::RerollRegion));
            }
            let is_own = region.seed.is_some();
            let response = icon_toggle(
                ui,
                if is_own { icons::PIN } else { icons::LAYERS },
                if is_own {
                    "Use the canvas' seed"
                } else {
                    "Use an own seed"
                },
                "With an own seed the region keeps its noise when the canvas is rerolled.",
                is_own,
            );
            if response.clicked() {
                let seed = if is_own { None } else { Some(Seed(region.id.0)) };
                outbox.edit(Edit::Region(region.id, RegionField::Seed(seed)), "Region seed");
            }
            if let Some(seed) = region.seed {
                let mut number = seed.0;
                let drag = ui.add(egui::DragValue::new(&mut number).speed(1.0));
                ui.ctx()
                    .accesskit_node_builder(drag.id, |node| node.set_label("Region seed".to_owned()));
                if drag.changed() {
                    outbox.region(
                        &drag,
                        region.id,
                        RegionField::Seed(Some(Seed(number))),
                        "Region seed",
                    );
                }
                outbox.end_with(&drag);
            } else {
                let colour = palette(ui).text_weak;
                ui.label(RichText::new("the canvas'").color(colour));
            }
        });
    });
}
