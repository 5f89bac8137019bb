"""What stands between an author's class and the exports of the component.

Invariant: an author's code sees one input at a time and the types of this package; batches,
numbers of settings and generated types stay in here. The entry that `tapline build` writes
calls `exports` when the component is made; from then on there are no files.
"""

import json
import os
import sys

from componentize_py_types import Err, Ok
from wit_world.imports import types as wit

from . import bounds, fault, found, log, shape
from .item import Event, Measurement, Publication, Reading
from .message import Message, Properties, Rejection
from .roles import DeafSince, Next, Reconfigured, Removed, Step, Timer
from .sink import Delivered, Delivery, Device, Duplicate, Origin, Rejected, Response, Retry, Secret

# The bindings make what comes in by these names, so they make this package's own types.
wit.Message, wit.Properties, wit.Measurement = Message, Properties, Measurement


def exports(file, role: str) -> dict:
    """The classes that componentize-py looks for, by their names."""
    module = found.module_class(file, role)
    root = os.path.dirname(file.__file__)
    fault.keep_sources(root, "src")
    common = _Common(module, found.settings_shape(module))
    make = {"validator": _validator, "parser": _parser, "detector": _detector, "sink": _sink}
    return {"Module": _module(common), role.capitalize(): make[role](common)}


class _Common:
    """The author's class, and one object of it for each set of settings."""

    def __init__(self, module, settings):
        self.module, self.settings, self.objects = module, settings, {}

    def configure(self, number, text):
        module = self.module()
        module.settings = self.settings.take(json.loads(text))
        module.prepare()
        self.objects[number] = module


def _loud(function):
    """Says what failed and where before the call ends; the host shows the last words."""

    def call(*arguments):
        try:
            return function(*arguments)
        except Err:
            raise
        except BaseException as error:
            log.error(fault.words(error))
            raise

    return call


def _module(common):
    from wit_world.exports import module as wit_module

    class Module:
        @_loud
        def describe(self):
            bounds.close()
            module = common.module
            return wit_module.Description(
                name=module.name,
                version=module.version,
                summary=module.summary,
                settings_schema=json.dumps(
                    {
                        "$schema": "https://json-schema.org/draft/2020-12/schema",
                        **common.settings.schema(),
                    },
                    ensure_ascii=False,
                ),
                quantities=[
                    wit_module.OwnQuantity(own.number, own.name, own.unit, own.kind, own.meaning)
                    for own in module.quantities
                ],
                state_version=getattr(module, "state_version", 0),
            )

        @_loud
        def configure(self, id, settings):
            bounds.close()
            try:
                common.configure(id, settings)
            except (ValueError, shape.Mismatch) as error:
                raise Err(str(error) or "the settings have another shape than the schema") from None

        @_loud
        def forget(self, id):
            common.objects.pop(id, None)

    return Module


def _publication(given: Publication):
    payload = given.payload
    return wit.Publication(
        given.broker,
        given.topic,
        payload.encode() if isinstance(payload, str) else payload,
        given.qos,
        given.retain,
        given.properties,
    )


def _out(item):
    """An item on its way out. Fields are read by name, so a reading goes as it is."""
    if isinstance(item, Reading):
        return wit.Item_Reading(item)
    if isinstance(item, Event):
        return wit.Item_Event(item)
    if isinstance(item, Publication):
        return wit.Item_Publication(_publication(item))
    raise TypeError(f"{item!r} is no Reading, Event or Publication")


def _items(items):
    if not isinstance(items, (list, tuple)):
        raise TypeError(f"a list of items was expected, not {items!r}")
    return [_out(item) for item in items]


def _rejection(given):
    return wit.Rejection(str(given.code), str(given.detail))


def _reading(given):
    return Reading(given.channel, given.device, given.at, given.measurements)


def _in(item):
    """An item as it came in."""
    if isinstance(item, wit.Item_Reading):
        return _reading(item.value)
    value = item.value
    if isinstance(item, wit.Item_Event):
        return Event._given(value.kind, value.device, value.channel, value.at, value.data)
    return Publication(
        value.topic, value.payload, value.qos, value.retain, value.broker, value.properties
    )


def _validator(common):
    class Validator:
        @_loud
        def validate(self, batch):
            results = []
            for each in batch:
                try:
                    common.objects[each.settings].validate(each.message)
                    results.append(Ok(None))
                except Rejection as refused:
                    results.append(Err(_rejection(refused)))
            return results

    return Validator


def _parser(common):
    from wit_world.exports import parser as wit_parser

    class Parser:
        @_loud
        def parse(self, batch):
            results = []
            for each in batch:
                try:
                    results.append(Ok(_items(common.objects[each.settings].parse(each.message))))
                except Rejection as refused:
                    results.append(Err(_rejection(refused)))
            return results

        @_loud
        def companions_of(self, settings, topic_filter):
            given = common.objects[settings].companions(topic_filter)
            ask = None if given.ask is None else _publication(given.ask)
            return wit_parser.Companions(list(given.also), given.channel, ask)

    return Parser


