//! A user and password for the RPC, besides the cookie: the same options for the node and for its callers.

use std::path::PathBuf;

use anyhow::{Context, ensure};

use super::UsageError;

/// A user of the RPC.
#[derive(Debug, Clone, clap::Args)]
pub struct Login {
    /// An RPC user in addition to the cookie file's
    #[arg(long, global = true, env = "CAIRN_RPC_USER", value_name = "NAME", requires = "rpc_secret")]
    rpc_user: Option<String>,
    /// That user's password
    #[arg(
        long,
        global = true,
        env = "CAIRN_RPC_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true,
        requires = "rpc_user",
        group = "rpc_secret"
    )]
    rpc_password: Option<String>,
    /// A file with that user's password, such as a secret mounted in a container
    #[arg(
        long,
        global = true,
        env = "CAIRN_RPC_PASSWORD_FILE",
        value_name = "FILE",
        requires = "rpc_user",
        group = "rpc_secret"
    )]
    rpc_password_file: Option<PathBuf>,
}

impl Login {
    /// User and password, if any were given. Of a file, the newline with which editors end it is not part of the password.
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8, or holds nothing; or one of user and password is missing, which clap does not
    /// find in a configuration file.
    pub fn read(self) -> anyhow::Result<Option<(String, String)>> {
        let missing = |what: &str| Err(UsageError(what.to_owned()).into());
        match (self.rpc_user, self.rpc_password, self.rpc_password_file) {
            (None, None, None) => Ok(None),
            (Some(user), Some(password), _) => Ok(Some((user, password))),
            (Some(user), None, Some(path)) => {
                let shown = path.display();
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("--rpc-password-file: cannot read {shown}"))?;
                let line = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
                ensure!(!line.is_empty(), "--rpc-password-file: {shown} is empty, a password was expected");
                Ok(Some((user, line.to_owned())))
            }
            (Some(_), None, None) => missing("--rpc-user needs --rpc-password or --rpc-password-file"),
            (None, ..) => missing("--rpc-password and --rpc-password-file need --rpc-user"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let login =
                Login { rpc_user: Some("ada".into()), rpc_password: None, rpc_password_file: Some(path.clone()) };
            login.read().map(|login| login.unwrap().1).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read(b"secret").unwrap(), "secret");
        assert_eq!(read(b"secret\n").unwrap(), "secret");
        assert_eq!(read(b" se cret \r\n").unwrap(), " se cret ");
        assert_eq!(read(b"two\n\n").unwrap(), "two\n");
        assert!(read(b"\n").unwrap_err().contains("is empty"));
        assert!(read(b"\xff\xfe").unwrap_err().contains("cannot read"));
    }
}
