/** Accepts or refuses messages before anything reads them. */

import { Rejection, Validator, integer, record, settings, text } from "tapline";

/** Every message has to say what it is; other fields are no matter here. */
const Payload = record("Payload", { type: text() });

export default class MyModule extends Validator {
  static name = "my-module";
  static version = "0.1.0";
  static summary = "Refuses payloads that are too large or do not say what they are";
  /** What a pipeline may set. */
  static settings = settings({
    max_bytes: integer({ default: 4096, minimum: 1, text: "Bytes that a payload may have." }),
  });

  /** @param {import("tapline").Message} message */
  validate(message) {
    const [bytes, most] = [message.payload.length, this.settings.max_bytes];
    if (bytes > most) {
      // A stable word to count by, and a sentence with the value for a person.
      throw new Rejection("too-large", `the payload has ${bytes} bytes, of ${most} at most`);
    }
    const { type } = message.json(Payload);
    if (type === "") throw new Rejection("no-type", "`type` is empty");
  }
}
