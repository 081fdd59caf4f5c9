//! The snapshot mailbox: control thread to worker, newest wins, and nothing is freed here.
//!
//! ```text
//!   control: publish(new) ---- slot of one ----> worker: take()
//!            <- an unread one comes back
//!            <-------------- home ring --------- retired ones
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

/// The control thread's end.
#[derive(Debug)]
pub struct MailboxSender<T> {
    shared: Arc<Shared<T>>,
}

/// The worker's end.
#[derive(Debug)]
pub struct MailboxReceiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

#[derive(Debug)]
struct Shared<T> {
    slot: ArrayQueue<T>,
    /// How often something was published. The sender writes after filling the slot; the receiver
    /// only compares, and finds the contents through the queue's own acquire.
    published: AtomicU64,
}

/// A mailbox that holds at most one message.
#[must_use]
pub fn mailbox<T>() -> (MailboxSender<T>, MailboxReceiver<T>) {
    let shared = Arc::new(Shared { slot: ArrayQueue::new(1), published: AtomicU64::new(0) });
    (MailboxSender { shared: shared.clone() }, MailboxReceiver { shared, seen: 0 })
}

impl<T> MailboxSender<T> {
    /// Puts `message` in; a message that nobody has read comes back.
    pub fn publish(&self, message: T) -> Option<T> {
        let unread = self.shared.slot.force_push(message);
        // Release: whoever sees the new count also sees the filled slot.
        self.shared.published.fetch_add(1, Ordering::Release);
        unread
    }
}

impl<T> MailboxReceiver<T> {
    /// Takes the newest message, if there is one that was not seen. One relaxed load when not.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        if self.is_waiting() { self.take_new() } else { None }
    }

    /// Whether there is a message that was not seen.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.shared.published.load(Ordering::Relaxed) != self.seen
    }

    #[cold]
    fn take_new(&mut self) -> Option<T> {
        // Read again with Acquire, so that the slot is at least as new as the count.
        self.seen = self.shared.published.load(Ordering::Acquire);
        self.shared.slot.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_wins_and_an_unread_one_comes_back() {
        let (sender, mut receiver) = mailbox();
        assert_eq!(receiver.take(), None);
        assert_eq!((sender.publish(1), sender.publish(2)), (None, Some(1)));
        assert_eq!((receiver.take(), receiver.take()), (Some(2), None));
        assert_eq!((sender.publish(3), receiver.take()), (None, Some(3)));
    }

    #[test]
    fn every_message_is_taken_once_or_comes_back() {
        const MESSAGES: u64 = 20_000;
        let (sender, mut receiver) = mailbox();
        let publisher = std::thread::spawn(move || {
            (1..=MESSAGES).filter_map(|message| sender.publish(message)).sum::<u64>()
        });
        let (mut taken, mut last) = (0, 0);
        while last < MESSAGES {
            if let Some(message) = receiver.take() {
                assert!(message > last, "messages are taken in order");
                (taken, last) = (taken + message, message);
            }
        }
        let returned = publisher.join().expect("the publisher ends");
        assert_eq!(taken + returned, MESSAGES * (MESSAGES + 1) / 2);
    }
}
