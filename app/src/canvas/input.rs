//! egui's events to what the canvas understands: presses, moves and releases with time and pressure.
//!
//! Every pointer event of a frame counts, not the last one: a fast stroke at a slow frame rate keeps its shape.

use eframe::egui::{self, Event, Key, Modifiers, MouseWheelUnit, PointerButton, Pos2, TouchPhase, Vec2};

/// Something the pointer, wheel or fingers did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PointerEvent {
    /// A button or the pen went down.
    Press {
        position: Pos2,
        button: PointerButton,
        modifiers: Modifiers,
    },
    /// The pointer moved.
    Move(Pos2),
    /// A button or the pen was lifted.
    Release { position: Pos2, button: PointerButton },
    /// A finger or pen is gone without a word, or the window lost the keyboard. A mouse that leaves the window with its
    /// button down goes on beyond it.
    Lost,
    /// The wheel turned by steps (up is positive), or fingers slid on a trackpad.
    Wheel { steps: f32 },
    /// Fingers slid on a trackpad, in points.
    Scroll(Vec2),
    /// Fingers pinched; above 1 they moved apart.
    Pinch(f32),
    /// Fingers turned, in radians clockwise.
    Turn(f32),
    /// The Escape key.
    Cancel,
}

/// An event with when it happened and how hard the pen was pressed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TimedEvent {
    pub(super) event: PointerEvent,
    /// Seconds on egui's clock.
    pub(super) time_secs: f64,
    /// 0 to 1; 1 where the device does not know.
    pub(super) pressure: f32,
    /// Keys that were held at that moment, which in a slow frame may be others than at its end.
    pub(super) keys: HeldKeys,
    /// Whether a finger or a pen did it.
    pub(super) is_touch: bool,
}

/// Keys that change what a drag does while they are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldKeys {
    pub(super) space: bool,
    pub(super) r: bool,
}

/// What happened since the last frame.
#[derive(Clone, Debug, Default)]
pub(super) struct FrameInput {
    pub(super) events: Vec<TimedEvent>,
    pub(super) keys: HeldKeys,
    pub(super) modifiers: Modifiers,
    pub(super) time_secs: f64,
}

/// Remembers what one event says about the next ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InputReader {
    last_time_secs: Option<f64>,
    force: Option<f32>,
    keys: HeldKeys,
    /// Since a finger or pen came down, until the pointer that stands for it is gone.
    is_touch: bool,
}

impl InputReader {
    /// Reads the events of this frame.
    pub(super) fn read(&mut self, context: &egui::Context) -> FrameInput {
        let (events, modifiers, time_secs) =
            context.input(|input| (input.events.clone(), input.modifiers, input.time));
        let is_typing = context.text_edit_focused();
        FrameInput {
            events: self.timed(&events, time_secs, is_typing),
            keys: self.keys,
            modifiers,
            time_secs,
        }
    }

    fn timed(&mut self, events: &[Event], now_secs: f64, is_typing: bool) -> Vec<TimedEvent> {
        // A long pause between two frames was no slow stroke.
        let start = self
            .last_time_secs
            .map_or(now_secs, |last| last.max(now_secs - 0.1));
        self.last_time_secs = Some(now_secs);
        let mut timed: Vec<TimedEvent> = Vec::with_capacity(events.len());
        for event in events {
            match event {
                Event::Touch { phase, force, .. } => {
                    self.is_touch |= *phase == TouchPhase::Start;
                    self.force = match phase {
                        TouchPhase::Start | TouchPhase::Move => *force,
                        // The release that follows belongs to the same touch.
                        TouchPhase::End | TouchPhase::Cancel => self.force,
                    };
                }
                Event::PointerGone if !self.is_touch => {
                    self.force = None;
                    continue;
                }
                Event::PointerGone => self.force = None,
                Event::Key {
                    key: Key::Space,
                    pressed,
                    ..
                } => self.keys.space = *pressed && !is_typing,
                Event::Key {
                    key: Key::R, pressed, ..
                } => self.keys.r = *pressed && !is_typing,
                // Nobody will say that a key was lifted.
                Event::WindowFocused(false) => self.keys = HeldKeys::default(),
                _ => {}
            }
            timed.extend(translated(event).map(|event| TimedEvent {
                event,
                time_secs: now_secs,
                pressure: self.force.unwrap_or(1.0),
                keys: self.keys,
                is_touch: self.is_touch,
            }));
            self.is_touch &= !matches!(event, Event::PointerGone);
        }
        // egui knows only when the frame began; the events are spread evenly over the time since the last one.
        let count = timed.len();
        for (index, event) in timed.iter_mut().enumerate() {
            event.time_secs = start + (now_secs - start) * (index + 1) as f64 / count as f64;
        }
        timed
    }
}

