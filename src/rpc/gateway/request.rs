//! What a request asks the gateway for: a content path, a format, and a range.

use std::ops::Range;

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};

use super::failure::Failure;
use crate::ipld::{Cid, is_entry_name};

/// Names in a path, at most: each costs a directory, which may be sharded, and a CID in the answer's headers.
const MAX_NAMES: usize = 64;

/// A root, and names that lead down from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContentPath {
    pub(super) root: Cid,
    pub(super) names: Vec<Vec<u8>>,
    /// Whether it ends with a slash, as directories do.
    pub(super) is_directory: bool,
}

impl ContentPath {
    /// Reads what follows `/ipfs/` in a request: `CID[/name…]`, percent-encoded.
    ///
    /// # Errors
    /// 400 for what is no CID, or no name.
    pub(super) fn parse(path: &str) -> Result<Self, Failure> {
        let (root, names) = path.split_once('/').map_or((path, None), |(root, names)| (root, Some(names)));
        let root = root.parse().map_err(|error| Failure::bad(format!("invalid path \"/ipfs/{path}\": {error}")))?;
        Self::below(root, names)
    }

    /// The same for a root that is known; no names without a slash behind it.
    pub(super) fn below(root: Cid, path: Option<&str>) -> Result<Self, Failure> {
        let text = path.unwrap_or_default();
        let names: Vec<Vec<u8>> = text.split('/').filter(|name| !name.is_empty()).map(decode_percent).collect();
        if names.len() > MAX_NAMES {
            return Err(Failure::bad(format!("a path has at most {MAX_NAMES} names")));
        }
        if !names.iter().all(|name| is_entry_name(name)) {
            return Err(Failure::bad("a name in the path cannot be one".to_owned()));
        }
        Ok(Self { root, names, is_directory: path.is_some_and(|path| path.is_empty() || path.ends_with('/')) })
    }
}

/// RFC 3986, 2.1. What is no such code stands for itself.
pub(in crate::rpc) fn decode_percent(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.split_at_checked(2)).flatten();
        match code.and_then(|(digits, after)| Some((*hex::decode(digits).ok()?.first()?, after))) {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// The same the other way round, for names in URLs and in `filename*` (RFC 8187, 3.2.1).
pub(super) fn encode_percent(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            byte => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// Which part of a DAG a CAR holds, besides the blocks of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The block at the path's end.
    Block,
    /// A file, or the bytes of it that are asked for; or the nodes of a directory.
    Entity(Option<EntityBytes>),
    /// Everything below.
    All,
}

/// `entity-bytes=FROM:TO`: bytes of a file, the last one included. Negative numbers count from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntityBytes {
    from: i64,
    /// `None` for the end.
    to: Option<i64>,
}

impl EntityBytes {
    fn parse(text: &str) -> Result<Self, Failure> {
        let malformed = || Failure::bad("entity-bytes is FROM:TO with numbers of bytes, or FROM:*".to_owned());
        let (from, to) = text.split_once(':').ok_or_else(malformed)?;
        let from: i64 = from.parse().map_err(|_| malformed())?;
        let to: Option<i64> = if to == "*" { None } else { Some(to.parse().map_err(|_| malformed())?) };
        match to {
            // Numbers of different signs can be compared only when the size is known.
            Some(to) if to < from && (to < 0) == (from < 0) => Err(malformed()),
            to => Ok(Self { from, to }),
        }
    }

    /// Bytes of a file of this size; none if the range is outside.
    pub(super) fn of(self, size: u64) -> Range<u64> {
        let place = |at: i64| if at < 0 { size.saturating_sub(at.unsigned_abs()) } else { at.unsigned_abs().min(size) };
        let end = match self.to {
            None => size,
            Some(to) if to < 0 => (size + 1).saturating_sub(to.unsigned_abs()),
            Some(to) => to.unsigned_abs().saturating_add(1).min(size),
        };
        let start = place(self.from);
        start..end.max(start)
    }
}

/// Verifiable responses, and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A block.
    Raw,
    /// Blocks in depth-first order. `dups`: a block comes as often as it is linked to.
    Car { scope: Scope, dups: bool },
    /// The file or directory itself.
    Plain,
}

/// All that an answer depends on.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) path: ContentPath,
    /// As it was given, from `/ipfs/` on.
    pub(super) text: String,
    /// Whether the root has a host name of its own.
    pub(super) is_site: bool,
    /// Path of the URL.
    pub(super) url_path: String,
    /// And its query.
    pub(super) query: Option<String>,
    pub(super) format: Format,
    /// Where the answer would be without an `Accept` header, if that chose the format.
    pub(super) location: Option<String>,
    /// Name for a file that is saved.
    pub(super) file_name: Option<String>,
    /// Whether to save it, as the caller wishes.
    pub(super) download: bool,
    pub(super) is_head: bool,
    /// Whether it is enough to answer if the block is here, with 412 if not.
    pub(super) only_if_cached: bool,
    if_none_match: Option<String>,
    if_range: Option<String>,
    range: Option<String>,
}

