"""The values of a scenario: names that stand for what is not known before, and expectations that an answer is held against."""

import re

_NAME = re.compile(r"\$(\w+)|\$\{(\w+)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


class Differs(AssertionError):
    """An answer is not as expected."""


class Values:
    """What the names of one run stand for, without their `$`."""

    def __init__(self, **known):
        self.known = known

    def fill(self, value):
        """The same value with what its names stand for; a text that is only a name becomes what that is, of any type."""
        if isinstance(value, dict):
            return {self.fill(key): self.fill(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.fill(one) for one in value]
        if not isinstance(value, str):
            return value
        if whole := _NAME.fullmatch(value):
            return self._get(whole)
        return _NAME.sub(lambda found: str(self._get(found)), value)

    def match(self, expected, actual, where="it"):
        """Raises Differs unless the answer is as expected. A name that stands for nothing yet stands for what it meets."""
        if isinstance(expected, dict):
            self._match_table(expected, actual, where)
        elif isinstance(expected, list):
            self._match_list(expected, actual, where)
        elif isinstance(expected, str):
            self._match_text(expected, actual, where)
        else:
            check(type(expected) is type(actual) and expected == actual, expected, actual, where)

    def _get(self, found):
        return self.known[name_of(found)]

    def _match_table(self, expected, actual, where):
        check(isinstance(actual, dict), expected, actual, where)
        for name, value in expected.items():
            key = self.fill(name)
            check(key in actual, {key: value}, actual, where)
            self.match(value, actual[key], f"{where}.{key}")

    def _match_list(self, expected, actual, where):
        check(isinstance(actual, list) and len(actual) == len(expected), expected, actual, where)
        for place, (one, other) in enumerate(zip(expected, actual, strict=True)):
            self.match(one, other, f"{where}[{place}]")

    def _match_text(self, expected, actual, where):
        whole, span = _NAME.fullmatch(expected), _RANGE.fullmatch(expected)
        if whole and name_of(whole) not in self.known:
            self.known[name_of(whole)] = actual
        elif span and type(actual) is int:
            check(int(span[1]) <= actual <= int(span[2]), expected, actual, where)
        elif expected.startswith("~"):
            pattern = _NAME.sub(lambda found: re.escape(str(self._get(found))), expected[1:])
            check(isinstance(actual, str) and re.fullmatch(pattern, actual), expected, actual, where)
        else:
            wanted = self.fill(expected)
            check(type(wanted) is type(actual) and wanted == actual, wanted, actual, where)


def name_of(found):
    return found[1] or found[2]


def check(true, expected, actual, where):
    if not true:
        raise Differs(f"{where} is {actual!r}, not {expected!r}")
