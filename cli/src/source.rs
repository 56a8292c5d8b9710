//! Text that an argument points to: standard input, a URL or a local file.
//!
//! For specs, templates and lists: the whole text is held in memory. Files to put are read by the put itself.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::error::CliError;

/// Longest time for the whole answer of a web server.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Text and the name that messages about it use.
#[derive(Debug)]
pub(crate) struct SourceText {
    /// A file name, a URL or `standard input`.
    pub name: String,
    /// Its content.
    pub text: Vec<u8>,
}

/// Reads all of `-`, a `http(s)` URL or a local file.
pub(crate) async fn read(from: &str) -> Result<SourceText, CliError> {
    if from == "-" {
        let mut text = Vec::new();
        tokio::io::stdin()
            .read_to_end(&mut text)
            .await
            .map_err(CliError::io("cannot read standard input"))?;
        return Ok(SourceText {
            name: "standard input".to_owned(),
            text,
        });
    }
    if from.starts_with("http://") || from.starts_with("https://") {
        return Ok(SourceText {
            name: from.to_owned(),
            text: fetch(from).await?,
        });
    }
    let text = tokio::fs::read(from)
        .await
        .map_err(CliError::io(format!("cannot read {from}")))?;
    Ok(SourceText {
        name: from.to_owned(),
        text,
    })
}

async fn fetch(url: &str) -> Result<Vec<u8>, CliError> {
    let fail = |error: reqwest::Error| {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            reason = cause.to_string();
            source = cause.source();
        }
        CliError::refused(format!("cannot fetch {url}: {reason}"))
    };
    // A second command of the same command line finds the provider in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .build()
        .map_err(fail)?;
    let response = client.get(url).send().await.map_err(fail)?;
    if !response.status().is_success() {
        return Err(CliError::refused(format!(
            "cannot fetch {url}: the server answered {}",
            response.status()
        )));
    }
    Ok(response.bytes().await.map_err(fail)?.to_vec())
}