const RAW: &str = "application/vnd.ipld.raw";
const CAR: &str = "application/vnd.ipld.car";
/// What the specification has and this gateway has not, as `format` and as a media type.
const OTHERS: [(&str, &str); 6] = [
    ("tar", "application/x-tar"),
    ("dag-json", "application/vnd.ipld.dag-json"),
    ("dag-cbor", "application/vnd.ipld.dag-cbor"),
    ("json", ""),
    ("cbor", ""),
    ("ipns-record", "application/vnd.ipfs.ipns-record"),
];

impl Asked {
    /// Reads the query and headers of a request for `path`.
    ///
    /// # Errors
    /// 400 for malformed parameters, 406 for formats that are not served.
    pub(super) fn new(
        path: ContentPath,
        text: String,
        is_site: bool,
        uri: &Uri,
        headers: &HeaderMap,
        is_head: bool,
    ) -> Result<Self, Failure> {
        let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(Failure::bad("the query cannot be read".to_owned()));
        };
        let parameter = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let one = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let accept: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let wanted = media_types(&accept);
        let by_query = match parameter("format") {
            Some("raw") => Some(RAW),
            Some("car") => Some(CAR),
            Some(format) if OTHERS.iter().any(|(name, _)| *name == format) => return Err(not_served(format)),
            _ => None,
        };
        let chosen = match (by_query, wanted.first()) {
            (Some(format), _) => Some(format),
            (None, Some(media)) if media.name == RAW => Some(RAW),
            (None, Some(media)) if media.name == CAR => Some(CAR),
            (None, Some(media)) => return Err(not_served(&media.name)),
            (None, None) => None,
        };
        let format = match chosen {
            Some(RAW) => Format::Raw,
            Some(_) => {
                let car = wanted.iter().find(|media| media.name == CAR);
                let option = |query: &str, name: &str| {
                    parameter(query).map(str::to_owned).or_else(|| car.and_then(|media| media.parameter(name)))
                };
                car_format(&option, &parameter)?
            }
            None => Format::Plain,
        };
        let location = (by_query.is_none() && format != Format::Plain).then(|| {
            let name = if format == Format::Raw { "raw" } else { "car" };
            let join = uri.query().map_or_else(|| "?".to_owned(), |query| format!("?{query}&"));
            format!("{}{join}format={name}", uri.path())
        });
        let cache_control = one(header::CACHE_CONTROL).unwrap_or_default();
        Ok(Self {
            path,
            text,
            is_site,
            url_path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            format,
            location,
            file_name: parameter("filename").filter(|name| !name.is_empty()).map(str::to_owned),
            download: parameter("download") == Some("true"),
            is_head,
            only_if_cached: cache_control.split(',').any(|word| word.trim() == "only-if-cached"),
            if_none_match: one(header::IF_NONE_MATCH),
            if_range: one(header::IF_RANGE),
            range: one(header::RANGE),
        })
    }

    /// Whether the caller has what this tag names (RFC 9110, 13.1.2).
    pub(super) fn has(&self, tag: &str) -> bool {
        let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let list = self.if_none_match.as_deref().unwrap_or_default();
        list.trim() == "*" || list.split(',').any(|known| bare(known) == bare(tag))
    }

    /// The bytes that are wanted of so many, if it is a part; `Err` if there are no such bytes (RFC 9110, 14.1.2). A
    /// header that asks for several parts, in other units or of another version is ignored.
    pub(super) fn range(&self, size: u64, tag: &str) -> Option<Result<Range<u64>, ()>> {
        if self.if_range.as_deref().is_some_and(|wanted| wanted != tag) {
            return None;
        }
        let (first, last) = self.range.as_deref()?.trim().strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        let number = |text: &str| (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse());
        let range = if first.is_empty() {
            // The last so many bytes. A number of more than 64 bits is more than there are.
            size.saturating_sub(number(last)?.unwrap_or(u64::MAX))..size
        } else {
            let start = number(first)?.unwrap_or(u64::MAX);
            let last = if last.is_empty() { u64::MAX } else { number(last)?.unwrap_or(u64::MAX) };
            if last < start {
                return None;
            }
            start..last.saturating_add(1).min(size)
        };
        Some(if range.is_empty() { Err(()) } else { Ok(range) })
    }
}

fn not_served(format: &str) -> Failure {
    let text = format!("{format} is not served here: ask for ?format=raw or ?format=car");
    Failure::Refused { status: StatusCode::NOT_ACCEPTABLE, text }
}

