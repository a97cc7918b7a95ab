//! What the app may ask of the engine, and how requests merge while they wait.

use super::{frame::Revision, geometry::CanvasSize, model::ModelChoice, scene::Scene};

/// Names a one-shot render; the app chooses the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Whether frames are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    /// Frames are made whenever something changed.
    #[default]
    Running,
    /// Nothing is computed but what [`Command::Step`] asks for.
    Paused,
}

/// A picture to be made from scratch beside the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderJob {
    /// Tells jobs apart.
    pub id: JobId,
    /// What to render; its settings give steps and guidance.
    pub scene: Scene,
    /// Size of the picture; masks and background are scaled to it.
    pub size: CanvasSize,
}

/// A request to the engine.
#[derive(Clone, Debug)]
pub enum Command {
    /// The canvas as it is now, stamped with its newest edit.
    SetScene(Revision, Box<Scene>),
    /// Another model; it is loaded while the present one goes on.
    LoadModel(ModelChoice),
    /// Stop loading.
    CancelLoad,
    /// Run or pause.
    Run(RunState),
    /// One frame, also while paused.
    Step,
    /// Render a picture from scratch; the stream waits.
    Render(Box<RenderJob>),
    /// Give up a render.
    CancelRender(JobId),
    /// Threads the CPU path may use; `None` for all.
    SetThreads(Option<usize>),
}

/// What is asked of the loader.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelRequest {
    /// Load this one.
    Load(ModelChoice),
    /// Stop loading.
    Cancel,
}

/// How many threads the CPU path may use; `None` for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLimit(pub Option<usize>);

/// Everything that was asked since the engine last looked: for each kind the newest, jobs in order.
///
/// Its size is bounded by what the app has, never by how long the engine takes.
#[derive(Debug, Default)]
pub struct CommandBatch {
    /// The newest scene.
    pub scene: Option<(Revision, Box<Scene>)>,
    /// The newest model, or the wish to stop loading one.
    pub model: Option<ModelRequest>,
    /// The newest run state.
    pub run: Option<RunState>,
    /// Frames asked for while paused.
    pub steps: u32,
    /// Renders that wait.
    pub renders: Vec<RenderJob>,
    /// Renders to give up.
    pub cancelled: Vec<JobId>,
    /// The newest thread count.
    pub threads: Option<ThreadLimit>,
}

impl CommandBatch {
    /// Adds a request; a later one replaces an earlier one of its kind.
    pub fn push(&mut self, command: Command) {
        match command {
            Command::SetScene(revision, scene) => self.scene = Some((revision, scene)),
            Command::LoadModel(choice) => self.model = Some(ModelRequest::Load(choice)),
            Command::CancelLoad => self.model = Some(ModelRequest::Cancel),
            Command::Run(state) => self.run = Some(state),
            Command::Step => self.steps = self.steps.saturating_add(1),
            Command::Render(job) => self.renders.push(*job),
            Command::CancelRender(id) => self.cancelled.push(id),
            Command::SetThreads(threads) => self.threads = Some(ThreadLimit(threads)),
        }
    }

    /// Adds everything that was asked later.
    pub fn merge(&mut self, later: Self) {
        if let Some((revision, scene)) = later.scene {
            self.push(Command::SetScene(revision, scene));
        }
        self.model = later.model.or_else(|| self.model.take());
        self.run = later.run.or(self.run);
        self.steps = self.steps.saturating_add(later.steps);
        self.renders.extend(later.renders);
        self.cancelled.extend(later.cancelled);
        self.threads = later.threads.or(self.threads);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.scene.is_none()
            && self.model.is_none()
            && self.run.is_none()
            && self.steps == 0
            && self.renders.is_empty()
            && self.cancelled.is_empty()
            && self.threads.is_none()
    }
}
