/** The roles of a module but the sink's: what an author derives from. */

import { Rejection } from "./message.js";

/**
 * What all roles have in common. Settings are there as `this.settings`:
 *
 *     export default class MyMeter extends Parser {
 *       static name = "my-meter";
 *       static version = "0.1.0";
 *       static summary = "Reads my meter";
 *       static settings = settings({ ratio: number({ default: 1 }) });
 *     }
 *
 * One object is made for each distinct set of settings. It is made before the first message and
 * may be thrown away after any: keep nothing between calls in it, nor anywhere else.
 */
export class Module {
  /** What the pipeline set. @type {*} */
  settings;

  /**
   * Called once, when `this.settings` are there: what is costly to prepare belongs here. Throw
   * an `Error` with what is wrong with settings that satisfy the schema.
   */
  prepare() {}
}

/** Accepts or refuses messages before anything reads them. */
export class Validator extends Module {
  /**
   * Judges one message: throw a `Rejection` to refuse it.
   * @param {import("./message.js").Message} message
   */
  validate(message) {}
}

/**
 * Turns the messages of one device family into readings and events.
 *
 * A parser knows the message and its settings and nothing else: what must remember something
 * between messages is a `Detector`.
 */
export class Parser extends Module {
  /**
   * Reads one message. An empty list: nothing in it is of interest. A total's reading comes
   * before its parts. Throw a `Rejection` to refuse the message for good.
   * @param {import("./message.js").Message} message
   * @returns {(import("./item.js").Reading | import("./item.js").Event | import("./item.js").Publication)[]}
   */
  parse(message) {
    return [];
  }

  /**
   * What belongs to a device whose messages come on a topic: `also`, topic filters to subscribe
   * to beside it; `channel`, the one channel that the topic itself names; `ask`, the question
   * that makes it report now.
   * @param {string} topicFilter
   * @returns {{ also?: string[], channel?: string, ask?: import("./item.js").Publication }}
   */
  companions(topicFilter) {
    return {};
  }
}

/**
 * One step of one key. `state` is what its last step kept; `at` is never earlier than then;
 * `retained` says that the broker had kept it: no sign of life, and it dates nothing. `input` is
 * one of
 *
 * - `{ kind: "item", item }`, a `Reading`, `Event` or `Publication`
 * - `{ kind: "message", message }`
 * - `{ kind: "timer" }`, the wake-up that the step before asked for
 * - `{ kind: "deaf-since", since }`: the source could not be heard until this step's time
 * - `{ kind: "reconfigured" }`: the settings differ from the step before
 * - `{ kind: "removed" }`: the last step of this key
 * @typedef {{ key: string, at: number, retained: boolean, state: *, input: * }} Step
 */

/** What a step leads to: `Next.keep(state).wakeAt(step.at + 1000).emit(new Event("x"))`. */
export class Next {
  wake = undefined;
  outputs = [];
  asks = false;
  leftAside = undefined;

  constructor(state) {
    this.state = state;
  }

  /** Remembers what JSON can say. */
  static keep(state) {
    return new Next(state);
  }

  /** Forgets the key. */
  static forget() {
    return new Next(undefined);
  }

  /** Asks to be called then if nothing else arrives. @param {number | undefined} at */
  wakeAt(at) {
    this.wake = at;
    return this;
  }

  /** Emits one more item. */
  emit(item) {
    this.outputs.push(item);
    return this;
  }

  /** Asks the device to report now. */
  ask() {
    this.asks = true;
    return this;
  }

  /** Says why the input was left aside; counted, not a refusal. */
  ignored(code, detail) {
    this.leftAside = new Rejection(code, detail);
    return this;
  }
}

/**
 * Follows each key (a device, or a device's channel) through time.
 *
 * State is kept as compact JSON; count `static stateVersion` up when an old one can no longer be
 * read, and read it in `static migrate(version, state)`.
 */
export class Detector extends Module {
  static stateVersion = 1;

  /**
   * Takes one step of one key; state, outputs and wake-up are committed together.
   * @param {Step} step
   * @returns {Next}
   */
  step(step) {
    return Next.forget();
  }

  /** Makes today's state of one that an older version wrote. */
  static migrate(version, state) {
    throw new Error(
      `${this.name} writes state of version ${this.stateVersion} and cannot read version ${version}`,
    );
  }
}