/// Reads the options of a CAR: from the query, and from the parameters of its media type.
fn car_format<'a>(
    option: &dyn Fn(&str, &str) -> Option<String>,
    parameter: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<Format, Failure> {
    let unknown = |name: &str, value: &str| Failure::bad(format!("{name} cannot be {value:?}"));
    match option("car-version", "version").as_deref() {
        None | Some("1") => {}
        Some(other) => return Err(unknown("the version of a CAR", other)),
    }
    match option("car-order", "order").as_deref() {
        // Any order is right for a caller who relies on none.
        None | Some("dfs" | "unk") => {}
        Some(other) => return Err(unknown("the order of a CAR", other)),
    }
    let dups = match option("car-dups", "dups").as_deref() {
        None | Some("n") => false,
        Some("y") => true,
        Some(other) => return Err(unknown("dups", other)),
    };
    let bytes = parameter("entity-bytes").map(EntityBytes::parse).transpose()?;
    let scope = match parameter("dag-scope") {
        Some("all") => Scope::All,
        Some("block") => Scope::Block,
        Some("entity") => Scope::Entity(bytes),
        None if bytes.is_some() => Scope::Entity(bytes),
        None => Scope::All,
        Some(other) => return Err(unknown("dag-scope", other)),
    };
    Ok(Format::Car { scope, dups })
}

