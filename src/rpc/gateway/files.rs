//! Files and sites, which the caller cannot check, by the specifications of [path
//! gateways](https://specs.ipfs.tech/http-gateways/path-gateway/) and [subdomain
//! gateways](https://specs.ipfs.tech/http-gateways/subdomain-gateway/).

use axum::http::{StatusCode, header};
use axum::response::Response;

use super::body::{Content, read_file};
use super::car::check_waiting;
use super::failure::Failure;
use super::head::{Head, redirect};
use super::kinds;
use super::listing::{self, MAX_ENTRIES};
use super::redirects::{MAX_FILE_BYTES, Redirects, RedirectsError, with_query};
use super::request::{Asked, ContentPath};
use super::source::{Found, Source};
use crate::content::ContentError;
use crate::ipld::Cid;
use crate::ipld::read::{DirectoryReader, ReadError, View};
use crate::runtime::exchange::Part;

/// What under one of the node's own names keeps content from the node's origin: no scripts, and an origin like no other.
const SANDBOX: &str = "sandbox";

/// What is at the end of a path.
enum End {
    File { size: u64 },
    Directory,
    Symlink(Vec<u8>),
}

/// Decides what the answer is.
pub(super) fn plan(source: &mut Source, asked: &Asked) -> Result<(Response, Content), Failure> {
    let found = match source.follow(&asked.path) {
        Ok(found) => found,
        Err(failure) if asked.is_site && is_absent(&failure) => return elsewhere(source, asked, failure),
        Err(failure) => return Err(failure),
    };
    match end(source, found.end)? {
        End::File { size } => {
            let name = asked.path.names.last().map(Vec::as_slice);
            file(source, asked, &found, &found, size, name)
        }
        End::Symlink(target) => symlink(asked, &found, target),
        End::Directory if !asked.path.is_directory => Ok((slash(asked), Content::Nothing)),
        End::Directory => match index(source, &found.path)? {
            Some((page, size)) => file(source, asked, &found, &page, size, Some(b"index.html")),
            None => list(source, asked, &found),
        },
    }
}

fn is_absent(failure: &Failure) -> bool {
    matches!(failure, Failure::Content(ContentError::Read(ReadError::NoEntry { .. })))
}

fn end(source: &mut Source, cid: Cid) -> Result<End, Failure> {
    let block = source.get(&cid)?;
    Ok(match View::of(cid, block.bytes())? {
        View::File(file) => End::File { size: file.size },
        View::Directory { .. } | View::Shard { .. } => End::Directory,
        View::Symlink { target, .. } => End::Symlink(target.to_vec()),
    })
}

