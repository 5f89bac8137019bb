"""What goes out: readings, events, publications."""

import json as _json
from dataclasses import dataclass, field

from . import log
from .message import Properties
from .quantities import NUMBERS, Measured


@dataclass
class Measurement:
    """One value of one quantity."""

    quantity: int
    value: float


@dataclass
class Reading(Measured):
    """What one channel of one device measured at one time.

    `Reading("switch:0").power_w(12.5).output_on(True)`; there is a method for each quantity.
    What is `None` or not finite is left out: absent is not zero. A total has a channel that ends
    in `.total` or `:total`. `device` and `at` (milliseconds since the epoch) are what the device
    itself states.
    """

    channel: str = ""
    device: str | None = None
    at: int | None = None
    measurements: list[Measurement] = field(default_factory=list)

    def set(self, quantity: "str | OwnQuantity", value: float | None) -> "Reading":
        """Sets a quantity by its name, or one of the module's own."""
        number = NUMBERS.get(quantity) if isinstance(quantity, str) else quantity.number
        if number is None:
            raise ValueError(f"`{quantity}` is no quantity; there are {', '.join(NUMBERS)}")
        return self._set(number, value)

    def get(self, quantity: "str | OwnQuantity") -> float | None:
        """The value of a quantity, if it was measured."""
        number = NUMBERS.get(quantity) if isinstance(quantity, str) else quantity.number
        for measurement in self.measurements:
            if measurement.quantity == number:
                return measurement.value
        return None

    def is_empty(self) -> bool:
        """Whether nothing was measured; such a reading is not worth emitting."""
        return not self.measurements

    def _set(self, number: int, value) -> "Reading":
        if value is None:
            return self
        value = float(value)
        if value - value != 0.0:
            return self
        for measurement in self.measurements:
            if measurement.quantity == number:
                measurement.value = value
                return self
        self.measurements.append(Measurement(number, value))
        return self


@dataclass
class OwnQuantity:
    """A quantity that this module measures and Tapline's table lacks.

    `number` is 32768 or more; `name` carries the unit (`spindle_load_pct`); `kind` is `gauge`,
    `counter` or `flag`.
    """

    number: int
    name: str
    unit: str
    kind: str
    meaning: str


class Event:
    """Something that happened, in words the business uses: `Event("door_opened", {"door": 3})`.

    `data` is what JSON can say, and must be an object: the host refuses the input otherwise.
    """

    def __init__(self, kind: str, data=None, *, device=None, channel="", at=None):
        self.kind: str = kind
        self.device: str | None = device
        self.channel: str = channel
        self.at: int | None = at
        self.data: str = self._written({} if data is None else data)

    @classmethod
    def _given(cls, kind, device, channel, at, data):
        """An event as the host gives it."""
        event = cls.__new__(cls)
        event.kind, event.device, event.channel = kind, device, channel
        event.at, event.data = at, data
        return event

    def _written(self, data) -> str:
        try:
            text = _json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            log.error(f"the data of event `{self.kind}` cannot be written as JSON: {error}")
            return "null"
        return text

    def read(self):
        """The data, as a sink reads it."""
        return _json.loads(self.data)

    def __repr__(self) -> str:
        return f"Event({self.kind!r}, {self.data}, device={self.device!r}, at={self.at!r})"


@dataclass
class Publication:
    """A message to publish, within the topics that the pipeline allows."""

    topic: str
    payload: bytes | str
    qos: int = 1
    retain: bool = False
    broker: str | None = None
    properties: Properties = field(default_factory=Properties)


Item = Reading | Event | Publication
