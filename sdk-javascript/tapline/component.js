/**
 * What stands between an author's class and the exports of the component.
 *
 * Invariant: an author's code sees one input at a time and the types of this package; batches,
 * numbers of settings and the contract's own shapes stay in here.
 */

import { words, keepSources } from "./fault.js";
import { moduleClass, settingsShape } from "./found.js";
import { Event, Publication, Reading } from "./item.js";
import { log } from "./log.js";
import { Message, Rejection } from "./message.js";
import { Next } from "./roles.js";
import { Mismatch } from "./shape.js";
import { Response } from "./sink.js";

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder();

/** The interfaces that the component exports, by their names. */
export function exports(file, role, sources) {
  keepSources(sources);
  const found = moduleClass(file, role);
  const shape = settingsShape(found);
  /** One object of the author's class for each set of settings. */
  const objects = new Map();
  const roles = { validator, parser, detector, sink };
  return {
    module: loud(module(found, shape, objects)),
    [role]: loud(roles[role](found, objects)),
  };
}

/** Says what failed and where before the call ends; the host shows the last words. */
function loud(functions) {
  const wrapped = {};
  for (const [name, call] of Object.entries(functions)) {
    wrapped[name] = (...given) => {
      try {
        return call(...given);
      } catch (error) {
        if (!(error instanceof Refusal)) log.error(words(error));
        throw error;
      }
    };
  }
  return wrapped;
}

/** The `err` of a function whose result may be one. */
class Refusal extends Error {
  constructor(payload) {
    super(payload);
    this.payload = payload;
  }
}

function module(found, shape, objects) {
  return {
    describe: () => ({
      name: found.name,
      version: found.version,
      summary: found.summary,
      settingsSchema: JSON.stringify({
        $schema: "https://json-schema.org/draft/2020-12/schema",
        ...shape.schema(),
      }),
      quantities: found.quantities ?? [],
      stateVersion: found.stateVersion ?? 0,
    }),
    configure: (id, text) => {
      const made = new found();
      try {
        made.settings = shape.take(JSON.parse(text));
        made.prepare();
      } catch (error) {
        if (error instanceof Mismatch) throw new Refusal("the settings have another shape than the schema");
        throw error.constructor === Error ? new Refusal(error.message) : error;
      }
      objects.set(id, made);
    },
    forget: (id) => void objects.delete(id),
  };
}

/** One result per input, in order; a rejection costs the input that caused it. */
function each(batch, judge) {
  return batch.map((input) => {
    try {
      return { tag: "ok", val: judge(input) };
    } catch (error) {
      if (!(error instanceof Rejection)) throw error;
      return { tag: "err", val: rejection(error) };
    }
  });
}

function rejection({ code, detail }) {
  return { code: String(code), detail: String(detail) };
}

function time(at) {
  return at === undefined || at === null ? undefined : BigInt(at);
}

const NO_PROPERTIES = { subscriptionIdentifiers: [], user: [] };

function publication({ broker, topic, payload, qos, retain, properties }) {
  const bytes = typeof payload === "string" ? ENCODER.encode(payload) : payload;
  return { broker, topic, payload: bytes, qos, retain, properties: { ...NO_PROPERTIES, ...properties } };
}

/** An item on its way out. */
function out(item) {
  if (item instanceof Reading) {
    const { device, channel, at, measurements } = item;
    return { tag: "reading", val: { device, channel, at: time(at), measurements } };
  }
  if (item instanceof Event) {
    const { kind, device, channel, at, data } = item;
    return { tag: "event", val: { kind, device, channel, at: time(at), data } };
  }
  if (item instanceof Publication) return { tag: "publication", val: publication(item) };
  throw new TypeError(`${JSON.stringify(item)} is no Reading, Event or Publication`);
}

function items(given) {
  if (!Array.isArray(given)) throw new TypeError(`a list of items was expected, not ${JSON.stringify(given)}`);
  return given.map(out);
}

