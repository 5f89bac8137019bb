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
        power, energy = payload.power, payload.energy_kwh
        # Units are in the names; `.tapline/wit/quantities.toml` lists all quantities.
        reading = (
            Reading()
            .power_w(None if power is None else power * self.settings.ratio)
            .voltage_v(payload.voltage)
            .energy_wh(None if energy is None else energy * 1000)
            .output_on(payload.on)
        )
        return [] if reading.is_empty() else [reading]  # nothing of interest
