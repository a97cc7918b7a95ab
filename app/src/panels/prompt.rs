//! A prompt field: token count, marks under words the pocket model does not know, and completion.

use std::sync::Arc;

use eframe::egui::{
    self, Event, EventFilter, FontId, Frame, Id, Key, Margin, Modifiers, Popup, PopupCloseBehavior, Response,
    RichText, Sense, Stroke, TextEdit, TextFormat, TextStyle, Ui, Vec2,
    text::{CCursor, CCursorRange, LayoutJob},
    vec2,
};
use wordbrush_engine::PromptTokenizer;

use super::{
    word_browser::word_browser_ui,
    words::{Completion, WordList},
};
use crate::theme::{CORNER, palette, small, space, widgets::caption};

/// Completions offered at once.
const MOST_COMPLETIONS: usize = 6;

/// What a prompt field knows about the model.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptAids<'a> {
    /// Counts tokens.
    pub tokenizer: Option<&'a Arc<PromptTokenizer>>,
    /// The pocket model's words; `None` for models that know all words.
    pub words: Option<&'a WordList>,
}

/// A field of `rows` lines under its `name`; returns the new text while it changes.
pub fn prompt_ui(
    ui: &mut Ui,
    id: Id,
    name: &str,
    example: &str,
    text: &str,
    rows: usize,
    aids: PromptAids<'_>,
) -> (Response, Option<String>) {
    let colours = palette(ui);
    let mut edited = text.to_owned();
    let unknown = aids.words.map(|words| words.unknown(text)).unwrap_or_default();

    let mut with_word = None;
    let name_response = ui
        .horizontal(|ui| {
            ui.spacing_mut().interact_size.y = 16.0;
            let response = caption(ui, name);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = space::XS;
                if let Some(words) = aids.words {
                    with_word = word_browser_ui(ui, words, text);
                }
                if let Some(tokenizer) = aids.tokenizer {
                    token_count_ui(ui, tokenizer, text);
                }
            });
            response
        })
        .inner;

    let offered = completions_at_cursor(ui, id, text, aids.words);
    let choice_id = id.with("choice");
    let mut chosen: usize = ui.data(|data| data.get_temp(choice_id)).unwrap_or_default();
    let is_open = ui.memory(|memory| memory.has_focus(id)) && !offered.1.is_empty();
    let mut accepted = None;
    if is_open {
        chosen = chosen.min(offered.1.len() - 1);
        ui.input_mut(|input| {
            if input.consume_key(Modifiers::NONE, Key::ArrowDown) {
                chosen = (chosen + 1) % offered.1.len();
            }
            if input.consume_key(Modifiers::NONE, Key::ArrowUp) {
                chosen = (chosen + offered.1.len() - 1) % offered.1.len();
            }
            if input.consume_key(Modifiers::NONE, Key::Tab) {
                accepted = Some(chosen);
            }
        });
    }
    // Enter takes what was chosen from the list or finishes half a word; else the prompt is done, and the keys are the
    // canvas' again.
    let is_half = aids
        .words
        .is_some_and(|words| !words.unknown(&text[offered.0.clone()]).is_empty());
    let is_enter_taking = is_open && (chosen > 0 || is_half);
    if has_enter(ui, id) {
        if is_enter_taking {
            accepted = Some(chosen);
        } else {
            ui.memory_mut(|memory| memory.surrender_focus(id));
        }
    }

    let weak = colours.text_weak;
    let (ink, mark) = (colours.text, colours.warn);
    let mut layouter = |ui: &Ui, buffer: &dyn egui::TextBuffer, width: f32| {
        let unknown = aids
            .words
            .map(|words| words.unknown(buffer.as_str()))
            .unwrap_or_default();
        let font = TextStyle::Body.resolve(ui.style());
        ui.fonts_mut(|fonts| {
            fonts.layout_job(marked_text(buffer.as_str(), &unknown, &font, ink, mark, width))
        })
    };
    let output = TextEdit::multiline(&mut edited)
        .id(id)
        .hint_text(RichText::new(example).color(weak))
        .desired_width(f32::INFINITY)
        .desired_rows(rows)
        .margin(Margin::symmetric(8, 6))
        .return_key(None)
        .event_filter(EventFilter {
            tab: is_open,
            horizontal_arrows: true,
            vertical_arrows: true,
            escape: false,
        })
        .layouter(&mut layouter)
        .show(ui);
    let response = output.response.response.labelled_by(name_response.id);
    ui.ctx()
        .accesskit_node_builder(id, |node| node.set_label(name.to_owned()));

    let keys = if is_enter_taking {
        "Up and Down choose, Enter or Tab takes"
    } else {
        "Up and Down choose, Tab takes, Enter ends"
    };
    if let Some(index) = completion_popup(ui, &response, is_open, &offered.1, &mut chosen, keys) {
        accepted = Some(index);
    }
    let is_changed = edited != text;
    if is_changed {
        // What was offered goes on from the text as it was before the keys of this frame.
        accepted = None;
    }
    let chosen = if is_changed || accepted.is_some() {
        0
    } else {
        chosen
    };
    ui.data_mut(|data| data.insert_temp(choice_id, chosen));
    if let Some(completion) = accepted.and_then(|index| offered.1.get(index)) {
        edited.replace_range(offered.0.clone(), completion.text);
        let end = edited[..offered.0.start].chars().count() + completion.text.chars().count();
        place_cursor(ui, id, end);
        return (response, Some(edited));
    }

    if !unknown.is_empty() {
        let listed: Vec<_> = unknown.iter().take(4).map(|span| &text[span.clone()]).collect();
        ui.label(
            RichText::new(format!("Not in the pocket model's words: {}", listed.join(", ")))
                .text_style(small())
                .color(colours.warn),
        );
    }
    (response, is_changed.then_some(edited).or(with_word))
}

