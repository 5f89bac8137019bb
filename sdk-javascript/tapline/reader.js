/**
 * JSON by the rules and in the words of the Rust SDK, for payloads that are refused.
 *
 * `JSON.parse` is fast, but says in its own way what is wrong. What it refuses, or a shape does,
 * is read once more by this reader, which stops at the same byte with the same words as
 * serde_json does. Neighbours: `shape` says what is wanted.
 */

import { Fields, Mapping, Maybe, Mismatch, Sequence, Shape, integer } from "./shape.js";

const ESCAPED = { 34: '"', 92: "\\", 47: "/", 98: "\b", 102: "\f", 110: "\n", 114: "\r", 116: "\t" };
const NEAR = 12;
const DEPTH = 128;
const CONTROL = "control character (\\u0000-\\u001F) found while parsing a string";

/** `code` and `detail` of the rejection. */
export class Refused extends Error {
  constructor(code, detail) {
    super(detail);
    Object.assign(this, { code, detail });
  }
}

/** A whole number as it was written, which may be larger than a number can say. */
class Whole {
  constructor(value) {
    this.value = value;
  }
}

/** A value that nobody asked for. */
const PASSED = new Shape();
const INTEGER = integer().expected;
const digit = (byte) => byte >= 48 && byte <= 57;

export class Reader {
  /** @param {Uint8Array} payload */
  constructor(payload) {
    Object.assign(this, { payload, at: 0, depth: 0 });
  }

  /** The payload's one value. @param {Shape} shape */
  whole(shape) {
    const value = this.value(shape);
    if (this.next() !== undefined) this.broken("trailing characters", 1);
    return value;
  }

  // What is wrong, and where: `ahead` is 1 where the next byte is to blame.

  broken(what, ahead = 0) {
    throw this.refused("not-json", what, Math.min(this.at + ahead, this.payload.length));
  }

  unlike(what) {
    throw this.refused("wrong-shape", what, this.at);
  }

  refused(code, what, at) {
    const { payload } = this;
    let [line, start] = [1, 0];
    for (let index = 0; index < at; index++) if (payload[index] === 10) [line, start] = [line + 1, index + 1];
    let end = payload.indexOf(10, start);
    if (end < 0) end = payload.length;
    const bytes = payload.subarray(start, end);
    const column = at - start;
    const middle = Math.min(Math.max(column - 1, 0), bytes.length);
    const shown = bytes.subarray(Math.max(middle - NEAR, 0), middle + NEAR);
    const lossy = new TextDecoder("utf-8", { ignoreBOM: true }).decode(shown);
    const near = shown.length ? `, near \`${escaped(lossy, true)}\`` : "";
    return new Refused(code, `${what} at line ${line} column ${column}${near}`);
  }

  // Bytes.

  /** The next byte that is no space; undefined at the end. */
  next() {
    for (; this.at < this.payload.length; this.at++) {
      const byte = this.payload[this.at];
      if (byte !== 32 && byte !== 10 && byte !== 9 && byte !== 13) return byte;
    }
    return undefined;
  }

  // Values.

  value(shape) {
    const byte = this.next();
    if (byte === undefined) this.broken("EOF while parsing a value", 1);
    if (shape instanceof Maybe) {
      if (byte === 110) return this.word("null", undefined);
      return this.value(shape.inner);
    }
    if (byte === 110) return this.fit(shape, this.word("null", null), "null");
    if (byte === 116) return this.fit(shape, this.word("true", true), "boolean `true`");
    if (byte === 102) return this.fit(shape, this.word("false", false), "boolean `false`");
    if (byte === 45 || digit(byte)) {
      const value = this.number(shape === PASSED);
      if (value instanceof Whole) {
        const kind = shape.expected === INTEGER ? "value" : "type";
        return this.fit(shape, Number(value.value), `integer \`${value.value}\``, kind);
      }
      if (shape.expected === INTEGER) this.misfit(shape, `floating point \`${decimal(value)}\``);
      return this.fit(shape, value, `floating point \`${decimal(value)}\``);
    }
    if (byte === 34) {
      this.at += 1;
      const value = this.string(shape === PASSED);
      return this.fit(shape, value, `string "${escaped(value, false)}"`);
    }
    if (byte === 91) return this.list(shape);
    if (byte === 123) return this.object(shape);
    return this.broken("expected value", 1);
  }

