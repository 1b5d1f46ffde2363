"""Asks what serve.py serves, without a pause: python ask.py ADDRESS VERSION...

Ends when answers have come from these versions, in this order. Fails if one question fails, or after a minute.
"""

import http.client
import json
import sys
import time

from sklearn.datasets import load_breast_cancer

SECONDS = 60


def main(address: str, *versions: str) -> None:
    """Asks, and says whenever another version begins to answer."""
    tumours = [json.dumps(list(row)) for row in load_breast_cancer().data]
    connection = http.client.HTTPConnection(address, timeout=SECONDS)
    expected, answering, count = list(versions), "", 0
    end = time.monotonic() + SECONDS
    while expected and time.monotonic() < end:
        connection.request("POST", "/", tumours[count % len(tumours)])
        answer = json.loads(connection.getresponse().read())
        count += 1
        if answer["version"] != answering:
            answering = answer["version"]
            print(f"  answer {count:,} comes from {answering}", flush=True)
            if answering != expected.pop(0):
                sys.exit("that is not the version that was to come")
    if expected:
        sys.exit(f"no answer came from {expected[0]}")
    print(f"  {count:,} questions were asked, and all were answered")


if __name__ == "__main__":
    main(*sys.argv[1:])