/// Whether Enter counts now. What is typed in the same frame is in the text only after it, and what Enter
/// does depends on the text: it waits for the next frame.
fn has_enter(ui: &Ui, id: Id) -> bool {
    let waiting_id = id.with("waiting enter");
    let is_waiting = ui.data_mut(|data| data.remove_temp(waiting_id).unwrap_or(false));
    if !ui.memory(|memory| memory.has_focus(id)) {
        return false;
    }
    let is_pressed = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
    let is_typing = ui.input(|input| input.events.iter().any(changes_text));
    let is_entered = is_waiting || is_pressed;
    if is_entered && is_typing {
        ui.data_mut(|data| data.insert_temp(waiting_id, true));
        ui.ctx().request_repaint();
    }
    is_entered && !is_typing
}

/// Whether an event may change the text of a field.
fn changes_text(event: &Event) -> bool {
    matches!(
        event,
        Event::Text(_) | Event::Paste(_) | Event::Cut | Event::Ime(_) | Event::Key { pressed: true, .. }
    )
}

fn token_count_ui(ui: &mut Ui, tokenizer: &Arc<PromptTokenizer>, text: &str) {
    let colours = palette(ui);
    let room = tokenizer.capacity().saturating_sub(2);
    let used = tokenizer.count(text).saturating_sub(2);
    let colour = if used > room {
        colours.error
    } else {
        colours.text_weak
    };
    let shown = if used > room {
        format!("{used} of {room} tokens: too long")
    } else {
        format!("{used} of {room} tokens")
    };
    ui.label(RichText::new(shown).text_style(small()).color(colour))
        .on_hover_text("What goes beyond is not seen by the model.");
}

/// The names that go on from the cursor, and the bytes of the prompt that they replace.
fn completions_at_cursor<'a>(
    ui: &Ui,
    id: Id,
    text: &str,
    words: Option<&'a WordList>,
) -> (std::ops::Range<usize>, Vec<Completion<'a>>) {
    let cursor = TextEdit::load_state(ui.ctx(), id).and_then(|state| state.cursor.char_range());
    let (Some(words), Some(cursor)) = (words, cursor) else {
        return (0..0, Vec::new());
    };
    let at: usize = cursor.primary.index.into();
    let end = text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    words.completions(&text[..end], MOST_COMPLETIONS)
}

