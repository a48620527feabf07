//! Connections from commands to a node.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Common;
use super::login::Login;
use crate::rpc::client::{Client, ClientConfig, ClientError};

/// Which node to ask.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientArgs {
    /// The node to call [default: the one that runs in the data directory]
    #[arg(
        long = "rpc",
        global = true,
        env = "CAIRN_RPC_URL",
        value_name = "URL",
        hide_env_values = true,
        long_help = "\
The node to call, as http://[USER:PASSWORD@]HOST:PORT or HOST:PORT. By default, the node that runs in the data \
directory, which holds its address and cookie."
    )]
    url: Option<String>,
    #[command(flatten)]
    login: Login,
}

impl ClientArgs {
    /// A client of that node, which waits at most `timeout` for an answer. Nothing is sent yet.
    ///
    /// # Errors
    /// If the URL is invalid, or the data directory has no node's address.
    pub fn connect(&self, common: &Common, timeout: Option<Duration>) -> anyhow::Result<Client> {
        let client = Client::new(ClientConfig { url: self.url.clone(), data_dir: common.data_dir()?, timeout })?;
        // A user in the URL overrides the cookie.
        let named = self.url.as_deref().is_some_and(|url| url.contains('@'));
        Ok(match self.login.clone().read()? {
            Some((user, password)) if !named => client.log_in(&user, &password),
            _ => client,
        })
    }
}

/// Calls a method whose result has a known shape.
///
/// # Errors
/// [`ClientError`]; a result of another shape counts as not being from a node.
pub fn call<T: DeserializeOwned>(client: &Client, method: &str, params: &[Value]) -> Result<T, ClientError> {
    let result = client.call(method, params)?;
    serde_json::from_value(result).map_err(|e| ClientError::NotANode {
        url: client.url(),
        reason: format!("its answer to {method} is not as expected: {e}"),
    })
}
