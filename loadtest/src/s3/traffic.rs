//! Requests to an S3 server, and their totals.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, Uri};
use serde::Serialize;

/// The bucket of the benchmark.
pub(super) const BUCKET: &str = "howdah";
/// Prefix of the store in the bucket.
pub(super) const PREFIX: &str = "loadtest";

/// Kinds of requests, by their cost for a store and by how they are billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RequestKind {
    /// Reads an object or a part of one.
    Get,
    /// Reads the header of an object.
    Head,
    /// Writes an object.
    Put,
    /// Removes an object.
    Delete,
    /// Lists keys.
    List,
    /// Starts, continues or ends a multipart upload.
    Multipart,
}

impl RequestKind {
    /// Returns the kind of a request.
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let has = |name: &str| {
            let mut names = uri.query().unwrap_or_default().split('&');
            names.any(|pair| pair.split('=').next() == Some(name))
        };
        match *method {
            Method::HEAD => RequestKind::Head,
            Method::POST if has("delete") => RequestKind::Delete,
            Method::POST => RequestKind::Multipart,
            Method::DELETE if has("uploadId") => RequestKind::Multipart,
            Method::DELETE => RequestKind::Delete,
            Method::PUT if has("uploadId") => RequestKind::Multipart,
            Method::PUT => RequestKind::Put,
            _ if has("list-type") || has("prefix") => RequestKind::List,
            _ => RequestKind::Get,
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct S3Request {
    /// Kind of the request.
    pub kind: RequestKind,
    /// The object's key below the store's prefix; empty for listings.
    pub key: String,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_up: u64,
    /// Bytes of the answer's body.
    pub bytes_down: u64,
    /// Time of its arrival, from the start of the proxy.
    pub began: Duration,
    /// Time of the head of the answer, from the start of the proxy.
    pub ended: Duration,
}

/// Returns the key of a request below the store's prefix.
pub(super) fn key_of(uri: &Uri) -> String {
    let path = uri.path().trim_start_matches('/');
    let key = path.strip_prefix(BUCKET).unwrap_or(path).trim_start_matches('/');
    let key = key.strip_prefix(PREFIX).unwrap_or(key);
    key.trim_start_matches('/').to_owned()
}

/// Returns the part of the store that a key belongs to.
pub(super) fn part_of(key: &str) -> &str {
    let mut steps = key.split('/');
    match (steps.next(), steps.next(), key.rsplit('/').nth(1)) {
        (Some("meta"), Some(inner), _) => inner,
        // jobs/<project>/<pipeline>/<job>/ and then plan, plan-merge, sets/<n>, results/<n>
        (Some("jobs"), _, Some(inner @ ("sets" | "results"))) => inner,
        (Some("jobs"), ..) => "plans",
        (Some(first), ..) => first,
        (None, ..) => "",
    }
}

/// Totals of some requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct TrafficTotals {
    /// Number of all requests.
    pub requests: u64,
    /// Number of requests by kind.
    pub kinds: BTreeMap<RequestKind, u64>,
    /// Number of requests by kind and part of the store.
    pub parts: BTreeMap<RequestKind, BTreeMap<String, u64>>,
    /// Objects written.
    pub objects: u64,
    /// Bytes sent to the server.
    pub bytes_up: u64,
    /// Bytes received from the server.
    pub bytes_down: u64,
}

impl TrafficTotals {
    /// Adds up requests.
    pub(super) fn of<'a>(requests: impl IntoIterator<Item = &'a S3Request>) -> Self {
        let mut sum = TrafficTotals::default();
        for asked in requests {
            sum.requests += 1;
            *sum.kinds.entry(asked.kind).or_default() += 1;
            let parts = sum.parts.entry(asked.kind).or_default();
            *parts.entry(part_of(&asked.key).to_owned()).or_default() += 1;
            // A conditional write of an existing object fails and writes nothing.
            sum.objects += u64::from(asked.kind == RequestKind::Put && (200..300).contains(&asked.status));
            sum.bytes_up += asked.bytes_up;
            sum.bytes_down += asked.bytes_down;
        }
        sum
    }

