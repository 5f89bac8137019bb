"""Speaks to another system: writes the requests that carry deliveries, and judges the answers.

The host sends them, with the endpoint's address and credentials, keeps what is not delivered,
and retries.
"""

from tapline import (
    Conclusion, Delivered, Delivery, Duplicate, Encoding, Event, Request, Response, Settings, Sink,
    field,
)


class MySettings(Settings):
    """What a pipeline may set."""

    path: str = field("/events", "The path of the requests, below the endpoint's address.", minLength=1)


class MyModule(Sink):
    name = "my-module"
    version = "0.1.0"
    summary = "Posts each event as JSON"
    settings: MySettings

    def encode(self, session: bytes | None, deliveries: list[Delivery]) -> Encoding:
        encoding = Encoding()
        for index, delivery in enumerate(deliveries):
            event = delivery.content
            if isinstance(event, Event):
                # The same delivery has the same id however often it is sent: the other side
                # can tell a repeat by it.
                body = {"device": delivery.key, "id": delivery.id, "kind": event.kind}
                encoding.exchange([index], Request(self.settings.path).json(body))
            else:
                encoding.refuse(index, "no-event", "only events go out")
        return encoding

    def conclude(
        self, session: bytes | None, deliveries: list[Delivery], response: Response
    ) -> Conclusion:
        match response.status:
            case status if 200 <= status < 300:
                return Conclusion.verdicts([Delivered() for _ in deliveries])
            case 409:
                return Conclusion.verdicts([Duplicate() for _ in deliveries])
            case 401 | 403:
                return Conclusion.pause("the endpoint refuses the credentials")
            case 400 | 422:
                # One of them is bad: they come again one by one, and the bad one is set aside.
                return Conclusion.split("refused", response.text())
            case _:
                return Conclusion.retry()  # where it is not sure, it is sent again
