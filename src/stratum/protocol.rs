//! The lines of Stratum version 1: requests and answers.

use serde_json::{Value, json};

/// BIP-310's name of the bits of a header's version that a miner can change, or may.
pub const VERSION_MASK: &str = "version-rolling.mask";

/// Why a request failed; its number is the first member of the answer's `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Fault {
    /// Anything without a number of its own.
    Other = 20,
    /// The job is stale or unknown.
    JobNotFound = 21,
    /// A share that was submitted before.
    Duplicate = 22,
    /// The hash is above the share's target.
    LowDifficulty = 23,
    /// The worker's name is no address, or not the authorized one.
    Unauthorized = 24,
    /// The miner has not subscribed.
    NotSubscribed = 25,
    /// No such method.
    NoMethod = -3,
}

/// A refusal: its number, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error number's meaning.
    pub fault: Fault,
    /// The error in words.
    pub message: String,
}

impl Refusal {
    /// A refusal of kind `fault`.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }
}

/// A miner's request.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `mining.subscribe`: requests work and names the program.
    Subscribe {
        /// Name and version of its program.
        agent: String,
    },
    /// `mining.authorize`: names the payee. The password is ignored.
    Authorize {
        /// An address, perhaps with a dot and a name after it.
        worker: String,
    },
    /// `mining.submit`: a share.
    Submit(Share),
    /// `mining.suggest_difficulty`: how hard shares should be at first.
    SuggestDifficulty(f64),
    /// `mining.configure` (BIP-310).
    Configure {
        /// The extensions asked for.
        extensions: Vec<String>,
        /// The bits of a header's version that the miner can change: all, unless it names them.
        version_mask: u32,
    },
    /// `mining.extranonce.subscribe`: the miner supports changes of the extra nonce, which never happen here.
    ExtranonceSubscribe,
}

/// A share as submitted: numbers in hex, highest byte first, except the extra nonce, which is bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The name that the miner authorised.
    pub worker: String,
    /// The id of the job that the share is for.
    pub job: String,
    /// The miner's part of the extra nonce.
    pub extranonce2: [u8; 4],
    /// The header's time.
    pub time: u32,
    /// The header's nonce.
    pub nonce: u32,
    /// The bits of the header's version that the miner has set (BIP-310), if it says so.
    pub version_bits: Option<u32>,
}

/// A request: its number, given back as it came, and what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Null if there was none.
    pub id: Value,
    /// The call, or why it is refused.
    pub call: Result<Call, Refusal>,
}

/// Reads a line; `None` if it is no request at all.
pub fn parse(line: &str) -> Option<Request> {
    let Ok(Value::Object(mut members)) = serde_json::from_str(line) else { return None };
    let id = members.remove("id").unwrap_or_default();
    let Some(Value::String(method)) = members.remove("method") else { return None };
    let params = match members.remove("params") {
        Some(Value::Array(params)) => params,
        _ => Vec::new(),
    };
    Some(Request { id, call: parse_call(&method, &params) })
}

fn parse_call(method: &str, params: &[Value]) -> Result<Call, Refusal> {
    let text = |place: usize, name: &str| {
        let text = params.get(place).and_then(Value::as_str);
        text.ok_or_else(|| Refusal::new(Fault::Other, format!("{method}: parameter {place}, {name}, is not a string")))
    };
    Ok(match method {
        "mining.subscribe" => Call::Subscribe { agent: text(0, "agent").unwrap_or_default().to_owned() },
        "mining.authorize" => Call::Authorize { worker: text(0, "worker")?.to_owned() },
        "mining.submit" => {
            let bytes = |place, name| four_bytes(method, name, text(place, name)?);
            let version_bits = params.get(5).map(|_| bytes(5, "version_bits"));
            Call::Submit(Share {
                worker: text(0, "worker")?.to_owned(),
                job: text(1, "job")?.to_owned(),
                extranonce2: bytes(2, "extranonce2")?,
                time: u32::from_be_bytes(bytes(3, "ntime")?),
                nonce: u32::from_be_bytes(bytes(4, "nonce")?),
                version_bits: version_bits.transpose()?.map(u32::from_be_bytes),
            })
        }
        "mining.suggest_difficulty" => {
            let difficulty = params.first().and_then(Value::as_f64).filter(|difficulty| *difficulty > 0.0);
            let error = || Refusal::new(Fault::Other, format!("{method}: expected a number above 0"));
            Call::SuggestDifficulty(difficulty.ok_or_else(error)?)
        }
        "mining.configure" => {
            let extensions = params.first().and_then(Value::as_array).into_iter().flatten();
            let mask = params.get(1).and_then(|options| options.get(VERSION_MASK)).and_then(Value::as_str);
            Call::Configure {
                extensions: extensions.filter_map(Value::as_str).map(str::to_owned).collect(),
                version_mask: match mask {
                    Some(text) => u32::from_be_bytes(four_bytes(method, VERSION_MASK, text)?),
                    None => u32::MAX,
                },
            }
        }
        "mining.extranonce.subscribe" => Call::ExtranonceSubscribe,
        _ => return Err(Refusal::new(Fault::NoMethod, "no such method")),
    })
}

