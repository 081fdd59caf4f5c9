//! Work after a snapshot was adopted or a drain began, a bounded part per call.
//!
//! First every cluster (newer ones are taken over, vanished ones retired, idle connections that
//! nobody keeps are closed), then every client connection without a request (closed if the process
//! drains or its listener is gone), then every session of datagrams (ended if the newest snapshot does
//! not name what it names).

use sluice_base::ClusterId;

use crate::codec::SessionCodec;
use crate::limits::SWEEP_PER_CALL;
use crate::proxy::Proxy;
use crate::snapshot::Snapshot;

/// How far the walk has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sweep {
    running: bool,
    cluster: usize,
    session: u32,
    udp_session: u32,
}

impl Sweep {
    /// Begins from the start.
    pub(crate) fn start(&mut self) {
        *self = Self { running: true, cluster: 0, session: 0, udp_session: 0 };
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running
    }
}

impl Proxy {
    /// A part of the walk.
    pub(crate) fn run_sweep(&mut self) {
        for _ in 0..SWEEP_PER_CALL {
            if !self.sweep.running {
                return;
            }
            let clusters = self.pins.current().map_or(0, Snapshot::clusters_bound);
            if self.sweep.cluster < clusters.max(self.pools.bound()) {
                self.sweep_cluster(ClusterId(self.sweep.cluster as u32));
                self.sweep.cluster += 1;
            } else if self.sweep.session < self.sessions.slots() {
                self.sweep_session(self.sweep.session);
                self.sweep.session += 1;
            } else if (self.sweep.udp_session as usize) < self.udp.sessions.slots() {
                self.sweep_udp_session(self.sweep.udp_session);
                self.sweep.udp_session += 1;
            } else {
                self.sweep.running = false;
            }
        }
    }

    fn sweep_cluster(&mut self, id: ClusterId) {
        match self.pins.current().and_then(|snapshot| snapshot.cluster(id)) {
            Some(compiled) => {
                if self.pools.sync(id, compiled) {
                    self.close_unkept(id);
                }
                // The limit may have grown.
                self.serve_queue(id);
            }
            None => {
                self.pools.retire(id);
                self.close_unkept(id);
            }
        }
    }

    fn sweep_session(&mut self, index: u32) {
        let Some(conn) = self.sessions.at(index) else { return };
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(listener) = session.downstream().map(|downstream| downstream.listener) else {
            return;
        };
        if session.codec.is_opaque() || session.status.lingering {
            return;
        }
        let gone = self.pins.current().is_none_or(|snapshot| snapshot.listener(listener).is_none());
        if !self.draining && !gone {
            return;
        }
        let busy = session.exchange().is_some() || !session.codec.is_idle();
        let idle = !busy && session.codec.is_input_empty();
        let multiplexed = session.codec.is_multiplexed();
        if multiplexed || !idle {
            // A request may be on its way: a client of HTTP/2 is told, and has a round trip's time.
            session.drain_codec(&mut self.wires);
        }
        if let SessionCodec::Http2(coded) = &mut session.codec
            && self.draining
            && !std::mem::replace(&mut coded.more.leaving, true)
        {
            self.leaving += 1;
        }
        if idle && let Some(state) = self.listener(listener) {
            state.counters.downstream_cx_drain_close.increment();
        }
        if multiplexed {
            self.settle_multiplexed(conn);
        } else if idle {
            self.close_downstream(conn);
        }
    }
}
