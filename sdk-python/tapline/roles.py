"""The roles of a module but the sink's: what an author derives from."""

from dataclasses import dataclass, field
from typing import ClassVar

from . import shape as _shape
from .item import Item, OwnQuantity, Publication
from .message import Message, Rejection


class Module:
    """What all roles have in common. Settings are there as `self.settings`:

        class MyMeter(Parser):
            name = "my-meter"
            version = "0.1.0"
            summary = "Reads my meter"
            settings: MySettings

    One object is made for each distinct set of settings. It is made before the first message
    and may be thrown away after any: keep nothing between calls in it, nor anywhere else.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    quantities: ClassVar[list[OwnQuantity]] = []

    settings: _shape.Settings

    def prepare(self):
        """Called once, when `self.settings` are there: what is costly to prepare belongs here.

        Raise `ValueError` with what is wrong with settings that satisfy the schema (one field
        against another).
        """


class Validator(Module):
    """Accepts or refuses messages before anything reads them."""

    def validate(self, message: Message) -> None:
        """Judges one message: raise `Rejection` to refuse it."""
        raise NotImplementedError


@dataclass
class Companions:
    """What belongs to a device whose messages come on a topic.

    `also`: topic filters to subscribe to beside it (its last will, say); `channel`: the one
    channel that the topic itself names; `ask`: the question that makes it report now.
    """

    also: list[str] = field(default_factory=list)
    channel: str | None = None
    ask: Publication | None = None


class Parser(Module):
    """Turns the messages of one device family into readings and events.

    A parser knows the message and its settings and nothing else: what must remember something
    between messages is a `Detector`.
    """

    def parse(self, message: Message) -> list[Item]:
        """Reads one message. An empty list: nothing in it is of interest.

        A total's reading comes before its parts. Raise `Rejection` to refuse the message for
        good.
        """
        raise NotImplementedError

    def companions(self, topic_filter: str) -> Companions:
        """What belongs to a device whose messages come on `topic_filter`."""
        return Companions()


@dataclass
class Timer:
    """The wake-up that the step before asked for."""


@dataclass
class DeafSince:
    """The source could not be heard from `at` until this step's time: silence says nothing."""

    at: int


@dataclass
class Reconfigured:
    """The settings differ from the step before. Act on it now."""


@dataclass
class Removed:
    """The device or the stage is gone: the last step of this key."""


Input = Item | Message | Timer | DeafSince | Reconfigured | Removed


@dataclass
class Step:
    """One step of one key: `state` is what its last step kept, `None` the first time.

    `retained`: the broker had kept it, so it may be old: no sign of life, and it dates nothing.
    """

    key: str
    at: int
    retained: bool
    state: object
    input: Input


@dataclass
class Next:
    """What a step leads to. `Next(state).wake_at(step.at + 1000).emit(Event("x"))`.

    A `state` of `None` forgets the key.
    """

    state: object = None
    wake: int | None = None
    outputs: list[Item] = field(default_factory=list)
    asks: bool = False
    left_aside: Rejection | None = None

    def wake_at(self, at: int | None) -> "Next":
        """Asks to be called at `at` if nothing else arrives."""
        self.wake = at
        return self

    def emit(self, item: Item) -> "Next":
        """Emits one more item."""
        self.outputs.append(item)
        return self

    def ask(self) -> "Next":
        """Asks the device to report now."""
        self.asks = True
        return self

    def ignored(self, code: str, detail: str) -> "Next":
        """Says why the input was left aside; counted, not a refusal."""
        self.left_aside = Rejection(code, detail)
        return self


class Detector(Module):
    """Follows each key (a device, or a device's channel) through time.

    The annotation `state: Heard` says what is remembered of a key: a `Record`, or whatever JSON
    can say. It is kept as compact JSON; count `state_version` up when an old one can no longer
    be read, and read it in `migrate`.
    """

    state_version: ClassVar[int] = 1
    state: object

    def step(self, step: Step) -> Next:
        """Takes one step of one key; state, outputs and wake-up are committed together."""
        raise NotImplementedError

    @classmethod
    def migrate(cls, version: int, state):
        """Makes today's state of one, as JSON says it, that an older version wrote."""
        raise ValueError(
            f"{cls.name} writes state of version {cls.state_version} and cannot read version "
            f"{version}"
        )
