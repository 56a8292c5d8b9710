//! Reads arbitrary text as a schedule, a duration, a quantity and a size. The next times of a schedule ascend.
#![no_main]

use howdah_spec::cron::Schedule;
use howdah_spec::{duration, quantity};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(length) = duration::parse(data) {
        let printed = duration::print(length);
        assert_eq!(duration::parse(&printed), Ok(length), "{printed}");
    }
    let _ = quantity::bytes(data);
    let _ = quantity::size(data);
    let Ok(schedule) = Schedule::parse(data) else {
        return;
    };
    // An hour before Berlin repeats an hour.
    let mut time = Timestamp::from_second(1_729_987_200).expect("a time in 2024");
    for _ in 0..8 {
        let Some(next) = schedule.next_after(time) else { return };
        assert!(next > time, "{next} is not after {time}");
        assert!(!schedule.is_never());
        time = next;
    }
});
