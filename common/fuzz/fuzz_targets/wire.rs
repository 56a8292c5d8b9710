//! Reads arbitrary bytes as each object and message that coordinator and workers exchange. What can be read is written
//! again, and reads back as what is written the same way.
#![no_main]

use howdah_protocol::messages::{
    CancelJob, LogBatch, Presence, PrewarmOrder, ResolveImage, ResolvedImage, RestartDatum, SetDone, SetFailed, SetMessage,
    WakeUp,
};
use howdah_protocol::objects::{DatumRecord, DatumSet, JobPlan, LogObject, MasterLine, SetResult};
use howdah_protocol::wire::{self, Wire};
use libfuzzer_sys::fuzz_target;

fn read<T: Wire>(bytes: &[u8]) {
    match wire::decode::<T>(bytes) {
        Ok(value) => {
            let written = wire::encode(&value);
            let again = wire::decode::<T>(&written).expect("what was written can be read");
            assert_eq!(wire::encode(&again), written);
        }
        Err(error) => {
            // The message is built from parts of the bytes.
            let _ = error.to_string();
        }
    }
}

/// Reads the bytes behind a valid envelope, which the fuzzer would have to guess.
fn read_body<T: Wire>(body: &[u8]) {
    read::<T>(body);
    let mut bytes = Vec::new();
    if T::BINARY {
        bytes.extend_from_slice(b"HWD\0");
        bytes.push(T::KIND.len() as u8);
        bytes.extend_from_slice(T::KIND.as_bytes());
        bytes.extend_from_slice(&T::VERSION.to_le_bytes());
        bytes.extend_from_slice(body);
    } else {
        bytes.extend_from_slice(format!("{{\"kind\":\"{}\",\"v\":{},\"body\":", T::KIND, T::VERSION).as_bytes());
        bytes.extend_from_slice(body);
        bytes.push(b'}');
    }
    read::<T>(&bytes);
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, body)) = data.split_first() else { return };
    match kind % 17 {
        0 => read_body::<JobPlan>(body),
        1 => read_body::<DatumSet>(body),
        2 => read_body::<SetResult>(body),
        3 => read_body::<DatumRecord>(body),
        4 => read_body::<LogObject>(body),
        5 => read_body::<MasterLine>(body),
        6 => read_body::<SetMessage>(body),
        7 => read_body::<SetDone>(body),
        8 => read_body::<SetFailed>(body),
        9 => read_body::<Presence>(body),
        10 => read_body::<LogBatch>(body),
        11 => read_body::<WakeUp>(body),
        12 => read_body::<CancelJob>(body),
        13 => read_body::<RestartDatum>(body),
        14 => read_body::<PrewarmOrder>(body),
        15 => read_body::<ResolveImage>(body),
        _ => read_body::<ResolvedImage>(body),
    }
});
