//! Text that an argument points to: standard input, a URL or a local file.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::error::CliError;

/// How long a web server may take to answer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Text and the name that messages about it use.
#[derive(Debug)]
pub struct Source {
    /// A file name, a URL or `standard input`.
    pub name: String,
    /// What it holds.
    pub text: Vec<u8>,
}

/// Reads all of `-`, a `http(s)` URL or a local file.
pub async fn read(from: &str) -> Result<Source, CliError> {
    if from == "-" {
        let mut text = Vec::new();
        tokio::io::stdin()
            .read_to_end(&mut text)
            .await
            .map_err(CliError::io("cannot read standard input"))?;
        return Ok(Source {
            name: "standard input".to_owned(),
            text,
        });
    }
    if from.starts_with("http://") || from.starts_with("https://") {
        return Ok(Source {
            name: from.to_owned(),
            text: fetch(from).await?,
        });
    }
    let text = tokio::fs::read(from)
        .await
        .map_err(CliError::io(format!("cannot read {from}")))?;
    Ok(Source {
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