fn four_bytes(method: &str, name: &str, text: &str) -> Result<[u8; 4], Refusal> {
    let mut bytes = [0; 4];
    let error = |_| Refusal::new(Fault::Other, format!("{method}: {name} is {text:?}, expected 8 hex digits"));
    hex::decode_to_slice(text, &mut bytes).map(|()| bytes).map_err(error)
}

/// The answer to a request that was granted.
pub fn answer(id: &Value, result: &Value) -> String {
    json!({ "id": id, "result": result, "error": null }).to_string()
}

/// The answer to one that was not. A share that is not taken is answered `false` by some, `null` by most.
pub fn refuse(id: &Value, refusal: &Refusal) -> String {
    json!({ "id": id, "result": null, "error": [refusal.fault as i32, refusal.message, null] }).to_string()
}

/// A notification's line: a method and parameters, without an id.
pub fn notify(method: &str, params: &Value) -> String {
    json!({ "id": null, "method": method, "params": params }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Result<Call, Refusal> {
        parse(line).unwrap().call
    }

    #[test]
    fn requests_of_miners_are_parsed() {
        let agent = |agent: &str| Ok(Call::Subscribe { agent: agent.to_owned() });
        assert_eq!(
            call(r#"{"id": 1, "method": "mining.subscribe", "params": ["cpuminer/2.5.1"]}"#),
            agent("cpuminer/2.5.1")
        );
        assert_eq!(call(r#"{"id": 1, "method": "mining.subscribe", "params": []}"#), agent(""));
        assert_eq!(call(r#"{"id": 1, "method": "mining.subscribe"}"#), agent(""));
        let worker = "a.b".to_owned();
        let authorize = r#"{"id": 2, "method": "mining.authorize", "params": ["a.b", "x"]}"#;
        assert_eq!(call(authorize), Ok(Call::Authorize { worker: worker.clone() }));
        let submit =
            r#"{"method": "mining.submit", "params": ["a.b", "1f", "00000001", "504e86ed", "b2957c02"], "id":4}"#;
        let share = Share {
            worker,
            job: "1f".to_owned(),
            extranonce2: [0, 0, 0, 1],
            time: 0x504e_86ed,
            nonce: 0xb295_7c02,
            version_bits: None,
        };
        assert_eq!(parse(submit), Some(Request { id: json!(4), call: Ok(Call::Submit(share.clone())) }));
        let rolled = submit.replace("02\"]", "02\", \"04000000\"]");
        assert_eq!(call(&rolled), Ok(Call::Submit(Share { version_bits: Some(0x0400_0000), ..share })));
        assert_eq!(
            call(r#"{"method": "mining.suggest_difficulty", "params": [0.25]}"#),
            Ok(Call::SuggestDifficulty(0.25))
        );
        let configure =
            r#"{"method": "mining.configure", "params": [["version-rolling"], {"version-rolling.mask": "00c00000"}]}"#;
        let extensions = vec!["version-rolling".to_owned()];
        let configured = |version_mask| Ok(Call::Configure { extensions: extensions.clone(), version_mask });
        assert_eq!(call(configure), configured(0x00c0_0000));
        assert_eq!(call(&configure.replace(".mask", ".min-bit-count")), configured(u32::MAX));
    }

    #[test]
    fn faults_are_named() {
        for (line, fault, text) in [
            (r#"{"method": "mining.authorize", "params": [5]}"#, Fault::Other, "worker"),
            (r#"{"method": "mining.submit", "params": []}"#, Fault::Other, "worker"),
            (r#"{"method": "mining.submit", "params": ["a", "1", "0001", "", ""]}"#, Fault::Other, "extranonce2"),
            (r#"{"method": "mining.submit", "params": ["a", "1", "00000001", "zz", ""]}"#, Fault::Other, "ntime"),
            (r#"{"method": "mining.submit", "params": ["a", "1", "00000001", "00000000"]}"#, Fault::Other, "nonce"),
            (
                r#"{"method": "mining.submit", "params": ["a", "1", "00000001", "00000000", "00000000", 5]}"#,
                Fault::Other,
                "version_bits",
            ),
            (
                r#"{"method": "mining.configure", "params": [[], {"version-rolling.mask": "1"}]}"#,
                Fault::Other,
                "8 hex digits",
            ),
            (r#"{"method": "mining.suggest_difficulty", "params": [0]}"#, Fault::Other, "above 0"),
            (r#"{"method": "mining.get_transactions", "params": ["1"]}"#, Fault::NoMethod, "method"),
        ] {
            let refusal = call(line).unwrap_err();
            assert_eq!(refusal.fault, fault, "{line}");
            assert!(refusal.message.contains(text), "{line}: {}", refusal.message);
        }
        for line in ["", "{", "[]", "7", r#"{"id": 1}"#, r#"{"id": 1, "result": true}"#, r#"{"method": 7}"#] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn answers_have_the_three_members_of_json_rpc_1() {
        assert_eq!(answer(&json!("x"), &json!(true)), r#"{"error":null,"id":"x","result":true}"#);
        let refusal = Refusal::new(Fault::LowDifficulty, "low");
        assert_eq!(refuse(&json!(4), &refusal), r#"{"error":[23,"low",null],"id":4,"result":null}"#);
        assert_eq!(notify("m", &json!([1])), r#"{"id":null,"method":"m","params":[1]}"#);
    }
}