function stated(given) {
  return { device: given.device, channel: given.channel, at: given.at === undefined ? undefined : Number(given.at) };
}

/** An item as it came in. */
function taken({ tag, val }) {
  if (tag === "reading") {
    return Object.assign(new Reading(val.channel, stated(val)), { measurements: val.measurements });
  }
  if (tag === "event") return Object.assign(new Event(val.kind, {}, stated(val)), { data: val.data });
  return new Publication(val.topic, val.payload, val);
}

function validator(found, objects) {
  return {
    validate: (batch) =>
      each(batch, ({ settings, message }) => void objects.get(settings).validate(new Message(message))),
  };
}

function parser(found, objects) {
  return {
    parse: (batch) =>
      each(batch, ({ settings, message }) => items(objects.get(settings).parse(new Message(message)))),
    companionsOf: (settings, topicFilter) => {
      const { also = [], channel, ask } = objects.get(settings).companions(topicFilter) ?? {};
      return { also, channel, ask: ask && publication(ask) };
    },
  };
}

const INPUTS = {
  item: (item) => ({ kind: "item", item: taken(item) }),
  message: (message) => ({ kind: "message", message: new Message(message) }),
  timer: () => ({ kind: "timer" }),
  "deaf-since": (since) => ({ kind: "deaf-since", since: Number(since) }),
  reconfigured: () => ({ kind: "reconfigured" }),
  removed: () => ({ kind: "removed" }),
};

function detector(found, objects) {
  const read = (state) => {
    try {
      return JSON.parse(DECODER.decode(state));
    } catch {
      throw new Rejection("state-unreadable", `${state.length} bytes of state are no JSON`);
    }
  };
  const written = (state) => ENCODER.encode(JSON.stringify(state));
  const step = (keyed) => {
    const { tag, val } = keyed.input;
    const next = objects.get(keyed.settings).step({
      key: keyed.key,
      at: Number(keyed.at),
      retained: keyed.retained,
      state: keyed.state && read(keyed.state),
      input: INPUTS[tag](val),
    });
    if (!(next instanceof Next)) throw new TypeError("`step` must return a Next");
    const { state, wake, outputs, asks, leftAside } = next;
    return {
      state: state === undefined || state === null ? undefined : written(state),
      wakeAt: time(wake),
      outputs: items(outputs),
      ask: asks,
      ignored: leftAside && rejection(leftAside),
    };
  };
  return {
    detect: (batch) => each(batch, step),
    migrate: (version, state) => {
      try {
        return written(found.migrate(version, read(state)));
      } catch (error) {
        throw new Refusal(error.message);
      }
    },
  };
}

function sink(found, objects) {
  const deliveries = (given) =>
    given.map(({ seq, at, origin, content, ...same }) => ({
      ...same,
      seq: Number(seq),
      at: Number(at),
      origin: origin && { ...origin, receivedAt: Number(origin.receivedAt) },
      item: content.tag === "item" ? taken(content.val) : undefined,
      message: content.tag === "message" ? new Message(content.val) : undefined,
    }));
  const request = ({ method, path, headers, body }) => ({ method, path, headers, body });
  return {
    encode: (settings, session, given) => {
      const encoding = objects.get(settings).encode(session, deliveries(given));
      const { preparation, exchanges, refused } = encoding;
      return {
        plan: preparation
          ? { tag: "prepare", val: request(preparation) }
          : { tag: "exchanges", val: exchanges.map(([indices, sent]) => [indices, request(sent)]) },
        refused: refused.map(([index, why]) => [index, rejection(why)]),
      };
    },
    conclude: (settings, session, given, response) => {
      const concluded = objects.get(settings).conclude(session, deliveries(given), new Response(response));
      const { outcome, session: remembered, outputs } = concluded;
      return { outcome, session: remembered, outputs: items(outputs) };
    },
  };
}