/// A directory's page, and its size.
fn index(source: &mut Source, directory: &ContentPath) -> Result<Option<(Found, u64)>, Failure> {
    // From the root, where others find it, too.
    let names = directory.names.iter().cloned().chain([b"index.html".to_vec()]).collect();
    let path = ContentPath { root: directory.root, names, is_directory: false };
    match source.follow(&path) {
        Ok(found) => match end(source, found.end)? {
            End::File { size } => Ok(Some((found, size))),
            End::Directory | End::Symlink(_) => Ok(None),
        },
        Err(failure) if is_absent(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A file, or a part of it. `shown` is what the tag names: the directory of an `index.html`.
fn file(
    source: &mut Source,
    asked: &Asked,
    shown: &Found,
    found: &Found,
    size: u64,
    name: Option<&[u8]>,
) -> Result<(Response, Content), Failure> {
    let tag = format!("\"{}\"", shown.end);
    let mut head = Head::new(asked, &shown.roots, &tag);
    if asked.has(&tag) {
        return Ok((head.not_modified(), Content::Nothing));
    }
    head.show(asked);
    protect(&mut head, asked);
    let name = asked.file_name.as_deref().map(str::as_bytes).or(name);
    let kind = match name.and_then(kinds::by_name) {
        Some(kind) => kind,
        None => {
            let mut first = Vec::new();
            read_file(source, found, 0..kinds::LOOK_BYTES, &mut |bytes| {
                first.extend(bytes);
                Ok(())
            })?;
            kinds::by_bytes(&first)
        }
    };
    head.set(header::CONTENT_TYPE, kind);
    let (response, range) = head.part(asked, size, &tag);
    Ok((response, range.map_or(Content::Nothing, |range| Content::File(found.clone(), range))))
}

fn protect(head: &mut Head, asked: &Asked) {
    if !asked.is_site {
        head.set(header::CONTENT_SECURITY_POLICY, SANDBOX);
    }
}

/// A link is not followed: it may lead anywhere.
fn symlink(asked: &Asked, found: &Found, target: Vec<u8>) -> Result<(Response, Content), Failure> {
    let tag = format!("\"{}\"", found.end);
    let mut head = Head::new(asked, &found.roots, &tag);
    protect(&mut head, asked);
    head.set(header::CONTENT_TYPE, "inode/symlink");
    Ok((head.whole(Some(target.len() as u64)), Content::Text(target)))
}

/// To the same directory with a slash behind it, so that links in its page are below it.
fn slash(asked: &Asked) -> Response {
    let query = asked.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
    // Two slashes at the start would be another host.
    let path = asked.url_path.trim_start_matches('/');
    redirect(StatusCode::MOVED_PERMANENTLY, &format!("/{path}/{query}"))
}

/// A page that lists a directory.
fn list(source: &mut Source, asked: &Asked, found: &Found) -> Result<(Response, Content), Failure> {
    let tag = format!("\"DirIndex-{}_CID-{}\"", listing::VERSION, found.end);
    let mut head = Head::new(asked, &found.roots, &tag);
    // The page may look different one day, unlike what it lists.
    head.set(header::CACHE_CONTROL, "public, max-age=604800");
    if asked.has(&tag) {
        return Ok((head.not_modified(), Content::Nothing));
    }
    source.want(&found.path, Part::Entity);
    let mut reader = DirectoryReader::new(found.end);
    let mut entries = Vec::new();
    while let Some(cid) = reader.wanted().filter(|_| entries.len() <= MAX_ENTRIES) {
        entries.extend(reader.supply(source.get(&cid)?.bytes())?);
        check_waiting(reader.pending())?;
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let is_cut = entries.len() > MAX_ENTRIES;
    entries.truncate(MAX_ENTRIES);
    let names: Vec<_> = asked.path.names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    let title = format!("/ipfs/{}/{}", asked.path.root, names.join("/"));
    let page = listing::page(&title, &asked.url_path, !names.is_empty(), &entries, is_cut);
    head.set(header::CONTENT_TYPE, "text/html; charset=utf-8");
    head.set(header::CONTENT_SECURITY_POLICY, listing::POLICY);
    Ok((head.whole(Some(page.len() as u64)), Content::Text(page.into_bytes())))
}

/// What a site's `_redirects` says about a path that leads nowhere; `failure` if nothing.
fn elsewhere(source: &mut Source, asked: &Asked, failure: Failure) -> Result<(Response, Content), Failure> {
    let below = |names: Vec<Vec<u8>>| ContentPath { root: asked.path.root, names, is_directory: false };
    let file_of = |source: &mut Source, path: &ContentPath| match source.follow(path) {
        Ok(found) => match end(source, found.end)? {
            End::File { size } => Ok(Some((found, size))),
            End::Directory | End::Symlink(_) => Ok(None),
        },
        Err(failure) if is_absent(&failure) => Ok(None),
        Err(failure) => Err(failure),
    };
    let Some((rules, size)) = file_of(source, &below(vec![b"_redirects".to_vec()]))? else { return Err(failure) };
    let unusable =
        |error: RedirectsError| Failure::Refused { status: StatusCode::INTERNAL_SERVER_ERROR, text: error.to_string() };
    if size > MAX_FILE_BYTES {
        return Err(unusable(RedirectsError::TooLarge));
    }
    let mut bytes = Vec::new();
    read_file(source, &rules, 0..size, &mut |more| {
        bytes.extend(more);
        Ok(())
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable(RedirectsError::Text))?;
    let redirects = Redirects::parse(text).map_err(unusable)?;
    let Some((status, to)) = redirects.find(&asked.url_path) else { return Err(failure) };
    if status.is_redirection() {
        return Ok((redirect(status, &with_query(&to, asked.query.as_deref())), Content::Nothing));
    }
    let path = to.split(['?', '#']).next().unwrap_or_default();
    let path = ContentPath::below(asked.path.root, Some(path))?;
    let name = path.names.last().cloned();
    let Some((found, size)) = file_of(source, &path)? else { return Err(failure) };
    let (mut response, content) = file(source, asked, &found, &found, size, name.as_deref())?;
    if status != StatusCode::OK && response.status() == StatusCode::OK {
        *response.status_mut() = status;
    }
    Ok((response, content))
}
