//! Any lines of a miner, while jobs come and time passes: each is answered by one line of JSON with the request's id, jobs and
//! difficulty are told before they count, and what comes of a share is a block that the chain takes.

#![no_main]

use std::time::Duration;

use cairn::chain::{Chain, ChainError};
use cairn::miner::template::{self, Template};
use cairn::primitives::address;
use cairn::stratum::protocol;
use cairn::stratum::session::{Reply, Session};
use cairn_fuzz::{Script, UNIX, blocks, fresh_chain, fresh_pool, key, params, payment, seed};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Most steps of an input that are carried out.
const MAX_STEPS: usize = 64;
/// The latest time that a block may have.
const LATEST: u32 = UNIX.as_secs() as u32 + 7_200;
/// Jobs of a session that shares are taken for.
const KEPT_JOBS: u64 = 8;

fn worker() -> String {
    format!("{}.rig", address::encode(&params().address_prefix, &key(5).public_key()))
}

fn seeds() {
    let line = |method: &str, params: Value| {
        let text = json!({ "id": 1, "method": method, "params": params }).to_string();
        [&[0][..], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
    };
    let start = [line("mining.subscribe", json!(["cpuminer/2.5.1"])), line("mining.authorize", json!([worker(), "x"]))]
        .concat();
    let share = line("mining.submit", json!([worker(), "1", "00000000", "69562c90", "00000001"]));
    let roll = line("mining.configure", json!([["version-rolling"], { "version-rolling.mask": "1fffe000" }]));
    let rolled = line("mining.submit", json!([worker(), "1", "00000000", "69562c90", "00000001", "04000000"]));
    let mut inputs = vec![
        [&start[..], &[1], &share].concat(),
        [&start[..], &[1, 2, 1, 0, 0, 5, 2, 1, 0, 0, 5, 3, 200, 1]].concat(),
        [share.clone(), start.clone()].concat(),
        [&roll[..], &start, &[1], &rolled].concat(),
    ];
    for (method, params) in [
        ("mining.suggest_difficulty", json!([0.001])),
        ("mining.configure", json!([["version-rolling", "minimum-difficulty"], {}])),
        ("mining.extranonce.subscribe", json!([])),
        ("mining.nothing", json!(null)),
        ("mining.authorize", json!(["alice"])),
    ] {
        inputs.push([&start[..], &line(method, params), &[1]].concat());
    }
    seed("stratum", inputs);
}

/// Where blocks are put, made only if one comes.
struct World {
    chain: Option<Chain>,
    template: Template,
    /// Jobs given so far.
    given: u64,
}

fn honest_chain() -> Chain {
    let mut chain = fresh_chain();
    for block in &blocks()[..4] {
        chain.accept_block(block.clone(), UNIX, &|_| false).expect("it is honest");
    }
    chain
}

fn template_on(chain: &Chain) -> Template {
    let mut pool = fresh_pool();
    for payer in [5, 6] {
        // Paid already, once a block has them.
        let _ = pool.accept(payment(payer, 500), chain, UNIX);
    }
    template::build(chain, &pool, &key(5).public_key(), 1, UNIX).expect("the bits are a target")
}

thread_local! {
    static FIRST: Template = template_on(&honest_chain());
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    let mut session = Session::new([1, 2, 3, 4], Duration::ZERO);
    let mut world = World { chain: None, template: FIRST.with(Clone::clone), given: 0 };
    let mut now = Duration::ZERO;
    for _ in 0..MAX_STEPS {
        if script.is_empty() {
            break;
        }
        match script.byte() % 4 {
            0 => {
                let length = script.short().into();
                if let Ok(line) = std::str::from_utf8(script.take(length)) {
                    hear(&mut session, line, now, &mut world);
                }
            }
            1 if session.ready().is_some() => {
                world.given += 1;
                give(&mut session, &world, now);
            }
            2 => {
                let (job, extra, nonce) = (script.byte(), script.short(), script.byte());
                let (time, extra) = (UNIX.as_secs() as u32 - 1 + u32::from(job >> 4), format!("{extra:08x}"));
                let (job, time, nonce) = (format!("{:x}", job & 15), format!("{time:08x}"), format!("{nonce:08x}"));
                let line = json!({ "id": [job], "method": "mining.submit", "params": [worker(), job, extra, time, nonce] });
                hear(&mut session, &line.to_string(), now, &mut world);
            }
            _ => {
                now += Duration::from_millis(script.short().into());
                session.adjust(now);
            }
        }
    }
});

fn hear(session: &mut Session, line: &str, now: Duration, world: &mut World) {
    let Some(request) = protocol::parse(line) else { return };
    let id = request.id.clone();
    let before = session.payee();
    let (line, result) = match session.take(request, &params().address_prefix, LATEST, now) {
        Reply::Line(line) => (line, None),
        Reply::Rejected { line, .. } => (line, Some(false)),
        Reply::Share { id, block, .. } => {
            if let Some(block) = block {
                assert_eq!(block.transactions[0].outputs[0].key(), Some(&key(5).public_key()));
                let chain = world.chain.get_or_insert_with(honest_chain);
                match chain.accept_block(block, UNIX, &|_| false) {
                    Ok(_) => world.template = template_on(chain),
                    // Shares are forgotten with the oldest jobs, which may have been of the same template.
                    Err(ChainError::Duplicate { .. }) if world.given > KEPT_JOBS => {}
                    Err(error) => panic!("what a share makes is no block: {error}"),
                }
            }
            (protocol::answer(&id, &json!(true)), Some(true))
        }
    };
    assert!(before.is_none() || session.payee() == before, "one address a connection");
    let answer = json_line(&line);
    assert_eq!(answer.as_object().map(serde_json::Map::len), Some(3), "{answer}");
    assert_eq!(answer["id"], id);
    assert!(answer["result"].is_null() || answer["error"].is_null(), "{answer}");
    assert!(answer["error"].is_null() || answer["error"][0].is_i64() && answer["error"][1].is_string(), "{answer}");
    if let Some(result) = result {
        assert_eq!(result, answer["error"].is_null());
    }
}

fn give(session: &mut Session, world: &World, now: Duration) {
    let parent = session.parent();
    let lines = session.give(world.template.clone(), now);
    let lines: Vec<Value> = lines.iter().map(|line| json_line(line)).collect();
    let (notify, difficulty) = lines.split_last().expect("a job is told");
    assert!(difficulty.len() <= 1);
    for line in difficulty {
        assert_eq!(line["method"], "mining.set_difficulty");
        let told = line["params"][0].as_f64().expect("it is a number");
        assert!(told.is_finite() && told > 0.0);
        assert_eq!(told, session.level().difficulty());
    }
    assert_eq!(notify["method"], "mining.notify");
    assert_eq!(notify["params"][0], format!("{:x}", world.given));
    let is_clean = parent != Some(world.template.header.previous);
    assert_eq!(notify["params"][8], is_clean);
    assert!(session.level().target() >= world.template.target, "no share is harder than the block");
}

/// One line, and JSON.
fn json_line(line: &str) -> Value {
    assert!(!line.contains('\n'));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
