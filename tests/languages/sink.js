/** Uses all that a sink can. */

import {
  Conclusion, Encoding, Event, Publication, Reading, Request, Sink, Verdict, boolean, settings,
} from "tapline";

const DECODER = new TextDecoder("utf-8", { ignoreBOM: true });
const ENCODER = new TextEncoder();

function told({ item, message }) {
  if (item instanceof Event) {
    return [item.kind, item.device ?? null, item.channel, item.at ?? null, item.read()];
  }
  if (item instanceof Reading) {
    const measured = item.measurements.map(({ quantity, value }) => [quantity, Math.trunc(value)]);
    return [item.device ?? null, item.channel, item.at ?? null, measured];
  }
  if (item instanceof Publication) {
    return [item.broker ?? null, item.topic, [...item.payload], item.qos, item.retain];
  }
  const { source, topic, payload, receivedAt, qos, retained } = message;
  return [source, topic, [...payload], receivedAt, qos, retained];
}

export default class Whole extends Sink {
  static name = "whole-sink";
  static version = "0.1.0";
  static summary = "Uses all that a sink can";
  static settings = settings({ deep: boolean({ default: true }) });

  encode(session, deliveries) {
    if (session === undefined) {
      const login = new Request("/login", "PUT").header("a", "1").header("A", "2");
      login.bytes(new Uint8Array([107, 61, 255])).secret("key").secret("key", "json-string");
      return Encoding.prepare(login.bytes("é").secret("key", "url-component"));
    }
    const [encoding, batch] = [new Encoding(), []];
    for (const [index, delivery] of deliveries.entries()) {
      if (delivery.item instanceof Event && delivery.item.kind === "refuse") {
        encoding.refuse(index, "no-such", `${index}: Ä`);
        continue;
      }
      const { at, bridge, device, id, key, origin, replayed, seq } = delivery;
      const body = {
        at,
        bridge,
        content: told(delivery),
        device: device ? [device.id, device.name, device.labels] : null,
        id,
        key,
        origin: origin
          ? [origin.source, origin.topic, origin.receivedAt, origin.qos, origin.retained]
          : null,
        replayed,
        seq,
      };
      if (this.settings.deep) {
        const request = new Request("/deep?ä=1").header("session", DECODER.decode(session));
        encoding.exchange([index], request.json(body));
      } else {
        batch.push(index);
      }
    }
    if (batch.length) encoding.exchange(batch, new Request("/flat"));
    return encoding;
  }

  conclude(session, deliveries, response) {
    if (!deliveries.length) {
      let answer;
      try {
        answer = response.json();
      } catch {
        return Conclusion.split("no-login", response.text());
      }
      const remembered = JSON.stringify(answer?.session ?? null);
      return Conclusion.prepared().remember(ENCODER.encode(remembered));
    }
    switch (response.header("X-JUDGE")) {
      case "retry":
        return Conclusion.retry(1500);
      case "pause":
        return Conclusion.pause(response.text());
      case "split":
        return Conclusion.split("bad", response.text());
      case undefined:
        return Conclusion.retry();
    }
    const every = [
      Verdict.delivered(),
      Verdict.duplicate(),
      Verdict.retry(250),
      Verdict.rejected("rejected", response.text()),
    ];
    return Conclusion.verdicts(deliveries.map((_, index) => every[index % every.length]))
      .remember(session ?? ENCODER.encode("none"))
      .emit(new Event("judged", { of: deliveries.length }, { channel: "c" }))
      .emit(new Reading("", { at: 5 }).online(true))
      .emit(new Publication("told/é", response.body));
  }
}
