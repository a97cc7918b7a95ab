//! Prompts are encoded on a thread of their own, off the stream's path, and kept.

use std::{collections::BTreeMap, sync::Arc, thread::JoinHandle};

use candle_core::Device;
use parking_lot::{Condvar, Mutex};

use crate::{
    Result,
    device::Moment,
    error::Doing as _,
    mailbox::Mailbox,
    models::traits::{Conditioning, TextEncoder},
    ops::cuda::beside_recordings,
};

/// Encoded prompts that are kept; with 77 x 768 floats each that is 60 MB at most.
const CAPACITY: usize = 256;

/// The thread "text-encoder" with its cache. Dropping it ends the thread.
pub(crate) struct PromptEncoder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    text_encoder: Arc<dyn TextEncoder>,
    device: Device,
    mailbox: Arc<Mailbox>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: Vec<String>,
    cache: BTreeMap<String, Entry>,
    /// Counts look-ups, to know which entry was used least recently.
    clock: u64,
    failure: Option<crate::Error>,
    /// Milliseconds spent encoding that no frame has reported yet.
    encode_ms: f32,
    is_closed: bool,
}

struct Entry {
    conditioning: Arc<Conditioning>,
    last_used: u64,
}

impl PromptEncoder {
    /// Starts the thread; `mailbox` is poked whenever a prompt is ready.
    pub(crate) fn start(
        text_encoder: Arc<dyn TextEncoder>,
        device: &Device,
        mailbox: Arc<Mailbox>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            text_encoder,
            device: device.clone(),
            mailbox,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = std::thread::Builder::new()
            .name("text-encoder".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run()
            })
            .map_err(candle_core::Error::wrap)
            .doing("starting the text encoder's thread")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// An encoded prompt, if it is ready.
    pub(crate) fn find(&self, prompt: &str) -> Option<Arc<Conditioning>> {
        self.shared.state.lock().find(prompt)
    }

    /// Asks for prompts; what was asked before and is not in the list any more is forgotten.
    pub(crate) fn want(&self, prompts: &[String]) {
        let mut state = self.shared.state.lock();
        let missing = prompts
            .iter()
            .filter(|prompt| !state.cache.contains_key(*prompt))
            .cloned()
            .collect();
        state.wanted = missing;
        self.shared.changed.notify_one();
    }

    /// Encodes at once on the calling thread, through the same cache; for one-shot renders.
    pub(crate) fn encode_now(&self, prompt: &str) -> candle_core::Result<Arc<Conditioning>> {
        if let Some(found) = self.find(prompt) {
            return Ok(found);
        }
        let conditioning = Arc::new(self.shared.text_encoder.encode(prompt)?);
        self.shared
            .state
            .lock()
            .insert(prompt.to_owned(), Arc::clone(&conditioning));
        Ok(conditioning)
    }

    /// Milliseconds that the thread spent encoding since this was last asked.
    pub(crate) fn take_encode_ms(&self) -> f32 {
        std::mem::take(&mut self.shared.state.lock().encode_ms)
    }

    /// Why the last prompt could not be encoded, once.
    pub(crate) fn take_failure(&self) -> Option<crate::Error> {
        self.shared.state.lock().failure.take()
    }
}

impl Drop for PromptEncoder {
    fn drop(&mut self) {
        self.shared.state.lock().is_closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has already ended the encoding; there is nothing left to mend here.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn run(&self) {
        while let Some(prompt) = self.next_prompt() {
            // Until what the cache forgets is freed.
            let _beside = beside_recordings();
            let start = Moment::now(&self.device);
            let result = self.text_encoder.encode(&prompt).doing("encoding a prompt");
            // On a card with what the stream does meanwhile: the two take turns there.
            let encode_ms = start.ms_until(&Moment::now(&self.device));
            let mut state = self.state.lock();
            state.encode_ms += encode_ms;
            match result {
                Ok(conditioning) => state.insert(prompt, Arc::new(conditioning)),
                Err(error) => state.failure = Some(error),
            }
            drop(state);
            self.mailbox.poke();
        }
    }

    fn next_prompt(&self) -> Option<String> {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if !state.wanted.is_empty() {
                return Some(state.wanted.remove(0));
            }
            self.changed.wait(&mut state);
        }
    }
}

impl State {
    fn find(&mut self, prompt: &str) -> Option<Arc<Conditioning>> {
        self.clock += 1;
        let entry = self.cache.get_mut(prompt)?;
        entry.last_used = self.clock;
        Some(Arc::clone(&entry.conditioning))
    }

    fn insert(&mut self, prompt: String, conditioning: Arc<Conditioning>) {
        self.clock += 1;
        if self.cache.len() >= CAPACITY
            && let Some(oldest) = self
                .cache
                .iter()
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(prompt, _)| prompt.clone())
        {
            self.cache.remove(&oldest);
        }
        self.cache.insert(
            prompt,
            Entry {
                conditioning,
                last_used: self.clock,
            },
        );
    }
}
