//! Connections as streams of encrypted bytes.

use cairn::p2p::frame::{Decoder, FrameError};
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::Message;
use cairn::p2p::noise::{self, Carrier, Handshake, HandshakeError, Opener, RecordError, Sealer};
use cairn::p2p::{Direction, Input, PeerAddr, PeerId};

use super::{Client, Output, Session, Times, parse, random, sha256};

/// Why no more messages come from a connection.
enum Broken {
    Record(RecordError),
    /// Decrypted bytes are no message.
    Frame(FrameError),
}

impl From<RecordError> for Broken {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

enum Stage {
    Handshake { handshake: Handshake, received: Vec<u8> },
    Open { sealer: Sealer, opener: Opener, decoder: Decoder },
}

pub(super) struct Connection {
    pub(super) address: PeerAddr,
    direction: Direction,
    stage: Stage,
}

/// Values by key, in no order.
pub(super) struct List<K, V>(Vec<(K, V)>);

impl<K: PartialEq, V> List<K, V> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    fn place(&self, key: &K) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == key)
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key)?;
        Some(&mut self.0[place].1)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.get_mut(&key) {
            Some(known) => *known = value,
            None => self.0.push((key, value)),
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.place(key).map(|place| self.0.swap_remove(place).1)
    }
}

impl Session {
    pub(crate) fn opened(&mut self, times: Times, input: &[u8]) -> u32 {
        self.last_connection += 1;
        let number = self.last_connection;
        let Some((address, carrier, direction, id)) = self.expected(input) else {
            // The client did not dial that.
            self.outputs.push_back(Output::Close(number));
            return number;
        };
        let seed = random(&mut self.rng);
        let begun = match direction {
            Direction::Outbound => Handshake::initiate(&self.identity, &carrier, id, seed),
            Direction::Inbound => Handshake::respond(&self.identity, &carrier, seed),
        };
        match begun.and_then(|mut handshake| Ok((handshake.send()?, handshake))) {
            Ok((first, handshake)) => {
                let stage = Stage::Handshake { handshake, received: Vec::new() };
                self.connections.insert(number, Connection { address, direction, stage });
                self.outputs.extend(first.map(|first| Output::Write(number, first)));
            }
            Err(error) => {
                self.outputs.push_back(Output::Tell(format!("{address}: {error}")));
                self.outputs.push_back(Output::Close(number));
                self.failed(times, address);
            }
        }
        number
    }

    /// What an open connection is, if it was dialled, or is that of a call: see [`crate::opened`].
    fn expected(&mut self, input: &[u8]) -> Option<(PeerAddr, Carrier, Direction, Option<NodeId>)> {
        let text = std::str::from_utf8(input).ok()?;
        let (name, hashes) = text.split_once(' ').unwrap_or((text, ""));
        if let Some(id) = name.strip_prefix(PeerAddr::PAGE) {
            let id = NodeId(sha256(id)?);
            let direction = self.light()?.call_direction(&id)?;
            let (own, theirs) = hashes.split_once(' ')?;
            let (own, theirs) = (sha256(own)?, sha256(theirs)?);
            let (node, page) = if direction == Direction::Outbound { (theirs, own) } else { (own, theirs) };
            return Some((PeerAddr::page(id.0), Carrier::WebRtc { node, page }, direction, Some(id)));
        }
        let address = name.parse().ok()?;
        let carrier = match address {
            PeerAddr::Tcp(_) => Carrier::Tcp,
            PeerAddr::WebRtc { certhash, .. } => Carrier::WebRtc { node: certhash, page: sha256(hashes)? },
        };
        Some((address, carrier, Direction::Outbound, self.dials.remove(&address)?))
    }

    pub(crate) fn dial_failed(&mut self, times: Times, address: &[u8]) {
        let page = std::str::from_utf8(address).ok().and_then(|text| sha256(text.strip_prefix(PeerAddr::PAGE)?));
        match (page, parse(address)) {
            (Some(id), _) => self.failed(times, PeerAddr::page(id)),
            (None, Some(address)) if self.dials.remove(&address).is_some() => self.failed(times, address),
            (None, _) => {}
        }
    }

    /// There is no connection with what was dialled or called.
    fn failed(&mut self, times: Times, address: PeerAddr) {
        match (address, &mut self.client) {
            (PeerAddr::WebRtc { certhash, .. }, Some(Client::Runs(light))) if address.is_page() => {
                light.call_failed(times.now(), NodeId(certhash));
                self.drain(times);
            }
            _ => self.handle(times, Input::ConnectFailed { address, found: None }),
        }
    }

