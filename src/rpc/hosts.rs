//! The host names that the server answers to: a web page of another site must not reach it.
//!
//! A browser lets a page read the answers of the page's own host. An attacker who owns a name can make it resolve to
//! this machine after the page is loaded (DNS rebinding), and so read the node through its owner's browser. The `Host`
//! header shows the name, so requests under other names than the node's own are refused.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Method, header};

/// Why a request is refused, with the text of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    /// A page of another site sent it.
    #[error("calls from pages of other sites are refused")]
    Page,
    /// Its host name may belong to an attacker.
    #[error("this node does not answer under that host name; `cairn node --rpc-allow-host NAME` allows it")]
    Host,
}

/// Checks the origin of a request. `allowed` are the names that the owner configured.
///
/// No attacker can own an address or `localhost`. A request without `Host` is not from a browser (HTTP/1.0 probes), nor
/// is a POST with credentials and without `Origin`, which browsers send with every POST. A GET with credentials may be:
/// a page can set that header for its own host without a preflight.
///
/// # Errors
/// [`Foreign`].
pub(super) fn check(method: &Method, headers: &HeaderMap, allowed: &[String]) -> Result<(), Foreign> {
    let host = match headers.get(header::HOST).map(|host| host.to_str()) {
        None => None,
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return Err(Foreign::Host),
    };
    // A browser names the origin of every request but those GETs that a page makes to its own host.
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        if host.is_none() || origin != host {
            return Err(Foreign::Page);
        }
    } else if method == Method::POST && headers.contains_key(header::AUTHORIZATION) {
        return Ok(());
    }
    match host {
        Some(host) if !is_own(host, allowed) => Err(Foreign::Host),
        _ => Ok(()),
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// The host with its port, if it is `localhost`: what is below that name is this machine too (RFC 6761, 6.3).
pub(super) fn localhost(headers: &HeaderMap) -> Option<&str> {
    host_of(headers).filter(|host| name_of(host).eq_ignore_ascii_case("localhost"))
}

/// The first label, in lower case, of a host `LABEL.ipfs.NAME` where NAME is the node's. Browsers take each such host for
/// another site than the node, so only content may be served under it.
pub(super) fn site(headers: &HeaderMap, allowed: &[String]) -> Option<String> {
    let host = host_of(headers)?.to_ascii_lowercase();
    let (label, name) = host.split_once(".ipfs.")?;
    (!label.contains('.') && name.parse::<IpAddr>().is_err() && is_own(name, allowed)).then(|| label.to_owned())
}

fn is_own(host: &str, allowed: &[String]) -> bool {
    if host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let name = name_of(host);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(header::HeaderName, &str)], allowed: &[&str]) -> Result<(), Foreign> {
        checked_by(&Method::GET, headers, allowed)
    }

    fn checked_by(method: &Method, headers: &[(header::HeaderName, &str)], allowed: &[&str]) -> Result<(), Foreign> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        check(method, &headers, &allowed.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_addresses_localhost_and_names_that_were_given_are_own() {
        use header::{AUTHORIZATION, HOST, ORIGIN};
        for host in
            ["127.0.0.1:7332", "localhost:7332", "LOCALHOST", "[::1]:7332", "[::1]", "10.1.2.3:7332", "10.1.2.3"]
        {
            assert_eq!(checked(&[(HOST, host)], &[]), Ok(()), "{host}");
            assert_eq!(checked(&[(HOST, host), (ORIGIN, &format!("http://{host}"))], &[]), Ok(()), "{host}");
        }
        // A name without a dot may be an attacker's too, since resolvers append domains.
        for host in
            ["evil.example:7332", "evil.example", "node1", "node1:7332", "localhost.evil.example", "", ":7332", "1.2.3"]
        {
            assert_eq!(checked(&[(HOST, host)], &["node2"]), Err(Foreign::Host), "{host}");
            let credentials = [(HOST, host), (AUTHORIZATION, "Basic eDp5")];
            assert_eq!(checked_by(&Method::POST, &credentials, &["node2"]), Ok(()), "a browser names the origin");
            for method in [Method::GET, Method::HEAD, Method::PUT] {
                assert_eq!(checked_by(&method, &credentials, &["node2"]), Err(Foreign::Host), "{method} {host}");
            }
            let rebound = [(HOST, host), (ORIGIN, &format!("http://{host}")), (AUTHORIZATION, "Basic eDp5")];
            for method in [Method::GET, Method::POST] {
                assert_eq!(checked_by(&method, &rebound, &[]), Err(Foreign::Host), "{method} {host}");
            }
        }
        for host in ["node2", "Node2:7332"] {
            assert_eq!(checked(&[(HOST, host)], &["node2"]), Ok(()), "{host}");
        }
        assert_eq!(checked(&[], &[]), Ok(()), "a probe by HTTP/1.0");
    }

    #[test]
    fn sites_have_names_below_the_nodes() {
        use header::HOST;
        let site = |host: &str| site(&[(HOST, host.parse().unwrap())].into_iter().collect(), &["node2".to_owned()]);
        for host in ["bafy.ipfs.localhost:7332", "BAFY.ipfs.LocalHost", "bafy.ipfs.node2:80"] {
            assert_eq!(site(host), Some("bafy".to_owned()), "{host}");
            assert_eq!(checked(&[(HOST, host)], &["node2"]), Err(Foreign::Host), "it reaches nothing else");
        }
        for host in
            ["bafy.ipns.localhost", "localhost", "a.b.ipfs.localhost", "bafy.ipfs.evil.example", "bafy.ipfs.1.2.3.4"]
        {
            assert_eq!(site(host), None, "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        use header::{AUTHORIZATION, HOST, ORIGIN};
        for origin in ["http://evil.example", "null", "https://127.0.0.1:7332", "http://127.0.0.1:80"] {
            let headers = [(HOST, "127.0.0.1:7332"), (ORIGIN, origin), (AUTHORIZATION, "Basic eDp5")];
            assert_eq!(checked(&headers, &[]), Err(Foreign::Page), "{origin}");
        }
        assert_eq!(checked(&[(ORIGIN, "http://evil.example")], &[]), Err(Foreign::Page));
    }
}
