"""Several servers behind one port: `podium serve --workers N`."""

import json
import os
import re
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import grpc
import podium
import pytest
from conftest import RunningServer
from free_ports import free_port
from metrics_page import Page
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from processes import Process
from replay import Replay, read_events
from streams import OpenUpload, chunks_of, committed, header_of, until
from torture import end_leases
from watching import Watching
from wire import request_of

MIB = 1 << 20
SECONDS = 60
CALLERS = 4
MANY = 200  # connections; that the kernel gives them all to the same workers is not going to happen


def pids_of(log: str) -> dict[int, int]:
    """The process of each worker that serves, or did last, by its number."""
    return {int(number): int(pid) for number, pid in re.findall(r"worker (\d+) serves: process (\d+)", log)}


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def connections(pid: int, port: int) -> set[str]:
    """The sockets of a process by which clients are connected to a port."""
    sockets = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(file.readlink()))
        except FileNotFoundError:  # it was closed meanwhile
            continue
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    established = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"}
    return sockets & established


@contextmanager
def connected(server: RunningServer, number: int):
    """A stub whose connection is at this worker."""
    pid, port = pids_of(server.output())[number], int(server.address.rpartition(":")[2])
    for _ in range(MANY):
        before = connections(pid, port)
        with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            grpc.channel_ready_future(channel).result(SECONDS)
            stub = RegistryServiceStub(channel)
            stub.GetServerInfo(request_of("GetServerInfo"), timeout=SECONDS)
            if connections(pid, port) - before:
                yield stub
                return
    raise AssertionError(f"no connection came to worker {number}")


def make_model(stub: RegistryServiceStub) -> None:
    """A model `m` with two versions."""
    stub.CreateModel(request_of("CreateModel", name="m"))
    for number in (1, 2):
        stub.RegisterVersion(request_of("RegisterVersion", model="m", record={"author": f"{number}"}))


def set_alias(stub: RegistryServiceStub, number: int) -> str:
    """Moves the champion; the position."""
    return stub.SetAlias(request_of("SetAlias", reference=f"m:{number}", alias="champion"), timeout=SECONDS).position


def champion(stub: RegistryServiceStub, at_least: str) -> int:
    return stub.ResolveVersion(request_of("ResolveVersion", reference="m@champion", at_least=at_least)).target.number


@pytest.fixture
def two(start_server) -> RunningServer:
    """A server of two workers with a model."""
    server = start_server("--workers", "2", "--heartbeat", "0.3")
    make_model(server.stub)
    return server


def test_connections_are_spread_over_all_workers(start_server):
    server = start_server("--workers", "3", environment={"PODIUM_SERVE_HEARTBEAT": "0.25"})
    assert sorted(pids_of(server.output())) == [1, 2, 3]
    for number, pid in pids_of(server.output()).items():
        with connected(server, number) as stub, Watching(stub) as watch:
            watch.snapshot()
            assert watch.interval == 0.25, "it has the settings of the parent"
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        assert command[-4:] == ["podium_server", "worker", f"{number}", ""], "and `ps` shows none of them"
    server.stop()
    assert server.process.returncode == 0
    assert "Traceback" not in server.output()
    assert all(f" worker {number} podium_server: stopping" in server.output() for number in (1, 2, 3))


def two_ports() -> int:
    """A port that is free, as the next one is."""
    while True:
        port = free_port()
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port + 1)).close()
            return port


def test_each_shows_metrics_at_a_port_of_its_own(start_server):
    port = two_ports()
    server = start_server("--workers", "2", "--metrics", f"127.0.0.1:{port}", "--log-format", "json")
    make_model(server.stub)
    pages = [Page(server, f"http://127.0.0.1:{port + place}/metrics") for place in (0, 1)]
    assert [page.value("podium_build_info") for page in pages] == [1, 1]
    assert sum(page.value("podium_ledger_group_changes_sum") for page in pages) == 3, "each counts what it did itself"
    lines = [json.loads(line) for line in server.output().splitlines()]
    assert {line["worker"] for line in lines if line["message"].startswith("metrics at ")} == {1, 2}


