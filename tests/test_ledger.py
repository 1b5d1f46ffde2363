"""What one transaction for many changes does with one that is refused, and with one that fails in the database."""

import asyncio
import threading

import databases
import pytest
from peewee import IntegrityError
from podium.v1.aliases_pb2 import SetAliasRequest, SetAliasResponse
from podium_server.database import open_database
from podium_server.dependencies import Dependency
from podium_server.errors import Conflict
from podium_server.feed import Feed
from podium_server.ledger import Caller, Ledger
from podium_server.positions import parse_position
from podium_server.view import View, load

ADD = "INSERT INTO manifest (digest) VALUES (?)"
CALLER = Caller("ann", "nowhere", "SetAlias")


def model_created(tx, name):
    tx.run(ADD, name)
    tx.event(4, name, name, "")
    return SetAliasResponse()


def refused(tx, name):
    tx.run(ADD, name)
    raise Conflict("it is refused", current="")


def failing(tx, name):
    """On PostgreSQL it may be known only later."""
    model_created(tx, name)
    return model_created(tx, name)


def committed(url, *changes):
    """The outcomes of changes that wait together, each with a name of its own, and what is in the database and in the view."""
    database = open_database(url)

    async def commit():
        view = View(database.read(lambda: load(database)), Feed(), None)
        ledger = Ledger(database, Dependency("database"), view)
        free = threading.Event()
        first = asyncio.create_task(ledger.write(lambda _: free.wait()))  # until all of them wait
        waiting = [
            asyncio.create_task(
                ledger.commit(SetAliasRequest(request_id=f"{place}"), CALLER, lambda tx, p=place, c=change: c(tx, f"m{p}"))
            )
            for place, change in enumerate(changes)
        ]
        await asyncio.sleep(0)
        free.set()
        await first
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await ledger.close()
        return outcomes, sorted(view.models), view.position.revision

    try:
        outcomes, models, revision = asyncio.run(commit())
        rows = database.read(lambda: database.all("SELECT digest FROM manifest ORDER BY digest"))
    finally:
        database.close_all()
    return outcomes, [digest for (digest,) in rows], models, revision


@pytest.mark.parametrize("bad", [refused, failing])
@pytest.mark.parametrize("place", [0, 1, 2, None])
def test_one_that_does_not_succeed_takes_nobody_with_it(tmp_path, bad, place):
    changes = [model_created] * 3 if place is not None else []
    changes.insert(place or 0, bad)
    outcomes, digests, models, revision = committed(databases.database_of(tmp_path).url, *changes)
    error = outcomes.pop(place or 0)
    assert isinstance(error, Conflict if bad is refused else IntegrityError)
    names = [f"m{number}" for number, change in enumerate(changes) if change is model_created]
    assert (digests, models, revision) == (names, names, len(names))
    positions = [parse_position(SetAliasResponse.FromString(reply).position).revision for reply in outcomes]
    assert positions == list(range(1, len(names) + 1))
