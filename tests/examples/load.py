"""A steady load on a prediction server, of which every answer is checked."""

import http.client
import itertools
import json
import threading
import time
from contextlib import closing
from typing import NamedTuple

import numpy as np

PATIENCE_SECONDS = 60
BATCHES = (1, 1, 8, 500)  # rows of a request, one thread each; the large one is in flight most of the time
PAUSE_SECONDS = 0.003  # between an answer and the next request


class Answer(NamedTuple):
    begun: float
    ended: float
    number: int


class Load:
    """Clients that ask in a loop until the block ends.

    `expected` is what each version must say: {number: (version, predictions for all rows)}. An answer of 500, a connection that
    breaks, a wrong number or anything else that should not be is a failure, and ends the load.
    """

    def __init__(self, address, rows, expected, tolerance):
        self.answers, self.failures = [], []
        self.latest = 0  # number of the version that answered last
        self._address, self._rows, self._expected, self._tolerance = address, rows, expected, tolerance
        self._answered = threading.Condition()
        self._rounds = [0] * len(BATCHES)
        self._ends = False
        self._threads = [threading.Thread(target=self._run, args=(place,)) for place in range(len(BATCHES))]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ends = True
        for thread in self._threads:
            thread.join()

    def wait_for(self, number):
        """Waits for an answer of this version."""
        self._wait(lambda: self.latest == number, f"no answer from {number}")

    def round(self, count=1):
        """Waits until each client has begun and ended so many requests."""
        goals = [rounds + count + 1 for rounds in self._rounds]
        self._wait(lambda: all(rounds >= goal for rounds, goal in zip(self._rounds, goals, strict=True)), "requests hang")

    def _wait(self, is_true, problem):
        with self._answered:
            assert self._answered.wait_for(lambda: self.failures or is_true(), PATIENCE_SECONDS), problem
        if self.failures:
            raise AssertionError("a request failed") from self.failures[0]

    def _run(self, place):
        """One client. The first makes a connection for each request, the others keep theirs."""
        count = BATCHES[place]
        with closing(http.client.HTTPConnection(self._address, timeout=PATIENCE_SECONDS)) as connection:
            for turn in itertools.count():
                if self._ends or self.failures:
                    return
                try:
                    first = (turn * count) % (len(self._rows) - count)
                    answer = self._ask(connection, slice(first, first + count))
                except Exception as error:
                    self.failures.append(error)
                else:
                    self.answers.append(answer)
                    self.latest = answer.number
                if place == 0:
                    connection.close()
                with self._answered:
                    self._rounds[place] += 1
                    self._answered.notify_all()
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