fn translated(event: &Event) -> Option<PointerEvent> {
    match *event {
        Event::PointerButton {
            pos: position,
            button,
            pressed: true,
            modifiers,
        } => Some(PointerEvent::Press {
            position,
            button,
            modifiers,
        }),
        Event::PointerButton {
            pos: position,
            button,
            pressed: false,
            ..
        } => Some(PointerEvent::Release { position, button }),
        Event::PointerMoved(position) => Some(PointerEvent::Move(position)),
        Event::PointerGone | Event::WindowFocused(false) => Some(PointerEvent::Lost),
        Event::MouseWheel {
            unit,
            delta,
            modifiers,
            ..
        } => Some(wheel(unit, delta, modifiers)),
        Event::Zoom(factor) => Some(PointerEvent::Pinch(factor)),
        Event::Rotate(angle) => Some(PointerEvent::Turn(angle)),
        Event::Key {
            key: Key::Escape,
            pressed: true,
            ..
        } => Some(PointerEvent::Cancel),
        _ => None,
    }
}

/// A mouse wheel zooms; fingers on a trackpad pan, and zoom with Ctrl.
fn wheel(unit: MouseWheelUnit, delta: Vec2, modifiers: Modifiers) -> PointerEvent {
    /// Points that a trackpad scrolls where a wheel turns by one step.
    const POINTS_PER_STEP: f32 = 50.0;
    // Some systems turn the wheel sideways while Shift is held.
    let along = if delta.y == 0.0 { delta.x } else { delta.y };
    match unit {
        MouseWheelUnit::Line | MouseWheelUnit::Page => PointerEvent::Wheel { steps: along },
        MouseWheelUnit::Point if modifiers.command => PointerEvent::Wheel {
            steps: along / POINTS_PER_STEP,
        },
        MouseWheelUnit::Point => PointerEvent::Scroll(delta),
    }
}

#[cfg(test)]
mod tests {
    use eframe::egui::{MouseWheelSource, TouchDeviceId, TouchId, pos2, vec2};

    use super::*;

    fn touch(phase: TouchPhase, force: Option<f32>) -> Event {
        Event::Touch {
            device_id: TouchDeviceId(0),
            id: TouchId(0),
            phase,
            pos: pos2(0.0, 0.0),
            force,
        }
    }

    #[test]
    fn every_move_of_a_frame_is_kept_in_order_and_time() {
        let mut reader = InputReader::default();
        reader.timed(&[], 10.0, false);
        let moves: Vec<Event> = (0..4).map(|x| Event::PointerMoved(pos2(x as f32, 0.0))).collect();
        let timed = reader.timed(&moves, 10.04, false);
        assert_eq!(timed.len(), 4);
        for (index, event) in timed.iter().enumerate() {
            assert_eq!(event.event, PointerEvent::Move(pos2(index as f32, 0.0)));
            assert!((event.time_secs - (10.01 + 0.01 * index as f64)).abs() < 1e-9);
            assert_eq!(event.pressure, 1.0);
        }
    }

    #[test]
    fn a_pen_presses_as_hard_as_its_last_touch_said() {
        let mut reader = InputReader::default();
        let moved = Event::PointerMoved(pos2(1.0, 1.0));
        let released = Event::PointerButton {
            pos: pos2(1.0, 1.0),
            button: PointerButton::Primary,
            pressed: false,
            modifiers: Modifiers::NONE,
        };
        let timed = reader.timed(
            &[
                touch(TouchPhase::Start, Some(0.25)),
                moved.clone(),
                touch(TouchPhase::Move, Some(0.5)),
                moved.clone(),
                touch(TouchPhase::End, Some(0.0)),
                released,
                Event::PointerGone,
                moved,
            ],
            1.0,
            false,
        );
        let pressures: Vec<f32> = timed
            .iter()
            .filter(|event| event.event != PointerEvent::Lost)
            .map(|event| event.pressure)
            .collect();
        assert_eq!(pressures, [0.25, 0.5, 0.5, 1.0]);
    }

    #[test]
    fn keys_count_as_they_were_at_each_event_and_not_while_typing() {
        let key = |pressed| Event::Key {
            key: Key::R,
            physical_key: None,
            pressed,
            repeat: false,
            modifiers: Modifiers::NONE,
        };
        let moved = || Event::PointerMoved(pos2(1.0, 1.0));
        let events = [moved(), key(true), moved(), key(false), moved()];
        let held = |is_typing| -> Vec<bool> {
            let timed = InputReader::default().timed(&events, 1.0, is_typing);
            timed.iter().map(|event| event.keys.r).collect()
        };
        assert_eq!(held(false), [false, true, false]);
        assert_eq!(held(true), [false, false, false]);
    }

    #[test]
    fn wheels_zoom_and_trackpads_pan() {
        let event = |unit, delta, modifiers| Event::MouseWheel {
            unit,
            delta,
            phase: TouchPhase::Move,
            source: MouseWheelSource::Unknown,
            modifiers,
        };
        let lines = event(MouseWheelUnit::Line, vec2(0.0, 1.0), Modifiers::NONE);
        assert_eq!(translated(&lines), Some(PointerEvent::Wheel { steps: 1.0 }));
        let points = event(MouseWheelUnit::Point, vec2(3.0, 4.0), Modifiers::NONE);
        assert_eq!(translated(&points), Some(PointerEvent::Scroll(vec2(3.0, 4.0))));
        let zoom = event(MouseWheelUnit::Point, vec2(0.0, 50.0), Modifiers::COMMAND);
        assert_eq!(translated(&zoom), Some(PointerEvent::Wheel { steps: 1.0 }));
    }
}