def _detector(common):
    from wit_world.exports import detector as wit_detector

    kept = found.state_shape(common.module)
    inputs = {
        wit_detector.Input_Item: lambda given: _in(given.value),
        wit_detector.Input_Message: lambda given: given.value,
        wit_detector.Input_Timer: lambda given: Timer(),
        wit_detector.Input_DeafSince: lambda given: DeafSince(given.value),
        wit_detector.Input_Reconfigured: lambda given: Reconfigured(),
        wit_detector.Input_Removed: lambda given: Removed(),
    }

    def read(state):
        try:
            return kept.take(json.loads(state))
        except (ValueError, shape.Mismatch):
            what = f"{len(state)} bytes of state are no {kept.expected}"
            raise Rejection("state-unreadable", what) from None

    def written(state):
        text = json.dumps(
            kept.plain(state), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        return text.encode()

    def step(each):
        state = None if each.state is None else read(each.state)
        given = inputs[type(each.input)](each.input)
        result = common.objects[each.settings].step(
            Step(each.key, each.at, each.retained, state, given)
        )
        if not isinstance(result, Next):
            raise TypeError(f"`step` must return a Next, not {result!r}")
        return wit_detector.Step(
            None if result.state is None else written(result.state),
            result.wake,
            _items(result.outputs),
            result.asks,
            None if result.left_aside is None else _rejection(result.left_aside),
        )

    class Detector:
        @_loud
        def detect(self, batch):
            results = []
            for each in batch:
                try:
                    results.append(Ok(step(each)))
                except Rejection as refused:
                    results.append(Err(_rejection(refused)))
            return results

        @_loud
        def migrate(self, from_version, state):
            try:
                return written(common.module.migrate(from_version, json.loads(state)))
            except ValueError as error:
                raise Err(str(error)) from None

    return Detector


def _sink(common):
    from wit_world.exports import sink as wit_sink

    def content(given):
        if isinstance(given, wit_sink.Content_Message):
            return given.value
        return _in(given.value)

    def deliveries(given):
        return [
            Delivery(
                each.id, each.bridge, each.replayed, each.key, each.seq, each.at,
                each.device and Device(each.device.id, each.device.name, each.device.labels),
                content(each.content),
                each.origin and Origin(
                    each.origin.source, each.origin.topic, each.origin.received_at,
                    each.origin.qos, each.origin.retained,
                ),
            )
            for each in given
        ]

    def part(given):
        if not isinstance(given, Secret):
            return wit_sink.Part_Bytes(given)
        escaping = wit_sink.Escaping[given.escaping.upper().replace("-", "_")]
        return wit_sink.Part_Secret(wit_sink.Secret(given.name, escaping))

    def request(given):
        body = [part(each) for each in given.body]
        return wit_sink.Request(given.method, given.path, given.headers, body)

    def verdict(given):
        if isinstance(given, Delivered):
            return wit_sink.Verdict_Delivered()
        if isinstance(given, Duplicate):
            return wit_sink.Verdict_Duplicate()
        if isinstance(given, Retry):
            return wit_sink.Verdict_Retry(given.after_ms)
        if isinstance(given, Rejected):
            return wit_sink.Verdict_Rejected(_rejection(given))
        raise TypeError(f"{given!r} is no verdict")

    outcomes = {
        "verdicts": lambda value: wit_sink.Outcome_Verdicts([verdict(each) for each in value]),
        "prepared": lambda value: wit_sink.Outcome_Prepared(),
        "split": lambda value: wit_sink.Outcome_Split(_rejection(value)),
        "retry": lambda value: wit_sink.Outcome_Retry(value),
        "pause": lambda value: wit_sink.Outcome_Pause(str(value)),
    }

    class Sink:
        @_loud
        def encode(self, settings, session, given):
            encoding = common.objects[settings].encode(session, deliveries(given))
            if encoding.preparation is not None:
                plan = wit_sink.Plan_Prepare(request(encoding.preparation))
            else:
                plan = wit_sink.Plan_Exchanges(
                    [(indices, request(each)) for indices, each in encoding.exchanges]
                )
            refused = [(index, _rejection(why)) for index, why in encoding.refused]
            return wit_sink.Encoding(plan, refused)

        @_loud
        def conclude(self, settings, session, given, response):
            answer = Response(response.status, response.headers, response.body)
            concluded = common.objects[settings].conclude(session, deliveries(given), answer)
            return wit_sink.Conclusion(
                outcomes[concluded.kind](concluded.value),
                concluded.session,
                _items(concluded.outputs),
            )

    return Sink
