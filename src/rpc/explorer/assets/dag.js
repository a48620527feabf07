// Blocks of content: what a CID says of one, and the links of a dag-pb node (https://ipld.io/specs/codecs/dag-pb/spec/).

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const KINDS = new Map([[0x55, "raw bytes"], [0x70, "file or directory"], [0xb0, "header of a block of the chain"]]);

/** The kind of a block that is a file's bytes and nothing else. */
export const READABLE = KINDS.get(0x55);

/** A CID as text in base32. One of version 0 is shown as what it is in version 1. */
export function showCid(bytes) {
  const whole = bytes[0] === 0x12 ? [1, 0x70, ...bytes] : [...bytes];
  let text = "b";
  let bits = 0;
  let held = 0;
  for (const byte of whole) {
    held = ((held << 8) | byte) & 0xfff;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(held >> (bits - 5)) & 31];
  }
  return bits > 0 ? text + ALPHABET[(held << (5 - bits)) & 31] : text;
}

/** The codec that a CID in base32 names; that of version 0 for others. */
function codecOf(cid) {
  if (!/^b[a-z2-7]{8,}$/.test(cid)) return 0x70;
  let held = 0;
  for (const digit of cid.slice(1, 9)) held = held * 32 + ALPHABET.indexOf(digit);
  // The first byte is the version; the second and third are the codec, low seven bits first.
  const [second, third] = [(held / 2 ** 24) & 0xff, (held / 2 ** 16) & 0xff];
  return second < 0x80 ? second : (second & 0x7f) | (third << 7);
}

/** Fields of a protobuf message: `[number, value]`, bytes or a number. */
function fields(bytes) {
  const found = [];
  let at = 0;
  const number = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at];
      if (byte === undefined || shift > 2 ** 49) throw new Error("the node breaks off");
      at += 1;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const head = number();
    if (head % 8 === 0) {
      found.push([Math.floor(head / 8), number()]);
    } else if (head % 8 === 2) {
      const length = number();
      if (length > bytes.length - at) throw new Error("the node breaks off");
      found.push([Math.floor(head / 8), bytes.subarray(at, at + length)]);
      at += length;
    } else {
      throw new Error("not a node of dag-pb");
    }
  }
  return found;
}

/** What a block is, its bytes, and its links: `{name, cid, size}`. */
export function linksOf(cid, bytes) {
  const codec = codecOf(cid);
  const kind = KINDS.get(codec) ?? `codec 0x${codec.toString(16)}`;
  if (codec !== 0x70) return { kind, size: bytes.length, links: [] };
  const links = fields(bytes).filter(([number]) => number === 2).map(([, link]) => {
    const parts = new Map(fields(link));
    return { name: new TextDecoder().decode(parts.get(2) ?? new Uint8Array()), cid: showCid(parts.get(1) ?? new Uint8Array()), size: parts.get(3) ?? 0 };
  });
  return { kind, size: bytes.length, links };
}
