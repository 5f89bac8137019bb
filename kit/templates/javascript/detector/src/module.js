/**
 * Follows each device through time: says when it draws too much power for too long, and when
 * that is over.
 */

import { Detector, Event, Next, Reading, integer, number, settings } from "tapline";

export default class MyModule extends Detector {
  static name = "my-module";
  static version = "0.1.0";
  static summary = "Says when a device draws too much power for too long";
  /** What a pipeline or a device may set. */
  static settings = settings({
    limit_w: number({ default: 2000, minimum: 0, text: "Power from which on it is too much, in W." }),
    hold_ms: integer({ default: 10000, minimum: 0, text: "For how long it may be too much, in ms." }),
  });
  /** Count up with every change of the state, and read older ones in `static migrate`. */
  static stateVersion = 1;

  /**
   * What is remembered of one device is `{ since, told }`: too much since this time, and
   * whether somebody knows. It is written with every step, so it is small. Time comes from
   * `at` and from nowhere else, so that recorded traffic gives the same.
   */
  step({ at, retained, input, state }) {
    if (input.kind === "removed") return Next.forget();
    if (input.kind === "timer" && state && !state.told) {
      return Next.keep({ ...state, told: true }).emit(new Event("overload_started", {}, { at }));
    }
    const isNews = input.kind === "item" && input.item instanceof Reading && !retained;
    const power = isNews ? input.item.get("power_w") : undefined;
    const above = power === undefined ? undefined : power >= this.settings.limit_w;
    if (!state) return above ? this.wait(at) : Next.forget();
    if (above === false) {
      if (!state.told) return Next.forget();
      const data = { duration_ms: at - state.since };
      return Next.forget().emit(new Event("overload_ended", data, { at }));
    }
    // Nothing new: what was remembered stays, and so does the wake-up.
    return state.told ? Next.keep(state) : this.wait(state.since);
  }

  /** Asks to be woken if it stays too much. */
  wait(since) {
    return Next.keep({ since, told: false }).wakeAt(since + this.settings.hold_ms);
  }
}
