//! All open connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::sync::Notify;

use super::facts::{CloseReason, Facts, MAX_STRANGERS, choose_for_room, must_close};
use crate::metrics;

/// Pause between two looks at all connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between two looks for an idle connection while all places are taken.
const FULL_INTERVAL: Duration = Duration::from_millis(100);

/// The user at the other end of a connection within this machine.
pub type UserId = u32;

/// One connection. It is shared by the code that moves its bytes, the code that answers its calls, and the sweeper.
#[derive(Debug)]
pub struct Connection {
    /// Address of the other end.
    pub peer: SocketAddr,
    /// Address of this end.
    pub local: SocketAddr,
    /// The user who opened it, if that is within this machine and could be found out.
    pub user: Option<UserId>,
    accepted: Instant,
    /// Moment of the end of the last call, in milliseconds after `accepted`.
    idle_since_ms: AtomicU64,
    calls: AtomicUsize,
    has_preface: AtomicBool,
    is_known: AtomicBool,
    is_closed: AtomicBool,
    reader: AtomicWaker,
}

impl Connection {
    /// Makes a connection that was accepted now.
    pub fn new(peer: SocketAddr, local: SocketAddr, user: Option<UserId>, is_known: bool) -> Self {
        Self {
            peer,
            local,
            user,
            accepted: Instant::now(),
            idle_since_ms: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            has_preface: AtomicBool::new(false),
            is_known: AtomicBool::new(is_known),
            is_closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    /// Notes that a caller was let in.
    pub fn set_known(&self) {
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// Notes that the first bytes have come.
    pub fn set_preface(&self) {
        self.has_preface.store(true, Ordering::Relaxed);
    }

    /// Notes that a call runs, until the returned value is dropped.
    pub fn begin_call(self: &Arc<Self>) -> RunningCall {
        self.calls.fetch_add(1, Ordering::Relaxed);
        RunningCall(Arc::clone(self))
    }

    /// Returns whether the server closes it; if not, the task of `context` is woken when it does.
    pub fn poll_closed(&self, context: &Context<'_>) -> bool {
        self.reader.register(context.waker());
        // After registering: a connection that closes between the two calls would otherwise wake no waiter.
        self.is_closed()
    }

    /// Returns whether the server closes it.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn close(&self, reason: CloseReason) {
        if !self.is_closed.swap(true, Ordering::AcqRel) {
            metrics::CONNECTIONS_CLOSED.with_label_values(&[reason.label()]).inc();
            tracing::debug!(peer = %self.peer, reason = reason.label(), "connection closed");
            self.reader.wake();
        }
    }

    fn facts(&self) -> Facts {
        let age = self.accepted.elapsed();
        let idle_since = Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed));
        let is_idle = self.calls.load(Ordering::Relaxed) == 0;
        Facts {
            age,
            has_preface: self.has_preface.load(Ordering::Relaxed),
            is_known: self.is_known.load(Ordering::Relaxed),
            idle: is_idle.then(|| age.saturating_sub(idle_since)),
        }
    }
}

