//! Calls every method and checks the meaning of its answer.

use cairn::primitives::address;
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::merkle;
use cairn::primitives::time::UnixTime;
use cairn::receipt::{Evidence, Receipt};
use cairn::rpc::methods;
use serde_json::{Value, json};

use crate::fixture::{Fixture, hex_of, key};
use crate::{figures, holding, links, making, network, nodes, snapshots};

#[test]
fn every_method_means_what_it_says() {
    let fixture = Fixture::new();
    let params = &fixture.params;
    let subsidy = params.subsidy_at(Height::from_u32(1)).as_grains();
    let genesis = params.genesis_hash.to_string();

    // An empty chain.
    let info = fixture.call("getblockchaininfo", json!([]));
    assert_eq!((&info["chain"], &info["blocks"], &info["headers"]), (&json!("regtest"), &json!(0), &json!(0)));
    assert_eq!((&info["bestblockhash"], &info["initialblockdownload"]), (&json!(genesis), &json!(false)));
    assert_eq!(fixture.call("getbestblockhash", json!([])), json!(genesis));

    // Blocks.
    let hashes = fixture.generate(12, 1);
    assert_eq!(fixture.call("getblockcount", json!([])), 12);
    for (height, hash) in (1..).zip(&hashes) {
        assert_eq!(fixture.call("getblockhash", json!([height])), json!(hash));
    }
    fixture.refused("pruneblockchain", json!([5]), -1, "not in prune mode");
    fixture.refused("getblockhash", json!([13]), -8, "out of range");
    fixture.refused("getblockhash", json!([-1]), -8, "out of range");
    let block = fixture.block(&hashes[4]);
    assert_eq!(block.hash(), hashes[4]);
    let shown = fixture.call("getblock", json!([hashes[4]]));
    assert_eq!((&shown["height"], &shown["confirmations"], &shown["nTx"]), (&json!(5), &json!(8), &json!(1)));
    assert_eq!((&shown["previousblockhash"], &shown["nextblockhash"]), (&json!(hashes[3]), &json!(hashes[5])));
    assert_eq!((&shown["tx"], &shown["size"]), (&json!(block.txids()), &json!(block.size())));
    assert_eq!(shown["chainwork"].as_str().map(|work| u64::from_str_radix(work, 16)), Some(Ok(12)));
    let header = fixture.call("getblockheader", json!([hashes[4]]));
    for field in ["hash", "height", "time", "mediantime", "bits", "target", "difficulty", "nonce", "merkleroot"] {
        assert!(header[field] == shown[field] && !header[field].is_null(), "{field}");
    }
    assert_eq!(fixture.call("getblockheader", json!([hashes[4], false])), json!(hex_of(&block.header)));
    let difficulty = params.genesis_target.difficulty();
    assert_eq!(fixture.call("getdifficulty", json!([])).as_f64(), Some(difficulty));
    assert_eq!(
        fixture.call("getchaintips", json!([])),
        json!([{ "height": 12, "hash": hashes[11], "branchlen": 0, "status": "active" }])
    );

    // A payment, from its bytes to its block.
    let coinbase = fixture.block(&hashes[0]).transactions[0].clone();
    let tx = fixture.payment(&coinbase, 1, 7_000, 2, 500);
    let (txid, raw) = (tx.txid(), hex_of(&tx));
    let decoded = fixture.call("decoderawtransaction", json!([raw]));
    assert_eq!((&decoded["txid"], &decoded["size"]), (&json!(txid), &json!(tx.size())));
    assert_eq!((&decoded["vin"][0]["txid"], &decoded["vin"][0]["vout"]), (&json!(coinbase.txid()), &json!(0)));
    assert_eq!(decoded["vout"][0]["value"], 7_000);
    assert_eq!(decoded["vout"][0]["scriptPubKey"]["address"], json!(fixture.payee(2)));
    fixture.refused("decoderawtransaction", json!(["00"]), -22, "TX decode failed");
    fixture.refused("decoderawtransaction", json!(["zz"]), -22, "TX decode failed");
    fixture.refused("getrawtransaction", json!([txid]), -5, "No such mempool or blockchain transaction");

    let mut forged = tx.clone();
    forged.outputs[0].value = forged.outputs[0].value.saturating_add(Amount::from_grains(1));
    let immature = fixture.payment(&fixture.block(&hashes[11]).transactions[0], 1, 5, 2, 500);
    let verdicts = fixture.call("testmempoolaccept", json!([[raw, hex_of(&forged), hex_of(&immature)]]));
    assert_eq!((&verdicts[0]["allowed"], &verdicts[0]["fees"]["base"]), (&json!(true), &json!(500)));
    assert_eq!((&verdicts[1]["allowed"], &verdicts[2]["allowed"]), (&json!(false), &json!(false)));
    assert!(verdicts[1]["reject-reason"].as_str().is_some_and(|reason| reason.contains("signature")));
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([]));
    fixture.refused("testmempoolaccept", json!([[]]), -8, "between 1 and 25");

    assert_eq!(fixture.call("sendrawtransaction", json!([raw])), json!(txid));
    assert_eq!(fixture.call("sendrawtransaction", json!([raw])), json!(txid), "again is no error");
    fixture.refused("sendrawtransaction", json!([hex_of(&forged)]), -26, "");
    let orphan = fixture.payment(&forged, 2, 5, 2, 500);
    fixture.refused("sendrawtransaction", json!([hex_of(&orphan)]), -25, "unknown or already spent");
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([txid]));
    let spending =
        |vout: u32| fixture.call("gettxspendingprevout", json!([[{ "txid": coinbase.txid(), "vout": vout }]]));
    assert_eq!(spending(0)[0]["spendingtxid"], json!(txid));
    assert_eq!(spending(1), json!([{ "txid": coinbase.txid(), "vout": 1 }]));
    fixture.refused("gettxspendingprevout", json!([[]]), -8, "outputs are missing");
    let entry = fixture.call("getmempoolentry", json!([txid]));
    assert_eq!(
        (&entry["vsize"], &entry["fees"]["base"], &entry["depends"]),
        (&json!(tx.size()), &json!(500), &json!([]))
    );
    assert_eq!(fixture.call("getrawmempool", json!([true]))[txid.to_string()], entry);
    fixture.refused("getmempoolentry", json!([genesis]), -5, "not in mempool");
    let pool = fixture.call("getmempoolinfo", json!([]));
    assert_eq!((&pool["size"], &pool["bytes"], &pool["total_fee"]), (&json!(1), &json!(tx.size()), &json!(500)));
    assert_eq!(fixture.call("getrawtransaction", json!([txid])), json!(raw));
    let unconfirmed = fixture.call("getrawtransaction", json!([txid, true]));
    assert!(unconfirmed["hex"] == json!(raw) && unconfirmed["blockhash"].is_null(), "{unconfirmed}");
    assert!(unconfirmed["fee"].is_null() && unconfirmed["vin"][0]["prevout"].is_null(), "{unconfirmed}");
    let unconfirmed = fixture.call("getrawtransaction", json!([txid, 2]));
    assert_eq!(
        (&unconfirmed["fee"], &unconfirmed["vin"][0]["prevout"]["value"]),
        (&json!(500), &json!(coinbase.outputs[0].value))
    );

    // Coins, with and without what is pending.
    let spent = json!([coinbase.txid(), 0]);
    assert_eq!(fixture.call("gettxout", spent.clone()), Value::Null);
    let coin = fixture.call("gettxout", json!([coinbase.txid(), 0, false]));
    assert_eq!(
        (&coin["value"], &coin["coinbase"], &coin["confirmations"]),
        (&json!(subsidy), &json!(true), &json!(12))
    );
    assert_eq!(fixture.call("gettxout", json!([txid, 0]))["confirmations"], 0);
    assert_eq!(fixture.call("gettxout", json!([txid, 0, false])), Value::Null);
    assert_eq!(fixture.call("gettxout", json!([txid, 2])), Value::Null);
    let balance = fixture.call("getaddressbalance", json!([fixture.payee(2)]));
    assert_eq!((&balance["balance"], &balance["pending"]), (&json!(0), &json!(7_000)));
    let utxos = fixture.call("getaddressutxos", json!([fixture.payee(2)]));
    assert_eq!(
        (&utxos[0]["txid"], &utxos[0]["height"], &utxos[0]["value"]),
        (&json!(txid), &Value::Null, &json!(7_000))
    );
    assert_eq!(fixture.call("getaddressutxos", json!([fixture.payee(2), 10, false])), json!([]));
    let history = fixture.call("getaddresshistory", json!([fixture.payee(2)]));
    assert_eq!(
        (&history[0]["txid"], &history[0]["received"], &history[0]["height"]),
        (&json!(txid), &json!(7_000), &Value::Null)
    );
    // Twelve subsidies: those of blocks 1 to 3 may be spent in block 13, the first one is being spent.
    let balance = fixture.call("getaddressbalance", json!([fixture.payee(1)]));
    assert_eq!(balance["balance"], json!(12 * subsidy));
    assert_eq!((&balance["spendable"], &balance["immature"]), (&json!(2 * subsidy), &json!(9 * subsidy)));
    assert_eq!(balance["pending"], json!(-7_500));
    let utxos = fixture.call("getaddressutxos", json!([fixture.payee(1)]));
    let utxos = utxos.as_array().unwrap();
    assert_eq!(utxos.len(), 13, "twelve coinbases and the change");
    assert_eq!(utxos.iter().filter(|utxo| utxo["spendable"] == true).count(), 3);
    assert!(utxos.iter().any(|utxo| utxo["spentby"] == json!(txid) && utxo["txid"] == json!(coinbase.txid())));
    fixture.refused("getaddressbalance", json!(["cairn1nonsense"]), -5, "Invalid address");

    let [mined] = fixture.generate(1, 3)[..] else { panic!("one block") };
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([]));
    let confirmed = fixture.call("getrawtransaction", json!([txid, 1]));
    assert_eq!((&confirmed["blockhash"], &confirmed["confirmations"]), (&json!(mined), &json!(1)));
    assert_eq!(fixture.call("getrawtransaction", json!([txid, 1, mined]))["in_active_chain"], true);
    let whole = fixture.call("getrawtransaction", json!([txid, 2]));
    let prevout = &whole["vin"][0]["prevout"];
    assert_eq!((&whole["fee"], &prevout["value"]), (&json!(500), &json!(coinbase.outputs[0].value)));
    assert_eq!((&prevout["height"], &prevout["generated"]), (&json!(1), &json!(true)));
    assert_eq!(prevout["scriptPubKey"]["address"], json!(fixture.payee(1)));
    fixture.refused("getrawtransaction", json!([txid, 1, hashes[0]]), -5, "provided block");
    fixture.refused("getrawtransaction", json!([txid, 1, txid]), -5, "Block hash not found");
    fixture.refused("sendrawtransaction", json!([raw]), -27, "already");
    let whole = fixture.call("getblock", json!([mined, 2]));
    assert_eq!((&whole["tx"][1]["fee"], &whole["tx"][1]["hex"]), (&json!(500), &json!(raw)));
    assert!(whole["tx"][1]["vin"][0]["prevout"].is_null() && whole["tx"][0]["fee"].is_null());
    let whole = fixture.call("getblock", json!([mined, 3]));
    assert_eq!(whole["tx"][1]["vin"][0]["prevout"]["value"], json!(subsidy));
    let history = fixture.call("getaddresshistory", json!([fixture.payee(2)]));
    assert_eq!(history.as_array().map(Vec::len), Some(1));
    assert_eq!((&history[0]["height"], &history[0]["confirmations"]), (&json!(13), &json!(1)));
    assert_eq!(fixture.call("getaddresshistory", json!([fixture.payee(2), 14])), json!([]));
    assert_eq!(fixture.call("getaddressbalance", json!([fixture.payee(2)]))["balance"], 7_000);
    // Page by page, either way: each page goes on after the last entry of the one before.
    let pages = |method: &str, options: &[Value], size: usize| {
        let (mut all, mut after) = (Vec::new(), Value::Null);
        loop {
            let params = [&[json!(fixture.payee(1))], options, std::slice::from_ref(&after)].concat();
            let page = fixture.call(method, json!(params));
            let page = page.as_array().unwrap();
            all.extend(page.iter().cloned());
            assert!(page.len() <= size && all.len() <= 13, "{method}: {all:?}");
            match page.last() {
                Some(last) => after = last.clone(),
                None => return all,
            }
        }
    };
    let whole = fixture.call("getaddresshistory", json!([fixture.payee(1)]));
    let mut whole = whole.as_array().unwrap().clone();
    assert_eq!(whole.len(), 13, "twelve coinbases, and what spent the first");
    for size in [1, 5, 13] {
        assert_eq!(pages("getaddresshistory", &[json!(0), json!(size), json!(false)], size), whole);
    }
    whole.reverse();
    for size in [1, 5, 13] {
        assert_eq!(pages("getaddresshistory", &[json!(0), json!(size), json!(true)], size), whole);
    }
    let low = fixture.call("getaddresshistory", json!([fixture.payee(1), 12, 100, true]));
    assert_eq!(low.as_array().unwrap()[..], whole[..2], "not below a height");
    let coins = fixture.call("getaddressutxos", json!([fixture.payee(1)]));
    for size in [1, 5, 13] {
        assert_eq!(json!(pages("getaddressutxos", &[json!(size), json!(false)], size)), coins);
    }
    let set = fixture.call("gettxoutsetinfo", json!([]));
    // One coin a coinbase, less one spent, plus two made: coins are only moved, so their sum is what was issued.
    assert_eq!((&set["txouts"], &set["total_amount"]), (&json!(14), &json!(13 * subsidy)));
    assert_eq!((&set["height"], &set["bestblock"]), (&json!(13), &json!(mined)));

    // Addresses.
    let valid = fixture.call("validateaddress", json!([fixture.payee(1).to_uppercase()]));
    assert_eq!((&valid["isvalid"], &valid["address"]), (&json!(true), &json!(fixture.payee(1))));
    let invalid = fixture.call("validateaddress", json!(["bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"]));
    assert!(invalid["isvalid"] == false && invalid["error"].is_string(), "{invalid}");

    // Transactions from their parts. The second subsidy and the first output of the payment are unspent.
    let coinbase = fixture.block(&hashes[1]).transactions[0].clone();
    let payee = fixture.payee(3);
    let inputs = json!([{ "txid": coinbase.txid(), "vout": 0 }, { "txid": txid, "vout": 0 }]);
    let outputs = json!([{ (payee.as_str()): subsidy }, { "data": "00ff" }]);
    let unsigned = fixture.call("createrawtransaction", json!([inputs, outputs]));
    let merged =
        fixture.call("createrawtransaction", json!([inputs, { (payee.as_str()): subsidy, "data": "00ff" }, 0]));
    assert_eq!(merged.as_str().map(str::len), unsigned.as_str().map(str::len), "in one object or in several");
    let decoded = fixture.call("decoderawtransaction", json!([unsigned]));
    assert_eq!((&decoded["vin"][1]["txid"], &decoded["vin"][1]["signature"]), (&json!(txid), &json!("00".repeat(64))));
    let made = (&decoded["vout"][0]["value"], &decoded["vout"][1]["scriptPubKey"]["hex"]);
    assert_eq!(made, (&json!(subsidy), &json!("00ff")));
    fixture.refused("createrawtransaction", json!([[], outputs]), -8, "no inputs");
    fixture.refused("createrawtransaction", json!([inputs, { "me": 5 }]), -5, "Invalid address");
    fixture.refused("createrawtransaction", json!([inputs, [{ (payee.as_str()): 0.5 }]]), -8, "expected an integer");
    fixture.refused("createrawtransaction", json!([inputs, [5]]), -8, "item 0: expected an object");
    fixture.refused("createrawtransaction", json!([[{ "txid": txid }], outputs]), -8, "vout: missing");
    let private = |number| address::encode_secret(&params.address_prefix, &key(number)).to_string();
    let sign = |tx: &Value, keys: Value| fixture.call("signrawtransactionwithkey", json!([tx, keys]));
    let (first, second) = (sign(&unsigned, json!([private(1)])), sign(&unsigned, json!([private(2)])));
    assert_eq!((&first["complete"], first["errors"].as_array().map(Vec::len)), (&json!(false), Some(1)));
    assert_eq!((&first["errors"][0]["txid"], &second["errors"][0]["txid"]), (&json!(txid), &json!(coinbase.txid())));
    let both = sign(&unsigned, json!([private(2), private(1)]));
    assert_eq!((&both["complete"], &both["errors"]), (&json!(true), &Value::Null));
    let combined = fixture.call("combinerawtransaction", json!([[unsigned, first["hex"], second["hex"]]]));
    assert_eq!(combined, both["hex"]);
    assert_eq!(sign(&second["hex"], json!([private(1)]))["hex"], combined, "one after the other");
    let allowed = fixture.call("testmempoolaccept", json!([[combined]]))[0].clone();
    assert_eq!((&allowed["allowed"], &allowed["fees"]["base"]), (&json!(true), &json!(7_000)));
    let other = fixture.call("createrawtransaction", json!([inputs, outputs, 5]));
    fixture.refused("combinerawtransaction", json!([[unsigned, other]]), -8, "not all are the same");
    fixture.refused("combinerawtransaction", json!([[]]), -8, "expected 1 to");
    fixture.refused("combinerawtransaction", json!([["00"]]), -22, "TX decode failed");
    fixture.refused("signrawtransactionwithkey", json!([unsigned, [fixture.payee(1)]]), -5, "Invalid private key");
    // Of coins that the node does not know, or knows otherwise.
    let unknown = fixture.call("createrawtransaction", json!([[{ "txid": genesis, "vout": 7 }], outputs]));
    let refused = sign(&unknown, json!([private(1)]));
    assert_eq!(refused["errors"][0]["error"], "Input not found or already spent");
    let described = |key: &str| json!([{ "txid": genesis, "vout": 7, "amount": 5, "scriptPubKey": key }]);
    let own = described(&hex::encode(key(1).public_key().0));
    let signed = fixture.call("signrawtransactionwithkey", json!([unknown, [private(1)], own]));
    assert_eq!(signed["complete"], true);
    fixture.refused("signrawtransactionwithkey", json!([unknown, [], described("00")]), -8, "32 bytes in hex");
    let by_address = json!([{ "txid": txid, "vout": 0, "amount": 7_001, "address": fixture.payee(2) }]);
    fixture.refused("signrawtransactionwithkey", json!([unsigned, [], by_address]), -22, "another value or key");

    // Messages.
    let private = private(1);
    let signature = fixture.call("signmessagewithprivkey", json!([private, "I was here."]));
    let verify = |payee, message| fixture.call("verifymessage", json!([fixture.payee(payee), signature, message]));
    assert_eq!(verify(1, "I was here."), true);
    assert_eq!((verify(2, "I was here."), verify(1, "I was there.")), (json!(false), json!(false)));
    fixture.refused("signmessagewithprivkey", json!([fixture.payee(1), "x"]), -5, "Invalid private key");
    fixture.refused("verifymessage", json!([fixture.payee(1), "AA==", "x"]), -3, "Malformed base64 encoding");
    fixture.refused("verifymessage", json!([private, signature, "x"]), -5, "Invalid address");

    // Proofs.
    let block = fixture.block(&mined);
    let proof = fixture.call("gettxoutproof", json!([[txid]]));
    assert_eq!(fixture.call("gettxoutproof", json!([[txid], mined])), proof);
    assert_eq!(fixture.call("verifytxoutproof", json!([proof])), json!([txid]));
    let both = fixture.call("gettxoutproof", json!([block.txids()]));
    assert_eq!(fixture.call("verifytxoutproof", json!([both])), json!(block.txids()));
    let tree = merkle::PartialTree::from_bytes(&hex::decode(proof.as_str().unwrap()).unwrap()).unwrap();
    assert_eq!((tree.header, tree.verify()), (block.header, Ok(vec![(1, txid)])));
    let mut broken = hex::decode(proof.as_str().unwrap()).unwrap();
    let middle = Header::LEN + 10;
    broken[middle] ^= 1;
    assert_eq!(fixture.call("verifytxoutproof", json!([hex::encode(&broken)])), json!([]));
    broken[0] ^= 1;
    broken[middle] ^= 1;
    fixture.refused("verifytxoutproof", json!([hex::encode(&broken)]), -5, "not found in chain");
    fixture.refused("verifytxoutproof", json!(["00"]), -22, "Proof decode failed");
    fixture.refused("gettxoutproof", json!([[]]), -8, "empty");
    fixture.refused("gettxoutproof", json!([[txid, txid]]), -8, "duplicated");
    fixture.refused("gettxoutproof", json!([[genesis]]), -5, "not yet in block");
    fixture.refused("gettxoutproof", json!([[txid], hashes[0]]), -5, "Not all transactions found");
    fixture.generate(3, 3);
    let receipt = Receipt::from_json(fixture.call("getreceipt", json!([txid])).to_string()).unwrap();
    let proven = receipt.verify(params, None, UnixTime::from_secs(u64::MAX)).unwrap();
    assert_eq!(
        (proven.txid, proven.block, proven.height, proven.weight.confirmations),
        (txid, mined, Height::from_u32(13), 4)
    );
    fixture.refused("getreceipt", json!([genesis]), -5, "No such transaction");
    let first = params.genesis.transactions[0].txid();
    let of_genesis = Receipt::from_json(fixture.call("getreceipt", json!([first])).to_string()).unwrap();
    assert_eq!(of_genesis.verify(params, None, UnixTime::from_secs(u64::MAX)).unwrap().height, Height::GENESIS);
    let of_shape = |params: Value| Receipt::from_value(fixture.call("getreceipt", params)).unwrap();
    let sampled = of_shape(json!([txid, "succinct"])).verify(params, None, UnixTime::from_secs(u64::MAX)).unwrap();
    assert_eq!((sampled.block, sampled.work, sampled.weight), (proven.block, proven.work, proven.weight));
    let held = of_genesis.verify(params, None, UnixTime::from_secs(u64::MAX)).unwrap().checkpoint.unwrap();
    assert_eq!(held.height, Height::from_u32(16));
    fixture.generate(2, 3);
    let later: cairn::primitives::hash::Txid = fixture
        .call("getblock", json!([fixture.call("getbestblockhash", json!([]))]))["tx"][0]
        .as_str()
        .and_then(|id| id.parse().ok())
        .unwrap();
    let since = of_shape(json!({ "txid": later, "from": 16 }));
    assert!(
        matches!(&since.evidence, Evidence::Since { height, headers, .. } if headers.len() == 2 && *height == Height::from_u32(16))
    );
    assert_eq!(since.verify(params, Some(&held), UnixTime::from_secs(u64::MAX)).unwrap().weight.confirmations, 1);
    fixture.refused("getreceipt", json!([txid, "headers", 14]), -8, "which is not after block 14");
    fixture.refused("getreceipt", json!([txid, "succinct", 1]), -8, "from:");
    fixture.refused("getreceipt", json!([txid, "none"]), -8, "evidence:");
    let headers = hex::decode(fixture.call("getheaders", json!([12, 2])).as_str().unwrap()).unwrap();
    assert_eq!(headers, [fixture.block(&hashes[11]).header.to_bytes(), block.header.to_bytes()].concat());
    assert_eq!(fixture.call("getheaders", json!([13])).as_str().map(str::len), Some(6 * 160));
    fixture.refused("getheaders", json!([19]), -8, "out of range");

    // The mempool's file, as an orderly stop leaves it.
    let file = fixture.dir.path().join("mempool.dat");
    assert!(!file.exists());
    assert_eq!(fixture.call("savemempool", json!([])), json!({ "filename": file }));
    assert!(file.exists());
    let copy = fixture.dir.path().join("copy.dat");
    std::fs::rename(&file, &copy).unwrap();
    assert_eq!(fixture.call("importmempool", json!([copy])), json!({}));
    fixture.refused("importmempool", json!([file]), -1, "Unable to import mempool file");
    std::fs::write(&copy, "no mempool").unwrap();
    fixture.refused("importmempool", json!([copy]), -1, "Unable to import mempool file");
    std::fs::create_dir(&file).unwrap();
    fixture.refused("savemempool", json!([]), -1, "Unable to dump mempool to disk");
    std::fs::remove_dir(&file).unwrap();
    fixture.refused("getheaders", json!([1, 2_001]), -8, "at most 2000");

    // Reorganisations on demand.
    let tip = fixture.call("getbestblockhash", json!([]));
    assert_eq!(fixture.call("invalidateblock", json!([mined])), Value::Null);
    assert_eq!(fixture.call("getblockcount", json!([])), 12);
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([txid]), "its payment waits again");
    let tips = fixture.call("getchaintips", json!([]));
    assert!(tips.as_array().unwrap().iter().any(|tip| tip["status"] == "invalid" && tip["branchlen"] == 6), "{tips}");
    assert_eq!(fixture.call("getblockheader", json!([mined]))["confirmations"], -1);
    assert_eq!(fixture.call("reconsiderblock", json!([mined])), Value::Null);
    assert_eq!(fixture.call("getbestblockhash", json!([])), tip);
    fixture.refused("invalidateblock", json!([txid]), -5, "Block not found");
    fixture.refused("reconsiderblock", json!([txid]), -5, "Block not found");
    fixture.refused("invalidateblock", json!([genesis]), -8, "genesis");

    // Blocks from elsewhere.
    let last: BlockHash = serde_json::from_value(tip).unwrap();
    let last = fixture.block(&last);
    assert_eq!(fixture.call("submitblock", json!([hex_of(&last)])), "duplicate");
    fixture.call("invalidateblock", json!([last.hash()]));
    let other = fixture.generate(1, 4)[0];
    let other = fixture.block(&other);
    fixture.call("invalidateblock", json!([other.hash()]));
    fixture.call("reconsiderblock", json!([last.hash()]));
    let mut heavy = other.clone();
    heavy.header.time = 0;
    assert!(fixture.call("submitblock", json!([hex_of(&heavy)])).is_string());
    heavy.header.previous = BlockHash::from_bytes(txid.to_bytes());
    assert!(fixture.call("submitblock", json!([hex_of(&heavy)])).is_string());
    fixture.refused("submitblock", json!(["00"]), -22, "Block decode failed");

    // Mining.
    fixture.refused("getblocktemplate", json!([]), -8, "/mine/<address>");
    assert_eq!(fixture.call("getstratuminfo", json!([]))["enabled"], false);
    // All blocks may have been made within one second: then there is no rate to tell.
    assert!(fixture.call("getnetworkhashps", json!([])).as_f64().is_some_and(|rate| rate >= 0.0));
    fixture.refused("getnetworkhashps", json!([0]), -8, "nblocks");
    fixture.refused("getnetworkhashps", json!([1, 1_000]), -8, "height");
    let mining = fixture.call("getmininginfo", json!([]));
    assert_eq!((&mining["blocks"], &mining["generate"]), (&fixture.call("getblockcount", json!([])), &json!(false)));
    fixture.refused("generatetoaddress", json!([1, "alice"]), -5, "Invalid address");
    assert_eq!(fixture.call("generatetoaddress", json!([0, fixture.payee(1)])), json!([]));
    let height = fixture.call("getblockcount", json!([])).as_u64().unwrap();
    fixture.refused("setgenerate", json!([true, 0, fixture.payee(5)]), -8, "threads");
    assert_eq!(fixture.call("setgenerate", json!([true, 1, fixture.payee(5)])), Value::Null);
    let reached = fixture.call("waitforblockheight", json!([height + 3]));
    assert!(reached["height"].as_u64() >= Some(height + 3), "{reached}");
    let known = fixture.call("getblockhash", json!([height]));
    let newer = fixture.call("waitfornewblock", json!({ "current_tip": known }));
    assert!(newer["height"].as_u64() > Some(height), "{newer}");
    let mining = fixture.call("getmininginfo", json!([]));
    assert_eq!((&mining["generate"], &mining["address"]), (&json!(true), &json!(fixture.payee(5))));
    // A rest ends by itself, or when told.
    fixture.refused("restminer", json!([60_001]), -8, "at most 60000");
    for (milliseconds, until) in [(60_000, 0), (100, 100)] {
        assert_eq!(fixture.call("restminer", json!([milliseconds])), Value::Null);
        assert_eq!(fixture.call("getmininginfo", json!([]))["generate"], json!(true));
        assert_eq!(fixture.call("restminer", json!([until])), Value::Null);
        let height = fixture.call("getblockcount", json!([])).as_u64().unwrap();
        fixture.call("waitforblockheight", json!([height + 2]));
    }
    assert_eq!(fixture.call("setgenerate", json!([false])), Value::Null);
    let mining = fixture.call("getmininginfo", json!([]));
    assert_eq!((&mining["generate"], &mining["address"]), (&json!(false), &json!(fixture.payee(5))));
    // The payee is the last one, for templates too.
    assert!(fixture.call("getblocktemplate", json!([])).is_object());
    let before = fixture.call("getaddressbalance", json!([fixture.payee(5)]));
    assert_eq!(fixture.call("setgenerate", json!([true])), Value::Null);
    let known = fixture.call("getblockcount", json!([])).as_u64().unwrap();
    fixture.call("waitforblockheight", json!([known + 1]));
    assert_eq!(fixture.call("setgenerate", json!([false])), Value::Null);
    let after = fixture.call("getaddressbalance", json!([fixture.payee(5)]));
    assert!(after["balance"].as_u64() > before["balance"].as_u64(), "{before} {after}");
    let tip = fixture.call("getbestblockhash", json!([]));
    assert_eq!(fixture.call("waitforblock", json!([tip]))["hash"], tip);
    assert_eq!(fixture.call("waitforblock", json!([genesis, 1]))["hash"], tip);
    fixture.refused("waitforblock", json!([tip, -1]), -1, "Negative timeout");
    // Nothing new comes, so the tip is answered when the time is up.
    let tip = fixture.call("waitforblockheight", json!([1_000_000, 1]));
    assert!(tip["height"].as_u64() >= Some(height + 3), "{tip}");

    assert!(fixture.call("uptime", json!([])).is_u64());
    figures::every_method(&fixture);
    making::every_method(&fixture);
    network::every_method(&fixture);
    links::every_method(&fixture);
    snapshots::every_method(&fixture);
    nodes::every_method(&fixture);
    holding::every_method(&fixture);

    let called = fixture.called.lock().unwrap();
    let missed: Vec<_> = methods::all().map(|m| m.name).filter(|name| !called.contains(*name)).collect();
    assert_eq!(missed, ["help", "rpc.discover", "stop"], "tested apart");
}
