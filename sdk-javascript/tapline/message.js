/** What comes in: a message, and why one is refused. */

import { Reader, Refused } from "./reader.js";
import { Mismatch, any } from "./shape.js";

/**
 * Why one input is refused for good: throw it. The input goes to the dead letters.
 */
export class Rejection extends Error {
  /**
   * @param {string} code a stable word to count by, e.g. `not-json`
   * @param {string} detail one sentence for a person, with the offending value
   */
  constructor(code, detail) {
    super(`${code}: ${detail}`);
    this.code = code;
    this.detail = detail;
  }
}

const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const ANYTHING = any();

/**
 * MQTT 5 properties of a message; all empty on MQTT 3.1.1.
 * @typedef {object} Properties
 * @property {boolean} [payloadIsText]
 * @property {number} [messageExpiry] seconds for which the message is of use
 * @property {string} [contentType]
 * @property {string} [responseTopic]
 * @property {Uint8Array} [correlationData]
 * @property {number[]} subscriptionIdentifiers
 * @property {[string, string][]} user
 */

/** One message as it came in. */
export class Message {
  constructor(given) {
    /** Name of the broker, route or schedule it came from. @type {string} */
    this.source = given.source ?? "";
    /** @type {string} */
    this.topic = given.topic;
    /** @type {Uint8Array} */
    this.payload = given.payload;
    /** Milliseconds since the epoch. @type {number} */
    this.receivedAt = Number(given.receivedAt ?? 0);
    /** @type {number} */
    this.qos = given.qos ?? 0;
    /** Kept by the broker and sent on subscribing, so possibly old. @type {boolean} */
    this.retained = given.retained ?? false;
    /** The device that the registry binds to this topic. @type {string | undefined} */
    this.device = given.device;
    /** @type {Properties} */
    this.properties = given.properties;
  }

  /** The payload as text; refuses with `not-utf8`, naming the first byte that is wrong. */
  text() {
    try {
      return STRICT.decode(this.payload);
    } catch {
      const at = validUpTo(this.payload);
      const byte = this.payload[at].toString(16).padStart(2, "0");
      throw new Rejection("not-utf8", `byte 0x${byte} at offset ${at} is not UTF-8`);
    }
  }

  /**
   * The payload read from JSON: any value, or one of a shape.
   *
   * Refuses with `not-json` where the payload is no JSON at all and with `wrong-shape` where it
   * is JSON of another shape; both name line and column.
   * @param {import("./shape.js").Shape} [shape]
   */
  json(shape = ANYTHING) {
    try {
      const text = STRICT.decode(this.payload);
      if (isSimple(text)) return shape.take(JSON.parse(text));
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof Mismatch || error instanceof TypeError)) throw error;
    }
    // The reader is slower and knows all the rules; it has the last word.
    try {
      return new Reader(this.payload).whole(shape);
    } catch (error) {
      throw error instanceof Refused ? new Rejection(error.code, error.detail) : error;
    }
  }
}

/** Whether JavaScript's own reader takes the same as others: no half characters, no depth. */
function isSimple(text) {
  if (text.includes("\\u")) return false;
  let depth = 0;
  for (let at = text.indexOf("["); at >= 0; at = text.indexOf("[", at + 1)) depth += 1;
  for (let at = text.indexOf("{"); at >= 0; at = text.indexOf("{", at + 1)) depth += 1;
  return depth <= 127;
}

/** How many bytes are UTF-8: up to where the first wrong character begins. */
function validUpTo(bytes) {
  let at = 0;
  while (at < bytes.length) {
    const first = bytes[at];
    const length = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      STRICT.decode(bytes.subarray(at, at + length));
    } catch {
      return at;
    }
    at += length;
  }
  return at;
}
