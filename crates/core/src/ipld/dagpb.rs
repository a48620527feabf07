//! [dag-pb](https://ipld.io/specs/codecs/dag-pb/spec/): a node is bytes and a list of named links.
//!
//! Written as Kubo writes it: links before data, sorted by name (the caller sorts), each with hash, name and size, the
//! name even if it is empty. Read as go-codec-dagpb reads it: data first or last, but not between links; any order of
//! names, and any name twice; within a link, fields in order.

use super::cid::Cid;
use super::proto::{Fields, Value, bytes_len, put_bytes, put_bytes_head, put_number, put_varint, varint_len};
use super::{CidError, FormatError};

const NODE: &str = "dag-pb node";
const LINK: &str = "dag-pb link";

/// A link to a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The block.
    pub cid: Cid,
    /// The entry's name in a directory, empty in a file. UTF-8 by the standard; names of files can be other bytes.
    pub name: Vec<u8>,
    /// Bytes of the block and, each counted as often as it is linked to, of all blocks below. Only a claim.
    pub size: u64,
}

impl Link {
    /// Bytes of the link within its node.
    pub fn encoded_len(&self) -> usize {
        bytes_len(self.body_len())
    }

    fn body_len(&self) -> usize {
        bytes_len(self.cid.encoded_len()) + bytes_len(self.name.len()) + 1 + varint_len(self.size)
    }
}

/// A node's bytes.
pub fn encode(links: &[Link], data: &[u8]) -> Vec<u8> {
    let length = links.iter().map(Link::encoded_len).sum::<usize>() + bytes_len(data.len());
    let mut out = Vec::with_capacity(length);
    for link in links {
        put_varint(&mut out, 2 << 3 | 2);
        put_varint(&mut out, link.body_len() as u64);
        put_bytes(&mut out, 1, &link.cid.to_bytes());
        put_bytes(&mut out, 2, &link.name);
        put_number(&mut out, 3, link.size);
    }
    put_bytes(&mut out, 1, data);
    out
}

/// What comes before the data in a node without links.
pub fn encode_head(data: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes_len(0) + varint_len(data as u64));
    put_bytes_head(&mut out, 1, data);
    out
}

/// A link as it stands in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkRef<'a> {
    /// The block.
    pub cid: Cid,
    /// See [`Link::name`].
    pub name: &'a [u8],
    /// See [`Link::size`].
    pub size: u64,
}

/// A node, checked as a whole. Links are read from its bytes when they are asked for, so that a node of a hundred
/// thousand costs no more memory than its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    bytes: &'a [u8],
    /// What is not a link.
    pub data: Option<&'a [u8]>,
    /// How many links there are.
    pub link_count: usize,
}

impl<'a> Node<'a> {
    /// Reads a node. Costs time in proportion to its bytes.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut node = Self { bytes, data: None, link_count: 0 };
        let mut links_are_complete = false;
        for field in Fields::new(bytes, NODE) {
            match field? {
                (1, Value::Bytes(data)) if node.data.is_none() => {
                    node.data = Some(data);
                    links_are_complete = node.link_count > 0;
                }
                (2, Value::Bytes(link)) if !links_are_complete => {
                    decode_link(link)?;
                    node.link_count += 1;
                }
                (field, _) => return Err(FormatError::Field { what: NODE, field }),
            }
        }
        Ok(node)
    }

    /// The links, in their order.
    pub fn links(&self) -> impl Iterator<Item = LinkRef<'a>> + use<'a> {
        // All of it was read without error before.
        Fields::new(self.bytes, NODE).filter_map(|field| match field {
            Ok((2, Value::Bytes(link))) => decode_link(link).ok(),
            _ => None,
        })
    }
}

fn decode_link(bytes: &[u8]) -> Result<LinkRef<'_>, FormatError> {
    let (mut cid, mut name, mut size) = (None, None, None);
    for field in Fields::new(bytes, LINK) {
        match field? {
            (1, Value::Bytes(hash)) if cid.is_none() && name.is_none() && size.is_none() => {
                cid = Some(Cid::from_bytes(hash).map_err(in_link)?);
            }
            (2, Value::Bytes(text)) if name.is_none() && size.is_none() => name = Some(text),
            (3, Value::Varint(number)) if size.is_none() => size = Some(number),
            (field, _) => return Err(FormatError::Field { what: LINK, field }),
        }
    }
    let cid = cid.ok_or(FormatError::Missing { what: LINK, field: "Hash" })?;
    Ok(LinkRef { cid, name: name.unwrap_or_default(), size: size.unwrap_or_default() })
}

fn in_link(error: CidError) -> FormatError {
    FormatError::Cid { what: LINK, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::{Codec, HashFunction};

    fn link(name: &str, size: u64) -> Link {
        let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, name.as_bytes()).unwrap();
        Link { cid, name: name.into(), size }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let links = [link("b", 300), link("a", 0), link("a", u64::MAX), link("", 1)];
        let bytes = encode(&links, b"data");
        let node = Node::decode(&bytes).unwrap();
        assert_eq!((node.data, node.link_count), (Some(&b"data"[..]), 4));
        let read: Vec<Link> =
            node.links().map(|link| Link { cid: link.cid, name: link.name.to_vec(), size: link.size }).collect();
        assert_eq!(read, links);
        assert_eq!(bytes.len(), links.iter().map(Link::encoded_len).sum::<usize>() + 6);
        for data in [&[][..], &[7; 300]] {
            assert_eq!([&encode_head(data.len()), data].concat(), encode(&[], data));
        }
    }

    #[test]
    fn order_of_links_and_data() {
        let (links, data) = (encode(&[link("a", 1)], b""), [0x0a, 1, 9]);
        let links = &links[..links.len() - 2];
        let decode = |parts: &[&[u8]]| Node::decode(&parts.concat()).map(|node| (node.link_count, node.data.is_some()));
        assert_eq!(decode(&[]), Ok((0, false)));
        assert_eq!(decode(&[links, &data]), Ok((1, true)));
        assert_eq!(decode(&[&data, links, links]), Ok((2, true)));
        assert_eq!(decode(&[links, &data, links]), Err(FormatError::Field { what: NODE, field: 2 }));
        assert_eq!(decode(&[&data, &data]), Err(FormatError::Field { what: NODE, field: 1 }));
    }

    #[test]
    fn what_is_no_node_is_refused() {
        let cid = link("", 0).cid.to_bytes();
        let hash = [&[0x0a, cid.len() as u8][..], &cid].concat();
        let node = |link: &[u8]| [&[0x12, link.len() as u8][..], link].concat();
        assert!(Node::decode(&node(&hash)).is_ok());
        for (bytes, why) in [
            (vec![0x0a], "length missing"),
            (vec![0x0a, 2, 0], "data broken off"),
            (vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "an immense length"),
            (vec![0x08, 1], "data as a number"),
            (vec![0x1a, 0], "a third field"),
            (vec![0x0b], "a group"),
            (node(&[]), "no hash"),
            (node(&[0x18, 1]), "only a size"),
            (node(&[0x0a, 0]), "an empty hash"),
            (node(&[&hash[..], &hash].concat()), "two hashes"),
            (node(&[&[0x12, 0], &hash[..]].concat()), "the name before the hash"),
            (node(&[&hash[..], &[0x18, 1, 0x12, 0]].concat()), "the size before the name"),
            (node(&[&hash[..], &[0x20, 1]].concat()), "a fourth field"),
        ] {
            assert!(Node::decode(&bytes).is_err(), "{why}");
        }
    }
}