    pub(crate) fn received(&mut self, times: Times, number: u32, bytes: &[u8]) {
        let Some(Connection { address, direction, stage }) = self.connections.remove(&number) else { return };
        let peer = PeerId(number.into());
        match stage {
            Stage::Handshake { handshake, received } => {
                let advanced = self.advance(number, handshake, [&received, bytes].concat());
                // A page that was called through a node has to be the one that the node named.
                let is_other = |id: &NodeId| address.is_page() && address != PeerAddr::page(id.0);
                let why = match advanced {
                    Ok((_, Some(id))) if is_other(&id) => "another page answers".to_owned(),
                    Ok((stage, id)) => {
                        self.connections.insert(number, Connection { address, direction, stage });
                        if let Some(id) = id {
                            self.handle(times, Input::Connected { peer, address, direction, id });
                        }
                        return self.read(times, number);
                    }
                    Err(error) => error.to_string(),
                };
                self.outputs.push_back(Output::Tell(format!("{address}: {why}")));
                self.outputs.push_back(Output::Close(number));
                return self.failed(times, address);
            }
            Stage::Open { sealer, mut opener, decoder } => {
                opener.push(bytes);
                // It is back before its messages are handled, which may end it or write to it.
                let stage = Stage::Open { sealer, opener, decoder };
                self.connections.insert(number, Connection { address, direction, stage });
            }
        }
        self.read(times, number);
    }

    /// Handles the messages that a connection's bytes hold.
    fn read(&mut self, times: Times, number: u32) {
        let peer = PeerId(number.into());
        loop {
            match self.next_message(number) {
                Ok(None) => return,
                Ok(Some(message)) => {
                    self.handle(times, Input::Received { peer, message, at: times.now().mono });
                }
                Err(Broken::Frame(reason)) => return self.handle(times, Input::Malformed { peer, reason }),
                // A third party between the two sides can cause it, so the peer is not blamed.
                Err(Broken::Record(error)) => {
                    self.outputs.push_back(Output::Tell(error.to_string()));
                    self.outputs.push_back(Output::Close(number));
                    return self.closed(times, number);
                }
            }
        }
    }

    /// A handshake with what came: still that, or an open connection and the id that the other side has proven.
    fn advance(
        &mut self,
        number: u32,
        mut handshake: Handshake,
        mut received: Vec<u8>,
    ) -> Result<(Stage, Option<NodeId>), HandshakeError> {
        while let Some(length) = handshake.awaited() {
            if received.len() < length {
                return Ok((Stage::Handshake { handshake, received }, None));
            }
            let rest = received.split_off(length);
            handshake.receive(&received)?;
            received = rest;
            self.outputs.extend(handshake.send()?.map(|message| Output::Write(number, message)));
        }
        let noise::Session { peer, sealer, mut opener } = handshake.finish()?;
        opener.push(&received);
        Ok((Stage::Open { sealer, opener, decoder: Decoder::of_connection(self.params.max_block_bytes) }, Some(peer)))
    }

    /// The next message that a connection's bytes hold, if it is still there.
    fn next_message(&mut self, number: u32) -> Result<Option<Message>, Broken> {
        let Some(Connection { stage: Stage::Open { opener, decoder, .. }, .. }) = self.connections.get_mut(&number)
        else {
            return Ok(None);
        };
        loop {
            if let Some(message) = decoder.next_message()? {
                return Ok(Some(message));
            }
            match opener.open()? {
                Some(plain) => decoder.push(plain),
                None => return Ok(None),
            }
        }
    }

    pub(crate) fn closed(&mut self, times: Times, number: u32) {
        let Some(connection) = self.connections.remove(&number) else { return };
        match connection.stage {
            Stage::Handshake { .. } => self.failed(times, connection.address),
            Stage::Open { .. } => self.handle(times, Input::Disconnected { peer: PeerId(number.into()) }),
        }
    }

    /// Closes the connection with an address, if its handshake has not ended.
    pub(super) fn end_handshake(&mut self, address: PeerAddr) {
        let is_of = |(_, connection): &(u32, Connection)| {
            connection.address == address && matches!(connection.stage, Stage::Handshake { .. })
        };
        if let Some(number) = self.connections.0.iter().find(|known| is_of(known)).map(|(number, _)| *number) {
            self.connections.remove(&number);
            self.outputs.push_back(Output::Close(number));
        }
    }

    /// Sends a message, given as its bytes with length and kind.
    pub(crate) fn send(&mut self, number: u32, frame: &[u8]) {
        let Some(Connection { stage: Stage::Open { sealer, .. }, .. }) = self.connections.get_mut(&number) else {
            return;
        };
        let mut sealed = Vec::new();
        match sealer.seal(frame, &mut sealed) {
            Ok(()) => self.outputs.push_back(Output::Write(number, sealed)),
            // After 2^64 records.
            Err(_) => self.outputs.push_back(Output::Close(number)),
        }
    }
}
