//! Helpers for the unit tests of this crate.

mod noise;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::backend::MemoryBackend;
use crate::backend::fault::{Fault, FaultBackend, Operation};
use crate::objects::config::Limits;
use crate::store::Store;

pub(crate) use noise::noise;

/// Runs a future on a runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Counts the requests a store makes.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pub(crate) reads: AtomicUsize,
    pub(crate) writes: AtomicUsize,
    pub(crate) written: Mutex<Vec<String>>,
}

impl Requests {
    pub(crate) fn reset(&self) {
        self.reads.store(0, Ordering::Relaxed);
        self.writes.store(0, Ordering::Relaxed);
        self.written.lock().unwrap().clear();
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

/// Opens a store with empty caches on a backend, and counts its requests.
pub(crate) async fn counted(backend: &Arc<MemoryBackend>) -> (Store, Arc<Requests>) {
    let requests = Arc::new(Requests::default());
    let counter = Arc::clone(&requests);
    let counting = FaultBackend::new(Arc::clone(backend) as _, move |operation, key| {
        match operation {
            Operation::Read => counter.reads.fetch_add(1, Ordering::Relaxed),
            Operation::Put | Operation::PutIfAbsent => {
                counter.written.lock().unwrap().push(key.to_owned());
                counter.writes.fetch_add(1, Ordering::Relaxed)
            }
            Operation::Delete | Operation::List => 0,
        };
        Fault::None
    });
    let store = Store::with_backend(Arc::new(counting), Limits::default())
        .await
        .unwrap();
    requests.reset();
    (store, requests)
}
