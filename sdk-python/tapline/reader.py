"""JSON by the rules and in the words of the Rust SDK, for payloads that are refused.

Python's own reader is fast, but takes what is no JSON elsewhere and counts lines and columns
in its own way. What it refuses, or a shape does, is read once more by this one, which stops at
the same byte with the same words as serde_json does. Neighbours: `shape` says what is wanted.
"""

from . import shape as shapes

_SPACE = b" \n\t\r"
_DIGITS = b"0123456789"
_ESCAPED = {34: '"', 92: "\\", 47: "/", 98: "\b", 102: "\f", 110: "\n", 114: "\r", 116: "\t"}
_NEAR = 12
_DEPTH = 128
_END = 0


class Refused(Exception):
    """`code` and `detail` of the rejection."""

    def __init__(self, code, detail):
        super().__init__(code, detail)
        self.code, self.detail = code, detail


class _Passed(shapes.Shape):
    """A value that nobody asked for."""


_PASSED = _Passed()


class Reader:
    def __init__(self, payload: bytes):
        self.payload, self.at, self.depth = payload, 0, 0

    def whole(self, shape):
        """The payload's one value."""
        value = self._value(shape)
        if self._next() is not None:
            self._broken("trailing characters", 1)
        return value

    # What is wrong, and where: `ahead` is 1 where the next byte is to blame.

    def _broken(self, what, ahead=0):
        raise self._refused("not-json", what, min(self.at + ahead, len(self.payload)))

    def _unlike(self, what):
        raise self._refused("wrong-shape", what, self.at)

    def _refused(self, code, what, at):
        start = self.payload.rfind(b"\n", 0, at) + 1
        line, column = self.payload.count(b"\n", 0, start) + 1, at - start
        end = self.payload.find(b"\n", start)
        text = self.payload[start : end if end >= 0 else len(self.payload)]
        middle = min(max(column - 1, 0), len(text))
        shown = text[max(middle - _NEAR, 0) : middle + _NEAR].decode(errors="replace")
        near = f", near `{_escaped(shown, True)}`" if shown else ""
        return Refused(code, f"{what} at line {line} column {column}{near}")

    # Bytes.

    def _peek(self):
        return self.payload[self.at] if self.at < len(self.payload) else _END

    def _next(self):
        """The next byte that is no space; `None` at the end."""
        while self.at < len(self.payload):
            byte = self.payload[self.at]
            if byte not in _SPACE:
                return byte
            self.at += 1
        return None

    # Values.

    def _value(self, shape):
        byte = self._next()
        if byte is None:
            self._broken("EOF while parsing a value", 1)
        if isinstance(shape, shapes.Maybe):
            if byte == 110:  # n
                return self._word(b"null", None)
            return self._value(shape.inner)
        if byte == 110:
            return self._fit(shape, self._word(b"null", None), "null")
        if byte == 116:  # t
            return self._fit(shape, self._word(b"true", True), "boolean `true`")
        if byte == 102:  # f
            return self._fit(shape, self._word(b"false", False), "boolean `false`")
        if byte == 45 or byte in _DIGITS:  # -
            value = self._number(shape is _PASSED)
            if type(value) is float:
                what = f"floating point `{_decimal(value)}`"
            else:
                what = f"integer `{value}`"
            return self._fit(shape, value, what)
        if byte == 34:  # "
            self.at += 1
            value = self._string(shape is _PASSED)
            return self._fit(shape, value, f'string "{_escaped(value, False)}"')
        if byte == 91:  # [
            return self._list(shape)
        if byte == 123:  # {
            return self._object(shape)
        return self._broken("expected value", 1)

    def _fit(self, shape, value, what):
        try:
            return shape.take(value)
        except shapes.Mismatch:
            kind = "type"
            if type(value) is int and isinstance(shape, type(shapes.of(int))):
                kind = "value"
            self._unlike(f"invalid {kind}: {what}, expected {shape.expected}")

    def _word(self, word, value):
        for byte in word:
            if self.at == len(self.payload):
                self._broken("EOF while parsing a value")
            self.at += 1
            if self.payload[self.at - 1] != byte:
                self._broken("expected ident")
        return value

    def _number(self, passed):
        start = self.at
        if self._peek() == 45:
            self.at += 1
        if self.at == len(self.payload):
            self._broken("EOF while parsing a value")
        first = self._peek()
        self.at += 1
        if first == 48:  # 0
            if self._peek() in _DIGITS:
                self._broken("invalid number", 1)
        elif first in _DIGITS:
            self._digits()
        else:
            self._broken("invalid number")
        whole = True
        if self._peek() == 46:  # .
            whole = False
            self.at += 1
            if not self._digits():
                ended = self.at == len(self.payload) and not passed
                self._broken("EOF while parsing a value" if ended else "invalid number", 1)
        if self._peek() in b"eE":
            whole = False
            self.at += 1
            if self._peek() in b"+-":
                self.at += 1
            if self.at == len(self.payload) and not passed:
                self._broken("EOF while parsing a value")
            if not self._digits():
                self.at += 1
                self._broken("invalid number")
        text = self.payload[start : self.at]
        if whole and text != b"-0":
            value = int(text) if len(text) < 21 else None
            if value is not None and -(1 << 63) <= value < 1 << 64:
                return value
        value = float(text)
        if value - value != 0.0 and not passed:
            self._broken("number out of range")
        return value

    def _digits(self):
        start = self.at
        while self._peek() in _DIGITS:
            self.at += 1
        return self.at > start

    def _string(self, passed):
        """What follows an opening quote, with the closing one."""
        pieces, start = [], self.at
        while True:
            if self.at >= len(self.payload):
                self._broken("EOF while parsing a string")
            byte = self.payload[self.at]
            if byte == 34:
                pieces.append(self._text(start, passed))
                return "".join(pieces)
            if byte == 92:  # \
                pieces.append(self._text(start, passed))
                pieces.append(self._escape(passed))
                start = self.at
            elif byte < 32:
                self.at += 0 if passed else 1
                self._broken("control character (\\u0000-\\u001F) found while parsing a string")
            else:
                self.at += 1

    def _text(self, start, passed):
        text = self.payload[start : self.at]
        self.at += 1
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            if passed:
                return ""
            self.at = start + error.start + 1
        self._broken("invalid unicode code point")

    def _byte(self):
        if self.at >= len(self.payload):
            self._broken("EOF while parsing a string")
        self.at += 1
        return self.payload[self.at - 1]

    def _escape(self, passed):
        byte = self._byte()
        if byte in _ESCAPED:
            return _ESCAPED[byte]
        if byte != 117:  # u
            self._broken("invalid escape")
        first = self._hex()
        if passed:
            return ""
        if 0xDC00 <= first <= 0xDFFF:
            self._broken("lone leading surrogate in hex escape")
        if not 0xD800 <= first <= 0xDBFF:
            return chr(first)
        for wanted in b"\\u":
            if self._byte() != wanted:
                self._broken("unexpected end of hex escape")
        second = self._hex()
        if not 0xDC00 <= second <= 0xDFFF:
            self._broken("lone leading surrogate in hex escape")
        return chr(0x10000 + ((first - 0xD800) << 10 | second - 0xDC00))

    def _hex(self):
        digits = self.payload[self.at : self.at + 4]
        self.at += len(digits)
        if len(digits) < 4:
            self._broken("EOF while parsing a string")
        if not all(digit in b"0123456789abcdefABCDEF" for digit in digits):
            self._broken("invalid escape")
        return int(digits, 16)

    def _enter(self, passed):
        self.depth += 0 if passed else 1
        if self.depth >= _DEPTH:
            self._broken("recursion limit exceeded", 1)
        self.at += 1

    def _list(self, shape):
        passed = shape is _PASSED
        if isinstance(shape, shapes.Sequence):
            inner = shape.inner
        elif passed or shape is shapes.ANYTHING:
            inner = shape
        else:
            self._unlike(f"invalid type: sequence, expected {shape.expected}")
        self._enter(passed)
        values = []
        while True:
            byte = self._next()
            if byte is None:
                self._broken("EOF while parsing a list", 1)
            if byte == 93:  # ]
                break
            if values:
                if byte != 44:  # ,
                    self._broken("expected `,` or `]`", 1)
                self.at += 1
                if self._next() == 93 and not passed:
                    self._broken("trailing comma", 1)
            values.append(self._value(inner))
        self.at += 1
        self.depth -= 0 if passed else 1
        return values

    def _object(self, shape):
        passed = shape is _PASSED
        known = isinstance(shape, shapes.Fields)
        if isinstance(shape, shapes.Mapping):
            inner = shape.inner
        elif passed or shape is shapes.ANYTHING:
            inner = shape
        elif not known:
            self._unlike(f"invalid type: map, expected {shape.expected}")
        self._enter(passed)
        values, first = {}, True
        while True:
            byte = self._next()
            if byte is None:
                self._broken("EOF while parsing an object", 1)
            if byte == 125:  # }
                break
            if not first:
                if byte != 44:
                    self._broken("expected `,` or `}`", 1)
                self.at += 1
                byte = self._next()
                if byte is None:
                    what = "an object" if passed else "a value"
                    self._broken(f"EOF while parsing {what}", 1)
                if byte == 125 and not passed:
                    self._broken("trailing comma", 1)
            first = False
            if byte != 34:
                self._broken("key must be a string", 1)
            self.at += 1
            key = self._string(passed)
            if known and key in values:
                self._unlike(f"duplicate field `{key}`")
            colon = self._next()
            if colon is None:
                self._broken("EOF while parsing an object", 1)
            if colon != 58:
                self._broken("expected `:`", 1)
            self.at += 1
            if known:
                index = shape.by_key.get(key)
                if index is None:
                    self._value(_PASSED)
                    continue
                inner = shape.fields[index][2]
            values[key] = self._value(inner)
        self.at += 1
        self.depth -= 0 if passed else 1
        if not known:
            return values
        for key, _, _, default in shape.fields:
            if key not in values and default is shapes.MISSING:
                self._unlike(f"missing field `{key}`")
        return shape.put(values)


_NAMED = {"\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", '"': '\\"', "\0": "\\0"}


def _decimal(value: float) -> str:
    """As serde_json writes it: with a point, or an exponent where it is large or small."""
    digits, _, exponent = repr(value).partition("e")
    if not exponent:
        return digits
    if int(exponent) == -5:
        sign = "-" if digits[0] == "-" else ""
        return f"{sign}0.0000{digits.removeprefix('-').replace('.', '')}"
    return f"{digits}e{int(exponent):+}"


def _escaped(text: str, quotes: bool) -> str:
    """As Rust's `escape_debug` writes it."""
    pieces = []
    for character in text:
        if character in _NAMED:
            pieces.append(_NAMED[character])
        elif character == "'" and quotes:
            pieces.append("\\'")
        elif character.isprintable():
            pieces.append(character)
        else:
            pieces.append(f"\\u{{{ord(character):x}}}")
    return "".join(pieces)
