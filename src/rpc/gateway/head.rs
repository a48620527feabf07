//! The status and headers of answers.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::request::{Asked, encode_percent};
use crate::ipld::Cid;
use crate::rpc::http::plain;

/// What is named by its hash never changes.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=29030400, immutable");
/// The longest list of roots in a header: Kubo takes headers of 1.5 kB from a gateway, but not of 3 kB.
const MAX_HEADER_BYTES: usize = 1_000;

/// The status and headers of an answer.
pub(super) struct Head(HeaderMap);

impl Head {
    /// The headers of all content.
    pub(super) fn new(asked: &Asked, roots: &[Cid], tag: &str) -> Self {
        let mut head = Self(HeaderMap::new());
        head.0.insert(header::CACHE_CONTROL, CACHE_CONTROL);
        head.0.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        head.set(header::ETAG, tag);
        let roots: Vec<String> = roots.iter().map(Cid::to_string).collect();
        let optional = [("x-ipfs-path", asked.text.clone()), ("x-ipfs-roots", roots.join(","))];
        for (name, value) in optional.into_iter().filter(|(_, value)| value.len() <= MAX_HEADER_BYTES) {
            head.set(HeaderName::from_static(name), &value);
        }
        if let Some(location) = &asked.location {
            head.set(header::CONTENT_LOCATION, location);
        }
        head
    }

    /// Sets a header; one that no header can hold is left out.
    pub(super) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.insert(name, value);
        }
    }

    /// Lets a browser save it, under the name that the caller wishes or its CID.
    pub(super) fn attach(&mut self, asked: &Asked, cid: &Cid, extension: &str) {
        let name = asked.file_name.clone().unwrap_or_else(|| format!("{cid}.{extension}"));
        self.set(header::CONTENT_DISPOSITION, &disposition("attachment", &name));
    }

    /// Lets a browser show it, or save it if the caller wishes so, under the name that the caller wishes.
    pub(super) fn show(&mut self, asked: &Asked) {
        let kind = if asked.download { "attachment" } else { "inline" };
        match &asked.file_name {
            Some(name) => self.set(header::CONTENT_DISPOSITION, &disposition(kind, name)),
            None if asked.download => self.set(header::CONTENT_DISPOSITION, kind),
            None => {}
        }
    }

    fn respond(self, status: StatusCode) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        *response.headers_mut() = self.0;
        response
    }

    /// 304: the caller has it.
    pub(super) fn not_modified(mut self) -> Response {
        self.0.remove(header::CONTENT_TYPE);
        self.0.remove(header::CONTENT_DISPOSITION);
        self.respond(StatusCode::NOT_MODIFIED)
    }

    /// 200, with the length if it is known.
    pub(super) fn whole(mut self, length: Option<u64>) -> Response {
        if let Some(length) = length {
            self.0.insert(header::CONTENT_LENGTH, length.into());
        }
        self.respond(StatusCode::OK)
    }

    /// All of so many bytes, or the range that is asked for: 200 or 206, or 416 with nothing to follow.
    pub(super) fn part(mut self, asked: &Asked, size: u64, tag: &str) -> (Response, Option<Range<u64>>) {
        self.set(header::ACCEPT_RANGES, "bytes");
        match asked.range(size, tag) {
            None => (self.whole(Some(size)), Some(0..size)),
            Some(Ok(range)) => {
                let Range { start, end } = range;
                self.set(header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
                self.0.insert(header::CONTENT_LENGTH, (end - start).into());
                (self.respond(StatusCode::PARTIAL_CONTENT), Some(range))
            }
            Some(Err(())) => {
                let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "there are no such bytes");
                self.0 = HeaderMap::new();
                self.set(header::CONTENT_RANGE, &format!("bytes */{size}"));
                response.headers_mut().extend(self.0);
                (response, None)
            }
        }
    }
}

/// An answer that leads elsewhere.
pub(super) fn redirect(status: StatusCode, to: &str) -> Response {
    let mut response = plain(status, to);
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// RFC 6266, with the name in ASCII for those who do not read RFC 8187.
fn disposition(kind: &str, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{}", encode_percent(name.as_bytes()))
}