  fit(shape, value, what, kind = "type") {
    try {
      return shape.take(value);
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      return this.misfit(shape, what, kind);
    }
  }

  misfit(shape, what, kind = "type") {
    return this.unlike(`invalid ${kind}: ${what}, expected ${shape.expected}`);
  }

  word(word, value) {
    for (const character of word) {
      if (this.at === this.payload.length) this.broken("EOF while parsing a value");
      if (this.payload[this.at++] !== character.charCodeAt(0)) this.broken("expected ident");
    }
    return value;
  }

  number(passed) {
    const start = this.at;
    const peek = () => this.payload[this.at];
    if (peek() === 45) this.at += 1;
    if (peek() === undefined) this.broken("EOF while parsing a value");
    const first = this.payload[this.at++];
    if (first === 48) {
      if (digit(peek())) this.broken("invalid number", 1);
    } else if (digit(first)) {
      this.digits();
    } else {
      this.broken("invalid number");
    }
    let whole = true;
    if (peek() === 46) {
      whole = false;
      this.at += 1;
      if (!this.digits()) {
        const ended = peek() === undefined && !passed;
        this.broken(ended ? "EOF while parsing a value" : "invalid number", 1);
      }
    }
    if (peek() === 101 || peek() === 69) {
      whole = false;
      this.at += 1;
      if (peek() === 43 || peek() === 45) this.at += 1;
      if (peek() === undefined && !passed) this.broken("EOF while parsing a value");
      if (!this.digits()) {
        this.at += 1;
        this.broken("invalid number");
      }
    }
    const text = String.fromCharCode(...this.payload.subarray(start, this.at));
    if (whole && text !== "-0" && text.length < 21) {
      const value = BigInt(text);
      if (value >= -(1n << 63n) && value < 1n << 64n) return new Whole(value);
    }
    const value = Number(text);
    if (!Number.isFinite(value) && !passed) this.broken("number out of range");
    return value;
  }

  digits() {
    const start = this.at;
    while (digit(this.payload[this.at])) this.at += 1;
    return this.at > start;
  }

  /** What follows an opening quote, with the closing one. */
  string(passed) {
    const bytes = [];
    for (;;) {
      const byte = this.payload[this.at];
      if (byte === undefined) this.broken("EOF while parsing a string");
      if (byte < 32) {
        this.at += passed ? 0 : 1;
        this.broken(CONTROL);
      }
      this.at += 1;
      if (byte === 34) break;
      if (byte === 92) bytes.push(...this.escape(passed));
      else bytes.push(byte);
    }
    try {
      return new TextDecoder("utf-8", { fatal: !passed, ignoreBOM: true }).decode(new Uint8Array(bytes));
    } catch {
      this.at -= bytes.length - sound(bytes);
      return this.broken("invalid unicode code point");
    }
  }

  byte() {
    if (this.at >= this.payload.length) this.broken("EOF while parsing a string");
    return this.payload[this.at++];
  }

