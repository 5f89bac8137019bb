"""The sink's role, and what passes between it and the host."""

import json as _json
from dataclasses import dataclass, field
from typing import Literal

from .item import Item
from .message import Message, Rejection
from .roles import Module


@dataclass
class Origin:
    """The message that a delivery follows from."""

    source: str
    topic: str
    received_at: int
    qos: int
    retained: bool


@dataclass
class Device:
    """What the registry knows of a device."""

    id: str
    name: str
    labels: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Delivery:
    """Something on its way out. `id` is the same on every attempt and after a replay.

    `seq` counts up by one per key and sink, in commit order. `content` is an item, or a message
    as it came where the pipeline sends messages to the sink.
    """

    id: str
    bridge: str
    replayed: bool
    key: str
    seq: int
    at: int
    device: Device | None
    content: Item | Message
    origin: Origin | None


@dataclass
class Secret:
    """A piece of a body that the host fills in; the sink never sees it."""

    name: str
    escaping: Literal["raw", "json-string", "url-component"] = "raw"


@dataclass
class Request:
    """What to send. `path` lies below the endpoint's base URL and starts with `/`."""

    path: str
    method: str = "POST"
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: list[bytes | Secret] = field(default_factory=list)

    def header(self, name: str, value: str) -> "Request":
        """Adds a header."""
        self.headers.append((name, value))
        return self

    def bytes(self, body: bytes | str) -> "Request":
        """Adds to the body."""
        self.body.append(body.encode() if isinstance(body, str) else body)
        return self

    def secret(self, name: str, escaping="raw") -> "Request":
        """Adds a secret of the endpoint to the body."""
        self.body.append(Secret(name, escaping))
        return self

    def json(self, value) -> "Request":
        """Adds a value as JSON, and says so in `Content-Type`."""
        text = _json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return self.header("content-type", "application/json").bytes(text)


@dataclass
class Response:
    """What the other side answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        for known, value in self.headers:
            if known.lower() == name.lower():
                return value
        return None

    def text(self) -> str:
        """The body as text for a person, at most 200 characters of it."""
        return self.body[:800].decode(errors="replace")[:200]

    def json(self):
        """The body read from JSON; `ValueError` where it is none."""
        # Of bytes, `loads` would take other encodings, too.
        return _json.loads(self.body.decode())


class Encoding:
    """The answer of `Sink.encode`: exchanges, or what must come before them."""

    def __init__(self):
        self.preparation: Request | None = None
        self.exchanges: list[tuple[list[int], Request]] = []
        self.refused: list[tuple[int, Rejection]] = []

    @classmethod
    def prepare(cls, request: Request) -> "Encoding":
        """Asks for `request` (a login) before any delivery."""
        encoding = cls()
        encoding.preparation = request
        return encoding

    def exchange(self, indices: list[int], request: Request):
        """Adds a request that carries the deliveries at `indices`."""
        self.exchanges.append((list(indices), request))

    def refuse(self, index: int, code: str, detail: str):
        """Says that the delivery at `index` can never be expressed."""
        self.refused.append((index, Rejection(code, detail)))


@dataclass
class Delivered:
    """The other side has it now."""


@dataclass
class Duplicate:
    """The other side had it already."""


@dataclass
class Retry:
    """Again, not before this many milliseconds; 0 leaves it to the host."""

    after_ms: int = 0


@dataclass
class Rejected:
    """Refused for good: to the dead letters."""

    code: str
    detail: str


Verdict = Delivered | Duplicate | Retry | Rejected


class Conclusion:
    """The answer of `Sink.conclude`; made by one of its class methods."""

    def __init__(self, kind: str, value=None):
        self.kind, self.value = kind, value
        self.session: bytes | None = None
        self.outputs: list[Item] = []

    @classmethod
    def verdicts(cls, verdicts: list[Verdict]) -> "Conclusion":
        """One verdict per delivery of the exchange, in order."""
        return cls("verdicts", list(verdicts))

    @classmethod
    def prepared(cls) -> "Conclusion":
        """The request of `Encoding.prepare` succeeded."""
        return cls("prepared")

    @classmethod
    def split(cls, code: str, detail: str) -> "Conclusion":
        """Refused as a whole, nothing took effect; the host sends halves."""
        return cls("split", Rejection(code, detail))

    @classmethod
    def retry(cls, after_ms: int = 0) -> "Conclusion":
        """Nothing took effect: all again, not before `after_ms`; 0 leaves it to the host."""
        return cls("retry", after_ms)

    @classmethod
    def pause(cls, reason: str) -> "Conclusion":
        """Nothing will be accepted until a person acts."""
        return cls("pause", reason)

    def remember(self, session: bytes) -> "Conclusion":
        """Remembers `session` for the next call; nothing secret."""
        self.session = session
        return self

    def emit(self, item: Item) -> "Conclusion":
        """Emits one more item."""
        self.outputs.append(item)
        return self


class Sink(Module):
    """Speaks the protocol of one outside system.

    The sink writes requests and judges answers; the host sends, with the base URL and the
    credentials of the endpoint, keeps what is not delivered, and retries.
    """

    def encode(self, session: bytes | None, deliveries: list[Delivery]) -> Encoding:
        """Writes the requests that carry `deliveries`, or the one that must come before."""
        raise NotImplementedError

    def conclude(
        self, session: bytes | None, deliveries: list[Delivery], response: Response
    ) -> Conclusion:
        """Judges the answer to one request; `deliveries` are none after a preparation."""
        raise NotImplementedError