def see_that_each_shows_what_the_other_acknowledged(server: RunningServer) -> None:
    make_model(server.stub)
    with connected(server, 1) as one, connected(server, 2) as other, Watching(other) as watch:
        watch.snapshot()
        for turn in range(20):
            writes, reads = (one, other) if turn % 2 else (other, one)
            number = 2 - turn % 2
            assert champion(reads, at_least=set_alias(writes, number)) == number
        assert [event.after.target.number for event in watch.events(20)] == [2, 1] * 10
        Replay(read_events(one)).agree(other)


def test_each_shows_what_the_other_acknowledged(start_server):
    see_that_each_shows_what_the_other_acknowledged(start_server("--workers", "2"))


def test_an_upload_goes_on_at_another_worker(two):
    content = os.urandom(4 * MIB)
    with connected(two, 1) as one, connected(two, 2) as other:
        parked = one.UploadBlob(iter([header_of("m", content), *chunks_of(content[:MIB])]), timeout=SECONDS)
        assert (parked.committed_bytes, parked.complete) == (MIB, False)
        rest = other.UploadBlob(iter([header_of("m", content, offset=MIB), *chunks_of(content[MIB : 2 * MIB])]), timeout=SECONDS)
        assert (rest.committed_bytes, rest.complete) == (2 * MIB, False)
        with OpenUpload(other, [header_of("m", content, offset=2 * MIB), *chunks_of(content[2 * MIB : 3 * MIB])]) as cut:
            until(lambda: not cut.unsent())
            os.kill(pids_of(two.output())[2], signal.SIGKILL)
            assert cut.call.exception(SECONDS).code() is grpc.StatusCode.UNAVAILABLE
        end_leases(two)
        offset = committed(one, "m", content)
        assert 2 * MIB <= offset <= 3 * MIB
        whole = one.UploadBlob(iter([header_of("m", content, offset=offset), *chunks_of(content[offset:])]), timeout=SECONDS)
        assert whole.complete
    assert not list((two.data / "blobs" / "partial").iterdir())


def test_clients_do_not_notice_that_workers_are_killed(two):
    stopping = threading.Event()

    def work(caller: int) -> int:
        made = 0
        with podium.connect(two.address, actor=f"caller-{caller}") as registry:
            while not stopping.is_set():
                position = registry.set_alias("m", f"a{caller}", 1 + made % 2).position
                assert registry.resolve(f"m@a{caller}", at_least=position).number == 1 + made % 2
                made += 1
        return made

    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(work, caller) for caller in range(CALLERS)]
        try:
            for number in (1, 2, 1, 2):
                pid = pids_of(two.output())[number]
                os.kill(pid, signal.SIGKILL)
                until(lambda number=number, pid=pid: pids_of(two.output())[number] != pid or any(call.done() for call in calls))
        finally:
            stopping.set()
        made = sum(call.result() for call in calls)
    with connected(two, 1) as one, connected(two, 2) as other:
        events = read_events(one)
        Replay(events).agree(other)
    moves = [event for event in events if event.name.startswith("a")]
    assert made > 0 and len(moves) == made, "each took effect once"
    assert two.output().count("ended by signal 9, and is started again in 0.1 s") == 4
    assert two.process.poll() is None


def test_all_drain_at_once(two):
    content = os.urandom(2 * MIB), os.urandom(2 * MIB)
    with connected(two, 1) as one, connected(two, 2) as other:
        open_ = [
            OpenUpload(stub, [header_of("m", data), *chunks_of(data[:MIB])])
            for stub, data in zip((one, other), content, strict=True)
        ]
        until(lambda: not any(upload.unsent() for upload in open_))
        two.process.send_signal(signal.SIGTERM)
        until(lambda: two.output().count("stopping") == 2)
        for upload, data in zip(open_, content, strict=True):
            upload.send(*chunks_of(data[MIB:]))
            upload.close()
            assert upload.result().complete
    two.end(signal.SIGTERM)
    assert two.process.returncode == 0
    assert "Traceback" not in two.output()


def test_the_worst_end_of_a_worker_is_that_of_all(two):
    with connected(two, 1) as one, OpenUpload(one, [header_of("m", b"abc")]) as upload:
        until(lambda: not upload.unsent())
        two.process.send_signal(signal.SIGTERM)
        until(lambda: two.output().count("stopping") == 2)
        os.kill(pids_of(two.output())[1], signal.SIGKILL)
    two.end(signal.SIGTERM)
    assert two.process.returncode == 128 + signal.SIGKILL