  escape(passed) {
    const byte = this.byte();
    if (ESCAPED[byte] !== undefined) return [ESCAPED[byte].charCodeAt(0)];
    if (byte !== 117) this.broken("invalid escape");
    const first = this.hex();
    if (passed) return [];
    const encode = (code) => new TextEncoder().encode(String.fromCodePoint(code));
    if (first >= 0xdc00 && first <= 0xdfff) this.broken("lone leading surrogate in hex escape");
    if (first < 0xd800 || first > 0xdbff) return encode(first);
    for (const wanted of [92, 117]) {
      if (this.byte() !== wanted) this.broken("unexpected end of hex escape");
    }
    const second = this.hex();
    if (second < 0xdc00 || second > 0xdfff) this.broken("lone leading surrogate in hex escape");
    return encode(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
  }

  hex() {
    const digits = this.payload.subarray(this.at, this.at + 4);
    this.at += digits.length;
    if (digits.length < 4) this.broken("EOF while parsing a string");
    const text = String.fromCharCode(...digits);
    if (!/^[0-9a-fA-F]{4}$/.test(text)) this.broken("invalid escape");
    return Number.parseInt(text, 16);
  }

  enter(passed) {
    this.depth += passed ? 0 : 1;
    if (this.depth >= DEPTH) this.broken("recursion limit exceeded", 1);
    this.at += 1;
  }

  list(shape) {
    const passed = shape === PASSED;
    const open = passed || shape.constructor === Shape;
    if (!open && !(shape instanceof Sequence)) this.misfit(shape, "sequence");
    const inner = open ? shape : shape.inner;
    this.enter(passed);
    const values = [];
    for (;;) {
      const byte = this.next();
      if (byte === undefined) this.broken("EOF while parsing a list", 1);
      if (byte === 93) break;
      if (values.length) {
        if (byte !== 44) this.broken("expected `,` or `]`", 1);
        this.at += 1;
        if (this.next() === 93 && !passed) this.broken("trailing comma", 1);
      }
      values.push(this.value(inner));
    }
    this.at += 1;
    this.depth -= passed ? 0 : 1;
    return values;
  }

  object(shape) {
    const passed = shape === PASSED;
    const open = passed || shape.constructor === Shape;
    const known = shape instanceof Fields;
    if (!open && !known && !(shape instanceof Mapping)) this.misfit(shape, "map");
    this.enter(passed);
    const values = new Map();
    for (let first = true; ; first = false) {
      let byte = this.next();
      if (byte === undefined) this.broken("EOF while parsing an object", 1);
      if (byte === 125) break;
      if (!first) {
        if (byte !== 44) this.broken("expected `,` or `}`", 1);
        this.at += 1;
        byte = this.next();
        if (byte === undefined) this.broken(`EOF while parsing ${passed ? "an object" : "a value"}`, 1);
        if (byte === 125 && !passed) this.broken("trailing comma", 1);
      }
      if (byte !== 34) this.broken("key must be a string", 1);
      this.at += 1;
      const key = this.string(passed);
      if (known && values.has(key)) this.unlike(`duplicate field \`${key}\``);
      const colon = this.next();
      if (colon === undefined) this.broken("EOF while parsing an object", 1);
      if (colon !== 58) this.broken("expected `:`", 1);
      this.at += 1;
      const asked = !known || Object.hasOwn(shape.fields, key);
      const inner = !asked ? PASSED : known ? shape.fields[key] : open ? shape : shape.inner;
      const value = this.value(inner);
      if (asked) values.set(key, value);
    }
    this.at += 1;
    this.depth -= passed ? 0 : 1;
    if (!known) return Object.fromEntries(values);
    const taken = {};
    for (const [key, field] of shape.entries) {
      if (!values.has(key) && !field.optional) this.unlike(`missing field \`${key}\``);
      taken[key] = values.has(key) ? values.get(key) : field.default;
    }
    return taken;
  }
}

/** As serde_json writes it: with a point, or an exponent where it is large or small. */
function decimal(value) {
  if (Object.is(value, -0)) return "-0.0";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e16 || size < 1e-5)) return value.toExponential();
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

// The component's engine knows no Unicode properties: controls, spaces but the common one, marks
// that are not seen, what is private or half a character.
const UNSEEN =
  /[\0-\x1f\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\uf8ff\ufeff\ufff0-\ufffb\ufffe\uffff]/u;
const NAMED = { "\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", '"': '\\"', "\0": "\\0" };

/** As Rust's `escape_debug` writes it. */
function escaped(text, quotes) {
  let shown = "";
  for (const character of text) {
    if (NAMED[character]) shown += NAMED[character];
    else if (character === "'" && quotes) shown += "\\'";
    else if (!UNSEEN.test(character)) shown += character;
    else shown += `\\u{${character.codePointAt(0).toString(16)}}`;
  }
  return shown;
}

/** How many bytes come before the first that is no UTF-8. */
function sound(bytes) {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(bytes));
  let count = 0;
  for (const letter of text) {
    // What replaces a wrong byte may also have been sent.
    if (letter === "\ufffd" && bytes[count] !== 0xef) break;
    count += new TextEncoder().encode(letter).length;
  }
  return count;
}
