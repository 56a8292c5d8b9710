//! Tests of the log lines that a worker stores and sends.

use howdah_protocol::objects::LogObject;
use howdah_protocol::wire;
use howdah_worker::runtime::scripted::ScriptedEnd;

use crate::fixture::{WorkerFixture, datum, plan, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_writes_too_much_says_how_many_lines_it_has_lost() {
    // Together more than a set may keep.
    const DATUMS: u8 = 2;
    const LINES: usize = 18_000;
    let mut fixture = WorkerFixture::new().await;
    let worker = fixture.worker("w", 1).await;
    let mut followed = fixture.queue.logs(None).await.unwrap();
    fixture.runtime.define("flood", |_| ScriptedEnd {
        stdout: (0..LINES).map(|number| format!("{number:01000}\n")).collect(),
        ..ScriptedEnd::ok()
    });
    let plan = plan("edges", 1, &["flood"]);
    let datums = (1..=DATUMS).map(|number| datum(number, vec![])).collect();
    fixture.start(&plan, vec![datums]).await;
    let result = fixture.result(&plan, 0).await;
    assert!(result.datums.iter().all(|datum| datum.exit_code == Some(0)));
    let stored = fixture.store.get(&result.log_key.unwrap()).await.unwrap();
    let mut log: LogObject = wire::decode(&stored).unwrap();
    let last = log.lines.pop().unwrap();
    assert!(!last.user);
    assert!(
        last.message
            .starts_with(&format!("{} further lines were dropped", log.dropped)),
        "{last:?}"
    );
    assert_eq!(
        log.lines.len() as u64 + log.dropped,
        usize::from(DATUMS) as u64 * LINES as u64
    );
    assert!(log.lines.len() > LINES, "the second datum has lines, too");
    for (number, line) in log.lines.iter().enumerate() {
        assert_eq!(
            line.message.trim_start_matches('0'),
            (number % LINES).to_string().trim_start_matches('0')
        );
    }
    // Followers are told, too.
    within(async { while followed.next().await.unwrap().lines.last() != Some(&last) {} }).await;
    worker.stop().await;
}
