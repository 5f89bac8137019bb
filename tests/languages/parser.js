/** Uses all that a parser can. */

import { Event, Parser, Publication, Reading, Rejection, list, settings, text } from "tapline";

const LOAD = {
  number: 40_000,
  name: "spindle_load_pct",
  unit: "%",
  kind: "gauge",
  meaning: "Load of the spindle",
};

export default class Whole extends Parser {
  static name = "whole-parser";
  static version = "0.1.0";
  static summary = "Uses all that a parser can";
  static quantities = [LOAD];
  static settings = settings({ words: list(text(), { default: ["one", "zwölf"] }) });

  prepare() {
    if (!this.settings.words.length) throw new Error("`words` are none");
  }

  parse(message) {
    const said = message.text();
    if (said.startsWith("refuse ")) {
      const code = said.slice("refuse ".length);
      throw new Rejection(code, `\`${code}\` was asked for: Ä "\\\u{1f600}`);
    }
    const given = message.properties;
    const properties = {
      payloadIsText: true,
      messageExpiry: 60,
      contentType: "text/plain",
      responseTopic: "answers/é",
      correlationData: new Uint8Array([0, 255]),
      user: [["a", "b"], ["a", ""]],
    };
    const stated = { device: "gateway/7", at: message.receivedAt };
    return [
      new Reading("Kanal.total", stated).set(LOAD, 1.5).power_w(7).output_on(true).power_w(0.1 + 0.2),
      new Reading().voltage_v(NaN).current_a(Infinity),
      new Event(
        "told",
        {
          device: message.device ?? null,
          qos: message.qos,
          retained: message.retained,
          source: message.source,
          text: said,
          topic: message.topic,
          words: this.settings.words,
        },
        { ...stated, channel: "c" },
      ),
      new Event("properties", {
        correlation: given.correlationData ? [...given.correlationData] : null,
        expiry: given.messageExpiry ?? null,
        ids: [...given.subscriptionIdentifiers],
        is_text: given.payloadIsText ?? null,
        response: given.responseTopic ?? null,
        type: given.contentType ?? null,
        user: given.user,
      }),
      new Publication("out/é", message.payload, { qos: 2, retain: true, broker: "other", properties }),
      new Publication("plain", "täxt"),
    ];
  }

  companions(topicFilter) {
    return { also: [`${topicFilter}/online`], channel: "switch:0", ask: new Publication("ask", "{}") };
  }
}
