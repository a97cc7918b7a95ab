//! The handle that the app owns.

use std::{sync::Arc, thread::JoinHandle};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

use crate::{
    Error, Result,
    api::{Command, EngineConfig, Event, Frame, Status},
    mailbox::Mailbox,
    worker,
};

/// Events that may wait for the app; they are rare.
const EVENT_CAPACITY: usize = 64;

/// A running engine: commands go down, frames and events come up, and no call ever waits for a computation.
///
/// Dropping it tells the thread to end at the next step border; [`Engine::shutdown`] also waits for that.
#[derive(Debug)]
pub struct Engine {
    mailbox: Arc<Mailbox>,
    status: Arc<Mutex<Status>>,
    frames: Receiver<Frame>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread "engine". `wake` is called from it whenever there is something to take.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(config: EngineConfig, wake: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let status = Arc::new(Mutex::new(Status::default()));
        let (frame_sender, frames) = bounded(1);
        let (event_sender, events) = bounded(EVENT_CAPACITY);
        let outlet = Arc::new(worker::Outlet::new(
            frame_sender,
            frames.clone(),
            event_sender,
            Arc::clone(&status),
            wake,
        ));
        let thread = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn({
                let mailbox = Arc::clone(&mailbox);
                move || worker::run(config, &mailbox, &outlet)
            })
            .map_err(|error| Error::Compute {
                doing: "starting the engine's thread".to_owned(),
                source: Arc::new(error),
            })?;
        Ok(Self {
            mailbox,
            status,
            frames,
            events,
            thread: Some(thread),
        })
    }

    /// Asks for something; never waits.
    pub fn send(&self, command: Command) {
        self.mailbox.push(command);
    }

    /// The newest frame, at most once.
    pub fn take_frame(&self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }

    /// Events that have come since the last call, oldest first.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.events.try_iter()
    }

    /// The latest state.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Whether the thread still runs.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the thread at the next step border and waits for it.
    ///
    /// # Errors
    /// [`Error::Stopped`] if the thread had ended by a panic.
    pub fn shutdown(mut self) -> Result<()> {
        self.mailbox.close();
        // Where events have piled up, the thread waits for somebody to take one: nobody will.
        self.events = crossbeam_channel::never();
        self.thread
            .take()
            .map_or(Ok(()), |thread| thread.join().map_err(|_panic| Error::Stopped))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::{
        CanvasSize, DeviceChoice, JobId, ModelChoice, ModelSource, RenderJob, Scene, StreamSettings,
    };

    #[test]
    fn an_engine_whose_events_nobody_takes_still_ends() {
        let size = CanvasSize::new(8, 8).unwrap();
        let config = EngineConfig {
            device: DeviceChoice::Cpu,
            model: Some(ModelChoice::plain(ModelSource::Toy)),
            ..EngineConfig::default()
        };
        let (sender, woken) = crossbeam_channel::unbounded();
        let engine = Engine::start(config, move || sender.send(()).unwrap_or_default()).unwrap();
        for id in 0..2 * EVENT_CAPACITY as u64 {
            let scene = Scene {
                size,
                background: Default::default(),
                regions: Vec::new(),
                seed: Default::default(),
                settings: StreamSettings::default(),
            };
            engine.send(Command::Render(Box::new(RenderJob {
                id: JobId(id),
                scene,
                size,
            })));
        }
        while engine.events.len() < EVENT_CAPACITY {
            woken.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        let (sender, ended) = bounded(1);
        std::thread::Builder::new()
            .name("ending".to_owned())
            .spawn(move || sender.send(engine.shutdown()))
            .unwrap();
        ended.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    }
}
