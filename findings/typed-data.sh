#!/usr/bin/env bash
# Typed data (EIP-712) as an application hands it to a wallet, with its types, its domain and its primaryType, hashed by two
# Python libraries.
#
# eth-account 0.14.0, which web3 signs with, and safe-eth-py 7.27.0 (web3 8.0.0). By EIP-712 a type is encoded with its members
# in the order in which they are declared, EIP712Domain too, and primaryType names the type to be signed. The script does this for
# the types that it uses.
#
# Expected: both give the hash that a contract computes for the types as declared. Types that the message does not use change
#           nothing: an application declares all of its messages once.
# Seen:     safe-eth-py does so. eth-account hashes the domain's members in the order in which the EIP lists them. With chainId
#           declared before name the hash is another one, and the contract refuses the signature; no error says so. And it works
#           out the primary type itself, as the type that no other refers to. With a second such type it raises "Unable to
#           determine primary type", and with one that refers to the right one "does not match the derived", though primaryType
#           is given. So it signs such a message only after the other types are removed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check --prefer-binary eth-account==0.14.0 safe-eth-py==7.27.0 \
    web3==8.0.0 eth-abi==6.0.0 eth-utils==6.0.0
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_utils import ValidationError, keccak
from safe_eth.eth.eip712 import eip712_encode_hash

NAME, CHAIN = {"name": "name", "type": "string"}, {"name": "chainId", "type": "uint256"}
OFFER = [{"name": "price", "type": "uint256"}]
CANCEL = [{"name": "nonce", "type": "uint256"}]
BATCH = [{"name": "offers", "type": "Offer[]"}]


def number(value):
    return value.to_bytes(32, "big")


def hashed(name, members, values):
    declared = f"{name}({','.join(member['type'] + ' ' + member['name'] for member in members)})"
    encoded = (keccak(text=value) if isinstance(value, str) else number(value) for value in (values[m["name"]] for m in members))
    return keccak(keccak(text=declared) + b"".join(encoded))


def by_eth_account(document):
    try:
        return _hash_eip191_message(encode_typed_data(full_message=document)).hex()
    except (ValidationError, ValueError) as error:
        return str(error).partition(". ")[0]


for case, domain, types in [
    ("as listed", [NAME, CHAIN], {"Offer": OFFER}),
    ("chainId before name", [CHAIN, NAME], {"Offer": OFFER}),
    ("a second message", [NAME, CHAIN], {"Offer": OFFER, "Cancel": CANCEL}),
    ("a message of messages", [NAME, CHAIN], {"Offer": OFFER, "Batch": BATCH}),
]:
    document = {
        "types": {"EIP712Domain": domain, **types},
        "primaryType": "Offer",
        "domain": {"name": "Market", "chainId": 1},
        "message": {"price": 5},
    }
    parts = hashed("EIP712Domain", domain, document["domain"]), hashed("Offer", OFFER, document["message"])
    right = keccak(b"\x19\x01" + b"".join(parts)).hex()
    assert eip712_encode_hash(document).hex() == right
    found = by_eth_account(document)
    print(f"{case}: {right[:16]}; eth-account: {found[:64]}")
    if case == "as listed":
        usual = right
        assert found == right
    elif case == "chainId before name":
        assert found == usual != right
    else:
        assert right == usual and "primary" in found and len(found) != 64
PYTHON
