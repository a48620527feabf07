#!/usr/bin/env bash
# The time in a time stamp (RFC 3161), which proves that a document or a chain's head was there at that time, read by two Python
# libraries.
#
# rfc3161-client 1.0.9 (over Rust; sigstore reads time stamps with it), rfc3161ng 2.1.3 (pyasn1 0.6.5) and the machine's OpenSSL,
# which is the authority, here with six digits of the second, as RFC 3161 allows, and an accuracy of a millisecond. OpenSSL
# verifies the stamps, and so does rfc3161-client.
#
# Expected: both libraries give the time that OpenSSL shows.
# Seen:     rfc3161ng does, but for a microsecond now and then. rfc3161-client drops the fraction, so the time is up to a second
#           early, though `accuracy` beside it says a millisecond; only the raw bytes have the rest. Ten stamps, one after
#           another, are of one or two times: which came first, the thing that such a stamp is for, is lost. A stamp that
#           came after a deadline by less than a second counts as before it. The signature is found valid, and no error says
#           that a part of the time was left out.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check rfc3161-client==1.0.9 rfc3161ng==2.1.3 pyasn1==0.6.5
cd "$dir"
cat > settings <<'SETTINGS'
[tsa]
default_tsa = authority
[authority]
serial = ./serial
signer_digest = sha256
default_policy = 1.2.3.4
other_policies = 1.2.3.5
digests = sha256
accuracy = millisecs:1
clock_precision_digits = 6
ess_cert_id_alg = sha256
[req]
distinguished_name = none
[none]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamps]
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
SETTINGS
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config settings)
{
    openssl req -x509 "${key[@]}" -keyout root.key -out root.pem -subj /CN=root -extensions root
    openssl req "${key[@]}" -keyout stamps.key -out stamps.csr -subj /CN=stamps
    openssl x509 -req -in stamps.csr -CA root.pem -CAkey root.key -CAcreateserial -out stamps.pem -extfile settings -extensions stamps
    echo 'the head of a chain' > document
    echo 01 > serial
    openssl ts -query -data document -sha256 -cert -out query
    for at in {0..9}; do
        openssl ts -reply -config settings -queryfile query -inkey stamps.key -signer stamps.pem -out "stamp.$at"
        openssl ts -verify -in "stamp.$at" -queryfile query -CAfile root.pem > /dev/null
        openssl ts -reply -in "stamp.$at" -text > "stamp.$at.text"
    done
} 2> /dev/null
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import datetime
import re

import rfc3161ng
from cryptography import x509
from rfc3161_client import VerifierBuilder, decode_timestamp_response

with open("root.pem", "rb") as file:
    root = x509.load_pem_x509_certificate(file.read())
with open("document", "rb") as file:
    document = file.read()
verifier = VerifierBuilder().add_root_certificate(root).build()
shown, client, other = [], [], []
for at in range(10):
    with open(f"stamp.{at}.text") as file:
        text = re.search(r"Time stamp: (.*) GMT", file.read())[1]
    month, day, clock, year = text.split()
    whole, _, fraction = clock.partition(".")
    time = datetime.datetime.strptime(f"{year} {month} {day} {whole}", "%Y %b %d %H:%M:%S")
    shown.append(time + datetime.timedelta(microseconds=int(fraction.ljust(6, "0"))))
    with open(f"stamp.{at}", "rb") as file:
        stamp = file.read()
    read = decode_timestamp_response(stamp)
    assert verifier.verify_message(read, document)
    assert read.tst_info.accuracy.millis == 1
    client.append(read.tst_info.gen_time.replace(tzinfo=None))
    other.append(rfc3161ng.get_timestamp(rfc3161ng.decode_timestamp_response(stamp).time_stamp_token))
    print(f"OpenSSL {shown[-1].time()}, rfc3161ng {other[-1].time()}, rfc3161-client {client[-1].time()}")

assert shown == sorted(set(shown)) and any(time.microsecond for time in shown)
assert all(abs(one - time) <= datetime.timedelta(microseconds=1) for one, time in zip(other, shown))
assert client == [time.replace(microsecond=0) for time in shown]
print(f"{len(set(shown))} times; rfc3161-client has {len(set(client))}")
assert len(set(client)) < 10
PYTHON
