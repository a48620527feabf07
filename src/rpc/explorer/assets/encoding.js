// Bytes, hashes and headers: docs/protocol.md, read and computed in the browser.

import { sha256 } from "./sha256.js";

export function fromHex(hex) {
  if (hex.length % 2 !== 0 || /[^0-9a-f]/i.test(hex)) throw new Error("not hexadecimal digits");
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = parseInt(hex.substr(2 * i, 2), 16);
  return bytes;
}

export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A hash as text: its bytes in reverse, as Bitcoin shows them. */
export const showHash = (bytes) => toHex(Uint8Array.from(bytes).reverse());

/** The bytes of a hash that is given as text. */
export function readHash(text) {
  if (typeof text !== "string" || !/^[0-9a-f]{64}$/.test(text)) throw new Error(`not a hash: ${String(text).slice(0, 70)}`);
  return fromHex(text).reverse();
}

/** H of docs/protocol.md: SHA-256 of SHA-256. */
export const hash = async (bytes) => sha256(await sha256(bytes));

export function join(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** The fields of an 80-byte header; hashes as bytes. */
function readHeader(bytes) {
  if (bytes.length !== 80) throw new Error(`a header has 80 bytes, this one ${bytes.length}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, 80);
  return {
    bytes,
    version: view.getInt32(0, true),
    previous: bytes.slice(4, 36),
    merkleRoot: bytes.slice(36, 68),
    time: view.getUint32(68, true),
    bits: view.getUint32(72, true),
    nonce: view.getUint32(76, true),
  };
}

/** Headers that stand one after the other. */
export function readHeaders(hex) {
  const bytes = fromHex(hex);
  if (bytes.length % 80 !== 0) throw new Error("headers have 80 bytes each");
  return Array.from({ length: bytes.length / 80 }, (_, i) => readHeader(bytes.slice(80 * i, 80 * i + 80)));
}

/** What a hash must not exceed, as Bitcoin's SetCompact reads it; 0 where bits are not a target. */
export function targetOf(bits) {
  const size = BigInt(bits >>> 24);
  const mantissa = BigInt(bits & 0x7fffff);
  if (bits & 0x800000) return 0n;
  const target = size <= 3n ? mantissa >> (8n * (3n - size)) : mantissa << (8n * (size - 3n));
  return target >> 256n === 0n ? target : 0n;
}

/** Hashes that meeting a target takes on average. */
export const workOf = (target) => (1n << 256n) / (target + 1n);

/** A target's difficulty, as a multiple of Bitcoin's difficulty 1. */
export const difficultyOf = (target) => Number(0xffffn << 208n) / Number(target);

/** A hash as a number: its bytes are little-endian. */
export const numberOf = (bytes) => BigInt(`0x${showHash(bytes)}`);

export const showTarget = (target) => target.toString(16).padStart(64, "0");

/** Whether a text has the form of a block's hash or a transaction's id. */
export const isHash = (text) => /^[0-9a-fA-F]{64}$/.test(text);
