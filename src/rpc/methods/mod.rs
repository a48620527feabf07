//! The methods. One table declares each of them once; calls are dispatched and `help` is written from it.

use std::future::Future;
use std::pin::Pin;

use super::Api;
use super::args::{Args, Kind, Param};
use super::error::{Code, RpcError};
use super::jsonrpc::{Params, Reply};
use super::schema::Shape;

pub mod address;
pub mod blockchain;
pub mod control;
mod discover;
pub mod fees;
pub mod links;
pub mod mempool;
pub mod mining;
pub mod network;
pub mod proof;
pub mod rawtx;
pub mod stats;
pub mod template;
pub mod wait;

/// What a call comes to.
pub type Outcome = Result<Reply, RpcError>;

/// A call under way.
pub type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A method as it is declared.
#[derive(Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// Its parameters, in order.
    pub params: &'static [Param],
    /// What it answers.
    pub result: Shape,
    /// What it does: a line that stands alone, then perhaps more.
    pub about: &'static str,
    /// Does it.
    pub run: fn(Api, Args) -> Running,
}

impl Method {
    /// Name and parameters in a line, optional ones in parentheses, as Bitcoin Core writes it.
    pub fn usage(&self) -> String {
        let mut text = self.name.to_owned();
        for param in self.params {
            let name = match param.kind {
                Kind::Text | Kind::Hash | Kind::Hex | Kind::Address => format!("\"{}\"", param.name),
                Kind::Array => format!("[{},...]", param.name),
                Kind::Object => format!("{{{}}}", param.name),
                Kind::Integer
                | Kind::Boolean
                | Kind::Verbosity
                | Kind::HashOrHeight
                | Kind::TextOrInteger
                | Kind::Any => param.name.to_owned(),
            };
            text += &if param.default.is_none() { format!(" {name}") } else { format!(" ( {name} )") };
        }
        text
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

/// Every method, under the headings of `help`.
pub const GROUPS: [(&str, &[Method]); 13] = [
    ("Blockchain", blockchain::METHODS),
    ("Statistics and checks", stats::METHODS),
    ("Waiting", wait::METHODS),
    ("Mempool and transactions", mempool::METHODS),
    ("Fees", fees::METHODS),
    ("Raw transactions", rawtx::METHODS),
    ("Proofs", proof::METHODS),
    ("Addresses", address::METHODS),
    ("Mining", mining::METHODS),
    ("Mining elsewhere", template::METHODS),
    ("Network", network::METHODS),
    ("Links", links::METHODS),
    ("Control", control::METHODS),
];

/// Every method, in the order of `help`.
pub fn all() -> impl Iterator<Item = &'static Method> {
    GROUPS.iter().flat_map(|(_, methods)| *methods)
}

/// The method called `name`.
pub fn find(name: &str) -> Option<&'static Method> {
    all().find(|method| method.name == name)
}

/// Carries out one call.
///
/// # Errors
/// [`Code::MethodNotFound`], [`Code::WarmingUp`] while the chain is being read, those of [`Args::bind`], and the
/// method's own.
pub async fn dispatch(api: &Api, name: &str, params: Params) -> Outcome {
    let method = find(name).ok_or_else(|| RpcError::new(Code::MethodNotFound, "Method not found"))?;
    if !control::METHODS.iter().any(|early| early.name == name) {
        api.ready()?;
    }
    let args = Args::bind(method, params)?;
    let _under_way = api.begin(method.name);
    (method.run)(api.clone(), args).await
}
