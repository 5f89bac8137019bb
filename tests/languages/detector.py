"""Uses all that a detector can."""

from tapline import (
    DeafSince, Detector, Event, Message, Next, Publication, Reading, Reconfigured, Record,
    Rejection, Removed, Settings, Step, Timer, field,
)


class WholeSettings(Settings):
    limit: int = field(3)


class State(Record):
    last: str | None
    steps: int
    times: list[int]


class Whole(Detector):
    name = "whole-detector"
    version = "0.1.0"
    summary = "Uses all that a detector can"
    settings: WholeSettings
    state: State
    state_version = 3

    def step(self, step: Step) -> Next:
        before, given = step.state, step.input
        told = before and {"last": before.last, "steps": before.steps, "times": before.times}
        match given:
            case Event(kind="refuse"):
                raise Rejection("refused", f"at {step.at}: {given.data}")
            case Reading():
                measured = [[one.quantity, int(one.value)] for one in given.measurements]
                kind, about = "reading", [given.device, given.channel, given.at, measured]
            case Event():
                about = [given.kind, given.device, given.channel, given.at, given.read()]
                kind = "event"
            case Publication():
                payload = list(given.payload)
                about = [given.broker, given.topic, payload, given.qos, given.retain]
                kind = "publication"
            case Message():
                kind, about = "message", [given.topic, list(given.payload)]
            case Timer():
                kind, about = "timer", None
            case DeafSince():
                kind, about = "deaf-since", given.at
            case Reconfigured():
                kind, about = "reconfigured", self.settings.limit
            case Removed():
                kind, about = "removed", None
        steps = (before.steps if before else 0) + 1
        times = (before.times if before else []) + [step.at]
        state = State(last=kind if steps > 1 else None, steps=steps, times=times)
        data = {"about": about, "before": told, "kind": kind, "retained": step.retained}
        event = Event("step", data, at=step.at, channel=step.key)
        if isinstance(given, Removed) or steps > self.settings.limit:
            following = Next()
        elif isinstance(given, Timer):
            following = Next(state).ask()
        elif isinstance(given, DeafSince):
            following = Next(state).ignored("deaf", "nothing was heard: Ä")
        else:
            following = Next(state).wake_at(step.at + 1000)
        following.emit(event)
        if isinstance(given, (Reading, Event, Publication)):
            following.emit(given)  # as it came
        if isinstance(given, Message):
            following.emit(Publication(given.topic, given.payload, properties=given.properties))
        return following

    @classmethod
    def migrate(cls, version, state):
        if version == 1:
            return State(last=None, steps=1, times=[17])
        if version == 2:
            raise ValueError("version 2 said nothing: Ä")
        raise ValueError(f"version {version} is unknown")
