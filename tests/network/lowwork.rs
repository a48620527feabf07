//! Headers that cost nothing to make.

use std::time::Duration;

use cairn::consensus::params::Params;
use cairn::p2p::lowwork::{MARGIN_BLOCKS, max_length};
use cairn::p2p::message::{MAX_HEADERS, Message};
use cairn::primitives::block::Block;
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::sim::{NetworkConditions, Script, Sim};

use crate::liars::{boast, liar};
use crate::{Seed, mine, params};
use cairn_testkit::Ledger;

fn headers(blocks: &[Block]) -> Vec<Header> {
    blocks.iter().map(|block| block.header).collect()
}

/// A liar that answers the `n`th request for headers, from 1 on, with `answer(n)`.
fn shows(params: &Params, answer: impl Fn(u32) -> Vec<Header> + 'static) -> Script {
    let mut asked = 0;
    liar(boast(params), Some(Sim::address(0)), move |message| match message {
        Message::GetHeaders { .. } => {
            asked += 1;
            vec![Message::Headers(answer(asked))]
        }
        _ => Vec::new(),
    })
}

/// The specification's bound: four times the height, and 10,000 more.
#[test]
fn a_branch_of_little_work_has_a_length_that_it_may_reach() {
    let table = [(0, 10_000), (1, 10_004), (2_500, 20_000), (1_000_000, 4_010_000)];
    assert_eq!(table.map(|(height, _)| (height, max_length(Height::from_u32(height)))), table);
}

/// A liar begins with headers that the node knows and adds enough of its own to lift that branch over the required
/// work. When the node requests the branch again, it sends headers without work.
#[test]
fn known_headers_prove_nothing() {
    const HEIGHT: u32 = 2_200;
    const KNOWN: usize = MAX_HEADERS - 1;
    let seed = Seed::new(61);
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, HEIGHT);

    let mut branch = Ledger::on(&params);
    let chain = sim.node(0).unwrap().chain();
    for height in 1..=KNOWN as u32 {
        let at = chain.entry_at(Height::from_u32(height)).unwrap().key();
        branch.push(chain.db().block(&at).unwrap().unwrap());
    }
    let own = HEIGHT - MARGIN_BLOCKS - KNOWN as u32;
    branch.extend(own, 0);
    let proof = headers(&branch.blocks[1..]);
    let easy = headers(&Ledger::on(&params).extend(MAX_HEADERS as u32, 1));

    sim.add_script(shows(&params, move |asked| match asked {
        1 => proof[..MAX_HEADERS].to_vec(),
        2 => proof[MAX_HEADERS..].to_vec(),
        _ => easy.clone(),
    }));
    sim.run_for(Duration::from_secs(60));
    let stored = sim.node(0).unwrap().chain().header_count() - (HEIGHT as usize + 1);
    assert!(stored <= own as usize, "{stored} headers stored for the work of {own}");
}

/// A liar proves one branch and, when it is asked to show it again, shows another of no work, in answers as large as those
/// of the first.
#[test]
fn a_proof_of_work_covers_only_its_branch() {
    const HEIGHT: u32 = 2_200;
    let seed = Seed::new(62);
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, HEIGHT);

    let [proof, other] = [0, 1].map(|salt| headers(&Ledger::on(&params).extend(HEIGHT, salt)));
    assert_ne!(proof[0], other[0]);

    for (place, honest) in [(0, false), (1, true)] {
        let (proof, other) = (proof.clone(), if honest { proof.clone() } else { other.clone() });
        sim.add_script(shows(&params, move |asked| match asked {
            1 => proof[..MAX_HEADERS].to_vec(),
            2 => proof[MAX_HEADERS..].to_vec(),
            3 => other[..MAX_HEADERS].to_vec(),
            // What follows would need no proof.
            4 if honest => other[MAX_HEADERS..].to_vec(),
            _ => Vec::new(),
        }));
        sim.run_for(Duration::from_secs(60));
        let stored = sim.node(0).unwrap().chain().header_count() - (HEIGHT as usize + 1);
        assert_eq!(stored, if honest { HEIGHT as usize } else { 0 }, "headers stored of liar {place}");
    }
}