/// A call that runs on a connection.
#[derive(Debug)]
pub struct RunningCall(Arc<Connection>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.accepted.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.idle_since_ms.store(now, Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections. A clone is another handle.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    next: AtomicU64,
    /// Accepted connections; those that are not set up yet have no value.
    open: Mutex<HashMap<u64, Option<Arc<Connection>>>>,
    freed: Notify,
}

/// The place of one connection in the registry. Dropping it frees the place.
#[derive(Debug)]
pub struct Place {
    registry: Registry,
    number: u64,
}

impl Registry {
    /// Makes a registry for at most `limit` connections.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared {
            limit,
            next: AtomicU64::new(0),
            open: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// Takes a place for a new connection. If all are taken, the connection that is idle for longest is closed. While each
    /// has a running call, this waits, and `full` is called once.
    pub async fn place(&self, full: impl FnOnce(usize)) -> Place {
        let mut full = Some(full);
        loop {
            let freed = self.0.freed.notified();
            if let Some(place) = self.try_place() {
                return place;
            }
            if !self.make_room()
                && let Some(full) = full.take()
            {
                full(self.0.limit);
            }
            // Not only until a place is free: a connection whose call ends is idle, and can make room.
            let _ = tokio::time::timeout(FULL_INTERVAL, freed).await;
        }
    }

    fn try_place(&self) -> Option<Place> {
        let mut open = self.open();
        if open.len() >= self.0.limit {
            return None;
        }
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, None);
        metrics::CONNECTIONS.set(open.len() as i64);
        Some(Place {
            registry: self.clone(),
            number,
        })
    }

    /// Closes an idle connection; returns false if there is none.
    fn make_room(&self) -> bool {
        let open = self.open();
        let mut candidates = open.values().flatten().filter(|connection| !connection.is_closed());
        let chosen = choose_for_room(candidates.by_ref().map(|connection| (connection, connection.facts())));
        if let Some(chosen) = chosen {
            chosen.close(CloseReason::MadeRoom);
        }
        chosen.is_some()
    }

    /// Closes connections that break a rule, until the future is dropped.
    pub async fn sweep(&self) {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sweep_once();
        }
    }

    fn sweep_once(&self) {
        for connection in self.open().values().flatten() {
            if let Some(reason) = must_close(connection.facts()) {
                connection.close(reason);
            }
        }
    }

    /// Closes the stranger that is idle for longest, if there are too many.
    fn bound_strangers(&self, open: &HashMap<u64, Option<Arc<Connection>>>) {
        let strangers = || open.values().flatten().filter(|connection| !connection.is_closed());
        let with_facts = || {
            strangers()
                .map(|connection| (connection, connection.facts()))
                .filter(|(_, facts)| !facts.is_known)
        };
        if with_facts().count() > MAX_STRANGERS
            && let Some(oldest) = choose_for_room(with_facts())
        {
            oldest.close(CloseReason::MadeRoom);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Option<Arc<Connection>>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Enters the connection that has this place.
    pub fn enter(&self, connection: &Arc<Connection>) {
        let mut open = self.registry.open();
        open.insert(self.number, Some(Arc::clone(connection)));
        if !connection.facts().is_known {
            self.registry.bound_strangers(&open);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.registry.open();
        open.remove(&self.number);
        metrics::CONNECTIONS.set(open.len() as i64);
        drop(open);
        self.registry.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(registry: &Registry, place: &Place, is_known: bool) -> Arc<Connection> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Arc::new(Connection::new(address, address, None, is_known));
        place.enter(&connection);
        assert!(registry.open().len() <= registry.0.limit);
        connection
    }

    #[tokio::test]
    async fn an_idle_connection_makes_room_and_one_with_a_call_does_not() {
        let registry = Registry::new(2);
        let first = registry.place(|_| ()).await;
        let busy = entered(&registry, &first, true);
        let call = busy.begin_call();
        let second = registry.place(|_| ()).await;
        let idle = entered(&registry, &second, true);
        let waiting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.place(|_| ()).await }
        });
        while !idle.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(!busy.is_closed());
        drop(second);
        let third = waiting.await.unwrap();
        let _other_call = entered(&registry, &third, true).begin_call();
        let (told, mut full) = tokio::sync::mpsc::unbounded_channel();
        let waiting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.place(|limit| told.send(limit).unwrap()).await }
        });
        assert_eq!(full.recv().await, Some(2), "every connection has a call");
        drop(call);
        drop(first);
        waiting.await.unwrap();
    }

    #[test]
    fn strangers_are_few() {
        let registry = Registry::new(10_000);
        let known: Vec<_> = (0..10).map(|_| registry.try_place().unwrap()).collect();
        let known: Vec<_> = known
            .iter()
            .map(|place| (place, entered(&registry, place, true)))
            .collect();
        let places: Vec<_> = (0..MAX_STRANGERS + 5).map(|_| registry.try_place().unwrap()).collect();
        let strangers: Vec<_> = places.iter().map(|place| entered(&registry, place, false)).collect();
        let open = strangers.iter().filter(|connection| !connection.is_closed()).count();
        assert_eq!(open, MAX_STRANGERS);
        assert!(known.iter().all(|(_, connection)| !connection.is_closed()));
    }
}
