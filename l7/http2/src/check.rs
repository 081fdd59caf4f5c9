//! Whether the books of a connection agree with each other and with the peer's: for tests, and for
//! assertions of debug builds.

use sluice_l7_core::StreamId;

use crate::connection::{Http2, Reading};

impl Http2 {
    /// What the peer may still send on a stream, or on all together
    /// ([`CONNECTION`](StreamId::CONNECTION)), in bytes: while nothing is on its way, what
    /// [`send_window`](Self::send_window) says on its side. None: there is no such stream.
    #[must_use]
    pub fn receive_window(&self, stream: StreamId) -> Option<i64> {
        if stream == StreamId::CONNECTION {
            return Some(i64::from(self.window.size()) - i64::from(self.window.outstanding()));
        }
        let state = self.streams.get(self.streams.find(stream.number())?);
        Some(i64::from(self.window.stream) - i64::from(state.outstanding))
    }

    /// What may still be sent on a stream, or on all together, in bytes; negative where the peer took
    /// back what it had allowed.
    #[must_use]
    pub fn send_window(&self, stream: StreamId) -> Option<i64> {
        if stream == StreamId::CONNECTION {
            return Some(i64::from(self.send_window));
        }
        let slot = self.streams.find(stream.number())?;
        Some(i64::from(self.streams.get(slot).send_window))
    }

    /// Body bytes that the caller has been given and has not credited. 0 where it holds none: another
    /// number would be a window that never opens again.
    #[must_use]
    pub fn uncredited(&self) -> u32 {
        let to_come = match self.reading {
            Reading::Data(data) => data.left,
            Reading::Preface | Reading::Frame { .. } | Reading::Failed => 0,
        };
        self.window.outstanding() - self.window.credited() - to_come
    }

    /// Whether everything that is counted twice is counted alike.
    ///
    /// # Errors
    /// What is not, in words.
    pub fn check(&self) -> Result<(), &'static str> {
        let window = &self.window;
        if window.credited() > window.outstanding() {
            return Err("more was credited than had come");
        }
        if window.outstanding() > window.size() {
            return Err("more came than the connection's window");
        }
        if self.send_window < 0 {
            return Err("more was sent than the peer's window");
        }
        let (mut of_streams, mut from) = (0, 0);
        while let Some(slot) = self.streams.next_used(from) {
            from = slot + 1;
            let stream = self.streams.get(slot);
            let Some(left) = stream.outstanding.checked_sub(stream.credited) else {
                return Err("more was credited than had come on a stream");
            };
            of_streams += left;
            let may_send = !stream.queue.is_empty() && stream.send_window > 0 && !stream.held;
            if may_send != stream.is_ready {
                return Err("a stream that may send is in no list, or one that may not is in one");
            }
        }
        if of_streams > window.outstanding() - window.credited() {
            return Err("streams hold more than the connection");
        }
        Ok(())
    }
}
