//! Errors as callers see them: a number, Bitcoin Core's where the meaning is the same, and a sentence.

use std::fmt;

use serde::{Serialize, Serializer};

/// An error's number. Those from −32768 to −32600 are JSON-RPC 2.0's, the others Bitcoin Core's (`rpc/protocol.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Anything without a number of its own, and calls with too few or too many parameters.
    Misc = -1,
    /// A parameter of another JSON type than the method takes.
    Type = -3,
    /// Unknown: a transaction, a block, or an address of another network.
    NotFound = -5,
    /// A parameter out of bounds or not well formed.
    InvalidParameter = -8,
    /// What it takes is not computed yet: ask again. Bitcoin Core has it for a node that still catches up.
    NotReady = -10,
    /// Bytes that are no block or transaction.
    Deserialization = -22,
    /// The peer to be added is there already.
    AlreadyAdded = -23,
    /// The peer to be removed was never added.
    NotAdded = -24,
    /// A transaction spends coins that are unknown or spent.
    Verify = -25,
    /// A transaction or block breaks a rule or a policy.
    Rejected = -26,
    /// The transaction is confirmed already.
    AlreadyInChain = -27,
    /// The node is not ready yet, or is stopping.
    WarmingUp = -28,
    /// No connection to the peer named.
    NotConnected = -29,
    /// Not an address or network that could be banned, or not banned.
    InvalidSubnet = -30,
    /// Not a request object.
    InvalidRequest = -32600,
    /// No method of this name.
    MethodNotFound = -32601,
    /// This node's own fault.
    Internal = -32603,
    /// The request is not JSON.
    Parse = -32700,
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(*self as i32)
    }
}

/// The error of a failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RpcError {
    /// Which kind, for programs.
    pub code: Code,
    /// What happened, for people.
    pub message: String,
}

impl RpcError {
    /// An error of kind `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// [`Code::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// [`Code::InvalidParameter`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, message)
    }

    /// [`Code::Internal`], and a line in the log for the operator.
    pub fn internal(cause: impl fmt::Display) -> Self {
        tracing::error!(%cause, "an RPC call failed inside this node");
        Self::new(Code::Internal, cause.to_string())
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.message, self.code as i32)
    }
}

impl std::error::Error for RpcError {}
