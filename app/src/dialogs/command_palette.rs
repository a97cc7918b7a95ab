//! Every command, found by typing part of its name.

use eframe::egui::{
    self, Align, Align2, Area, Frame, Id, Key, Layout, Margin, Modifiers, Order, RichText, Role, ScrollArea,
    Sense, Stroke, TextEdit, WidgetInfo, vec2,
};

use crate::{
    command::AppCommand,
    keymap::Keymap,
    panels::outbox::Outbox,
    theme::{
        CORNER, CORNER_LARGE, icons, palette, small,
        widgets::{hint, key_cap},
    },
};

/// The palette's state.
#[derive(Clone, Debug, Default)]
pub struct CommandPalette {
    query: String,
    chosen: usize,
}

impl CommandPalette {
    /// Draws it; returns whether it is to be closed.
    pub fn ui(&mut self, ctx: &egui::Context, keymap: &Keymap, outbox: &mut Outbox) -> bool {
        // The field would take these keys; what they mean follows from what it then holds.
        let [is_down, is_up, is_confirmed, is_given_up] = ctx.input_mut(|input| {
            [Key::ArrowDown, Key::ArrowUp, Key::Enter, Key::Escape]
                .map(|key| input.consume_key(Modifiers::NONE, key))
        });
        let mut is_done = is_given_up;
        let room = ctx.content_rect();
        let width = 520f32.min(room.width() - 32.0);
        let response = Area::new(Id::unique("command palette"))
            .order(Order::Foreground)
            .anchor(Align2::CENTER_TOP, vec2(0.0, 64.0))
            .show(ctx, |ui| {
                let colours = palette(ui);
                Frame::new()
                    .fill(colours.panel)
                    .stroke(Stroke::new(1.0, colours.line))
                    .corner_radius(CORNER_LARGE)
                    .inner_margin(Margin::same(10))
                    .shadow(ui.visuals().window_shadow)
                    .show(ui, |ui| {
                        ui.set_width(width);
                        let id = Id::unique("command palette query");
                        let field = ui.add(
                            TextEdit::singleline(&mut self.query)
                                .id(id)
                                .hint_text("Type a command")
                                .prefix(RichText::new(icons::SEARCH).color(colours.text_weak))
                                .margin(Margin::symmetric(10, 8))
                                .desired_width(f32::INFINITY),
                        );
                        ui.ctx()
                            .accesskit_node_builder(id, |node| node.set_label("Find command".to_owned()));
                        field.request_focus();
                        if field.changed() {
                            self.chosen = 0;
                        }
                        // Letters and Enter may come in one frame.
                        let found = matches(&self.query);
                        if is_down {
                            self.chosen += 1;
                        }
                        if is_up {
                            let last = || found.len().saturating_sub(1);
                            self.chosen = self.chosen.checked_sub(1).unwrap_or_else(last);
                        }
                        if self.chosen >= found.len() {
                            self.chosen = 0;
                        }
                        if is_confirmed {
                            if let Some(command) = found.get(self.chosen) {
                                outbox.run(*command);
                            }
                            is_done = true;
                        }
                        ui.add_space(4.0);
                        if found.is_empty() {
                            hint(ui, "No command of that name. Try a shorter word.");
                        }
                        ScrollArea::vertical()
                            .max_height((room.height() - 180.0).min(360.0))
                            .auto_shrink([false, true])
                            .show(ui, |ui| {
                                ui.spacing_mut().item_spacing.y = 1.0;
                                for (index, command) in found.iter().enumerate() {
                                    let row = row_ui(ui, *command, keymap, index == self.chosen);
                                    if (is_down || is_up) && index == self.chosen {
                                        row.scroll_to_me(None);
                                    }
                                    if row.clicked() {
                                        outbox.run(*command);
                                        is_done = true;
                                    }
                                }
                            });
                    });
            })
            .response;
        // A drag beside it, such as a stroke, closes it too.
        let is_pressed_beside = ctx.input(|input| {
            let at = input.pointer.press_origin();
            input.pointer.any_pressed() && at.is_some_and(|at| !response.rect.contains(at))
        });
        is_done |= is_pressed_beside || response.clicked_elsewhere();
        if !is_done {
            // What is pressed beside it closes it, and does nothing else. A command that was chosen may move the keyboard.
            ctx.memory_mut(|memory| memory.set_modal_layer(response.layer_id));
        }
        is_done
    }
}

fn row_ui(ui: &mut egui::Ui, command: AppCommand, keymap: &Keymap, is_chosen: bool) -> egui::Response {
    let colours = palette(ui);
    let spec = command.spec();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 30.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, true, is_chosen, spec.label));
    if is_chosen {
        ui.painter().rect_filled(rect, CORNER, colours.accent_faint);
    } else if response.hovered() {
        ui.painter().rect_filled(rect, CORNER, colours.raised);
    }
    let layout = Layout::left_to_right(Align::Center);
    let mut row = ui.new_child(
        egui::UiBuilder::new()
            .max_rect(rect.shrink2(vec2(8.0, 0.0)))
            .layout(layout),
    );
    let (icon_place, _) = row.allocate_exact_size(vec2(20.0, 20.0), Sense::hover());
    row.painter().text(
        icon_place.center(),
        Align2::CENTER_CENTER,
        spec.icon,
        egui::FontId::proportional(14.0),
        colours.text_weak,
    );
    row.label(spec.label.trim_end_matches('…'));
    row.label(
        RichText::new(spec.menu.label())
            .text_style(small())
            .color(colours.text_weak),
    );
    row.with_layout(Layout::right_to_left(Align::Center), |ui| {
        let keys = keymap.name(command);
        if !keys.is_empty() {
            key_cap(ui, &keys);
        }
    });
    response
}

/// The commands whose name holds the query's letters in order; those that begin words with them come first.
fn matches(query: &str) -> Vec<AppCommand> {
    let mut found: Vec<(u32, AppCommand)> = AppCommand::all()
        .filter(|command| *command != AppCommand::CommandPalette)
        .filter_map(|command| Some((badness(query, command)?, command)))
        .collect();
    found.sort_by_key(|(badness, _)| *badness);
    found.into_iter().map(|(_, command)| command).collect()
}

fn badness(query: &str, command: AppCommand) -> Option<u32> {
    let spec = command.spec();
    let name = format!("{} {}", spec.label, spec.menu.label()).to_lowercase();
    let query = query.trim().to_lowercase();
    if query.is_empty() {
        return Some(0);
    }
    if let Some(at) = name.find(&query) {
        let begins_word = at == 0 || name[..at].ends_with(' ');
        return Some(at as u32 + if begins_word { 0 } else { 100 });
    }
    let mut rest = name.chars();
    query
        .chars()
        .filter(|character| !character.is_whitespace())
        .all(|wanted| rest.any(|character| character == wanted))
        .then(|| 1000 + name.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_part_of_a_name_finds_it_first() {
        assert_eq!(matches("undo").first(), Some(&AppCommand::Undo));
        assert_eq!(matches("new re").first(), Some(&AppCommand::NewRegion));
        assert_eq!(
            matches("flw")
                .iter()
                .find(|command| **command == AppCommand::Undo),
            None
        );
        assert!(matches("zmi").contains(&AppCommand::ZoomIn));
        assert!(matches("qqqq").is_empty());
        assert_eq!(matches("").len(), AppCommand::all().count() - 1);
    }
}