    /// Returns the number of requests of a kind.
    pub(super) fn kind(&self, kind: RequestKind) -> u64 {
        self.kinds.get(&kind).copied().unwrap_or(0)
    }
}

/// Returns the largest number of requests of which none begins before another has ended.
///
/// At least this number of requests ran one after the other. Multiplied by the latency, it is a lower bound of their
/// time.
pub(super) fn in_sequence(requests: &[S3Request]) -> u64 {
    let mut by_end: Vec<&S3Request> = requests.iter().collect();
    by_end.sort_by_key(|asked| asked.ended);
    let mut last = Duration::ZERO;
    let mut count = 0;
    for asked in by_end {
        if asked.began >= last {
            last = asked.ended;
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(kind: RequestKind, key: &str, status: u16, began: u64, ended: u64) -> S3Request {
        S3Request {
            kind,
            key: key.to_owned(),
            status,
            bytes_up: 10,
            bytes_down: 1,
            began: Duration::from_millis(began),
            ended: Duration::from_millis(ended),
        }
    }

    #[test]
    fn requests_are_classified() {
        let kind = |method: Method, uri: &str| RequestKind::of(&method, &uri.parse().unwrap());
        assert_eq!(kind(Method::GET, "/b/p/chunks/aa/1"), RequestKind::Get);
        assert_eq!(kind(Method::GET, "/b?list-type=2&prefix=p%2Fmeta"), RequestKind::List);
        assert_eq!(kind(Method::HEAD, "/b/p/x"), RequestKind::Head);
        assert_eq!(kind(Method::PUT, "/b/p/x"), RequestKind::Put);
        assert_eq!(
            kind(Method::PUT, "/b/p/x?partNumber=1&uploadId=7"),
            RequestKind::Multipart
        );
        assert_eq!(kind(Method::POST, "/b/p/x?uploads"), RequestKind::Multipart);
        assert_eq!(kind(Method::POST, "/b?delete"), RequestKind::Delete);
        assert_eq!(kind(Method::DELETE, "/b/p/x"), RequestKind::Delete);
    }

    #[test]
    fn keys_belong_to_parts_of_the_store() {
        let part = |path: &str| part_of(&key_of(&format!("/{BUCKET}/{PREFIX}/{path}").parse().unwrap())).to_owned();
        assert_eq!(part("meta/log/00000000000000000001"), "log");
        assert_eq!(part("meta/format"), "format");
        assert_eq!(part("chunks/ab/abcd"), "chunks");
        assert_eq!(part("jobs/p/q/j/plan-merge"), "plans");
        assert_eq!(part("jobs/p/q/j/sets/0000000001"), "sets");
        assert_eq!(part("jobs/p/q/j/results/0000000001"), "results");
        assert_eq!(part("provenance/p/r/c"), "provenance");
        assert_eq!(part(""), "");
    }

    #[test]
    fn only_what_was_written_is_an_object() {
        let requests = [
            asked(RequestKind::Put, "nodes/aa/1", 200, 0, 20),
            asked(RequestKind::Put, "nodes/aa/1", 412, 0, 20),
            asked(RequestKind::Get, "nodes/aa/1", 200, 30, 50),
        ];
        let sum = TrafficTotals::of(&requests);
        assert_eq!((sum.requests, sum.objects, sum.kind(RequestKind::Put)), (3, 1, 2));
        assert_eq!((sum.bytes_up, sum.bytes_down), (30, 3));
        assert_eq!(sum.parts[&RequestKind::Put]["nodes"], 2);
    }

    #[test]
    fn requests_side_by_side_count_once() {
        let requests = [
            asked(RequestKind::Get, "a", 200, 0, 20),
            asked(RequestKind::Get, "b", 200, 5, 27),
            asked(RequestKind::Get, "c", 200, 21, 41),
            asked(RequestKind::Get, "d", 200, 22, 60),
        ];
        assert_eq!(in_sequence(&requests), 2);
        assert_eq!(in_sequence(&[]), 0);
    }
}
