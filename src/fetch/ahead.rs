//! What is made ahead of readers: who asks for it, and how far it may go.

use std::sync::Arc;

use super::{Fetcher, Interest, Shared, Stream};

impl Fetcher {
    /// Has up to `count` frames from `first` on made by workers that have nothing more urgent to do,
    /// as long as `interest` lives. A later call with the same interest replaces this one.
    pub fn sweep(&self, stream: &Arc<Stream>, interest: &Interest, first: usize, count: usize) {
        let count = count.min(self.readahead_frames);
        self.shared.sweep(stream, interest, first, count);
    }
}

impl Shared {
    /// Has up to `count` frames from `first` on made ahead, as far as there is room for them.
    pub(super) fn sweep(
        &self,
        stream: &Arc<Stream>,
        interest: &Interest,
        first: usize,
        count: usize,
    ) {
        let count = count.min(self.window_frames(stream));
        if count == 0 {
            return;
        }
        let stream = stream.heir().unwrap_or(stream);
        if stream.ask_sweep(interest, first, count) {
            self.queue.push_sweep(stream);
        }
        if let Some(devices) = &self.devices {
            devices.ring();
        }
    }

    /// How far ahead a sweep of this stream may go: not so far that it drops what its own reader
    /// has not reached yet.
    fn window_frames(&self, stream: &Stream) -> usize {
        let half = self.cache.budget_bytes() / 2;
        let fitting = half / stream.slab().frame_len_bytes() as u64;
        usize::try_from(fitting).unwrap_or(usize::MAX)
    }
}
