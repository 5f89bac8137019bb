/** The sink's role, and what passes between it and the host. */

import { Rejection } from "./message.js";
import { Module } from "./roles.js";

/** What to send. The path lies below the endpoint's base URL and starts with `/`. */
export class Request {
  headers = [];
  body = [];

  constructor(path, method = "POST") {
    Object.assign(this, { path, method });
  }

  /** Adds a header. */
  header(name, value) {
    this.headers.push([name, value]);
    return this;
  }

  /** Adds to the body. @param {Uint8Array | string} body */
  bytes(body) {
    const val = typeof body === "string" ? new TextEncoder().encode(body) : body;
    this.body.push({ tag: "bytes", val });
    return this;
  }

  /**
   * Adds a secret of the endpoint to the body; the sink never sees it.
   * @param {string} name
   * @param {"raw" | "json-string" | "url-component"} [escaping]
   */
  secret(name, escaping = "raw") {
    this.body.push({ tag: "secret", val: { name, escaping } });
    return this;
  }

  /** Adds a value as JSON, and says so in `Content-Type`. */
  json(value) {
    return this.header("content-type", "application/json").bytes(JSON.stringify(value));
  }
}

// A mark at the beginning belongs to the text, as everywhere else.
const LOSSY = new TextDecoder("utf-8", { ignoreBOM: true });
const STRICT = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** What the other side answered. */
export class Response {
  constructor({ status, headers, body }) {
    Object.assign(this, { status, headers, body });
  }

  /** The value of a header, whatever the case of its name. */
  header(name) {
    return this.headers.find(([known]) => known.toLowerCase() === name.toLowerCase())?.[1];
  }

  /** The body as text for a person, at most 200 characters of it. */
  text() {
    const text = LOSSY.decode(this.body.subarray(0, 800));
    return [...text].slice(0, 200).join("");
  }

  /** The body read from JSON; throws where it is none. */
  json() {
    return JSON.parse(STRICT.decode(this.body));
  }
}

/** The answer of `Sink.encode`: exchanges, or what must come before them. */
export class Encoding {
  preparation = undefined;
  exchanges = [];
  refused = [];

  /** Asks for a request (a login) before any delivery. */
  static prepare(request) {
    return Object.assign(new Encoding(), { preparation: request });
  }

  /** Adds a request that carries the deliveries at these indices. */
  exchange(indices, request) {
    this.exchanges.push([indices, request]);
  }

  /** Says that the delivery at an index can never be expressed. */
  refuse(index, code, detail) {
    this.refused.push([index, new Rejection(code, detail)]);
  }
}

/** What became of one delivery. */
export const Verdict = {
  delivered: () => ({ tag: "delivered" }),
  /** The other side had it already. */
  duplicate: () => ({ tag: "duplicate" }),
  /** Again, not before this many milliseconds; 0 leaves it to the host. */
  retry: (afterMs = 0) => ({ tag: "retry", val: afterMs }),
  /** Refused for good: to the dead letters. */
  rejected: (code, detail) => ({ tag: "rejected", val: { code, detail } }),
};

/** The answer of `Sink.conclude`; made by one of its static methods. */
export class Conclusion {
  session = undefined;
  outputs = [];

  constructor(outcome) {
    this.outcome = outcome;
  }

  /** One verdict per delivery of the exchange, in order. */
  static verdicts(verdicts) {
    return new Conclusion({ tag: "verdicts", val: verdicts });
  }

  /** The request of `Encoding.prepare` succeeded. */
  static prepared() {
    return new Conclusion({ tag: "prepared" });
  }

  /** Refused as a whole, nothing took effect; the host sends halves. */
  static split(code, detail) {
    return new Conclusion({ tag: "split", val: { code, detail } });
  }

  /** Nothing took effect: all again, not before this many milliseconds. */
  static retry(afterMs = 0) {
    return new Conclusion({ tag: "retry", val: afterMs });
  }

  /** Nothing will be accepted until a person acts. */
  static pause(reason) {
    return new Conclusion({ tag: "pause", val: reason });
  }

  /** Remembers bytes for the next call; nothing secret. @param {Uint8Array} session */
  remember(session) {
    this.session = session;
    return this;
  }

  /** Emits one more item. */
  emit(item) {
    this.outputs.push(item);
    return this;
  }
}

/**
 * Speaks the protocol of one outside system.
 *
 * The sink writes requests and judges answers; the host sends, with the base URL and the
 * credentials of the endpoint, keeps what is not delivered, and retries.
 *
 * A delivery has `id` (the same on every attempt), `bridge`, `replayed`, `key`, `seq`, `at`,
 * `device` (`id`, `name`, `labels`), `origin`, and `item` or `message`.
 */
export class Sink extends Module {
  /**
   * Writes the requests that carry the deliveries, or the one that must come before.
   * @param {Uint8Array | undefined} session
   * @param {object[]} deliveries
   * @returns {Encoding}
   */
  encode(session, deliveries) {
    return new Encoding();
  }

  /**
   * Judges the answer to one request; there are no deliveries after a preparation.
   * @param {Uint8Array | undefined} session
   * @param {object[]} deliveries
   * @param {Response} response
   * @returns {Conclusion}
   */
  conclude(session, deliveries, response) {
    return Conclusion.retry();
  }
}
