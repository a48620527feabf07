//! A method's declaration: name, access, parameters and function.

use std::future::Future;
use std::pin::Pin;

use super::Api;
use super::args::{self, Args, Param};
use super::jsonrpc::Outcome;
use super::schema::Shape;

/// A call under way.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Who may call a method, and from which stage on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any caller, also at `POST /public`, once the chain is loaded: it changes nothing and reveals no secret.
    Public,
    /// Callers with credentials, once the chain is loaded.
    Owner,
    /// Callers with credentials, even while the chain is being loaded.
    OwnerEarly,
}

/// A method as it is declared.
#[derive(Debug)]
pub struct Method {
    /// The name by which it is called.
    pub name: &'static str,
    /// Who may call it, and from which stage on.
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

    /// The text of `help METHOD`.
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
        text += &format!("\nResult: {}\n", self.result);
        for object in self.result.objects() {
            text += &format!("\n{}:\n", object.name);
            for field in object.all_fields() {
                let need = if field.is_optional { ", optional" } else { "" };
                let line = format!("{} ({}{need}): {}", field.name, field.shape, field.about);
                text += &format!("  {}\n", line.trim_end_matches([':', ' ']));
            }
        }
        text
    }
}
