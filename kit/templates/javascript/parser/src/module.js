/** Reads messages of my-module devices: one message in, readings out. */

import { Parser, Reading, boolean, number, optional, record, settings } from "tapline";

/** The fields that are of interest. What a device leaves out is undefined, never 0. */
const Payload = record("Payload", {
  power: optional(number()),
  voltage: optional(number()),
  energy_kwh: optional(number()),
  on: optional(boolean()),
});

export default class MyModule extends Parser {
  static name = "my-module";
  static version = "0.1.0";
  static summary = "Reads my-module devices";
  /** What a pipeline or a device may set. */
  static settings = settings({
    ratio: number({
      default: 1,
      minimum: 0,
      text: "What the power is multiplied with: the ratio of a current transformer, say.",
    }),
  });

  /** @param {import("tapline").Message} message */
  parse(message) {
    // What is no such JSON is refused with line and column, and kept as a dead letter.
    const { power, voltage, energy_kwh, on } = message.json(Payload);
    // Units are in the names; `.tapline/wit/quantities.toml` lists all quantities. What is
    // undefined makes NaN, which is left out like everything that is no number.
    const reading = new Reading()
      .power_w(power * this.settings.ratio)
      .voltage_v(voltage)
      .energy_wh(energy_kwh * 1000)
      .output_on(on);
    return reading.isEmpty ? [] : [reading]; // nothing of interest
  }
}
