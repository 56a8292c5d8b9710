//! Reads arbitrary bytes as a spec; what is accepted must print and read back as itself.
#![no_main]

use howdah_spec::{ParseOptions, parse, to_json, unsupported, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let options = ParseOptions::default();
    let Ok(specs) = parse("fuzz", data, &options) else {
        return;
    };
    for parsed in specs {
        let _ = validate(&parsed.spec);
        let _ = unsupported(&parsed.spec);
        let text = to_json(&parsed.spec).to_string();
        let again = parse("again", text.as_bytes(), &options).expect("what is printed can be read");
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].spec, parsed.spec);
    }
});
