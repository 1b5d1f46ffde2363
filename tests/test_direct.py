"""Pulls of the Python client whose bytes come from the bucket itself, and what happens where that does not go."""

import logging
import os
import signal
import sys

import podium
import pytest
from following import interrupted, reaches
from gcs_servers import BUCKET
from processes import Process
from streams import MIB, digest_of

SIGNED = "X-Goog-Signature"
SIZES = (0, 1, 1000, MIB, 5 * MIB, 23 * MIB + 7)


@pytest.fixture
def server(gcs, start_server, tmp_path):
    """A server over the bucket whose account can sign, with the version m:1."""
    environment = gcs.account(tmp_path)
    server = start_server("--blobs", f"gs://{BUCKET}/registry", "--log-level", "debug", environment=environment)
    yield server
    server.stop()
    assert "Traceback" not in server.output()
    assert SIGNED not in server.output()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        (folder / f"{number}.bin").write_bytes(os.urandom(size))
    return folder


@pytest.fixture
def warnings(caplog):
    """What the client warned of."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def connect(server, tmp_path, **values):
    return podium.connect(server.address, **{"cache": tmp_path / "cache", "direct": True, **values})


def push(server, folder, **values):
    with podium.connect(server.address) as registry:
        return registry.push("m", folder, **values)


def pulled(server, tmp_path, **values):
    """The folder of the newest version in the cache."""
    with connect(server, tmp_path, **values) as registry:
        return registry.pull("m@latest")


def same(folder, other):
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return all((folder / name).read_bytes() == (other / name).read_bytes() for name in names)


def signatures(server):
    return server.output().count("SignDownloads OK in")


def only_large(folder):
    for path in folder.iterdir():
        if path.name != "5.bin":
            path.unlink()
    return folder / "5.bin"


def test_the_bytes_come_from_the_bucket_and_not_by_way_of_the_server(server, gcs, folder, tmp_path, warnings):
    push(server, folder)
    assert same(folder, pulled(server, tmp_path))
    reads = gcs.requests("GET", SIGNED)
    assert [status for _, _, status, _ in reads] == [206] * (len(SIZES) - 1), "of an empty file there is nothing to read"
    assert not gcs.reads()["by_server"]
    assert signatures(server) == 1
    assert warnings() == []


@pytest.mark.parametrize("command", [["pull", "m:1"], ["materialize", "m@latest"], ["follow", "m@latest", "--into"]], ids="-".join)
def test_the_commands_that_pull_can_do_it(command, server, gcs, folder, tmp_path):
    push(server, folder)
    program = "from podium.cli import main; main()"
    place = [tmp_path / "place", "--direct", "--url", server.address]
    environment = {**os.environ, "PODIUM_CACHE": str(tmp_path / "cache")}
    with Process([sys.executable, "-c", program, *command, *place], env=environment) as process:
        process.line()
        assert process.end() in (0, -signal.SIGTERM)
    assert gcs.reads()["by_url"] == len(SIZES) - 1
    assert not gcs.reads()["by_server"]


def test_only_who_asks_for_it_reads_from_the_bucket(server, gcs, folder, tmp_path):
    push(server, folder)
    assert same(folder, pulled(server, tmp_path, direct=False))
    assert not gcs.reads()["by_url"]


def test_the_urls_of_many_files_take_a_call_a_hundred(server, gcs, tmp_path, warnings):
    folder = tmp_path / "model"
    folder.mkdir()
    for number in range(250):
        (folder / f"{number}.txt").write_text(f"{number}")
    (folder / "again.txt").write_text("249")
    push(server, folder)
    assert same(folder, pulled(server, tmp_path))
    assert signatures(server) == 3
    assert gcs.reads()["by_url"] == 250, "the same bytes twice are read once"
    assert warnings() == []


def test_a_cut_read_goes_on_where_it_stopped(server, gcs, folder, tmp_path, warnings):
    large = only_large(folder)
    push(server, folder)
    for cut in (5 * MIB, 7 * MIB, 0):
        gcs.order(path=SIGNED, cut_answer=cut)
    assert (pulled(server, tmp_path) / "5.bin").read_bytes() == large.read_bytes()
    assert gcs.reads()["by_url"] == 4
    assert not gcs.reads()["by_server"]
    assert warnings() == []


def test_what_an_earlier_pull_left_is_not_read_again(server, gcs, folder, tmp_path):
    large = only_large(folder)
    push(server, folder)
    partial = podium.Cache(tmp_path / "cache").partial_path(digest_of(large.read_bytes()))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(large.read_bytes()[: 20 * MIB])
    gcs.order(path=SIGNED, cut_answer=4 * MIB)  # more than what is missing
    assert (pulled(server, tmp_path) / "5.bin").read_bytes() == large.read_bytes()
    assert gcs.reads()["by_url"] == 1


def test_what_an_earlier_pull_left_is_read_again_if_it_is_wrong(server, gcs, folder, tmp_path, warnings):
    large = only_large(folder)
    push(server, folder)
    partial = podium.Cache(tmp_path / "cache").partial_path(digest_of(large.read_bytes()))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(MIB))
    assert (pulled(server, tmp_path) / "5.bin").read_bytes() == large.read_bytes()
    assert len(warnings()) == 1
    assert gcs.reads()["by_server"], "somebody has to have looked at what is sent"


def test_wrong_bytes_of_the_bucket_are_not_kept(server, gcs, folder, tmp_path, warnings):
    """They have the size of the right ones, and the server has those."""
    large = only_large(folder)
    push(server, folder)
    old = large.read_bytes()
    large.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
    push(server, folder)
    before = digest_of(old)[7:]
    gcs.order(path=SIGNED, instead=f"registry/sha256/{before[:2]}/{before}")
    assert (pulled(server, tmp_path) / "5.bin").read_bytes() == large.read_bytes()
    (warning,) = warnings()
    assert digest_of(large.read_bytes()) in warning


def test_bytes_that_are_damaged_in_the_bucket_are_told_as_ever(server, gcs, folder, tmp_path):
    large = only_large(folder)
    push(server, folder)
    digest = digest_of(large.read_bytes())
    with gcs.data(f"registry/sha256/{digest[7:9]}/{digest[7:]}").open("r+b") as file:
        file.write(b"damaged")
    with pytest.raises(podium.DataLoss):
        pulled(server, tmp_path)
    assert not podium.Cache(tmp_path / "cache").file_path(digest).exists()


def test_a_url_that_is_too_old_is_signed_again(server, gcs, folder, tmp_path, warnings):
    push(server, folder)
    gcs.order(path=SIGNED, late=901)
    assert same(folder, pulled(server, tmp_path))
    assert signatures(server) > 1
    assert not gcs.reads()["by_server"]
    assert warnings() == []


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403},
        {"status": 404},
        {"status": 503, "headers": {"Retry-After": "3600"}},
        {"status": 200},
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"cut_answer": 0},
        {"delay": 3600},
    ],
    ids=str,
)
def test_what_the_bucket_does_not_give_comes_by_way_of_the_server(fault, server, gcs, folder, tmp_path, warnings):
    push(server, folder)
    gcs.order(path=SIGNED, count=1000, **fault)
    assert same(folder, pulled(server, tmp_path, timeout=1.0 if "delay" in fault else 30.0))
    assert gcs.reads()["by_server"]
    assert gcs.requests("GET", "elsewhere") == [], "a bucket sends nobody anywhere"
    assert len(warnings()) == 1, "one line, however many files and threads there are"
    assert SIGNED not in warnings()[0]


def test_what_the_bucket_gave_before_it_failed_is_kept(server, gcs, folder, tmp_path, warnings):
    large = only_large(folder)
    push(server, folder)
    gcs.order(path=SIGNED, cut_answer=20 * MIB)
    gcs.order(path=SIGNED, count=1000, status=403)
    assert (pulled(server, tmp_path) / "5.bin").read_bytes() == large.read_bytes()
    assert gcs.reads()["by_server"] == 1, "of one range of 4 MiB"
    assert len(warnings()) == 1


def test_without_a_way_to_the_bucket_the_bytes_come_by_way_of_the_server(server, gcs, folder, tmp_path, monkeypatch, warnings):
    push(server, folder)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    assert same(folder, pulled(server, tmp_path))
    assert not gcs.reads()["by_url"]
    assert len(warnings()) == 1


def test_a_server_that_cannot_sign_sends_the_bytes(start_server, folder, tmp_path, warnings):
    large = only_large(folder)
    server = start_server()
    push(server, folder)
    partial = podium.Cache(tmp_path / "cache").partial_path(digest_of(large.read_bytes()))
    partial.parent.mkdir(parents=True)
    partial.write_bytes(bytes(MIB))  # not what it must be, which is a reason to leave the bucket alone too
    assert same(folder, pulled(server, tmp_path))
    (warning,) = warnings()
    assert warning.startswith("the files of m:1 come by way of the server: ")


def test_ctrl_c_ends_a_read_that_waits(server, gcs, folder, tmp_path, warnings):
    push(server, folder)
    gcs.order(path=SIGNED, count=1000, delay=3600)
    with interrupted():
        pulled(server, tmp_path, timeout=3600)
    assert warnings() == []


def test_a_follower_reads_from_the_bucket_too(server, gcs, folder, tmp_path, warnings):
    push(server, folder, aliases=["champion"])
    with connect(server, tmp_path) as registry, registry.follow("m@champion") as champion:
        (folder / "1.bin").write_bytes(b"2")
        push(server, folder, aliases=["champion"])
        reaches(champion, 2)
        assert same(folder, champion.current.path)
    assert not gcs.reads()["by_server"]
    assert warnings() == []
