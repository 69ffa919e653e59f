//! `--static DIR`: the files of a folder over HTTP.
//!
//! Owns what may be served: regular files inside the folder, also by way of links, and of no name that begins with a
//! dot but `.well-known`. Leaves types, ranges and conditions to tower-http. Invariants: nothing outside the folder is
//! read or told about; no folder is listed.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, DefaultServeDirFallback, TokioBackend, TokioFile};

use crate::net::http::Body;

/// The files of a folder.
#[derive(Clone)]
pub(crate) struct Files(ServeDir<DefaultServeDirFallback, Inside>);

impl Files {
    /// Those of this folder.
    ///
    /// # Errors
    /// It is no folder, or cannot be reached.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let root = folder.canonicalize()?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let served = ServeDir::with_backend(root.clone(), Inside { root }).ignore_multi_range_requests(true);
        Ok(Self(served))
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Parts) -> Response<Body> {
        if !is_servable(request.uri.path()) {
            return plain(StatusCode::NOT_FOUND);
        }
        match self.0.clone().try_call(Request::from_parts(request, ())).await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => plain(StatusCode::NOT_FOUND),
            Ok(response) => {
                let mut response = response.map(Body::wrap);
                let headers = response.headers_mut();
                headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                if let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(with_charset) {
                    headers.insert(header::CONTENT_TYPE, kind);
                }
                response
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => plain(StatusCode::NOT_FOUND),
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// Whether a path, as it stands in the request, may name a file here. What it decodes to is looked at by the library
/// and by [`Inside`]; two slashes at the front would make of a redirect to a folder one to another host.
fn is_servable(path: &str) -> bool {
    let hidden = |segment: &str| {
        let dotted =
            segment.starts_with('.') || segment.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("%2e"));
        dotted && segment != ".well-known"
    };
    // An escaped slash would hide the name that follows it.
    let encodes_slash = path.as_bytes().windows(3).any(|three| three.eq_ignore_ascii_case(b"%2f"));
    path.starts_with('/') && !path.starts_with("//") && !encodes_slash && !path.split('/').any(hidden)
}

/// Text here is UTF-8, where its type does not say.
fn with_charset(kind: &HeaderValue) -> Option<HeaderValue> {
    let kind = kind.to_str().ok()?;
    let is_bare_text = kind.starts_with("text/") && !kind.contains("charset");
    is_bare_text.then(|| HeaderValue::from_str(&format!("{kind}; charset=utf-8")).ok()).flatten()
}

fn plain(status: StatusCode) -> Response<Body> {
    let text = format!("{}\n", status.canonical_reason().unwrap_or_default().to_lowercase());
    let mut response = Response::new(Body::whole(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The part of the file system below a folder.
#[derive(Debug, Clone)]
struct Inside {
    root: PathBuf,
}

impl Inside {
    /// Where a path leads, links followed, and what is there: a file or a folder inside, or else nothing.
    async fn resolve(self, path: PathBuf) -> io::Result<(PathBuf, std::fs::Metadata)> {
        // Whatever is wrong with a name, there is nothing by it.
        let nothing = |_| io::Error::from(io::ErrorKind::NotFound);
        let real = tokio::fs::canonicalize(path).await.map_err(nothing)?;
        if !real.starts_with(&self.root) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let metadata = tokio::fs::metadata(&real).await.map_err(nothing)?;
        // Opening a pipe would wait for somebody to write into it.
        if metadata.is_file() || metadata.is_dir() { Ok((real, metadata)) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

type Pending<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Backend for Inside {
    type File = TokioFile;
    type Metadata = std::fs::Metadata;
    type OpenFuture = Pending<TokioFile>;
    type MetadataFuture = Pending<std::fs::Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let resolved = self.clone().resolve(path);
        Box::pin(async move {
            let (real, metadata) = resolved.await?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
            TokioBackend.open(real).await
        })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let resolved = self.clone().resolve(path);
        Box::pin(async move { resolved.await.map(|(_, metadata)| metadata) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_hide_are_not_served() {
        let table = [
            ("/", true),
            ("/a.html", true),
            ("/a/b%20c/d..e", true),
            ("/.well-known/x", true),
            ("/.git/config", false),
            ("/a/.env", false),
            ("/%2egit/config", false),
            ("/%2E%2E/x", false),
            ("/..", false),
            ("/a%2fb", false),
            ("/a%2F.env", false),
            ("//host/", false),
            ("*", false),
            ("", false),
        ];
        for (path, servable) in table {
            assert_eq!(is_servable(path), servable, "{path}");
        }
    }

    #[test]
    fn text_is_utf8() {
        let table =
            [("text/html", Some("text/html; charset=utf-8")), ("text/html; charset=x", None), ("image/png", None)];
        for (kind, expected) in table {
            let kind = with_charset(&HeaderValue::from_static(kind));
            assert_eq!(kind.as_ref().map(|kind| kind.to_str().expect("text")), expected);
        }
    }
}
