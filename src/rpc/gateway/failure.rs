//! Why the gateway does not answer, or breaks off.

use std::io;

use axum::http::StatusCode;

use crate::content::ContentError;
use crate::ipld::DirectoryError;
use crate::ipld::read::ReadError;

/// Why the gateway does not answer, or breaks off.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub(in crate::rpc) enum Failure {
    /// The request itself.
    #[error("{text}")]
    Refused { status: StatusCode, text: String },
    /// What a command cannot do.
    #[error("{text}")]
    Failed { text: String },
    /// A block that is not here, or does not make what it should.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A DAG that is too large for one answer.
    #[error("more than {most} blocks would be read for one answer")]
    TooManyBlocks { most: u64 },
    /// A DAG that is too wide.
    #[error("more than {most} links wait to be followed")]
    TooManyLinks { most: usize },
    /// The caller takes no more.
    #[error("the caller is gone")]
    HungUp,
}

impl Failure {
    pub(in crate::rpc) fn bad(text: String) -> Self {
        Self::Refused { status: StatusCode::BAD_REQUEST, text }
    }

    /// The status of an answer. A client that fetches from many gateways counts every status but 404 as a fault of this
    /// one, so that is what it gets for all that is not here.
    pub(in crate::rpc) fn status(&self) -> StatusCode {
        match self {
            Self::Refused { status, .. } => *status,
            Self::Content(ContentError::Read(ReadError::Codec { .. })) => StatusCode::NOT_ACCEPTABLE,
            Self::Content(ContentError::Missing { .. } | ContentError::Damaged { .. } | ContentError::Read(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::TooManyBlocks { .. } | Self::TooManyLinks { .. } => StatusCode::NOT_FOUND,
            Self::Content(_) | Self::Failed { .. } | Self::HungUp => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What a caller is told: nothing about this machine's disk, which the log names.
    pub(in crate::rpc) fn text(&self) -> String {
        match self {
            Self::Content(ContentError::Damaged { cid, .. }) => {
                tracing::warn!(error = %self, "content");
                format!("the block {cid} is damaged here")
            }
            Self::Content(
                ContentError::Missing { .. }
                | ContentError::Read(_)
                | ContentError::Directory(_)
                | ContentError::Full { .. }
                | ContentError::NotPinned { .. },
            ) => self.to_string(),
            Self::Content(ContentError::InUse { .. }) => "another process changes the content".to_owned(),
            Self::Content(_) => {
                tracing::error!(error = %self, "cannot read the content");
                "the content cannot be read".to_owned()
            }
            _ => self.to_string(),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Content(error.into())
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        Self::Content(error.into())
    }
}

/// What is written goes to the caller alone.
impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::HungUp
    }
}
