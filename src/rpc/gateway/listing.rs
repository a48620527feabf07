//! The page that lists a directory without an `index.html`.

use std::fmt::Write;

use super::request::encode_percent;
use crate::ipld::read::Entry;

/// Entries on a page, at most.
pub(super) const MAX_ENTRIES: usize = 4_096;
/// In the tags of pages: another layout has another number.
pub(super) const VERSION: u32 = 1;
/// Links and a style, nothing else.
pub(super) const POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;\
                     background:#fff}table{border-collapse:collapse;width:100%}td,th{padding:.2em .6em;text-align:left;\
                     border-bottom:1px solid #ddd}td:nth-child(2){text-align:right}td:nth-child(3){font:12px monospace;\
                     word-break:break-all;color:#555}h1{font-size:1.2em;word-break:break-all}\
                     @media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#8bf}}";

/// The page. `path` is the directory's content path, `base` the path of its URL, with a slash at the end; `is_cut` if
/// there are more entries than these.
pub(super) fn page(path: &str, base: &str, has_parent: bool, entries: &[Entry], is_cut: bool) -> String {
    let title = escape(path);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Index of {title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>{STYLE}</style>\n<h1>Index of {title}</h1>\n\
         <table>\n<tr><th>Name<th>Bytes<th>CID\n"
    );
    if has_parent {
        let _ = writeln!(page, "<tr><td><a href=\"{}..\">..</a><td><td>", escape(base));
    }
    for Entry { name, cid, dag_size } in entries {
        let text = escape(&String::from_utf8_lossy(name));
        let href = format!("{}{}", escape(base), encode_percent(name));
        // Writing to a string cannot fail.
        let _ = writeln!(page, "<tr><td><a href=\"{href}\">{text}</a><td>{dag_size}<td>{cid}");
    }
    page += "</table>\n";
    if is_cut {
        let _ = writeln!(page, "<p>There are more entries than the {MAX_ENTRIES} that are shown.");
    }
    page
}

/// Text between tags and in quotation marks.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}
