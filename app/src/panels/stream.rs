//! How the stream runs: hold or dream, steps, seed, guidance; the rest folded away.

use std::ops::RangeInclusive;

use eframe::egui::{self, Align, CollapsingHeader, Layout, RichText, Ui};
use wordbrush_engine::api::{
    BackgroundNoise, Centring, EditPolicy, Gaps, Guidance, MaskMode, PassOrder, PictureMode, Seed, StepList,
    StreamSettings,
};

use super::outbox::Outbox;
use crate::{
    command::AppCommand,
    document::{Document, Edit},
    theme::{
        icons, space,
        widgets::{
            COUNT, NumberFormat, PER_CENT, PLAIN, caption, hint, icon_button, panel_heading, segmented,
            slider_row,
        },
    },
};

/// Draws the panel.
pub fn stream_ui(ui: &mut Ui, document: &Document, outbox: &mut Outbox) {
    panel_heading(ui, "Stream", |_| {});
    let settings = &document.settings;

    caption(ui, "When nothing is edited");
    let mut picture = settings.picture;
    let modes = [
        (
            PictureMode::Held,
            "Hold",
            "The picture settles and nothing is computed until you change something.",
        ),
        (
            PictureMode::Dream,
            "Dream",
            "New noise at every step: endless variation.",
        ),
    ];
    if segmented(ui, "Picture", &mut picture, &modes) {
        change(outbox, settings, "Hold or dream", |new| new.picture = picture);
    }
    ui.add_space(space::S);

    let slider = Slider {
        label: "Steps",
        hint: "Few steps answer sooner, more steps draw finer. Five is what the method was made for.",
        range: 1.0..=12.0,
        format: COUNT,
    };
    slider.ui(
        ui,
        outbox,
        settings,
        settings.steps.count() as f32,
        |new, steps| {
            new.steps = StepList::with_count(steps.round() as usize);
        },
    );

    seed_ui(ui, document, outbox);
    ui.add_space(space::S);
    guidance_ui(ui, settings, outbox);
    ui.add_space(space::S);

    caption(ui, "How soft masks meet");
    let mut mode = settings.mask_mode;
    let modes = [
        (
            MaskMode::Discrete,
            "Stepped",
            "A pixel joins its region at the first step whose noise is below its coverage.",
        ),
        (
            MaskMode::SemiContinuous,
            "Half soft",
            "As stepped, with a soft last step.",
        ),
        (
            MaskMode::Continuous,
            "Soft",
            "Regions fade into each other at every step.",
        ),
    ];
    if segmented(ui, "Mask mode", &mut mode, &modes) {
        change(outbox, settings, "Mask mode", |new| new.mask_mode = mode);
    }
    ui.add_space(space::S);

    let slider = Slider {
        label: "Bootstrap steps",
        hint: "In these first steps each region is drawn alone on white, so that its object forms inside its mask.",
        range: 0.0..=3.0,
        format: COUNT,
    };
    slider.ui(
        ui,
        outbox,
        settings,
        f32::from(settings.bootstrap_steps),
        |new, steps| {
            new.bootstrap_steps = steps.round() as u8;
        },
    );

    CollapsingHeader::new("Advanced").show_unindented(ui, |ui| advanced_ui(ui, settings, outbox));
}

fn change(
    outbox: &mut Outbox,
    settings: &StreamSettings,
    label: &'static str,
    set: impl FnOnce(&mut StreamSettings),
) {
    let mut new = settings.clone();
    set(&mut new);
    outbox.edit(Edit::Settings(new), label);
}

/// A slider of one setting; a drag of it is one undo step.
struct Slider {
    label: &'static str,
    hint: &'static str,
    range: RangeInclusive<f32>,
    format: NumberFormat<'static>,
}

impl Slider {
    fn ui(
        self,
        ui: &mut Ui,
        outbox: &mut Outbox,
        settings: &StreamSettings,
        mut value: f32,
        set: impl FnOnce(&mut StreamSettings, f32),
    ) {
        let response = slider_row(ui, self.label, self.hint, &mut value, self.range, self.format);
        if response.changed() {
            let mut new = settings.clone();
            set(&mut new, value);
            outbox.edit_in(response.id, Edit::Settings(new), self.label);
        }
        outbox.end_with(&response);
    }
}

fn seed_ui(ui: &mut Ui, document: &Document, outbox: &mut Outbox) {
    ui.horizontal(|ui| {
        ui.label("Seed")
            .on_hover_text("The same seed gives the same picture on every machine.");
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let reroll = AppCommand::RerollAll.spec();
            if icon_button(ui, icons::DICES, reroll.label, reroll.hint).clicked() {
                outbox.run(AppCommand::RerollAll);
            }
            let mut seed = document.seed.0;
            let response = ui.add(egui::DragValue::new(&mut seed).speed(1.0));
            ui.ctx()
                .accesskit_node_builder(response.id, |node| node.set_label("Seed".to_owned()));
            if response.changed() {
                outbox.edit_by(&response, Edit::Seed(Seed(seed)), "Seed");
            }
            outbox.end_with(&response);
        });
    });
}

/// Kinds of guidance without their numbers.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    None,
    Full,
    SelfNegative,
    Initialize,
}

const DEFAULT_SCALE: f32 = 1.5;
const DEFAULT_DELTA: f32 = 1.0;

