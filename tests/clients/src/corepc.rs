//! `corepc-client`, in its form for Bitcoin Core 31.

// Its authors move the blocking clients to another crate, and programs still have this one.
#![allow(deprecated)]

use corepc_client::bitcoin::hashes::Hash;
use corepc_client::bitcoin::key::Secp256k1;
use corepc_client::bitcoin::sign_message::{MessageSignature, signed_msg_hash};
use corepc_client::bitcoin::{
    Address, Amount, Block, BlockHash, Network as Chain, OutPoint, PrivateKey, Transaction, Txid, absolute, constants,
    secp256k1, transaction,
};
use corepc_client::client_sync::v31::{
    AddNodeCommand, Client, FeeEstimateMode, Input, Output, SetBanCommand, TemplateRequest, TemplateRules,
};
use corepc_client::client_sync::{Auth, Error};
use serde_json::{Value, json};

use crate::network::{HEIGHT, Network, bytes_of};
use crate::{Outcome, Outcomes};

/// Has the outcome of each `method function(arguments)`.
macro_rules! calls {
    ($outcomes:ident, $client:ident, $($method:ident $function:ident($($argument:expr),*);)*) => {
        $($outcomes.take((stringify!($method), stringify!($function)), $client.$function($($argument),*), outcome_of);)*
    };
}

/// What an error is; `None` if it is none of an answer.
fn outcome_of(error: &Error) -> Option<Outcome> {
    match error {
        // The crate does not export the error inside.
        Error::JsonRpc(inner) => match inner.to_string() {
            text if text.starts_with("RPC error response") => Some(Outcome::Refused),
            text if text.starts_with("JSON decode error") => Some(Outcome::Unreadable),
            _ => None,
        },
        Error::Returned(_) => Some(Outcome::Refused),
        Error::HexToArray(_)
        | Error::HexToBytes(_)
        | Error::Json(_)
        | Error::BitcoinSerialization(_)
        | Error::UnexpectedStructure => Some(Outcome::Unreadable),
        Error::Io(_) | Error::InvalidCookieFile | Error::ServerVersion(_) | Error::MissingUserPassword => None,
    }
}