struct Media {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Media {
    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
}

/// The media types among those accepted that choose a format, the one with the highest weight first (RFC 9110, 12.5.1).
/// Others, such as a browser's, leave the choice to the gateway.
fn media_types(accept: &[&str]) -> Vec<Media> {
    let mut found: Vec<(f32, Media)> = Vec::new();
    for item in accept.iter().flat_map(|list| list.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let chooses = name.starts_with("application/vnd.ipld.") || OTHERS.iter().any(|(_, media)| *media == name);
        if name.is_empty() || !chooses {
            continue;
        }
        let pair = |part: &str| {
            let (key, value) = part.split_once('=')?;
            Some((key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        };
        let media = Media { name, parameters: parts.filter_map(pair).collect() };
        let weight = media.parameter("q").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        if weight > 0.0 {
            found.push((weight, media));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    found.into_iter().map(|(_, media)| media).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

    fn asked(query: &str, headers: &[(HeaderName, &str)]) -> Result<Asked, StatusCode> {
        let uri = format!("/ipfs/{ROOT}{query}").parse().unwrap();
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let path = ContentPath::parse(ROOT).unwrap();
        Asked::new(path, format!("/ipfs/{ROOT}"), false, &uri, &headers, false).map_err(|failure| failure.status())
    }

    #[test]
    fn paths_are_read() {
        let read = |path: &str| {
            let path = ContentPath::parse(&format!("{ROOT}{path}")).map_err(|failure| failure.status())?;
            Ok((path.names, path.is_directory))
        };
        let names = |names: &[&str], is_directory| {
            Ok((names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>(), is_directory))
        };
        for (path, expected) in [
            ("", names(&[], false)),
            ("/", names(&[], true)),
            ("/a/b", names(&["a", "b"], false)),
            ("//a//b/", names(&["a", "b"], true)),
            ("/%C4%85/100%25/%zz%4", names(&["ą", "100%", "%zz%4"], false)),
            ("/..", Err(StatusCode::BAD_REQUEST)),
            ("/a%2Fb", Err(StatusCode::BAD_REQUEST)),
            ("/a%00b", Err(StatusCode::BAD_REQUEST)),
            (&"/a".repeat(64), names(&["a"; 64], false)),
            (&"/a".repeat(65), Err(StatusCode::BAD_REQUEST)),
        ] {
            assert_eq!(read(path), expected, "{path}");
        }
        assert_eq!(ContentPath::parse("QmInvalidCID").unwrap_err().status(), StatusCode::BAD_REQUEST);
        assert_eq!(decode_percent(&encode_percent("ą/% ~".as_bytes())), "ą/% ~".as_bytes());
    }

    #[test]
    fn the_query_chooses_a_format_before_the_header() {
        let car = |scope, dups| Ok(Format::Car { scope, dups });
        let (bad, unacceptable) = (Err(StatusCode::BAD_REQUEST), Err(StatusCode::NOT_ACCEPTABLE));
        for (query, accept, expected) in [
            ("", "", Ok(Format::Plain)),
            ("", "text/html, */*;q=0.1", Ok(Format::Plain)),
            ("", "application/json", Ok(Format::Plain)),
            ("?format=elephant", "", Ok(Format::Plain)),
            ("?format=dag-json", "", unacceptable),
            ("", "application/vnd.ipld.dag-cbor", unacceptable),
            ("", "application/vnd.ipld.elephant", unacceptable),
            ("", "application/x-tar", unacceptable),
            ("", RAW, Ok(Format::Raw)),
            ("", "text/html, Application/Vnd.ipld.RAW;q=0.5", Ok(Format::Raw)),
            ("", "application/vnd.ipld.raw;q=0, text/html", Ok(Format::Plain)),
            ("", "application/vnd.ipld.raw;q=0.5, application/vnd.ipld.car", car(Scope::All, false)),
            ("?format=raw", CAR, Ok(Format::Raw)),
            ("?format=car", RAW, car(Scope::All, false)),
            ("?format=car", "application/vnd.ipld.car; version=1; order=dfs; dups=y", car(Scope::All, true)),
            ("?format=car&car-dups=y", "application/vnd.ipld.car; dups=n", car(Scope::All, true)),
            ("?format=car&car-order=dfs", "application/vnd.ipld.car;order=unk", car(Scope::All, false)),
            ("", "application/vnd.ipld.car;order=elephant", bad),
            ("?format=car&car-version=2", "", bad),
            ("?format=car&car-dups=maybe", "", bad),
            ("?format=car&dag-scope=block", "", car(Scope::Block, false)),
            ("?format=car&dag-scope=entity", "", car(Scope::Entity(None), false)),
            ("?format=car&dag-scope=elephant", "", bad),
            ("?format=car&dag-scope=all&entity-bytes=0:5", "", car(Scope::All, false)),
        ] {
            let headers = [(header::ACCEPT, accept)];
            assert_eq!(asked(query, &headers).map(|asked| asked.format), expected, "{query} {accept}");
        }
        let location = |query, accept| asked(query, &[(header::ACCEPT, accept)]).unwrap().location;
        assert_eq!(location("", RAW), Some(format!("/ipfs/{ROOT}?format=raw")));
        assert_eq!(location("?filename=a", CAR), Some(format!("/ipfs/{ROOT}?filename=a&format=car")));
        assert_eq!(location("?format=raw", RAW), None);
    }

    #[test]
    fn entity_bytes_are_those_of_the_specification() {
        for (text, size, expected) in [
            ("0:*", 1_026, Some(0..1_026)),
            ("512:1023", 1_026, Some(512..1_024)),
            ("512:-256", 1_026, Some(512..771)),
            ("0:-1", 1_026, Some(0..1_026)),
            ("-5:*", 1_026, Some(1_021..1_026)),
            ("-9999:*", 1_026, Some(0..1_026)),
            ("-9999:-3", 1_026, Some(0..1_024)),
            ("0:0", 1_026, Some(0..1)),
            ("5000:6000", 1_026, Some(1_026..1_026)),
            ("9:-1020", 1_026, Some(9..9)),
            ("0:9223372036854775807", 5, Some(0..5)),
            ("-9223372036854775808:*", 5, Some(0..5)),
            ("0:*", 0, Some(0..0)),
            ("0:-9", 0, Some(0..0)),
            ("5:2", 9, None),
            ("-2:-5", 9, None),
            ("a:b", 9, None),
            ("0", 9, None),
            ("*:5", 9, None),
            ("", 9, None),
            (":", 9, None),
        ] {
            assert_eq!(EntityBytes::parse(text).ok().map(|bytes| bytes.of(size)), expected, "{text} of {size}");
        }
    }

    #[test]
    fn ranges_and_tags_are_those_of_rfc_9110() {
        for (range, size, expected) in [
            ("bytes=0-0", 10, Some(Ok(0..1))),
            ("bytes=2-", 10, Some(Ok(2..10))),
            ("bytes=-3", 10, Some(Ok(7..10))),
            ("bytes=-30", 10, Some(Ok(0..10))),
            ("bytes=5-99999999999999999999", 10, Some(Ok(5..10))),
            ("bytes=10-", 10, Some(Err(()))),
            ("bytes=-0", 10, Some(Err(()))),
            ("bytes=0-", 0, Some(Err(()))),
            ("bytes=5-2", 10, None),
            ("bytes=0-1,3-4", 10, None),
            ("lines=0-1", 10, None),
            ("bytes=", 10, None),
            ("bytes=-", 10, None),
            ("bytes=+1-2", 10, None),
        ] {
            let asked = asked("", &[(header::RANGE, range)]).unwrap();
            assert_eq!(asked.range(size, "\"a\""), expected, "{range}");
        }
        let part = |if_range| asked("", &[(header::RANGE, "bytes=1-2"), (header::IF_RANGE, if_range)]).unwrap();
        assert_eq!(part("\"a\"").range(10, "\"a\""), Some(Ok(1..3)));
        assert_eq!(part("\"b\"").range(10, "\"a\""), None);
        for (known, is_known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(asked("", &[(header::IF_NONE_MATCH, known)]).unwrap().has("\"a\""), is_known, "{known}");
        }
        assert!(!asked("", &[]).unwrap().has("\"a\""));
    }
}
