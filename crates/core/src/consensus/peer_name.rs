//! Names of nodes to connect to, as written in options, RPC calls and genesis.json.

use std::fmt;
use std::str::FromStr;

/// A node to connect to: `HOST:PORT`, with an IPv6 address in brackets, or `ID@HOST:PORT` with the node's id as 64 hex
/// digits, so that no other node is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    /// The required id; `None` for any.
    pub id: Option<[u8; 32]>,
    /// `HOST:PORT`.
    pub host: String,
}

/// Why text does not name a node to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerNameError {
    /// The text has no valid host and port.
    #[error(
        "{given:?} is not a node to connect to: expected HOST:PORT or ID@HOST:PORT, such as 203.0.113.7:7331 or \
         node.example.org:7331"
    )]
    Place {
        /// The text.
        given: String,
    },
    /// The text before the `@` is not a node id.
    #[error("{given:?} is not a node to connect to: its id is {got:?}, expected 64 hex digits")]
    Id {
        /// The text.
        given: String,
        /// The text before the `@`.
        got: String,
    },
}

impl FromStr for PeerName {
    type Err = PeerNameError;

    fn from_str(text: &str) -> Result<Self, PeerNameError> {
        let (id, host) = match text.split_once('@') {
            Some((digits, host)) => {
                let mut id = [0; 32];
                hex::decode_to_slice(digits, &mut id)
                    .map_err(|_| PeerNameError::Id { given: text.to_owned(), got: digits.to_owned() })?;
                (Some(id), host)
            }
            None => (None, text),
        };
        if is_host_and_port(host) {
            Ok(Self { id, host: host.to_owned() })
        } else {
            Err(PeerNameError::Place { given: text.to_owned() })
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "{}@{}", hex::encode(id), self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.starts_with('[') && host.ends_with(']');
        (1..=255).contains(&host.len())
            && (bracketed || !host.contains(':'))
            && !host.contains(|c: char| c.is_whitespace() || c == '@')
            && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_and_others_are_told_why_not() {
        let id = "c7".repeat(32);
        for good in ["localhost:7331", "203.0.113.7:1", "[2001:db8::1]:65535"] {
            assert_eq!(good.parse(), Ok(PeerName { id: None, host: good.to_owned() }));
            let pinned = format!("{id}@{good}");
            let name: PeerName = pinned.parse().unwrap();
            assert_eq!((name.id, name.host.as_str(), name.to_string()), (Some([0xc7; 32]), good, pinned));
        }
        let pinned = format!("{id}@");
        for bad in ["localhost", ":7331", "localhost:0", "localhost:65536", "::1:7331", "", "two words:1", &pinned] {
            let error = bad.parse::<PeerName>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{bad:?} is not a node to connect to: expected HOST:PORT")), "{error}");
        }
        for digits in [&id[1..], &format!("{id}00"), "", "me", &"g7".repeat(32)] {
            let error = format!("{digits}@localhost:7331").parse::<PeerName>().unwrap_err().to_string();
            assert!(error.contains(&format!("its id is {digits:?}, expected 64 hex digits")), "{error}");
        }
        assert!(format!("{id}@{id}@localhost:1").parse::<PeerName>().is_err());
    }
}
