//! [`_redirects`](https://specs.ipfs.tech/http-gateways/web-redirects-file/): where a site sends those who ask for what it
//! does not have.

use axum::http::StatusCode;

use super::request::decode_percent;

/// The largest file, as specified.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 10;

/// A file that cannot be used, and the line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub(super) enum RedirectsError {
    #[error("could not parse _redirects: redirects file size cannot exceed {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error("could not parse _redirects: it is no text")]
    Text,
    #[error("could not parse _redirects: line {line}: {reason}")]
    Line { line: usize, reason: &'static str },
}

/// A line of the file.
#[derive(Debug)]
struct Rule<'a> {
    from: Vec<&'a str>,
    to: &'a str,
    status: StatusCode,
}

/// The rules of a site, in their order.
#[derive(Debug)]
pub(super) struct Redirects<'a>(Vec<Rule<'a>>);

impl<'a> Redirects<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, RedirectsError> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let rules: Result<_, _> = lines
            .map(|(line, text)| Rule::parse(text).map_err(|reason| RedirectsError::Line { line, reason }))
            .collect();
        rules.map(Self)
    }

    /// Where the first rule for a path leads, and with which status. Costs time in proportion to the file.
    pub(super) fn find(&self, path: &str) -> Option<(StatusCode, String)> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        self.0.iter().find_map(|rule| Some((rule.status, fill(rule.to, &rule.matches(&names)?))))
    }
}

impl<'a> Rule<'a> {
    fn parse(line: &'a str) -> Result<Self, &'static str> {
        let mut words = line.split_whitespace();
        let (Some(from), Some(to)) = (words.next(), words.next()) else { return Err("a rule needs two paths") };
        let status = words.next().unwrap_or("301");
        let supported = ["200", "301", "302", "303", "307", "308", "404", "410", "451"].contains(&status);
        let status = status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).filter(|_| supported);
        let status = status.ok_or("unsupported redirect status")?;
        if words.next().is_some() {
            return Err("a rule has two paths and a status");
        }
        let Some(path) = from.strip_prefix('/') else { return Err("the first path must begin with /") };
        let is_url = to.starts_with("https://") || to.starts_with("http://");
        let leads_somewhere = to.starts_with('/') || (is_url && status.is_redirection());
        if !leads_somewhere {
            return Err("the second path must begin with /, or be a URL to redirect to");
        }
        let from: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let (last, before) = from.split_last().map_or((&"", &[][..]), |(last, before)| (last, before));
        if before.iter().any(|name| name.contains('*')) || (last.contains('*') && *last != "*") {
            return Err("an asterisk stands for all at the end");
        }
        let mut placeholders: Vec<&str> = from.iter().filter(|name| name.starts_with(':')).copied().collect();
        placeholders.sort_unstable();
        if placeholders.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a placeholder comes twice");
        }
        Ok(Self { from, to, status })
    }

    /// What the placeholders stand for, if the path is one of the rule's.
    fn matches(&self, names: &[&str]) -> Option<Vec<(&'a str, String)>> {
        let mut found = Vec::new();
        let mut rest = names;
        for part in &self.from {
            if *part == "*" {
                found.push(("splat", rest.join("/")));
                return Some(found);
            }
            let (name, after) = rest.split_first()?;
            match part.strip_prefix(':') {
                Some(placeholder) => found.push((placeholder, (*name).to_owned())),
                None if decode_percent(part) == decode_percent(name) => {}
                None => return None,
            }
            rest = after;
        }
        rest.is_empty().then_some(found)
    }
}

/// Writes what placeholders stand for.
fn fill(to: &str, found: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(to.len());
    let mut rest = to;
    while let Some((before, after)) = rest.split_once(':') {
        filled += before;
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, behind) = after.split_at(end);
        match found.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => filled += value,
            None => filled.extend([":", name]),
        }
        rest = behind;
    }
    filled + rest
}

/// A target with the caller's query: its own parameters stay unless the caller has others of that name.
pub(super) fn with_query(to: &str, query: Option<&str>) -> String {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return to.to_owned() };
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let given: Vec<String> = query.split('&').map(name).collect();
    let (path, own) = to.split_once('?').unwrap_or((to, ""));
    let kept = own.split('&').filter(|pair| !pair.is_empty() && !given.contains(&name(pair)));
    let pairs: Vec<&str> = kept.chain([query]).collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of the specification.
    const EXAMPLE: &str = "\
/redirect-one /one.html
/301-redirect-one /one.html 301
  /302-redirect-two\t/two.html 302  \r
# a comment

/200-index /index.html 200
/posts/:year/:month/:day/:title /articles/:year/:month/:day/:title 301
/splat/* /redirected-splat/:splat 301
/away/* https://example.net/target/:splat?a=:unknown 302
/not-found/* /404.html 404
/gone/* /410.html 410
/unavail/* /451.html 451
/* /index.html 200";

    #[test]
    fn the_first_rule_that_fits_decides() {
        let redirects = Redirects::parse(EXAMPLE).unwrap();
        for (path, status, to) in [
            ("/redirect-one", 301, "/one.html"),
            ("/redirect-one/", 301, "/one.html"),
            ("/redirect%2Done", 301, "/one.html"),
            ("/302-redirect-two", 302, "/two.html"),
            ("/200-index", 200, "/index.html"),
            ("/posts/2022/01/01/hello-world", 301, "/articles/2022/01/01/hello-world"),
            ("/posts/2022/01/01", 200, "/index.html"),
            ("/splat/a/b%20c", 301, "/redirected-splat/a/b%20c"),
            ("/splat", 301, "/redirected-splat/"),
            ("/away/x", 302, "https://example.net/target/x?a=:unknown"),
            ("/not-found/x", 404, "/404.html"),
            ("/gone/x", 410, "/410.html"),
            ("/unavail/x", 451, "/451.html"),
            ("/", 200, "/index.html"),
        ] {
            let found = redirects.find(path).map(|(status, to)| (status.as_u16(), to));
            assert_eq!(found, Some((status, to.to_owned())), "{path}");
        }
        assert_eq!(Redirects::parse("/a /b").unwrap().find("/c"), None);
        assert_eq!(Redirects::parse("").unwrap().find("/"), None);
        assert_eq!(Redirects::parse("/:a /:a/:a/:ab").unwrap().find("/x").unwrap().1, "/x/x/:ab");
    }

    #[test]
    fn what_is_no_rule_is_an_error() {
        for line in [
            "/a",
            "a /b",
            "/a b",
            "/a ftp://b",
            "/a https://b 200",
            "/a /b 299",
            "/a /b 301!",
            "/a /b 301 x",
            "/:a/:a /b",
            "/a*b /c",
            "/a* /b",
            "/*/a /b",
        ] {
            let error = Redirects::parse(&format!("/x /y\n{line}")).unwrap_err();
            assert!(matches!(error, RedirectsError::Line { line: 2, .. }), "{line}: {error:?}");
        }
    }

    #[test]
    fn the_callers_query_is_kept() {
        for (to, query, expected) in [
            ("/a", None, "/a"),
            ("/a", Some("x=1"), "/a?x=1"),
            ("/a?x=2&y=3", Some("x=1"), "/a?y=3&x=1"),
            ("/a?x=2", Some(""), "/a?x=2"),
        ] {
            assert_eq!(with_query(to, query), expected);
        }
    }
}