/// Calls every function whose method the node has.
///
/// # Panics
/// If the node cannot be reached, or a result is not the network's.
pub fn run(network: &Network) -> Outcomes {
    let client =
        Client::new_with_auth(&network.url(), Auth::CookieFile(network.cookie())).expect("the cookie is there");
    let mut outcomes = Outcomes::default();
    let hash: BlockHash = network.hash_at(HEIGHT).parse().expect("a hash");
    let txid = |value: Value| -> Txid { value.as_str().expect("an id").parse().expect("an id") };
    let waiting = txid(network.call("getrawmempool", &[])[0].take());
    let mined = txid(network.call("getblock", &[json!(hash)])["tx"][1].take());

    assert_eq!(client.get_block_count().expect("a number").0, u64::from(HEIGHT));
    assert_eq!(client.get_best_block_hash().expect("a hash").0, hash.to_string());
    assert_eq!(client.get_block_hash(u64::from(HEIGHT)).expect("a hash").0, hash.to_string());
    let shown = client.get_block_header_verbose(&hash).expect("a header");
    assert_eq!((shown.height, shown.hash), (i64::from(HEIGHT), hash.to_string()));
    let proof = client.get_tx_out_proof(&[mined]).expect("a proof");
    assert_eq!(client.verify_tx_out_proof(&proof).expect("it proves").0, [mined.to_string()]);

    let key = PrivateKey::new(secp256k1::SecretKey::from_slice(&[7; 32]).expect("a key"), Chain::Regtest);
    let curve = Secp256k1::new();
    let address: Address = Address::p2pkh(key.public_key(&curve), Chain::Regtest);
    let message = secp256k1::Message::from_digest(signed_msg_hash("I").to_byte_array());
    let signature = MessageSignature::new(curve.sign_ecdsa_recoverable(&message, &key.inner), true);
    let transaction = Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: Vec::new(),
        output: Vec::new(),
    };
    let block: Block = constants::genesis_block(Chain::Regtest);
    // A header has the same form in both chains, a block does not.
    let fresh = bytes_of(&network.fresh_blocks[0][..160]);
    let header = corepc_client::bitcoin::consensus::deserialize(&fresh).expect("a header");
    let [(peer, _), _] = network.two_peers();
    let outpoint = OutPoint { txid: mined, vout: 0 };
    let input = Input { txid: mined, vout: 0, sequence: None };
    let template = TemplateRequest { rules: vec![TemplateRules::Segwit], ..TemplateRequest::default() };

    calls! { outcomes, client,
        getbestblockhash get_best_block_hash();
        getblock get_block(hash);
        getblock get_block_verbose_zero(hash);
        getblock get_block_verbose_one(hash);
        getblock get_block_verbose_two(hash);
        getblock get_block_verbose_three(hash);
        getblockchaininfo get_blockchain_info();
        getblockcount get_block_count();
        getblockfilter get_block_filter(hash);
        getblockhash get_block_hash(1);
        getblockheader get_block_header(&hash);
        getblockheader get_block_header_verbose(&hash);
        getblockstats get_block_stats_by_height(6, None);
        getblockstats get_block_stats_by_block_hash(&hash, None);
        getchaintips get_chain_tips();
        getchaintxstats get_chain_tx_stats();
        getdeploymentinfo get_deployment_info_tip();
        getdeploymentinfo get_deployment_info(&hash);
        getdifficulty get_difficulty();
        getmempoolancestors get_mempool_ancestors(waiting);
        getmempoolancestors get_mempool_ancestors_verbose(waiting);
        getmempooldescendants get_mempool_descendants(waiting);
        getmempooldescendants get_mempool_descendants_verbose(waiting);
        getmempoolentry get_mempool_entry(waiting);
        getmempoolinfo get_mempool_info();
        getrawmempool get_raw_mempool();
        getrawmempool get_raw_mempool_verbose();
        getrawmempool get_raw_mempool_sequence();
        gettxout get_tx_out(mined, 0);
        gettxoutproof get_tx_out_proof(&[mined]);
        gettxoutsetinfo get_tx_out_set_info();
        gettxspendingprevout get_tx_spending_prevout(&[outpoint]);
        savemempool save_mempool();
        importmempool import_mempool(&network.path("net/node-1/mempool.dat").display().to_string());
        verifychain verify_chain();
        verifytxoutproof verify_tx_out_proof(&proof);
        waitforblock wait_for_block(&hash);
        waitforblockheight wait_for_block_height(6);
        getmemoryinfo get_memory_info();
        getrpcinfo get_rpc_info();
        help help();
        uptime uptime();
        generateblock generate_block(&network.address(), &[], false);
        generatetoaddress generate_to_address(1, &address);
        invalidateblock invalidate_block(hash);
        reconsiderblock reconsider_block(hash);
        getblocktemplate get_block_template(&template);
        getmininginfo get_mining_info();
        getnetworkhashps get_network_hash_ps();
        submitblock submit_block(&block);
        submitheader submit_header(&header);
        addnode add_node("127.0.0.1:1", AddNodeCommand::OneTry);
        clearbanned clear_banned();
        getaddednodeinfo get_added_node_info();
        getaddrmaninfo get_addr_man_info();
        getconnectioncount get_connection_count();
        getnettotals get_net_totals();
        getnetworkinfo get_network_info();
        getnodeaddresses get_node_addresses();
        getpeerinfo get_peer_info();
        disconnectnode disconnect_node(&peer);
        setban set_ban("203.0.113.7", SetBanCommand::Add);
        listbanned list_banned();
        ping ping();
        setnetworkactive set_network_active(true);
        combinerawtransaction combine_raw_transaction(std::slice::from_ref(&transaction));
        createrawtransaction create_raw_transaction(&[input], &[Output::new(address.clone(), Amount::ONE_BTC)]);
        decoderawtransaction decode_raw_transaction(&transaction);
        getrawtransaction get_raw_transaction(mined);
        getrawtransaction get_raw_transaction_verbose(mined);
        sendrawtransaction send_raw_transaction(&transaction);
        signrawtransactionwithkey sign_raw_transaction_with_key(&transaction, &[key]);
        testmempoolaccept test_mempool_accept(std::slice::from_ref(&transaction));
        estimatesmartfee estimate_smart_fee(6);
        estimatesmartfee estimate_smart_fee_with_mode(6, FeeEstimateMode::Economical);
        getindexinfo get_index_info();
        signmessagewithprivkey sign_message_with_privkey(&key, "I");
        validateaddress validate_address(&address);
        verifymessage verify_message(&address, &signature, "I");
        pruneblockchain prune_blockchain(1);
    }
    outcomes
}
