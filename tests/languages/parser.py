"""Uses all that a parser can."""

import math

from tapline import (
    Companions, Event, Item, Message, OwnQuantity, Parser, Properties, Publication, Reading,
    Rejection, Settings, field,
)


class WholeSettings(Settings):
    words: list[str] = field(["one", "zwölf"])


LOAD = OwnQuantity(40_000, "spindle_load_pct", "%", "gauge", "Load of the spindle")


class Whole(Parser):
    name = "whole-parser"
    version = "0.1.0"
    summary = "Uses all that a parser can"
    quantities = [LOAD]
    settings: WholeSettings

    def prepare(self):
        if not self.settings.words:
            raise ValueError("`words` are none")

    def parse(self, message: Message) -> list[Item]:
        text = message.text()
        if text.startswith("refuse "):
            code = text.removeprefix("refuse ")
            raise Rejection(code, f"`{code}` was asked for: Ä \"\\\U0001f600")
        given = message.properties
        correlation = given.correlation_data
        properties = Properties(
            payload_is_text=True,
            message_expiry=60,
            content_type="text/plain",
            response_topic="answers/é",
            correlation_data=b"\x00\xff",
            user=[("a", "b"), ("a", "")],
        )
        return [
            Reading("Kanal.total", "gateway/7", message.received_at)
            .set(LOAD, 1.5)
            .power_w(7)
            .output_on(True)
            .power_w(0.1 + 0.2),
            Reading().voltage_v(math.nan).current_a(math.inf),
            Event(
                "told",
                {
                    "device": message.device,
                    "qos": message.qos,
                    "retained": message.retained,
                    "source": message.source,
                    "text": text,
                    "topic": message.topic,
                    "words": self.settings.words,
                },
                device="gateway/7",
                channel="c",
                at=message.received_at,
            ),
            Event(
                "properties",
                {
                    "correlation": None if correlation is None else list(correlation),
                    "expiry": given.message_expiry,
                    "ids": given.subscription_identifiers,
                    "is_text": given.payload_is_text,
                    "response": given.response_topic,
                    "type": given.content_type,
                    "user": given.user,
                },
            ),
            Publication("out/é", message.payload, 2, True, "other", properties),
            Publication("plain", "täxt"),
        ]

    def companions(self, topic_filter: str) -> Companions:
        return Companions([f"{topic_filter}/online"], "switch:0", Publication("ask", "{}"))
