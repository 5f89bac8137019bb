"""Follows each device through time: says when it draws too much power for too long, and when
that is over."""

from tapline import Detector, Event, Next, Reading, Record, Removed, Settings, Step, Timer, field


class MySettings(Settings):
    """What a pipeline or a device may set."""

    limit_w: float = field(2000.0, "Power from which on it is too much, in W.", minimum=0)
    hold_ms: int = field(10_000, "For how long it may be too much, in ms.", minimum=0)


class State(Record):
    """What is remembered of one device; it is written with every step, so it is small."""

    since: int  # too much since this time
    told: bool  # and somebody knows


class MyModule(Detector):
    name = "my-module"
    version = "0.1.0"
    summary = "Says when a device draws too much power for too long"
    settings: MySettings
    state: State
    # Count up with every change of `State`, and read older ones in `migrate`.
    state_version = 1

    # Time comes from `step.at` and from nowhere else, so that recorded traffic gives the same.
    def step(self, step: Step) -> Next:
        power = None  # no news of it
        if isinstance(step.input, Reading) and not step.retained:
            power = step.input.get("power_w")
        above = None if power is None else power >= self.settings.limit_w
        match step.input, step.state:
            case Removed(), _:
                return Next()
            case Timer(), State(told=False, since=since):
                event = Event("overload_started", at=step.at)
                return Next(State(since=since, told=True)).emit(event)
            case _, None:
                return self.wait(step.at) if above else Next()
            case _, State(told=True, since=since) if above is False:
                data = {"duration_ms": step.at - since}
                return Next().emit(Event("overload_ended", data, at=step.at))
            case _, State(told=False) if above is False:
                return Next()
            # Nothing new: what was remembered stays, and so does the wake-up.
            case _, State(told=False, since=since):
                return self.wait(since)
            case _, state:
                return Next(state)

    def wait(self, since: int) -> Next:
        """Asks to be woken if it stays too much."""
        state = State(since=since, told=False)
        return Next(state).wake_at(since + self.settings.hold_ms)
