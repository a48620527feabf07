//! `bitcoincore-rpc`.

use std::collections::HashMap;

use bitcoincore_rpc::bitcoin::constants::genesis_block;
use bitcoincore_rpc::bitcoin::hashes::Hash;
use bitcoincore_rpc::bitcoin::key::Secp256k1;
use bitcoincore_rpc::bitcoin::sign_message::signed_msg_hash;
use bitcoincore_rpc::bitcoin::{Address, Amount, BlockHash, Network as Chain, PrivateKey, Txid, secp256k1};
use bitcoincore_rpc::json::{
    BlockStatsFields, CreateRawTransactionInput, GetBlockTemplateCapabilities, GetBlockTemplateModes,
    GetBlockTemplateRules,
};
use bitcoincore_rpc::{Auth, Client, Error, RpcApi, jsonrpc};
use serde_json::{Value, json};

use crate::network::{HEIGHT, Network, bytes_of};
use crate::{Outcome, Outcomes};

macro_rules! calls {
    ($outcomes:ident, $client:ident, $($method:ident $function:ident($($argument:expr),*);)*) => {
        $($outcomes.take((stringify!($method), stringify!($function)), $client.$function($($argument),*), outcome_of);)*
    };
}

/// What an error is; `None` if it is none of an answer.
fn outcome_of(error: &Error) -> Option<Outcome> {
    match error {
        Error::JsonRpc(jsonrpc::Error::Rpc(_)) | Error::ReturnedError(_) => Some(Outcome::Refused),
        Error::JsonRpc(jsonrpc::Error::Json(_))
        | Error::Hex(_)
        | Error::Json(_)
        | Error::BitcoinSerialization(_)
        | Error::Secp256k1(_)
        | Error::InvalidAmount(_)
        | Error::UnexpectedStructure => Some(Outcome::Unreadable),
        Error::JsonRpc(_) | Error::Io(_) | Error::InvalidCookieFile => None,
    }
}

/// Calls every function whose method the node has.
///
/// # Panics
/// If the node cannot be reached, or a result is not the network's.
pub fn run(network: &Network) -> Outcomes {
    let client = Client::new(&network.url(), Auth::CookieFile(network.cookie())).expect("the cookie is there");
    let mut outcomes = Outcomes::default();
    let hash: BlockHash = network.hash_at(HEIGHT).parse().expect("a hash");
    let txid = |value: Value| -> Txid { value.as_str().expect("an id").parse().expect("an id") };
    let waiting = txid(network.call("getrawmempool", &[])[0].take());
    let mined = txid(network.call("getblock", &[json!(hash)])["tx"][1].take());
    let raw = network.call("getrawtransaction", &[json!(mined)]).as_str().expect("hex").to_owned();
    let unmined = network.call("getrawtransaction", &[json!(waiting)]).as_str().expect("hex").to_owned();
    let [(first, _), (_, second)] = network.two_peers();

    assert_eq!(client.get_block_count().expect("a number"), u64::from(HEIGHT));
    assert_eq!(client.get_best_block_hash().expect("a hash"), hash);
    assert_eq!(client.get_block_header(&hash).expect("a header").block_hash(), hash);
    assert_eq!(client.get_raw_transaction_hex(&mined, None).expect("hex"), raw);
    assert_eq!(client.get_raw_mempool().expect("ids"), [waiting]);

    let key = PrivateKey::new(secp256k1::SecretKey::from_slice(&[7; 32]).expect("a key"), Chain::Regtest);
    let curve = Secp256k1::new();
    let address: Address = Address::p2pkh(key.public_key(&curve), Chain::Regtest);
    let message = secp256k1::Message::from_digest(signed_msg_hash("I").to_byte_array());
    let signature = curve.sign_ecdsa(&message, &key.inner);
    let input = CreateRawTransactionInput { txid: mined, vout: 0, sequence: None };
    let payee = HashMap::from([(network.address(), Amount::ONE_BTC)]);

    let nothing: &[GetBlockTemplateCapabilities] = &[];

    calls! { outcomes, client,
        getbestblockhash get_best_block_hash();
        getblock get_block(&hash);
        getblock get_block_hex(&hash);
        getblock get_block_info(&hash);
        getblockchaininfo get_blockchain_info();
        getblockcount get_block_count();
        getblockfilter get_block_filter(&hash);
        getblockhash get_block_hash(1);
        getblockheader get_block_header(&hash);
        getblockheader get_block_header_info(&hash);
        getblockstats get_block_stats(6);
        getblockstats get_block_stats_fields(6, &[BlockStatsFields::Height]);
        getchaintips get_chain_tips();
        getdifficulty get_difficulty();
        getmempoolentry get_mempool_entry(&waiting);
        getmempoolinfo get_mempool_info();
        getrawmempool get_raw_mempool();
        getrawmempool get_raw_mempool_verbose();
        gettxout get_tx_out(&mined, 0, None);
        gettxoutproof get_tx_out_proof(&[mined], None);
        gettxoutsetinfo get_tx_out_set_info(None, None, None);
        waitforblock wait_for_block(&hash, 1_000);
        waitfornewblock wait_for_new_block(1);
        uptime uptime();
        generatetoaddress generate_to_address(1, &address);
        invalidateblock invalidate_block(&hash);
        reconsiderblock reconsider_block(&hash);
        getblocktemplate get_block_template(GetBlockTemplateModes::Template, &[GetBlockTemplateRules::SegWit], nothing);
        getmininginfo get_mining_info();
        getnetworkhashps get_network_hash_ps(None, None);
        addnode onetry_node("127.0.0.1:1");
        addnode add_node("127.0.0.1:1");
        addnode remove_node("127.0.0.1:1");
        getaddednodeinfo get_added_node_info(None);
        getconnectioncount get_connection_count();
        getnettotals get_net_totals();
        getnetworkinfo get_network_info();
        getnetworkinfo version();
        getnodeaddresses get_node_addresses(None);
        getpeerinfo get_peer_info();
        disconnectnode disconnect_node(&first);
        disconnectnode disconnect_node_by_id(second);
        setban add_ban("203.0.113.7", 60, false);
        listbanned list_banned();
        setban remove_ban("203.0.113.7");
        clearbanned clear_banned();
        ping ping();
        setnetworkactive set_network_active(true);
        combinerawtransaction combine_raw_transaction(std::slice::from_ref(&raw));
        createrawtransaction create_raw_transaction_hex(std::slice::from_ref(&input), &payee, None, None);
        createrawtransaction create_raw_transaction(&[input], &payee, None, None);
        decoderawtransaction decode_raw_transaction(raw.as_str(), None);
        getrawtransaction get_raw_transaction(&mined, None);
        getrawtransaction get_raw_transaction_hex(&mined, None);
        getrawtransaction get_raw_transaction_info(&mined, None);
        sendrawtransaction send_raw_transaction(unmined.as_str());
        submitblock submit_block(&genesis_block(Chain::Regtest));
        submitblock submit_block_bytes(&bytes_of(&network.fresh_blocks[0]));
        submitblock submit_block_hex(&network.fresh_blocks[1]);
        signrawtransactionwithkey sign_raw_transaction_with_key(raw.as_str(), &[key], None, None);
        testmempoolaccept test_mempool_accept(&[raw.as_str()]);
        estimatesmartfee estimate_smart_fee(6, None);
        getindexinfo get_index_info();
        verifymessage verify_message(&address, &signature, "I");
    }
    outcomes
}
