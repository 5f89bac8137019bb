"""Reads messages of my-module devices: one message in, readings out."""

from tapline import Item, Message, Parser, Reading, Record, Settings, field


class MySettings(Settings):
    """What a pipeline or a device may set."""

    ratio: float = field(
        1.0, "What the power is multiplied with: the ratio of a current transformer, say.", minimum=0
    )


class Payload(Record):
    """The fields that are of interest. What a device leaves out is `None`, never 0."""

    power: float | None
    voltage: float | None
    energy_kwh: float | None
    on: bool | None


class MyModule(Parser):
    name = "my-module"
    version = "0.1.0"
    summary = "Reads my-module devices"
    settings: MySettings

    def parse(self, message: Message) -> list[Item]:
        # What is no such JSON is refused with line and column, and kept as a dead letter.
        payload = message.json(Payload)
        # Units are in the names; `.tapline/wit/quantities.toml` lists all quantities.
        reading = Reading().voltage_v(payload.voltage).output_on(payload.on)
        if payload.power is not None:
            reading.power_w(payload.power * self.settings.ratio)
        if payload.energy_kwh is not None:
            reading.energy_wh(payload.energy_kwh * 1000)
        return [] if reading.is_empty() else [reading]  # nothing of interest
