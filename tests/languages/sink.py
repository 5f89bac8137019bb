"""Uses all that a sink can."""

import json
from itertools import cycle, islice

from tapline import (
    Conclusion, Delivered, Delivery, Duplicate, Encoding, Event, Message, Publication, Reading,
    Rejected, Request, Response, Retry, Settings, Sink, field,
)


class WholeSettings(Settings):
    deep: bool = field(True)


def told(content):
    match content:
        case Event():
            about = [content.kind, content.device, content.channel, content.at]
            return [*about, content.read()]
        case Reading():
            measured = [[one.quantity, int(one.value)] for one in content.measurements]
            return [content.device, content.channel, content.at, measured]
        case Publication():
            payload = list(content.payload)
            return [content.broker, content.topic, payload, content.qos, content.retain]
        case Message():
            payload, at = list(content.payload), content.received_at
            return [content.source, content.topic, payload, at, content.qos, content.retained]


class Whole(Sink):
    name = "whole-sink"
    version = "0.1.0"
    summary = "Uses all that a sink can"
    settings: WholeSettings

    def encode(self, session: bytes | None, deliveries: list[Delivery]) -> Encoding:
        if session is None:
            login = Request("/login", "PUT").header("a", "1").header("A", "2")
            login.bytes(b"k=\xff").secret("key").secret("key", "json-string")
            return Encoding.prepare(login.bytes("é").secret("key", "url-component"))
        encoding, batch = Encoding(), []
        for index, delivery in enumerate(deliveries):
            content = delivery.content
            if isinstance(content, Event) and content.kind == "refuse":
                encoding.refuse(index, "no-such", f"{index}: Ä")
                continue
            device, origin = delivery.device, delivery.origin
            body = {
                "at": delivery.at,
                "bridge": delivery.bridge,
                "content": told(content),
                "device": device and [device.id, device.name, device.labels],
                "id": delivery.id,
                "key": delivery.key,
                "origin": origin and [
                    origin.source, origin.topic, origin.received_at, origin.qos, origin.retained,
                ],
                "replayed": delivery.replayed,
                "seq": delivery.seq,
            }
            if self.settings.deep:
                request = Request("/deep?ä=1").header("session", session.decode(errors="replace"))
                encoding.exchange([index], request.json(body))
            else:
                batch.append(index)
        if batch:
            encoding.exchange(batch, Request("/flat"))
        return encoding

    def conclude(
        self, session: bytes | None, deliveries: list[Delivery], response: Response
    ) -> Conclusion:
        if not deliveries:
            try:
                answer = response.json()
            except ValueError:
                return Conclusion.split("no-login", response.text())
            remembered = answer.get("session") if isinstance(answer, dict) else None
            return Conclusion.prepared().remember(json.dumps(remembered, ensure_ascii=False).encode())
        match response.header("X-JUDGE"):
            case "retry":
                return Conclusion.retry(1500)
            case "pause":
                return Conclusion.pause(response.text())
            case "split":
                return Conclusion.split("bad", response.text())
            case None:
                return Conclusion.retry()
        every = [Delivered(), Duplicate(), Retry(250), Rejected("rejected", response.text())]
        return (
            Conclusion.verdicts(islice(cycle(every), len(deliveries)))
            .remember(b"none" if session is None else session)
            .emit(Event("judged", {"of": len(deliveries)}, channel="c"))
            .emit(Reading(at=5).online(True))
            .emit(Publication("told/é", response.body))
        )
