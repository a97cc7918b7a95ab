//! How fast frames come and how much memory is held.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Frames older than this say nothing about the present.
const WINDOW: Duration = Duration::from_secs(3);
const MOST_FRAMES: usize = 32;

/// Frames per second over the last frames.
#[derive(Debug, Default)]
pub(super) struct FrameMeter {
    ends: VecDeque<Instant>,
}

impl FrameMeter {
    /// A frame is done.
    pub(super) fn count(&mut self, now: Instant) {
        self.ends.push_back(now);
        while self.ends.len() > MOST_FRAMES || self.ends.front().is_some_and(|&end| now - end > WINDOW) {
            self.ends.pop_front();
        }
    }

    /// 0 until there are two frames.
    pub(super) fn per_second(&self) -> f32 {
        match (self.ends.front(), self.ends.back()) {
            (Some(&first), Some(&last)) if last > first => {
                (self.ends.len() - 1) as f32 / (last - first).as_secs_f32()
            }
            _ => 0.0,
        }
    }
}

/// Bytes of main memory that this process holds; 0 where the system does not say.
pub(super) fn memory_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * PAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_is_frames_over_time() {
        let mut meter = FrameMeter::default();
        let start = Instant::now();
        assert_eq!(meter.per_second(), 0.0);
        for frame in 0..5 {
            meter.count(start + Duration::from_millis(100) * frame);
        }
        assert!((meter.per_second() - 10.0).abs() < 0.01);
        meter.count(start + Duration::from_mins(1));
        assert_eq!(meter.per_second(), 0.0);
    }
}
