"""The page of metrics of a running server, as Prometheus reads it."""

import re
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from streams import until

SHOWN = ("--metrics", "127.0.0.1:0")


class Page:
    """What the page says now, at the URL that the server's log has."""

    def __init__(self, server, url=None):
        url = url or re.findall(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", server.output())[-1]
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read().decode()
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name, **labels):
        """The sum of all samples of that name that have these labels."""
        return sum(one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items())


def reaches(server, wanted, name, **labels):
    """Waits until a value is what is wanted: what is counted at the end of a call, its caller may know before."""
    until(lambda: Page(server).value(name, **labels) == wanted)
