/**
 * Everything that the author of a Tapline module in JavaScript needs.
 *
 * A module is a pure function: from what comes in, and its settings, to what goes out. It has no
 * clock, no files, no network and no randomness, and keeps nothing between calls; time, state
 * and input/output belong to the host. A module's file exports one class by default, which
 * extends `Parser`, `Validator`, `Detector` or `Sink`.
 */

export { Event, Publication, Reading } from "./item.js";
export { log } from "./log.js";
export { Message, Rejection } from "./message.js";
export { Detector, Next, Parser, Validator } from "./roles.js";
export {
  any, boolean, choice, integer, list, map, number, optional, record, settings, text,
} from "./shape.js";
export { Conclusion, Encoding, Request, Response, Sink, Verdict } from "./sink.js";
