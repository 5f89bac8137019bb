"""What comes in: a message, and why one is refused."""

import json as _json
from dataclasses import dataclass, field

from . import shape as _shape
from .reader import Reader as _Reader, Refused as _Refused


class Rejection(Exception):
    """Why one input is refused for good: raise it. The input goes to the dead letters.

    `code` is a stable word to count by, e.g. `not-json`; `detail` is one sentence for a
    person, with the offending value.
    """

    def __init__(self, code: str, detail: str):
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


@dataclass
class Properties:
    """MQTT 5 properties of a message; all empty on MQTT 3.1.1."""

    payload_is_text: bool | None = None
    message_expiry: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_identifiers: list[int] = field(default_factory=list)
    user: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Message:
    """One message as it came in. `received_at` is in milliseconds since the epoch."""

    source: str
    topic: str
    payload: bytes
    received_at: int = 0
    qos: int = 0
    retained: bool = False
    device: str | None = None
    properties: Properties = field(default_factory=Properties)

    def text(self) -> str:
        """The payload as text; refuses with `not-utf8`, naming the first byte that is wrong."""
        try:
            return self.payload.decode()
        except UnicodeDecodeError as error:
            at = error.start
            byte = self.payload[at]
            raise Rejection(
                "not-utf8", f"byte 0x{byte:02x} at offset {at} is not UTF-8"
            ) from None

    def json(self, shape=None):
        """The payload read from JSON: any value, or one of a shape.

        A shape is a `Record`, or what its fields may be: `list[float]`, `dict[str, Telegram]`.
        Refuses with `not-json` where the payload is no JSON at all and with `wrong-shape` where
        it is JSON of another shape; both name line and column.
        """
        wanted = _shape.of(shape)
        try:
            return wanted.take(_loads(self.payload.decode()))
        except (ValueError, RecursionError, _shape.Mismatch):
            pass
        # The reader is slower and knows all the rules; it has the last word.
        try:
            return _Reader(self.payload).whole(wanted)
        except _Refused as refused:
            raise Rejection(refused.code, refused.detail) from None


def _no_number(text: str):
    raise ValueError(text)


_DECODER = _json.JSONDecoder(parse_constant=_no_number)


def _loads(text: str):
    # Python takes a few things that are no JSON elsewhere: half characters, and nesting
    # without end.
    if "\\u" in text or text.count("[") + text.count("{") > 127:
        raise ValueError("for the reader")
    return _DECODER.decode(text)
