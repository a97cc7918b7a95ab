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

    PICTURE.ui(ui, outbox, settings);
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
    MASK_MODE.ui(ui, outbox, settings);
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

/// A setting that is one of a few words; choosing one is one undo step.
struct Choice<T: 'static> {
    caption: &'static str,
    /// What undo and a screen reader call it.
    name: &'static str,
    /// Each value with its word and what it does.
    options: &'static [(T, &'static str, &'static str)],
    of: fn(&StreamSettings) -> T,
    set: fn(&mut StreamSettings, T),
}

impl<T: Copy + PartialEq> Choice<T> {
    fn ui(&self, ui: &mut Ui, outbox: &mut Outbox, settings: &StreamSettings) {
        caption(ui, self.caption);
        let mut value = (self.of)(settings);
        if segmented(ui, self.name, &mut value, self.options) {
            let mut new = settings.clone();
            (self.set)(&mut new, value);
            outbox.edit(Edit::Settings(new), self.name);
        }
    }
}

const PICTURE: Choice<PictureMode> = Choice {
    caption: "When nothing is edited",
    name: "Hold or dream",
    options: &[
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
    ],
    of: |settings| settings.picture,
    set: |settings, picture| settings.picture = picture,
};

const MASK_MODE: Choice<MaskMode> = Choice {
    caption: "How soft masks meet",
    name: "Mask mode",
    options: &[
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
    ],
    of: |settings| settings.mask_mode,
    set: |settings, mode| settings.mask_mode = mode,
};

const EDITS: Choice<EditPolicy> = Choice {
    caption: "Edits and unfinished pictures",
    name: "Edit policy",
    options: &[
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
    ],
    of: |settings| settings.edits,
    set: |settings, edits| settings.edits = edits,
};

const PASS_ORDER: Choice<PassOrder> = Choice {
    caption: "Order of the passes",
    name: "Pass order",
    options: &[
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
    ],
    of: |settings| settings.pass_order,
    set: |settings, order| settings.pass_order = order,
};

const BACKGROUND_NOISE: Choice<BackgroundNoise> = Choice {
    caption: "Background noise",
    name: "Background noise",
    options: &[
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
    ],
    of: |settings| settings.background_noise,
    set: |settings, noise| settings.background_noise = noise,
};

const GAPS: Choice<Gaps> = Choice {
    caption: "Between regions",
    name: "Between regions",
    options: &[
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
    ],
    of: |settings| settings.gaps,
    set: |settings, gaps| settings.gaps = gaps,
};

const CENTRING: Choice<Centring> = Choice {
    caption: "What is drawn as one object",
    name: "Centring",
    options: &[
        (
            Centring::Patches,
            "Patches",
            "Each separate patch of a region: two patches of a tree are two trees.",
        ),
        (
            Centring::Objects,
            "Regions",
            "Each region, also where it lies in several patches.",
        ),
        (
            Centring::Always,
            "Reference",
            "Each region, and scenery is moved to the middle too, as the method's authors do it.",
        ),
    ],
    of: |settings| settings.centring,
    set: |settings, centring| settings.centring = centring,
};

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
/// Guidance that takes negative prompts in, as it is turned on.
pub(super) const FULL_GUIDANCE: Guidance = Guidance::Full { scale: DEFAULT_SCALE };
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
        let mut new = settings.clone();
        new.guidance = build(chosen, scale, delta);
        outbox.edit(Edit::Settings(new), "Guidance");
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
    EDITS.ui(ui, outbox, settings);
    PASS_ORDER.ui(ui, outbox, settings);
    BACKGROUND_NOISE.ui(ui, outbox, settings);
    GAPS.ui(ui, outbox, settings);
    CENTRING.ui(ui, outbox, settings);
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
