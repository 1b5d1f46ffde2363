"""Reads files over HTTP by signed URLs: from an offset, on connections that are kept, through the proxies of the environment.

The other end is told what to read and nothing else, and no redirect is followed. No error shows a URL: whoever has one can read.
"""

import base64
import socket
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from grpc import StatusCode

from podium.errors import PodiumError
from podium.transfers import Crew

CONNECT_SECONDS = 5.0
CHUNK_BYTES = 1 << 20


class BucketError(PodiumError):
    """The bytes of a file have not come, or not all. They may the next time."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=StatusCode.UNAVAILABLE)


class Refused(BucketError):
    """There was an answer, and it was another."""


class Route(NamedTuple):
    """How requests to one host go: on which connection, with what before the path and which headers if a proxy takes them."""

    connection: HTTPConnection
    prefix: str = ""
    headers: Mapping[str, str] = {}


class Bucket:
    """The hosts of signed URLs, with a connection for each thread of a crew. `timeout` is how many seconds one may be silent."""

    def __init__(self, timeout: float, crew: Crew) -> None:
        self._timeout = timeout
        self._crew = crew
        self._routes: dict[tuple[int, str], Route] = {}

    def close(self) -> None:
        """Ends the connections, once nobody reads any more."""
        for route in self._routes.values():
            route.connection.close()

    def read(self, url: str, offset: int, size: int) -> Generator[memoryview]:
        """The bytes from an offset to the end of a file of this size; BucketError."""
        where = _split(url)
        try:
            with self._connected(where) as route:
                response = _ask(route, where, offset, size)
                yield from _chunks(response, size - offset)
                if not response.isclosed():
                    route.connection.close()
        except (OSError, HTTPException, ValueError) as error:
            told = error if isinstance(error, OSError) else type(error).__name__
            raise BucketError(f"{where.hostname} cannot be read: {told}") from None

    @contextmanager
    def _connected(self, where: SplitResult) -> Iterator[Route]:
        """The way there of this thread. Whatever goes wrong on a connection, it is not used again."""
        mine = threading.get_ident(), f"{where.scheme}://{where.netloc}"
        route = self._routes.get(mine) or _route(where)
        self._routes[mine] = route
        with self._crew.stoppable(partial(_shut, route.connection)):
            try:
                _connect(route.connection, self._timeout)
                self._crew.check()  # while it connected there was nothing to be shut
                yield route
            except BaseException:
                route.connection.close()
                raise


def _connect(connection: HTTPConnection, timeout: float) -> None:
    if connection.sock is None:
        connection.timeout = CONNECT_SECONDS
        connection.connect()
    connection.sock.settimeout(timeout)


def _split(url: str) -> SplitResult:
    with suppress(ValueError):
        where = urlsplit(url)
        if where.scheme in ("https", "http") and where.hostname:
            return where
    raise Refused("the server gives URLs that are none of HTTP")


def _route(where: SplitResult) -> Route:
    """Nothing is sent yet."""
    host, proxy = where.hostname or "", _proxy(where)
    kind = HTTPSConnection if where.scheme == "https" else HTTPConnection
    if proxy is None:
        return Route(kind(host, where.port))
    connection = kind(proxy.hostname or "", proxy.port or 80)
    if where.scheme == "http":
        return Route(connection, f"http://{where.netloc}", _authorization(proxy))
    connection.set_tunnel(host, where.port, _authorization(proxy))
    return Route(connection)


def _proxy(where: SplitResult) -> SplitResult | None:
    named = getproxies().get(where.scheme)
    if not named or proxy_bypass(where.netloc):
        return None
    return urlsplit(named if "://" in named else f"http://{named}")


def _authorization(proxy: SplitResult) -> Mapping[str, str]:
    if proxy.username is None:
        return {}
    both = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(both).decode()}"}


def _ask(route: Route, where: SplitResult, offset: int, size: int) -> HTTPResponse:
    """The answer, once it has begun; Refused if it is not these bytes."""
    target = f"{route.prefix}{where.path or '/'}?{where.query}"
    route.connection.request("GET", target, headers={**route.headers, "Range": f"bytes={offset}-"})
    response = route.connection.getresponse()
    if not _is_range(response, offset, size):
        raise Refused(f"{where.hostname} answers {response.status}, and not with the bytes of the file")
    return response


def _chunks(response: HTTPResponse, size: int) -> Generator[memoryview]:
    while size:
        chunk = response.read(min(CHUNK_BYTES, size))
        if not chunk:
            raise BucketError("the bucket has cut the connection")
        size -= len(chunk)
        yield memoryview(chunk)


def _is_range(response: HTTPResponse, offset: int, size: int) -> bool:
    """Whether it answers with these bytes of a file of that size: with all of a file, if no more was asked for."""
    if response.headers.get("Content-Encoding"):
        return False
    if response.status == 206:
        return response.headers.get("Content-Range") == f"bytes {offset}-{size - 1}/{size}"
    return response.status == 200 and offset == 0 and response.length == size


def _shut(connection: HTTPConnection) -> None:
    """Ends what another thread waits for on it. TLS is left alone: what comes is still read by it."""
    with suppress(OSError, AttributeError):  # there is no socket yet, or none any more
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
