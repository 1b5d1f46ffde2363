"""Where the servers are: one address or a list of them, and what gRPC is told to find them. ADDRESSES.md is its contract."""

import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import quote

from podium.errors import InvalidArgument

_ADDRESS = re.compile(r"(?:grpc://)?((?:[^\s/:@\[\]]+|\[[0-9A-Fa-f:.%]+\]):([0-9]{1,5}))/?")

Place = tuple[str, int]
"""An IP address and a port."""


def parse_address(url: str) -> str:
    """`host:port` of `host:port` or `grpc://host:port`; of several with commas between them, each once."""
    return ",".join(dict.fromkeys(_parse(entry, url) for entry in url.split(",")))


def is_one_server(address: str) -> bool:
    """Whether it is a single IP address: a name may lead to several."""
    with suppress(ValueError):
        return bool(ip_address(address.rpartition(":")[0].strip("[]")))
    return False


def is_list(address: str) -> bool:
    """Whether it names several, which gRPC has no resolver for."""
    return "," in address


def look_up(address: str) -> frozenset[Place]:
    """All that the entries of a list lead to now; those that cannot be looked up are left out."""
    return frozenset(place for entry in address.split(",") for place in _look_up(entry))


def target_of(places: Iterable[Place]) -> str:
    """What gRPC connects to at these places: it takes one family, so IPv4 beside IPv6 is written as that."""
    found = sorted(places)
    if not any(":" in host for host, _ in found):
        return "ipv4:" + ",".join(f"{host}:{port}" for host, port in found)
    hosts = [(host if ":" in host else f"::ffff:{host}", port) for host, port in found]
    return "ipv6:" + quote(",".join(f"[{host}]:{port}" for host, port in hosts), safe=":,[]")


def _parse(entry: str, url: str) -> str:
    match = _ADDRESS.fullmatch(entry)
    if not match or int(match[2]) > 65_535:
        place = "" if entry == url else f" in {url!r}"
        raise InvalidArgument(
            f"{entry!r}{place} is not the address of a Podium server: use HOST:PORT or grpc://HOST:PORT, and commas between several"
        )
    return match[1]


def _look_up(entry: str) -> list[Place]:
    host, _, port = entry.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a label that is empty or too long is a UnicodeError
        return []
    return [(str(place[0]), int(place[1])) for *_, place in found]
