"""What is true of everything that is asked of Google: it has a timeout, and one retry layer, tenacity; the library's own is off.

The text of an error never goes on: it may hold the URI of an upload session, and whoever has that can write to it.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import requests
import urllib3
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError
from prometheus_client import Counter
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_random_exponential

from podium_server.blobs.errors import StoreUnavailable

log = logging.getLogger(__name__)

RETRIES = Counter("podium_blob_retries", "Requests to Cloud Storage that failed and were made again.")

T = TypeVar("T")


class Unfinished(Exception):
    """The answer is that not all is done: ask again."""


PATIENCE_SECONDS = 30.0
TIMEOUT = (5.0, 30.0)  # seconds: to connect, and of silence

_BACKOFF = wait_random_exponential(multiplier=0.2, max=5)
_MAY_PASS = {408, 429, 500, 502, 503, 504}
_CUT = (
    Unfinished,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
    TransportError,
)
_FAILURES = (*_CUT, exceptions.GoogleAPICallError, requests.RequestException, GoogleAuthError)


class Calls:
    """Calls to one service; the texts say what it is, and what 403 and 404 of it mean."""

    def __init__(self, service: str, *, refused: str, missing: str) -> None:
        self._service = service
        self._refused = refused
        self._missing = missing

    def __call__(self, action: Callable[[], T], *, patience: float | None = None) -> T:
        """Does something, again for as long as it may pass and patience (in seconds) lasts; StoreUnavailable."""
        attempts = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=_pause,
            stop=stop_before_delay(PATIENCE_SECONDS if patience is None else patience),
            before_sleep=self._say_that_it_failed,
            reraise=True,
        )
        try:
            return attempts(action)
        except exceptions.PreconditionFailed:
            raise
        except _FAILURES as error:
            raise self.unavailable(error) from None

    def unavailable(self, error: Any) -> StoreUnavailable:
        """What an error of the library means, in one line."""
        match getattr(error, "code", None):
            case 401 | 403:
                told = self._refused
            case 404:
                told = self._missing
            case int(code):
                told = f"does not work now: it answers {code}"
            case _ if isinstance(error, GoogleAuthError) and not isinstance(error, TransportError):
                told = "needs credentials that Google accepts: set GOOGLE_APPLICATION_CREDENTIALS to the file with them"
            case _:
                told = f"cannot be reached: {type(error).__name__}"
        return StoreUnavailable(f"{self._service} {told}")

    def _say_that_it_failed(self, state: RetryCallState) -> None:
        assert state.outcome is not None
        assert state.next_action is not None
        RETRIES.inc()
        log.info("%s: trying again in %.1f s", self.unavailable(state.outcome.exception()), state.next_action.sleep)


def checked(response: requests.Response) -> requests.Response:
    """The answer; one that may pass is raised."""
    if response.status_code in _MAY_PASS:
        raise failure(response)
    return response


def failure(response: requests.Response) -> exceptions.GoogleAPICallError:
    """What the library raises for such an answer."""
    error: exceptions.GoogleAPICallError = exceptions.from_http_response(response)  # type: ignore[no-untyped-call]
    return error


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _CUT) or (isinstance(error, exceptions.GoogleAPICallError) and error.code in _MAY_PASS)


def _pause(state: RetryCallState) -> float:
    """Seconds: growing, by chance, and no fewer than the answer asks for."""
    assert state.outcome is not None
    response = getattr(state.outcome.exception(), "response", None)
    asked = response.headers.get("Retry-After", "") if response is not None else ""
    return max(_BACKOFF(state), float(asked) if asked.isdigit() else 0.0)
