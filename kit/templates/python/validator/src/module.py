"""Accepts or refuses messages before anything reads them."""

from tapline import Message, Record, Rejection, Settings, Validator, field


class MySettings(Settings):
    """What a pipeline may set."""

    max_bytes: int = field(4096, "Bytes that a payload may have.", minimum=1)


class Payload(Record):
    """Every message has to say what it is; other fields are no matter here."""

    kind: str = field(key="type")


class MyModule(Validator):
    name = "my-module"
    version = "0.1.0"
    summary = "Refuses payloads that are too large or do not say what they are"
    settings: MySettings

    def validate(self, message: Message) -> None:
        size, most = len(message.payload), self.settings.max_bytes
        if size > most:
            # A stable word to count by, and a sentence with the value for a person.
            raise Rejection("too-large", f"the payload has {size} bytes, of {most} at most")
        if message.json(Payload).kind == "":
            raise Rejection("no-type", "`type` is empty")