fn place_cursor(ui: &Ui, id: Id, at: usize) {
    if let Some(mut state) = TextEdit::load_state(ui.ctx(), id) {
        state
            .cursor
            .set_char_range(Some(CCursorRange::one(CCursor::new(at))));
        TextEdit::store_state(ui.ctx(), id, state);
    }
    ui.memory_mut(|memory| memory.request_focus(id));
}

fn marked_text(
    text: &str,
    unknown: &[std::ops::Range<usize>],
    font: &FontId,
    ink: egui::Color32,
    mark: egui::Color32,
    width: f32,
) -> LayoutJob {
    let plain = TextFormat::simple(font.clone(), ink);
    let marked = TextFormat {
        underline: Stroke::new(1.5, mark),
        ..plain.clone()
    };
    let mut job = LayoutJob::default();
    job.wrap.max_width = width;
    let mut at = 0;
    for span in unknown {
        job.append(&text[at..span.start], 0.0, plain.clone());
        job.append(&text[span.clone()], 0.0, marked.clone());
        at = span.end;
    }
    job.append(&text[at..], 0.0, plain);
    job
}

fn completion_popup(
    ui: &Ui,
    field: &Response,
    is_open: bool,
    offered: &[Completion<'_>],
    chosen: &mut usize,
    keys: &str,
) -> Option<usize> {
    let colours = palette(ui);
    let mut clicked = None;
    Popup::from_response(field)
        .id(field.id.with("completions"))
        .open(is_open)
        .close_behavior(PopupCloseBehavior::IgnoreClicks)
        .width(field.rect.width())
        .gap(2.0)
        .show(|ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            for (index, completion) in offered.iter().enumerate() {
                let is_chosen = index == *chosen;
                let fill = if is_chosen {
                    colours.accent_faint
                } else {
                    egui::Color32::TRANSPARENT
                };
                let row = Frame::new()
                    .fill(fill)
                    .corner_radius(CORNER)
                    .inner_margin(Margin::symmetric(6, 3))
                    .show(ui, |ui| {
                        ui.horizontal(|ui| {
                            ui.set_width(ui.available_width());
                            word_picture_ui(ui, completion.thumbnail, vec2(22.0, 22.0));
                            ui.label(completion.text);
                            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                                ui.label(
                                    RichText::new(completion.category)
                                        .text_style(small())
                                        .color(colours.text_weak),
                                );
                            });
                        });
                    });
                let response = ui.interact(
                    row.response.rect,
                    field.id.with(("completion", index)),
                    Sense::click(),
                );
                let name = format!("Complete: {}", completion.text);
                response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, &name));
                if response.hovered() {
                    *chosen = index;
                }
                if response.clicked() {
                    clicked = Some(index);
                }
            }
            ui.add_space(2.0);
            ui.label(RichText::new(keys).text_style(small()).color(colours.text_weak));
        });
    clicked
}

/// Pixels of one picture on the sheet.
const SHEET_PICTURE: f32 = 64.0;

/// What the pocket model makes of a word, from its sheet of pictures.
pub fn word_picture_ui(ui: &mut Ui, corner: Option<[u32; 2]>, size: Vec2) {
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    let Some((corner, sheet)) = corner.zip(word_sheet(ui.ctx())) else {
        return;
    };
    let full = sheet.size_vec2();
    let min = vec2(corner[0] as f32, corner[1] as f32) / full;
    let max = min + Vec2::splat(SHEET_PICTURE) / full;
    let uv = egui::Rect::from_min_max(min.to_pos2(), max.to_pos2());
    egui::Image::new(&sheet)
        .uv(uv)
        .corner_radius(4)
        .paint_at(ui, rect);
}

fn word_sheet(ctx: &egui::Context) -> Option<egui::TextureHandle> {
    let id = Id::unique("word sheet");
    if let Some(sheet) = ctx.data(|data| data.get_temp::<egui::TextureHandle>(id)) {
        return Some(sheet);
    }
    let decoded = image::load_from_memory(include_bytes!("../../../assets/pocket/thumbnails.png"));
    let pixels = match decoded {
        Ok(decoded) => decoded.to_rgba8(),
        Err(error) => {
            tracing::error!("the embedded word pictures cannot be read: {error}");
            return None;
        }
    };
    let size = [pixels.width() as usize, pixels.height() as usize];
    let image = egui::ColorImage::from_rgba_unmultiplied(size, pixels.as_raw());
    let sheet = ctx.load_texture("word sheet", image, egui::TextureOptions::LINEAR);
    ctx.data_mut(|data| data.insert_temp(id, sheet.clone()));
    Some(sheet)
}

