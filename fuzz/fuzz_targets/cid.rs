//! Any bytes as a CID, binary and as text: what is read is written again as it was.

#![no_main]

use cairn::ipld::{Cid, Codec, HashFunction};
use cairn_fuzz::seed;
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let v1 = |function| Cid::v1(Codec::RAW, function, b"seed").expect("it is short");
    let functions = HashFunction::names().filter_map(HashFunction::from_name);
    let cids = functions.map(v1).chain(Cid::v0(b"seed"));
    seed("cid", cids.flat_map(|cid| [cid.to_bytes(), cid.to_string().into_bytes()]));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok((cid, rest)) = Cid::read_prefix(bytes) {
        let own = &bytes[..bytes.len() - rest.len()];
        assert_eq!((cid.to_bytes(), cid.encoded_len()), (own.to_vec(), own.len()));
        assert_eq!(Cid::from_bytes(own), Ok(cid));
        assert_eq!(Cid::from_bytes(bytes).is_ok(), rest.is_empty());
        assert_eq!(cid.to_string().parse(), Ok(cid));
    }
    if let Some(cid) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<Cid>().ok()) {
        assert_eq!(cid.to_string().parse(), Ok(cid));
        assert_eq!(Cid::from_bytes(&cid.to_bytes()), Ok(cid));
    }
});