fn guidance_ui(ui: &mut Ui, settings: &StreamSettings, outbox: &mut Outbox) {
    let (kind, scale, delta) = match settings.guidance {
        Guidance::None => (Kind::None, DEFAULT_SCALE, DEFAULT_DELTA),
        Guidance::Full { scale } => (Kind::Full, scale, DEFAULT_DELTA),
        Guidance::SelfNegative { scale, delta } => (Kind::SelfNegative, scale, delta),
        Guidance::Initialize { scale, delta } => (Kind::Initialize, scale, delta),
    };
    let build = |kind, scale, delta| match kind {
        Kind::None => Guidance::None,
        Kind::Full => Guidance::Full { scale },
        Kind::SelfNegative => Guidance::SelfNegative { scale, delta },
        Kind::Initialize => Guidance::Initialize { scale, delta },
    };
    caption(ui, "Guidance, the part of negative prompts");
    let mut chosen = kind;
    let kinds = [
        (
            Kind::None,
            "None",
            "What few-step models are made for; negative prompts have no effect.",
        ),
        (
            Kind::Full,
            "Full",
            "Every region is computed twice: slowest and most obedient.",
        ),
        (
            Kind::SelfNegative,
            "Self",
            "The stock noise stands in for the negative prompt, at no cost.",
        ),
        (
            Kind::Initialize,
            "First",
            "The negative prompt is computed at the noisiest step only.",
        ),
    ];
    if segmented(ui, "Guidance", &mut chosen, &kinds) {
        change(outbox, settings, "Guidance", |new| {
            new.guidance = build(chosen, scale, delta);
        });
    }
    if kind == Kind::None {
        return;
    }
    let slider = Slider {
        label: "Guidance scale",
        hint: "How strongly the negative prompt pushes away.",
        range: 1.0..=8.0,
        format: PLAIN,
    };
    slider.ui(ui, outbox, settings, scale, |new, scale| {
        new.guidance = build(kind, scale, delta);
    });
    if kind == Kind::Full {
        return;
    }
    let slider = Slider {
        label: "Guidance delta",
        hint: "Weight of the stock noise.",
        range: 0.0..=2.0,
        format: PLAIN,
    };
    slider.ui(ui, outbox, settings, delta, |new, delta| {
        new.guidance = build(kind, scale, delta);
    });
}

fn advanced_ui(ui: &mut Ui, settings: &StreamSettings, outbox: &mut Outbox) {
    hint(ui, "The defaults are good; these are for the curious.");
    caption(ui, "Edits and unfinished pictures");
    let mut edits = settings.edits;
    let policies = [
        (
            EditPolicy::FlowThrough,
            "Flow through",
            "Unfinished pictures go on with the edit; frames never stop.",
        ),
        (
            EditPolicy::Flush,
            "Start over",
            "Unfinished pictures are thrown away.",
        ),
    ];
    if segmented(ui, "Edits", &mut edits, &policies) {
        change(outbox, settings, "Edit policy", |new| new.edits = edits);
    }
    caption(ui, "Order of the passes");
    let mut order = settings.pass_order;
    let orders = [
        (
            PassOrder::Auto,
            "Auto",
            "Whichever a short measurement finds sooner.",
        ),
        (
            PassOrder::StreamBatch,
            "Batch",
            "All noise levels at once: a frame at every step.",
        ),
        (
            PassOrder::Sequential,
            "Sequence",
            "One noise level after the other: the earliest answer.",
        ),
    ];
    if segmented(ui, "Pass order", &mut order, &orders) {
        change(outbox, settings, "Pass order", |new| new.pass_order = order);
    }
    caption(ui, "Background noise");
    let mut noise = settings.background_noise;
    let noises = [
        (
            BackgroundNoise::Corrected,
            "Corrected",
            "The noise level of the next step.",
        ),
        (
            BackgroundNoise::Reference,
            "Reference",
            "Nearly clean, as the method's authors do it.",
        ),
    ];
    if segmented(ui, "Background noise", &mut noise, &noises) {
        change(outbox, settings, "Background noise", |new| {
            new.background_noise = noise;
        });
    }
    caption(ui, "Between regions");
    let mut gaps = settings.gaps;
    let kinds = [
        (
            Gaps::Closed,
            "Closed",
            "Where soft edges meet, the stronger region goes on.",
        ),
        (
            Gaps::Background,
            "Background",
            "The background shows between soft edges, as the method's authors do it.",
        ),
    ];
    if segmented(ui, "Between regions", &mut gaps, &kinds) {
        change(outbox, settings, "Between regions", |new| new.gaps = gaps);
    }
    caption(ui, "Drawn in the middle of the canvas");
    let mut centring = settings.centring;
    let kinds = [
        (
            Centring::Objects,
            "Objects",
            "Regions that do not reach from border to border: objects like to form in the middle.",
        ),
        (
            Centring::Always,
            "All",
            "Every region, as the method's authors do it.",
        ),
    ];
    if segmented(ui, "Centring", &mut centring, &kinds) {
        change(outbox, settings, "Centring", |new| new.centring = centring);
    }
    let slider = Slider {
        label: "White mix",
        hint: "How many of the first steps mix white into the background.",
        range: 0.0..=3.0,
        format: PLAIN,
    };
    slider.ui(
        ui,
        outbox,
        settings,
        settings.bootstrap_mix_steps,
        |new, steps| {
            new.bootstrap_mix_steps = steps;
        },
    );
    let slider = Slider {
        label: "Covered masks",
        hint: "What remains of a mask under another one.",
        range: 0.0..=1.0,
        format: PER_CENT,
    };
    slider.ui(ui, outbox, settings, settings.cover_alpha, |new, alpha| {
        new.cover_alpha = alpha;
    });
    ui.horizontal(|ui| {
        if ui.button(RichText::new("Back to the defaults")).clicked() {
            outbox.edit(
                Edit::Settings(StreamSettings::default()),
                "Default stream settings",
            );
        }
    });
}
