//! A method: its name, who may call it, its parameters, and what carries it out.

use std::future::Future;
use std::pin::Pin;

use super::Api;
use super::args::{self, Args, Param};
use super::jsonrpc::Outcome;
use super::schema::Shape;

/// A call under way.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Who may call a method, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, at `POST /public` too, once the chain is read: it changes nothing, and what it tells is no secret.
    Public,
    /// Who has credentials, once the chain is read.
    Owner,
    /// Who has credentials, even while the chain is being read.
    OwnerEarly,
}

/// A method as it is declared.
#[derive(Debug)]
pub struct Method {
    /// The name by which it is called.
    pub name: &'static str,
    /// Who may call it, and from when on.
    pub access: Access,
    /// Its parameters, in order.
    pub params: &'static [Param],
    /// The shape of its result, for the OpenRPC document.
    pub result: Shape,
    /// What it does: a line that stands alone, then perhaps more.
    pub about: &'static str,
    /// Carries out a call.
    pub run: fn(Api, Args) -> Running,
}

impl Method {
    /// Name and parameters in a line, optional ones in parentheses, as Bitcoin Core writes it.
    pub fn usage(&self) -> String {
        args::usage(self.name, self.params)
    }

    /// The first sentence of what it does, without the full stop.
    pub fn summary(&self) -> &'static str {
        self.about.split_once(". ").map_or(self.about, |(first, _)| first).trim_end_matches('.')
    }

    /// Everything there is to say about it.
    pub fn help(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.usage(), self.about);
        if !self.params.is_empty() {
            text += "\nParameters:\n";
        }
        for (number, param) in (1..).zip(self.params) {
            let need = match param.default {
                None => "required".to_owned(),
                Some("null") => "optional".to_owned(),
                Some(default) => format!("optional, default {default}"),
            };
            text += &format!("{number}. {} ({}, {need}): {}\n", param.name, param.kind, param.about);
        }
        text
    }
}
