"""A steady load on a prediction server, of which every answer is checked."""

import json
import time
from typing import NamedTuple

import numpy as np
from http_load import Load

BATCHES = (1, 1, 8, 500)  # rows of a request, one thread each; the large one is in flight most of the time
PAUSE_SECONDS = 0.003  # between an answer and the next request


class Answer(NamedTuple):
    begun: float
    ended: float
    number: int


class Predictions(Load):
    """Clients that ask for predictions.

    `expected` is what each version must say: {number: (version, predictions for all rows)}. An answer of 500, a connection that
    breaks, a wrong number or anything else that should not be is a failure.
    """

    def __init__(self, address, rows, expected, tolerance):
        super().__init__(address, len(BATCHES))
        self.answers = []
        self.latest = 0  # number of the version that answered last
        self._rows, self._expected, self._tolerance = rows, expected, tolerance

    def wait_for_version(self, number):
        """Waits for an answer of this version."""
        self.wait_for(lambda: self.latest == number, f"no answer from {number}")

    def turn(self, connection, place, number):
        """Asks once. The first client makes a connection for each request, the others keep theirs."""
        count = BATCHES[place]
        first = (number * count) % (len(self._rows) - count)
        answer = self._ask(connection, slice(first, first + count))
        self.answers.append(answer)
        self.latest = answer.number
        if place == 0:
            connection.close()
        time.sleep(PAUSE_SECONDS)

    def _ask(self, connection, rows):
        body = json.dumps(self._rows[rows].tolist())
        begun = time.monotonic()
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        ended = time.monotonic()
        assert response.status == 200, content
        assert not response.will_close
        answer = json.loads(content)
        version, predictions = self._expected[answer["number"]]
        assert answer["version"] == version
        np.testing.assert_allclose(answer["predictions"], predictions[rows], rtol=0, atol=self._tolerance)
        return Answer(begun, ended, answer["number"])


class Promotion(NamedTuple):
    called: float
    acknowledged: float
    number: int


def check_order(answers, promotions, before):
    """How long after each promotion the old version still took a request, in seconds.

    Once an answer of the new version was seen, no request that begins later is answered by another one, until the next promotion.
    """
    delays = []
    ends = [promotion.called for promotion in promotions[1:]] + [float("inf")]
    for (called, acknowledged, number), end in zip(promotions, ends, strict=True):
        begun = [answer for answer in answers if called < answer.begun < end]
        assert {answer.number for answer in begun} <= {before, number}
        seen = min(answer.ended for answer in answers if answer.ended > called and answer.number == number)
        old = [answer.begun for answer in begun if answer.number != number]
        assert all(one < seen for one in old), f"{before} answers a request that began after an answer of {number}"
        assert sum(answer.begun > seen for answer in begun) >= len(BATCHES)
        delays.append(max([one - acknowledged for one in old] + [0]))
        before = number
    return delays
