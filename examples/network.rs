//! A network of real nodes in a test of yours: mine, pay, cut, fork, heal, revert.
//!
//! The nodes are those of `cairn node`, and the network between them is simulated in virtual time: a second takes
//! microseconds, and a seed repeats every message. `cargo run --example network` prints what happens.

use std::time::Duration;

use cairn::p2p::Command;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::tx::Output;
use cairn::sim::{NetworkConditions, Sim};
use cairn_testkit as testkit;

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let mut net = Sim::new(testkit::params(), NetworkConditions::default(), 7);
    let (left, right) = (net.add_node(&[])?, net.add_node(&[0])?);
    net.mine(left);
    anyhow::ensure!(net.run_until(MINUTE, |net| net.is_converged()), "both have the block");
    for node in [left, right] {
        net.command(node, |reply| Command::TakeSnapshot("start".to_owned(), reply));
    }

    net.partition(&[&[left], &[right]]);
    let (outpoint, coin) = testkit::genesis_coin(net.params(), 1);
    let outputs = vec![Output::pay(testkit::public(2), Amount::from_grains(999 * COIN))];
    let payment = testkit::spend(net.params(), &[(outpoint, coin, &testkit::key(1))], outputs);
    net.submit(left, payment);
    let paid = net.mine(left);
    net.mine(right);
    let winner = net.mine(right);
    anyhow::ensure!(paid != winner && !net.is_converged(), "each half has a chain of its own");

    net.heal();
    anyhow::ensure!(net.run_until(MINUTE, |net| net.is_converged()), "the halves agree again");
    let node = net.node(left).expect("it is up");
    anyhow::ensure!(Some(node.chain().tip().hash) == winner, "on the chain with more work");
    println!("{} replaced {}", node.chain().tip().hash, paid.expect("a block"));
    println!("{} payment waits for a block again", node.mempool().len());

    for node in [left, right] {
        net.command(node, |reply| Command::Revert("start".to_owned(), reply));
    }
    let height = net.node(left).expect("it is up").chain().tip().height;
    anyhow::ensure!(net.is_converged() && height.as_u32() == 1, "both are what they were");
    println!("reverted to height {height}");
    Ok(())
}

#[test]
fn a_fork_gives_way_and_is_reverted() -> anyhow::Result<()> {
    main()
}
