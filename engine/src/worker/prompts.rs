//! Prompts are encoded on a thread of their own, off the stream's path, and kept.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

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

/// Encoded prompts that are kept, unless a scene has more; with 77 x 768 floats each that is 60 MB at most.
const CAPACITY: usize = 256;
/// How long a prompt that could not be encoded is not tried again: while a stroke is painted, a scene comes with every frame,
/// and each would fail alike.
const RETRY_AFTER: Duration = Duration::from_secs(10);

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
    /// What the thread encodes at the moment.
    in_progress: Option<String>,
    /// Prompts of the present scene, at most.
    scene_prompts: usize,
    cache: BTreeMap<String, Entry>,
    /// Counts look-ups, to know which entry was used least recently.
    clock: u64,
    failure: Option<crate::Error>,
    /// Prompts that could not be encoded, and when that was tried.
    failed: BTreeMap<String, Instant>,
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

    /// Asks for prompts; what was asked before and is not in the list any more is forgotten. All prompts of the scene
    /// are `scene_prompts` at most: so many are kept, or the first ones would be gone when the last one is there.
    pub(crate) fn want(&self, prompts: &[String], scene_prompts: usize) {
        let mut state = self.shared.state.lock();
        let missing = prompts
            .iter()
            .filter(|prompt| {
                !state.cache.contains_key(*prompt)
                    && state.in_progress.as_ref() != Some(*prompt)
                    && state
                        .failed
                        .get(*prompt)
                        .is_none_or(|at| at.elapsed() > RETRY_AFTER)
            })
            .cloned()
            .collect();
        state.wanted = missing;
        state.scene_prompts = scene_prompts;
        self.shared.changed.notify_one();
    }

    /// Encodes at once on the calling thread, through the same cache; for one-shot renders.
    pub(crate) fn encode_now(&self, prompt: &str) -> candle_core::Result<Arc<Conditioning>> {
        if let Some(found) = self.find(prompt) {
            return Ok(found);
        }
        let conditioning = Arc::new(self.shared.text_encoder.encode(prompt)?);
        Ok(self.shared.state.lock().insert(prompt.to_owned(), conditioning))
    }

    /// Milliseconds that the thread spent encoding since this was last asked.
    pub(crate) fn take_encode_ms(&self) -> f32 {
        std::mem::take(&mut self.shared.state.lock().encode_ms)
    }

    /// Lets prompts that could not be encoded be tried again at once.
    pub(crate) fn forget_failures(&self) {
        self.shared.state.lock().failed.clear();
    }

    /// Why the last prompt could not be encoded, once.
    pub(crate) fn take_failure(&self) -> Option<crate::Error> {
        self.shared.state.lock().failure.take()
    }
}

impl PromptEncoder {
    /// Has the thread end when it has encoded what it is at.
    pub(crate) fn close(&self) {
        self.shared.state.lock().is_closed = true;
        self.shared.changed.notify_one();
    }
}

