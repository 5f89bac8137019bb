/**
 * Speaks to another system: writes the requests that carry deliveries, and judges the answers.
 * The host sends them, with the endpoint's address and credentials, keeps what is not
 * delivered, and retries.
 */

import { Conclusion, Encoding, Event, Request, Sink, Verdict, settings, text } from "tapline";

export default class MyModule extends Sink {
  static name = "my-module";
  static version = "0.1.0";
  static summary = "Posts each event as JSON";
  /** What a pipeline may set. */
  static settings = settings({
    path: text({
      default: "/events",
      minLength: 1,
      text: "The path of the requests, below the endpoint's address.",
    }),
  });

  encode(session, deliveries) {
    const encoding = new Encoding();
    for (const [index, { id, key, item }] of deliveries.entries()) {
      if (item instanceof Event) {
        // The same delivery has the same id however often it is sent: the other side can tell
        // a repeat by it.
        const body = { device: key, id, kind: item.kind };
        encoding.exchange([index], new Request(this.settings.path).json(body));
      } else {
        encoding.refuse(index, "no-event", "only events go out");
      }
    }
    return encoding;
  }

  conclude(session, deliveries, response) {
    const { status } = response;
    if (status >= 200 && status < 300) return Conclusion.verdicts(deliveries.map(Verdict.delivered));
    if (status === 409) return Conclusion.verdicts(deliveries.map(Verdict.duplicate));
    if (status === 401 || status === 403) return Conclusion.pause("the endpoint refuses the credentials");
    // One of them is bad: they come again one by one, and the bad one is set aside.
    if (status === 400 || status === 422) return Conclusion.split("refused", response.text());
    return Conclusion.retry(); // where it is not sure, it is sent again
  }
}
