//! What kind of file it is: by its name, else by its first bytes.

/// Bytes that are looked at.
pub(super) const LOOK_BYTES: u64 = 512;

/// Media types by the ends of names; text is in UTF-8.
const BY_NAME: [(&str, &str); 38] = [
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("car", "application/vnd.ipld.car"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("epub", "application/epub+zip"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("map", "application/json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "text/xml; charset=utf-8"),
    ("zip", "application/zip"),
];

/// Media types by first bytes.
const BY_BYTES: [(&[u8], &str); 8] = [
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"\0asm", "application/wasm"),
];

/// By the end of a name.
pub(super) fn by_name(name: &[u8]) -> Option<&'static str> {
    let (_, end) = std::str::from_utf8(name).ok()?.rsplit_once('.')?;
    BY_NAME.iter().find(|(known, _)| known.eq_ignore_ascii_case(end)).map(|(_, kind)| *kind)
}

/// By the first [`LOOK_BYTES`], or fewer if the file has not more.
pub(super) fn by_bytes(bytes: &[u8]) -> &'static str {
    if let Some((_, kind)) = BY_BYTES.iter().find(|(begin, _)| bytes.starts_with(begin)) {
        return kind;
    }
    // A character may be cut off at the end.
    let is_text = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    if !is_text || bytes.contains(&0) {
        return "application/octet-stream";
    }
    let begin = bytes.trim_ascii_start();
    let begins = |tag: &str| begin.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()));
    if begins("<!doctype html") || begins("<html") { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_name_or_bytes() {
        assert_eq!(by_name(b"a.b.HTML"), Some("text/html; charset=utf-8"));
        assert_eq!(by_name("ą.svg".as_bytes()), Some("image/svg+xml"));
        for name in [&b"html"[..], b"a.elephant", b"a.", b"", b"\xff.html"] {
            assert_eq!(by_name(name), None);
        }
        for (bytes, kind) in [
            (&b""[..], "text/plain; charset=utf-8"),
            (b"hello", "text/plain; charset=utf-8"),
            (b"\xc4\x85 cut \xc4", "text/plain; charset=utf-8"),
            (b"  <!DOCTYPE html><p>", "text/html; charset=utf-8"),
            (b"<HTML>", "text/html; charset=utf-8"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"a\0b", "application/octet-stream"),
            (b"\xff\xfe", "application/octet-stream"),
        ] {
            assert_eq!(by_bytes(bytes), kind, "{bytes:?}");
        }
    }
}