impl Drop for PromptEncoder {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // A panic there would have ended the encoding; there is nothing left to mend here.
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
            let result = self.encode(&prompt);
            // On a card with what the stream does meanwhile: the two take turns there.
            let encode_ms = start.ms_until(&Moment::now(&self.device));
            let mut state = self.state.lock();
            state.encode_ms += encode_ms;
            state.in_progress = None;
            match result {
                Ok(conditioning) => {
                    state.failed.remove(&prompt);
                    drop(state.insert(prompt, Arc::new(conditioning)));
                }
                Err(error) => {
                    state.failed.retain(|_, at| at.elapsed() <= RETRY_AFTER);
                    state.failed.insert(prompt, Instant::now());
                    state.failure = Some(error);
                }
            }
            drop(state);
            self.mailbox.poke();
        }
    }

    /// Encodes a prompt; a panic is a failure like others, since the stream waits for an answer.
    fn encode(&self, prompt: &str) -> Result<Conditioning> {
        const DOING: &str = "encoding a prompt";
        catch_unwind(AssertUnwindSafe(|| self.text_encoder.encode(prompt).doing(DOING))).unwrap_or_else(
            |panic| {
                let text = super::panic_text(&*panic);
                Err(candle_core::Error::Msg(text)).doing(DOING)
            },
        )
    }

    fn next_prompt(&self) -> Option<String> {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if state.wanted.is_empty() {
                self.changed.wait(&mut state);
                continue;
            }
            let prompt = state.wanted.remove(0);
            // A render may have encoded it meanwhile.
            if !state.cache.contains_key(&prompt) {
                state.in_progress = Some(prompt.clone());
                return Some(prompt);
            }
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

    /// Keeps an encoding, unless there is one already: what was made of that is not made anew. Gives the one that is kept.
    fn insert(&mut self, prompt: String, conditioning: Arc<Conditioning>) -> Arc<Conditioning> {
        if let Some(known) = self.find(&prompt) {
            return known;
        }
        let capacity = CAPACITY.max(self.scene_prompts);
        while self.cache.len() >= capacity
            && let Some(oldest) = self
                .cache
                .iter()
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(prompt, _)| prompt.clone())
        {
            self.cache.remove(&oldest);
        }
        let entry = Entry {
            conditioning: Arc::clone(&conditioning),
            last_used: self.clock,
        };
        self.cache.insert(prompt, entry);
        conditioning
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, Sender, unbounded};

    use super::*;
    use crate::{
        Error,
        api::{ModelChoice, ModelSource},
        device::Compute,
        models::toy,
        tokenizer::PromptTokenizer,
    };

    /// Tells what it begins to encode, and waits until it may.
    struct Gated {
        encoder: Arc<dyn TextEncoder>,
        begun: Sender<String>,
        allowed: Receiver<()>,
    }

    impl TextEncoder for Gated {
        fn encode(&self, prompt: &str) -> candle_core::Result<Conditioning> {
            self.begun.send(prompt.to_owned()).unwrap();
            self.allowed.recv_timeout(PATIENCE).unwrap();
            assert!(prompt != "broken", "the text encoder is broken");
            self.encoder.encode(prompt)
        }

        fn tokenizer(&self) -> Arc<PromptTokenizer> {
            self.encoder.tokenizer()
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Bench {
        prompts: PromptEncoder,
        mailbox: Arc<Mailbox>,
        begun: Receiver<String>,
        allow: Sender<()>,
    }

    impl Bench {
        fn new() -> Self {
            let choice = ModelChoice::plain(ModelSource::Toy);
            let encoder = toy::load(&choice, &Compute::cpu()).unwrap().parts.text_encoder;
            let ((begun_sender, begun), (allow, allowed)) = (unbounded(), unbounded());
            let mailbox = Arc::new(Mailbox::default());
            let gated = Arc::new(Gated {
                encoder,
                begun: begun_sender,
                allowed,
            });
            Self {
                prompts: PromptEncoder::start(gated, &Device::Cpu, Arc::clone(&mailbox)).unwrap(),
                mailbox,
                begun,
                allow,
            }
        }

        fn want(&self, prompts: &[&str]) {
            let prompts: Vec<String> = prompts.iter().map(|&prompt| prompt.to_owned()).collect();
            self.prompts.want(&prompts, prompts.len());
        }

        fn begun(&self) -> String {
            self.begun.recv_timeout(PATIENCE).unwrap()
        }

        /// Lets one prompt be encoded and waits for it.
        fn finish(&self) {
            self.allow.send(()).unwrap();
            self.mailbox.wait(Some(PATIENCE)).unwrap();
        }
    }

    #[test]
    fn a_panic_in_the_text_encoder_is_a_failure_after_which_others_are_encoded() {
        let bench = Bench::new();
        bench.want(&["broken"]);
        bench.begun();
        bench.finish();
        let failure = bench.prompts.take_failure().unwrap();
        assert!(matches!(failure, Error::Compute { .. }), "{failure:?}");
        assert!(
            failure.to_string().contains("the text encoder is broken"),
            "{failure}"
        );
        // The broken one is not tried again with every scene, unless something was done about it.
        bench.want(&["broken", "red"]);
        assert_eq!(bench.begun(), "red");
        bench.finish();
        assert!(bench.prompts.find("red").is_some());
        bench.prompts.forget_failures();
        bench.want(&["broken"]);
        assert_eq!(bench.begun(), "broken");
        bench.finish();
    }

    #[test]
    fn a_prompt_that_is_being_encoded_is_not_encoded_again() {
        let bench = Bench::new();
        bench.want(&["red"]);
        assert_eq!(bench.begun(), "red");
        bench.want(&["red", "blue"]);
        bench.finish();
        assert_eq!(bench.begun(), "blue");
        bench.want(&["blue", "green"]);
        bench.finish();
        assert_eq!(bench.begun(), "green");
        bench.finish();
    }

    #[test]
    fn an_encoding_stays_the_one_that_it_was() {
        let bench = Bench::new();
        for _ in 0..2 {
            bench.allow.send(()).unwrap();
        }
        let first = bench.prompts.encode_now("red").unwrap();
        let again = bench.prompts.shared.text_encoder.encode("red").unwrap();
        let kept = bench
            .prompts
            .shared
            .state
            .lock()
            .insert("red".to_owned(), Arc::new(again));
        assert!(Arc::ptr_eq(&first, &kept));
        assert!(Arc::ptr_eq(&first, &bench.prompts.find("red").unwrap()));
    }

    #[test]
    fn all_prompts_of_a_scene_with_very_many_are_there_in_the_end() {
        let bench = Bench::new();
        let names: Vec<String> = (0..CAPACITY + 40)
            .map(|number| format!("prompt {number}"))
            .collect();
        bench.want(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for _ in &names {
            bench.begun();
            bench.finish();
        }
        assert!(names.iter().all(|name| bench.prompts.find(name).is_some()));
        // A smaller scene's cache is as small as ever.
        bench.want(&["red"]);
        bench.begun();
        bench.finish();
        assert_eq!(bench.prompts.shared.state.lock().cache.len(), CAPACITY);
    }
}
