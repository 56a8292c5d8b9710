//! Reads arbitrary bytes as specs; an accepted spec prints as a text that reads back as the same spec.
#![no_main]

use howdah_spec::{ParseOptions, effective, from_effective, parse, to_json, unsupported, validate};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let options = ParseOptions::default();
    let specs = match parse("fuzz", data, &options) {
        Ok(specs) => specs,
        Err(error) => {
            // The message is built from parts of the text.
            let _ = error.to_string();
            return;
        }
    };
    for parsed in specs {
        let _ = validate(&parsed.spec);
        let _ = unsupported(&parsed.spec);
        let text = to_json(&parsed.spec).to_string();
        let again = parse("again", text.as_bytes(), &options).expect("a printed spec reads back");
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].spec, parsed.spec);
        // The way of the server: the user spec over the defaults gives an effective spec, which is a fixed point.
        let nothing = serde_json::json!({});
        let merged = effective(&nothing, &nothing, &parsed.user_json).expect("a user spec merges");
        let spec = from_effective(&merged, "default", Timestamp::UNIX_EPOCH).expect("a merged spec is typed");
        let fixed = from_effective(&to_json(&spec), "elsewhere", Timestamp::MAX).expect("an effective spec is typed");
        assert_eq!(fixed, spec);
    }
});
