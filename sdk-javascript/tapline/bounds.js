/** What a module does not have, in words: where code reaches for it, the component would
 * otherwise end without any, or give other results from one time to the next. */

import { log } from "./log.js";

function without(what) {
  return () => {
    throw new Error(what);
  };
}

/** Before the author's code is read. */
export function setUp() {
  const clock = without("a module has no clock: the host passes the time in (`message.receivedAt`)");
  const RealDate = Date;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, given) => (given.length ? new target(...given) : clock()),
    apply: clock,
    get: (target, name) => (name === "now" ? clock : Reflect.get(target, name)),
  });
  Math.random = without("a module has no randomness");
  for (const name of ["setTimeout", "setInterval", "setImmediate"]) {
    globalThis[name] = without("a module has no timers: a detector asks to be woken (`wakeAt`)");
  }
  globalThis.fetch = without("a module has no network: a sink says what to send");
  globalThis.performance = { now: clock };
  const line = (write) => (...what) => write(what.map(shown).join(" "));
  globalThis.console = {
    ...globalThis.console,
    debug: line(log.debug),
    log: line(log.info),
    info: line(log.info),
    warn: line(log.warn),
    error: line(log.error),
  };
}

function shown(value) {
  if (typeof value === "string") return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