def test_workers_end_when_their_parent_is_killed(two):
    pids = pids_of(two.output()).values()
    assert all(map(lives, pids))
    two.kill()
    until(lambda: not any(map(lives, pids)))
    assert "Traceback" not in two.output()
    two.start()
    two.stop()
    assert two.process.returncode == 0


def serve(data: Path, *options: str, **streams) -> Process:
    command = [sys.executable, "-m", "podium_server", "--data", data, "--listen", "127.0.0.1:0", *options]
    return Process(command, process_group=0, **streams)


@pytest.mark.parametrize("ready", [True, False], ids=["serving", "starting"])
def test_interrupting_is_told_to_a_whole_group_and_handled_once(tmp_path, ready):
    with serve(tmp_path / "data", "--workers", "2") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if ready:
            assert " serving 127.0.0.1:" in process.line()
        else:
            until(lambda: len(children.read_text().split()) == 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait() == 0
    lines, log = process.rest()
    assert lines == [] or not ready, "one line says that all are ready"
    assert "Traceback" not in "\n".join(log)


def test_a_port_is_of_one_server(start_server, tmp_path):
    for first, second in (("1", "2"), ("2", "2"), ("2", "1")):
        running = start_server("--workers", first, data=tmp_path / f"{first}-{second}")
        with serve(tmp_path / "other", "--workers", second, "--listen", running.address) as process:
            assert process.wait() == 1
            assert process.rest()[1] == [f"podium serve: cannot listen on {running.address}: Address already in use"]
        running.stop()
        assert running.process.returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_starts_again_at_its_port_while_its_last_connections_linger(tmp_path, workers):
    """Whoever ends a connection first keeps its port for a minute: a server that drains does."""
    with serve(tmp_path / "data", "--workers", workers) as process:
        address = process.line().split()[3]
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.recv(1)  # settings: a worker has it
            assert process.end() == 0
            while client.recv(1 << 16):
                pass
    with serve(tmp_path / "data", "--workers", workers, "--listen", address) as process:
        assert process.line().split()[3] == address
        assert process.end() == 0


def test_of_servers_that_start_at_once_on_one_port_one_serves(tmp_path):
    with serve(tmp_path / "0", "--workers", "2") as process:
        address = process.line().split()[3]
        assert process.end() == 0

    with ExitStack() as running:
        servers = [
            running.enter_context(serve(tmp_path / f"{number}", "--workers", "2", "--listen", address)) for number in range(4)
        ]
        until(lambda: sum(server.popen.poll() is None for server in servers) == 1)
        (one,) = (server for server in servers if server.popen.poll() is None)
        assert " serving " in one.line()
        assert one.end() == 0
        assert sorted(server.wait() for server in servers) == [0, 1, 1, 1]


def test_what_no_worker_can_start_with_ends_all(tmp_path):
    (tmp_path / "file").touch()
    with serve(tmp_path / "file" / "data", "--workers", "2") as process:
        assert process.wait() == 1
    lines, log = process.rest()
    assert not lines
    assert set(log) == {f"podium serve: {tmp_path / 'file' / 'data'}: Not a directory"}


def newer_schema(server: RunningServer) -> None:
    """As if a newer server had migrated the database."""
    server.database.run("INSERT INTO schema_migration (name, applied) VALUES (?, ?)", "9999_later", "2030-01-01 00:00:00")


def test_a_worker_that_cannot_start_again_is_tried_again(two):
    newer_schema(two)
    pid = pids_of(two.output())[1]
    os.kill(pid, signal.SIGKILL)
    again = "worker 1 ended with code 1, and is started again"  # one at a database that others operate waits for that instead
    until(lambda: two.output().count(again) >= 2 if two.database.is_in_folder else "not ready, and tried again" in two.output())
    for number in (1, 2, 1, 2):
        with connected(two, 2) as other:
            set_alias(other, number)
    assert "update this one" in two.output()
    two.database.run("DELETE FROM schema_migration WHERE name = ?", "9999_later")
    until(lambda: pids_of(two.output())[1] != pid)
    with connected(two, 1) as one:
        assert set_alias(one, 2)
