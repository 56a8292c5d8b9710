//! Reads arbitrary bytes as a record of the metadata log, and as the events of one.
#![no_main]

use howdah_model::Event;
use howdah_store::{LogRecord, fuzzing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    fuzzing::record(data);
    let record = LogRecord {
        seq: 1,
        payload: data.to_vec().into(),
    };
    if let Ok(events) = record.events::<Event>() {
        let written = serde_json::to_vec(&events).expect("events can be written");
        let again: Vec<Event> = serde_json::from_slice(&written).expect("written events can be read");
        assert_eq!(serde_json::to_vec(&again).expect("events can be written"), written);
    }
});
