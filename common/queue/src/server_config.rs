//! Users and permissions of a NATS server that serves Howdah.

/// User of coordinators.
pub const COORDINATOR_USER: &str = "coordinator";
/// User of workers.
pub const WORKER_USER: &str = "worker";

/// Returns the section `authorization` of a server's configuration, with a user for coordinators and one for workers.
///
/// A worker can neither publish sets and orders nor make, change or delete streams and consumers, and it does not see what
/// other programs publish. The passwords must consist of letters and digits.
pub fn authorization(coordinator_password: &str, worker_password: &str) -> String {
    format!(
        r#"authorization {{
  users = [
    {{
      user: {COORDINATOR_USER}, password: "{coordinator_password}"
      permissions: {{
        publish: ["howdah.>", "$JS.API.>"]
        subscribe: ["howdah.>", "_INBOX.coordinator.>"]
      }}
    }}
    {{
      user: {WORKER_USER}, password: "{worker_password}"
      permissions: {{
        publish: [
          "howdah.*.results", "howdah.*.presence", "howdah.*.logs.>", "howdah.*.stalled"
          "$JS.API.CONSUMER.NAMES.*", "$JS.API.CONSUMER.INFO.*.*", "$JS.API.CONSUMER.MSG.NEXT.*.*", "$JS.ACK.>"
        ]
        subscribe: ["howdah.*.wake", "howdah.*.rebuilt", "howdah.*.ctl.>", "_INBOX.worker.>"]
        # To answer requests, which may take as long as the pull of an image.
        allow_responses: {{ max: 1, expires: "1h" }}
      }}
    }}
  ]
}}
"#
    )
}
