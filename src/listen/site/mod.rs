//! What plain requests get on the port of the server: files of a folder, and the console.
//!
//! Leaves HTTP to `net/http`, and requests for an upgrade to the server. Invariant: only GET and HEAD are served.

mod console;
mod files;

use std::pin::Pin;
use std::rc::Rc;

use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use super::hub::Hub;
use crate::net::http::{Body, RequestBody};
use crate::net::listener::{self, PeerAddr};

pub(crate) use console::Console;
pub(crate) use files::Files;

/// What is served.
#[derive(Clone, Default)]
pub(crate) struct Site {
    /// Files of a folder.
    pub files: Option<Files>,
    /// A page at `/` that talks to this server.
    pub console: Option<Console>,
}

impl Site {
    /// Whether anything is.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_none() && self.console.is_none()
    }

    /// What the listener asks.
    pub(crate) fn into_answers(self, hub: Rc<Hub>) -> Box<listener::Site> {
        let site = Rc::new(self);
        Box::new(move |request: Request<RequestBody>, peer: PeerAddr| {
            let (site, hub) = (Rc::clone(&site), Rc::clone(&hub));
            Box::pin(async move {
                let (head, _) = request.into_parts();
                let asked = format!("{peer}: {} {}", head.method, head.uri.path());
                let response = site.answer(head).await;
                if hub.settings.verbose {
                    hub.notice(format!("{asked}: {}", response.status().as_u16()));
                }
                response
            }) as Pin<Box<dyn Future<Output = Response<Body>>>>
        })
    }

    async fn answer(&self, head: http::request::Parts) -> Response<Body> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Body::whole("only GET and HEAD are served here\n"));
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if let Some(console) = &self.console
            && head.uri.path() == "/"
        {
            return console.answer(&head.headers);
        }
        if let Some(files) = &self.files {
            return files.answer(head).await;
        }
        let mut response = Response::new(Body::whole("nothing at this path\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }
}
