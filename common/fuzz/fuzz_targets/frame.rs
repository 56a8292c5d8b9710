//! Reads arbitrary bytes as messages between the worker and stage-init, received in two parts.
#![no_main]

use howdah_stage_init::frame::{FrameBuffer, InitReply, InitRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let mut buffer = FrameBuffer::default();
    for part in [first, second] {
        buffer.push(part);
        loop {
            let Ok(frame) = buffer.next_frame() else { return };
            let Some(frame) = frame else { break };
            if let Ok(request) = InitRequest::decode(frame) {
                let mut out = Vec::new();
                request.encode(&mut out).expect("what was read can be written");
                let mut again = FrameBuffer::default();
                again.push(&out);
                let frame = again.next_frame().expect("a written frame is valid").expect("it is complete");
                assert_eq!(InitRequest::decode(frame), Ok(request));
            }
            if let Ok(reply) = InitReply::decode(frame) {
                let mut out = Vec::new();
                reply.encode(&mut out);
                let mut again = FrameBuffer::default();
                again.push(&out);
                let frame = again.next_frame().expect("a written frame is valid").expect("it is complete");
                assert_eq!(InitReply::decode(frame), Ok(reply));
            }
        }
    }
});
