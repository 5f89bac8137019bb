/** Uses all that a detector can. */

import { Detector, Event, Next, Publication, Reading, Rejection, integer, settings } from "tapline";

export default class Whole extends Detector {
  static name = "whole-detector";
  static version = "0.1.0";
  static summary = "Uses all that a detector can";
  static settings = settings({ limit: integer({ default: 3 }) });
  static stateVersion = 3;

  step({ key, at, retained, state: before, input }) {
    const { item, message } = input;
    let [kind, about] = [input.kind, null];
    if (item instanceof Reading) {
      const measured = item.measurements.map(({ quantity, value }) => [quantity, Math.trunc(value)]);
      [kind, about] = ["reading", [item.device ?? null, item.channel, item.at ?? null, measured]];
    } else if (item instanceof Event) {
      if (item.kind === "refuse") throw new Rejection("refused", `at ${at}: ${item.data}`);
      about = [item.kind, item.device ?? null, item.channel, item.at ?? null, item.read()];
      kind = "event";
    } else if (item instanceof Publication) {
      about = [item.broker ?? null, item.topic, [...item.payload], item.qos, item.retain];
      kind = "publication";
    } else if (message) {
      about = [message.topic, [...message.payload]];
    } else if (kind === "deaf-since") {
      about = input.since;
    } else if (kind === "reconfigured") {
      about = this.settings.limit;
    }
    const steps = (before?.steps ?? 0) + 1;
    const times = [...(before?.times ?? []), at];
    const state = { last: steps > 1 ? kind : null, steps, times };
    const data = { about, before: before ?? null, kind, retained };
    const event = new Event("step", data, { at, channel: key });
    let next = Next.keep(state).wakeAt(at + 1000);
    if (kind === "removed" || steps > this.settings.limit) next = Next.forget();
    else if (kind === "timer") next = Next.keep(state).ask();
    else if (kind === "deaf-since") next = Next.keep(state).ignored("deaf", "nothing was heard: Ä");
    next.emit(event);
    if (item) next.emit(item); // as it came
    if (message) {
      const { topic, payload, properties } = message;
      next.emit(new Publication(topic, payload, { properties }));
    }
    return next;
  }

  static migrate(version) {
    if (version === 1) return { last: null, steps: 1, times: [17] };
    if (version === 2) throw new Error("version 2 said nothing: Ä");
    throw new Error(`version ${version} is unknown`);
  }
}
