/** What goes out: readings, events, publications. */

import { log } from "./log.js";
import { NUMBERS, Measured } from "./quantities.js";

/**
 * What one channel of one device measured at one time.
 *
 * `new Reading("switch:0").power_w(12.5).output_on(true)`; there is a method for each quantity.
 * What is undefined, null or not finite is left out: absent is not zero. A total has a channel
 * that ends in `.total` or `:total`.
 */
export class Reading extends Measured {
  /**
   * @param {string} [channel] empty where a device has only one
   * @param {{ device?: string, at?: number }} [stated] what the device itself states; the time
   *   in milliseconds since the epoch
   */
  constructor(channel = "", { device, at } = {}) {
    super();
    Object.assign(this, { channel, device, at });
    /** @type {{ quantity: number, value: number }[]} */
    this.measurements = [];
  }

  /** Sets a quantity by its name, or one of the module's own. */
  set(quantity, value) {
    return this._set(numberOf(quantity), value);
  }

  /** The value of a quantity, if it was measured. @returns {number | undefined} */
  get(quantity) {
    const number = numberOf(quantity);
    return this.measurements.find((known) => known.quantity === number)?.value;
  }

  /** Whether nothing was measured; such a reading is not worth emitting. */
  get isEmpty() {
    return this.measurements.length === 0;
  }

  _set(quantity, given) {
    if (given === undefined || given === null) return this;
    if (typeof given !== "number" && typeof given !== "boolean") {
      throw new TypeError(`a measurement is a number, not \`${JSON.stringify(given)}\``);
    }
    const value = Number(given);
    if (!Number.isFinite(value)) return this;
    const known = this.measurements.find((known) => known.quantity === quantity);
    if (known) known.value = value;
    else this.measurements.push({ quantity, value });
    return this;
  }
}

function numberOf(quantity) {
  const number = typeof quantity === "string" ? NUMBERS[quantity] : quantity?.number;
  if (number === undefined) {
    throw new Error(`\`${quantity}\` is no quantity; there are ${Object.keys(NUMBERS).join(", ")}`);
  }
  return number;
}

/**
 * Something that happened, in words the business uses: `new Event("door_opened", { door: 3 })`.
 *
 * The data is what JSON can say, and must be an object: the host refuses the input otherwise.
 */
export class Event {
  /**
   * @param {string} kind
   * @param {object} [data]
   * @param {{ device?: string, channel?: string, at?: number }} [about]
   */
  constructor(kind, data = {}, { device, channel = "", at } = {}) {
    Object.assign(this, { kind, device, channel, at });
    /** A JSON object, as text. @type {string} */
    this.data = written(kind, data);
  }

  /** The data, as a sink reads it. */
  read() {
    return JSON.parse(this.data);
  }
}

function written(kind, data) {
  try {
    return JSON.stringify(data) ?? "null";
  } catch (error) {
    log.error(`the data of event \`${kind}\` cannot be written as JSON: ${error.message}`);
    return "null";
  }
}

/** A message to publish, within the topics that the pipeline allows. */
export class Publication {
  /**
   * @param {string} topic
   * @param {Uint8Array | string} payload
   * @param {{ qos?: number, retain?: boolean, broker?: string, properties?: object }} [how]
   *   QoS 1 and not retained where nothing else is said; to the broker that the input came from
   */
  constructor(topic, payload, { qos = 1, retain = false, broker, properties = {} } = {}) {
    Object.assign(this, { topic, payload, qos, retain, broker, properties });
  }
}