/// Room below a prompt field.
pub const BELOW: f32 = space::XS;

#[cfg(test)]
mod tests {
    use egui_kittest::{Harness, kittest::Queryable as _};

    use super::*;
    use crate::{panels::words::POCKET, theme};

    /// A prompt field with the pocket model's words, in which `typed` stands and is being completed.
    fn typing(typed: &str) -> Harness<'static, String> {
        let show = |ui: &mut Ui, text: &mut String| {
            let aids = PromptAids {
                tokenizer: None,
                words: Some(&*POCKET),
            };
            if let (_, Some(new)) = prompt_ui(ui, Id::unique("prompt"), "Prompt", "", text, 2, aids) {
                *text = new;
            }
        };
        let mut harness = Harness::builder()
            .with_context_setup(theme::install)
            .build_ui_state(show, String::new());
        let field = harness.get_by_role_and_label(egui::accesskit::Role::MultilineTextInput, "Prompt");
        field.focus();
        field.type_text(typed);
        harness.run_steps(3);
        assert_eq!(harness.state(), typed);
        harness.get_by_label("Complete: tree");
        harness
    }

    /// All of it in one frame, as after a moment in which the window could not draw.
    fn press_at_once(harness: &mut Harness<'static, String>, events: impl IntoIterator<Item = Event>) {
        harness.input_mut().events.extend(events);
        harness.step();
        harness.run_steps(2);
    }

    fn press(key: Key) -> Event {
        Event::Key {
            key,
            physical_key: None,
            pressed: true,
            repeat: false,
            modifiers: Modifiers::NONE,
        }
    }

    #[test]
    fn a_completion_is_never_put_into_a_text_that_changed_in_the_same_frame() {
        let mut harness = typing("tr");
        press_at_once(
            &mut harness,
            [Key::Backspace, Key::Backspace, Key::Tab].map(press),
        );
        assert_eq!(harness.state(), "");

        let mut harness = typing("tr");
        press_at_once(&mut harness, [Event::Text("e".to_owned()), press(Key::Tab)]);
        assert_eq!(harness.state(), "tre");
        press_at_once(&mut harness, [press(Key::Tab)]);
        assert_eq!(harness.state(), "tree", "the next press completes it");
    }

    #[test]
    fn enter_counts_for_the_text_that_was_typed_with_it() {
        let has_focus =
            |harness: &Harness<'static, String>| harness.ctx.memory(|memory| memory.focused().is_some());
        let mut harness = typing("tr");
        press_at_once(&mut harness, [Event::Text("ee".to_owned()), press(Key::Enter)]);
        assert_eq!((harness.state().as_str(), has_focus(&harness)), ("tree", false));

        let mut harness = typing("tr");
        press_at_once(&mut harness, [Event::Text("e".to_owned()), press(Key::Enter)]);
        assert_eq!((harness.state().as_str(), has_focus(&harness)), ("tree", true));

        let mut harness = typing("tr");
        press_at_once(&mut harness, [Event::Text("ee, ".to_owned()), press(Key::Enter)]);
        assert_eq!((harness.state().as_str(), has_focus(&harness)), ("tree, ", false));
    }

    #[test]
    fn the_list_says_what_enter_does() {
        let mut harness = typing("tr");
        let taking = "Up and Down choose, Enter or Tab takes";
        harness.get_by_label(taking);
        press_at_once(&mut harness, [Event::Text("ee, sand".to_owned())]);
        harness.get_by_label("Complete: sand dunes");
        harness.get_by_label("Up and Down choose, Tab takes, Enter ends");
        press_at_once(&mut harness, [press(Key::ArrowDown)]);
        harness.get_by_label(taking);
    }
}
