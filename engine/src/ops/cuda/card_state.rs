//! What became of a card's fast ways: our own kernels, and calls that are recorded.
//!
//! Where one of them fails, the slow way is taken, with a line in the log. Who measures asks here which one it was, or
//! the figures of the slow way would pass for those of the fast one. It knows no card: `card` and `recording` tell it.

use std::fmt;

use parking_lot::Mutex;
use serde::Serialize;

/// Of the card that was opened last.
static STATE: Mutex<Option<CardState>> = Mutex::new(None);

/// How networks are computed on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CardState {
    /// What they are made of.
    pub kernels: CardKernels,
    /// What became of calls that came again and again.
    pub recordings: CardRecordings,
}

/// The kernels that networks on a card are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CardKernels {
    /// Our own.
    Own,
    /// Candle's and cuDNN's, and why.
    Plain(String),
}

/// Calls of the denoiser that were recorded, to be launched as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CardRecordings {
    /// Recordings that gave the same bytes as the call itself.
    pub made: u64,
    /// Launches of them in place of calls.
    pub launched: u64,
    /// Why some calls, or all since, are not recorded.
    pub refused: Option<String>,
}

impl fmt::Display for CardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernels: {}\nrecordings: {}", self.kernels, self.recordings)
    }
}

impl fmt::Display for CardKernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("own"),
            Self::Plain(reason) => write!(f, "plain ({reason})"),
        }
    }
}

impl fmt::Display for CardRecordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} made, launched {} times", self.made, self.launched)?;
        match &self.refused {
            Some(reason) => write!(f, ", refused: {reason}"),
            None => Ok(()),
        }
    }
}

/// How networks are computed on the card that was opened last; `None` if none was.
pub fn card_state() -> Option<CardState> {
    STATE.lock().clone()
}

/// A card was opened: what was counted on another one is forgotten.
pub(super) fn opened(kernels: CardKernels) {
    *STATE.lock() = Some(CardState {
        kernels,
        recordings: CardRecordings::default(),
    });
}

/// Something became of a recording.
pub(super) fn note(change: impl FnOnce(&mut CardRecordings)) {
    if let Some(state) = &mut *STATE.lock() {
        change(&mut state.recordings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_that_of_the_card_opened_last() {
        opened(CardKernels::Plain("there is no compiler".to_owned()));
        note(|recordings| recordings.refused = Some("no".to_owned()));
        opened(CardKernels::Own);
        note(|recordings| recordings.made += 1);
        note(|recordings| recordings.launched += 2);
        let state = card_state().unwrap();
        assert_eq!(
            state.to_string(),
            "kernels: own\nrecordings: 1 made, launched 2 times"
        );
    }

    #[test]
    fn reasons_are_told() {
        let state = CardState {
            kernels: CardKernels::Plain("no compiler".to_owned()),
            recordings: CardRecordings {
                refused: Some("off".to_owned()),
                ..Default::default()
            },
        };
        assert_eq!(
            state.to_string(),
            "kernels: plain (no compiler)\nrecordings: 0 made, launched 0 times, refused: off"
        );
        let json = serde_json::to_string(&state.kernels).unwrap();
        assert_eq!(json, r#"{"plain":"no compiler"}"#);
    }
}
