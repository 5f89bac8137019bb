"""Everything that the author of a Tapline module in Python needs.

A module is a pure function: from what comes in, and its settings, to what goes out. It has no
clock, no files, no network and no randomness, and keeps nothing between calls; time, state and
input/output belong to the host. A module derives one class from `Parser`, `Validator`,
`Detector` or `Sink`:

    from tapline import Message, Parser, Reading, Record, Settings, field

    class Brook(Settings):
        transformer_ratio: float = field(1.0, "What the power is multiplied with.", minimum=0.1)

    class Telegram(Record):
        watts: float | None
        relay: bool | None

    class BrookParser(Parser):
        name = "brook"
        version = "0.1.0"
        summary = "Reads Brook power meters"
        settings: Brook

        def parse(self, message: Message):
            telegram = message.json(Telegram)
            watts = telegram.watts
            if watts is not None:
                watts *= self.settings.transformer_ratio
            return [Reading().power_w(watts).output_on(telegram.relay)]
"""

from . import log
from .item import Event, Item, Measurement, OwnQuantity, Publication, Reading
from .message import Message, Properties, Rejection
from .roles import (
    Companions, DeafSince, Detector, Input, Next, Parser, Reconfigured, Removed, Step, Timer,
    Validator,
)
from .shape import Record, Settings, field
from .sink import (
    Conclusion, Delivered, Delivery, Device, Duplicate, Encoding, Origin, Rejected, Request,
    Response, Retry, Secret, Sink, Verdict,
)

__all__ = [
    "Companions", "Conclusion", "DeafSince", "Delivered", "Delivery", "Detector", "Device",
    "Duplicate", "Encoding", "Event", "Input", "Item", "Measurement", "Message", "Next", "Origin",
    "OwnQuantity", "Parser", "Properties", "Publication", "Reading", "Reconfigured", "Record",
    "Rejected", "Rejection", "Removed", "Request", "Response", "Retry", "Secret", "Settings",
    "Sink", "Step", "Timer", "Validator", "Verdict", "field", "log",
]
