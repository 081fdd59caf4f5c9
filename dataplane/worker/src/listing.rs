//! Neighbours, flows and what routers told for `sluice show`, handed out between heartbeats.
//!
//! The control thread sends an empty list with room in it by a mailbox; the worker fills it within
//! one heartbeat and sends it back by a ring. The worker allocates nothing, and a list is never
//! longer than [`ROWS_MAX`], which bounds what a question costs the packets that wait meanwhile:
//! about ten microseconds.

use rtrb::{Consumer, Producer, RingBuffer};
use sluice_base::Instant;
use sluice_stack::{FlowInfo, LearnedInfo, NeighborInfo, Stack, UdpFlowInfo};

use crate::mailbox::{MailboxReceiver, MailboxSender, mailbox};

/// Rows that a worker hands out per question.
pub const ROWS_MAX: usize = 512;
/// Answers on their way; a question replaces the one before it, so one is enough.
const ANSWERS: usize = 4;

/// A list to be filled, or filled.
#[derive(Debug)]
pub struct Listing {
    /// Which question this is; comes back with the answer.
    pub ticket: u64,
    /// The rows.
    pub rows: Rows,
    /// How many there would be without the limit.
    pub total: usize,
}

/// What is listed.
#[derive(Debug)]
pub enum Rows {
    /// Neighbours; worker 0 knows all of them.
    Neighbors(Vec<NeighborInfo>),
    /// What routers told; worker 0 knows all of it.
    Learned(Vec<LearnedInfo>),
    /// Connections, and flows of UDP.
    Flows(Vec<FlowInfo>, Vec<UdpFlowInfo>),
}

/// The control thread's end.
#[derive(Debug)]
pub struct ListingLink {
    questions: MailboxSender<Listing>,
    answers: Consumer<Listing>,
}

/// The worker's end.
#[derive(Debug)]
pub struct ListingDesk {
    questions: MailboxReceiver<Listing>,
    answers: Producer<Listing>,
}

/// Both ends.
#[must_use]
pub fn listing() -> (ListingLink, ListingDesk) {
    let (ask, asked) = mailbox();
    let (give, given) = RingBuffer::new(ANSWERS);
    (
        ListingLink { questions: ask, answers: given },
        ListingDesk { questions: asked, answers: give },
    )
}

impl ListingLink {
    /// Asks for neighbours; wake the worker afterwards.
    pub fn ask_neighbors(&self, ticket: u64) {
        self.ask(ticket, Rows::Neighbors(Vec::with_capacity(ROWS_MAX)));
    }

    /// Asks for what routers told; wake the worker afterwards.
    pub fn ask_learned(&self, ticket: u64) {
        self.ask(ticket, Rows::Learned(Vec::with_capacity(ROWS_MAX)));
    }

    /// Asks for connections; wake the worker afterwards.
    pub fn ask_flows(&self, ticket: u64) {
        let (tcp, udp) = (Vec::with_capacity(ROWS_MAX), Vec::with_capacity(ROWS_MAX));
        self.ask(ticket, Rows::Flows(tcp, udp));
    }

    fn ask(&self, ticket: u64, rows: Rows) {
        // A question that the worker has not read is replaced: whoever asked it will not wait.
        drop(self.questions.publish(Listing { ticket, rows, total: 0 }));
    }

    /// The answer to question `ticket`, if it is here; answers to older ones are dropped.
    pub fn answer(&mut self, ticket: u64) -> Option<Listing> {
        while let Ok(listing) = self.answers.pop() {
            if listing.ticket == ticket {
                return Some(listing);
            }
        }
        None
    }
}

impl ListingDesk {
    /// Answers the question that waits, if there is one; one relaxed load when not.
    #[inline]
    pub fn serve(&mut self, stack: &Stack, now: Instant) {
        if let Some(question) = self.questions.take() {
            self.answer(question, stack, now);
        }
    }

    /// Whether a question waits.
    pub fn is_asked(&self) -> bool {
        self.questions.is_waiting()
    }

    #[cold]
    fn answer(&mut self, mut listing: Listing, stack: &Stack, now: Instant) {
        listing.total = match &mut listing.rows {
            Rows::Neighbors(rows) => fill(rows, stack.neighbors()),
            Rows::Learned(rows) => fill(rows, stack.learned(now)),
            Rows::Flows(tcp, udp) => {
                tcp.extend(stack.flows().take(tcp.capacity()));
                udp.extend(stack.udp_flows().take(udp.capacity()));
                stack.connection_count() + stack.udp_flow_count()
            }
        };
        // A full ring means that nobody collects answers; then nobody misses this one.
        let _ = self.answers.push(listing);
    }
}

fn fill<T>(rows: &mut Vec<T>, mut items: impl Iterator<Item = T>) -> usize {
    let room = rows.capacity();
    rows.extend(items.by_ref().take(room));
    rows.len() + items.count()
}

#[cfg(test)]
mod tests {
    use sluice_buf::Pool;
    use sluice_stack::StackConfig;

    use super::*;

    #[test]
    fn an_answer_carries_its_ticket_and_older_ones_are_dropped() {
        let stack = Stack::new(StackConfig::default(), Pool::heap(8), Pool::heap(8), 1);
        let (mut link, mut desk) = listing();
        link.ask_flows(1);
        desk.serve(&stack, Instant::ZERO);
        link.ask_neighbors(2);
        assert!(desk.is_asked());
        desk.serve(&stack, Instant::ZERO);
        let answer = link.answer(2).expect("it was served");
        assert!(matches!(answer.rows, Rows::Neighbors(rows) if rows.is_empty()));
        assert!(link.answer(1).is_none(), "nobody waits for it any more");
    }

    #[test]
    fn a_list_ends_at_its_room_and_says_how_many_there_were() {
        let mut rows = Vec::with_capacity(ROWS_MAX);
        assert_eq!(fill(&mut rows, 0..ROWS_MAX + 7), ROWS_MAX + 7);
        assert_eq!(rows.len(), ROWS_MAX);
    }
}
