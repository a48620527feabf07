#!/usr/bin/env bash
# WebRTC with audio and a data channel, where the other side does not want the audio, in Python's aiortc.
#
# aiortc 1.16.0 (aioice 0.13.0). By RFC 3264 (section 6) and RFC 9429 (5.3.1) a medium is rejected with port 0, and nothing more
# has to be said of it, neither ICE credentials nor a fingerprint. No network: descriptions are applied, in memory.
#
# Expected: the answer is taken; the data channel goes on without the audio. So is an offer that has a rejected medium, which
#           browsers keep in its place for the rest of the session.
# Seen:     aiortc refuses both, "ICE username fragment or password is missing". When the rejected audio has credentials that
#           is not used, an answer fails for the lack of a DTLS role (an AttributeError), and an offer for RTCP that is not
#           multiplexed. So a peer that says no to audio loses the data channel, too, and a session that once had audio cannot be
#           changed any more.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check aiortc==1.16.0 aioice==0.13.0
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import asyncio
import re

import aioice.ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
REJECTED = ["m=audio 0 UDP/TLS/RTP/SAVPF 0", "c=IN IP4 0.0.0.0", "a=inactive"]
CREDENTIALS = ["a=ice-ufrag:abcd", "a=ice-pwd:0123456789abcdef012345"]


def reject_audio(sdp, more):
    """The same description with its audio rejected, so that it keeps its place and its name."""
    head, *media = re.split("(?=^m=)", sdp, flags=re.MULTILINE)
    names = [re.search("a=mid:(.*)\r", medium)[1] for medium in media]
    audio = [medium.startswith("m=audio") for medium in media]
    bundled = " ".join(name for name, is_audio in zip(names, audio) if not is_audio)
    head = re.sub("a=group:BUNDLE .*\r", f"a=group:BUNDLE {bundled}\r", head)
    rejected = ["\r\n".join([*REJECTED, f"a=mid:{name}", *more]) + "\r\n" for name in names]
    return head + "".join(rejected[at] if audio[at] else media[at] for at in range(len(media)))


async def apply(kind, change):
    """What aiortc says of an answer, or of an offer, that was changed."""
    here, there = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
    here.createDataChannel("chat")
    here.addTransceiver("audio")
    await here.setLocalDescription(await here.createOffer())
    offer = here.localDescription.sdp
    try:
        await there.setRemoteDescription(RTCSessionDescription(change(offer) if kind == "offer" else offer, "offer"))
        if kind == "answer":
            await there.setLocalDescription(await there.createAnswer())
            await here.setRemoteDescription(RTCSessionDescription(change(there.localDescription.sdp), "answer"))
        return "taken"
    except (ValueError, AttributeError) as error:
        return str(error)
    finally:
        await here.close()
        await there.close()


MISSING = "ICE username fragment or password is missing"
LATER = {"answer": "'NoneType' object has no attribute 'role'", "offer": "RTCP mux is not enabled"}
for kind in LATER:
    for name, change, expected in [
        ("as it is", lambda sdp: sdp, "taken"),
        ("audio rejected", lambda sdp: reject_audio(sdp, []), MISSING),
        ("audio rejected, with credentials", lambda sdp: reject_audio(sdp, CREDENTIALS), LATER[kind]),
    ]:
        seen = asyncio.run(apply(kind, change))
        print(f"{kind}, {name}: {seen}")
        assert seen == expected
PYTHON
