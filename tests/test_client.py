"""The client against a real server: where it connects, what its methods do, what its errors say, and that it survives forks."""

import gc
import multiprocessing
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import grpc
import podium
import pytest
from podium.addresses import parse_address
from podium.api import __all__ as offered
from podium.forks import turns
from podium.progress import Meter, reporting
from podium.transfers import Crew
from podium.transport import default_actor
from podium.v1.artifacts_pb2 import DownloadArtifactRequest
from podium.v1.models_pb2 import VersionStrategy
from relay import Relay
from streams import until

MIB = 1 << 20


@pytest.fixture
def registry(server, tmp_path):
    with podium.connect(server.address, actor="tester@here", cache=tmp_path / "cache") as connected:
        yield connected


@pytest.fixture
def model(request):
    return "client/" + request.node.name.translate(str.maketrans("[]/ ", "...."))[:100].rstrip(".")


@pytest.fixture
def pushed(registry, model, tmp_path):
    """A model with the versions 1 (in staging, champion) and 2."""
    for content in ("1", "2"):
        (tmp_path / "model").write_text(model + content)
        registry.push(model, tmp_path / "model", labels={"content": content}, params={"content": content})
    registry.transition(f"{model}:1", "staging")
    registry.set_alias(model, "champion", 1)
    return model


# Where it connects.


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("127.0.0.1:7070", "127.0.0.1:7070"),
        ("grpc://registry.example.org:443", "registry.example.org:443"),
        ("grpc://localhost:1/", "localhost:1"),
        ("[::1]:7070", "[::1]:7070"),
    ],
)
def test_addresses(url, address):
    assert parse_address(url) == address


@pytest.mark.parametrize(
    "url",
    ["", "registry", "registry:", ":7070", "registry:port", "registry:70700", "https://registry:7070", "http://r:1", "unix:/a"]
    + ["grpc://user@registry:1", "grpc://registry:1/path", "a b:1", "::1:7070", "registry:1\n", "dns:///registry:1", "[x]:1"],
)
def test_what_is_no_address_is_refused_with_what_is(url):
    with pytest.raises(podium.InvalidArgument, match=r"use HOST:PORT or grpc://HOST:PORT") as refused:
        podium.connect(url)
    assert "\n" not in str(refused.value)


def test_podium_url_names_the_server_at_each_call(server, monkeypatch):
    registry = podium.connect()
    monkeypatch.setenv("PODIUM_URL", "nonsense")
    with pytest.raises(podium.InvalidArgument, match="'nonsense' is not the address"):
        registry.info()
    monkeypatch.setenv("PODIUM_URL", f"grpc://{server.address}")
    uid = registry.info().registry_uid
    assert podium.info().registry_uid == uid
    assert podium.connect(server.address).info().registry_uid == uid
    monkeypatch.delenv("PODIUM_URL")
    assert registry._transport.address == "127.0.0.1:7070"


def test_a_server_that_is_not_there_is_said_in_one_line():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with podium.connect(address) as registry, pytest.raises(podium.Unavailable) as away:
            registry.info()
    assert str(away.value) == f"no Podium server at {address}: start one with 'podium serve' or set PODIUM_URL"
    assert (away.value.reason, away.value.code) == ("UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    with podium.connect("does-not-exist.invalid:1") as registry, pytest.raises(podium.Unavailable, match="podium serve"):
        registry.info()


def test_a_server_that_does_not_answer_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with podium.connect(address, timeout=0.3) as registry, pytest.raises(podium.Unavailable):
            registry.info()


def test_a_server_of_another_kind(tmp_path):
    """Some other gRPC server: it knows no such method."""
    other = grpc.server(None, options=[("grpc.so_reuseport", 0)])
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    with podium.connect(f"127.0.0.1:{port}") as registry, pytest.raises(podium.InternalError, match="no Podium server"):
        registry.info()
    other.stop(None)


def test_a_closed_registry_can_be_used_again(server):
    registry = podium.connect(server.address)
    registry.info()
    registry.close()
    registry.close()
    assert registry.info().version


def test_a_connection_that_another_thread_closes_is_an_error_of_ours(server):
    with podium.connect(server.address) as registry:
        registry.info()
        registry._transport._connection.channel.close()  # as close() does, between another thread's look and its call
        with pytest.raises(podium.PodiumError, match="closed meanwhile") as closed:
            registry.info()
        assert closed.value.code is grpc.StatusCode.CANCELLED
        with pytest.raises(podium.PodiumError, match="closed meanwhile"):
            next(registry._transport.download(DownloadArtifactRequest(), Crew()))
        with pytest.raises(podium.PodiumError, match="closed meanwhile"):
            registry._transport.upload(iter(()), Crew())
        registry.close()
        assert registry.info().version


def test_a_server_that_was_started_again_is_found_again(start_server):
    server = start_server()
    relay = Relay(server.address)
    with podium.connect(relay.address) as registry:
        uid = registry.info().registry_uid
        server.kill()
        with pytest.raises(podium.Unavailable):
            registry.info()
        server.start()
        relay.server = ("127.0.0.1", int(server.address.rpartition(":")[2]))
        while True:
            try:
                assert registry.info().registry_uid == uid
                break
            except podium.Unavailable:
                pass
    relay.close()


def test_a_mutation_whose_answer_is_lost_is_repeated_and_done_once(server, registry, pushed):
    relay = Relay(server.address)
    with podium.connect(relay.address) as cut:
        cut.info()
        for number in (1, 2, 1, 2):
            relay.cut_after(down=1)
            cut.set_alias(pushed, "blue", number)
    assert relay.cuts >= 4
    moves = [event for event in registry.events(pushed) if event.name == "blue"]
    assert [event.after.target.number for event in moves] == [1, 2, 1, 2]
    relay.close()


def test_a_proxy_of_the_environment_does_not_stand_before_loopback(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:1")
    assert podium.connect(server.address).info().version


# Who.


def test_the_actor_is_written_into_the_events(server, registry, model):
    registry.create_model(model)
    (event,) = registry.events(model)
    assert event.actor == "tester@here"
    with podium.connect(server.address) as unnamed:
        unnamed.edit_model(model, description="x")
    assert [event.actor for event in registry.events(model)][-1] == default_actor()


def test_the_actor_where_there_is_no_user_and_no_ascii(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: {}["nobody"])
    monkeypatch.setattr("socket.gethostname", lambda: "schön\n")
    assert default_actor() == f"{os.getuid()}@sch?n?"
    monkeypatch.setattr("getpass.getuser", lambda: "x" * 300)
    assert len(default_actor()) == 256


@pytest.mark.parametrize("actor", ["", "ann\n", "änn", "x" * 257])
def test_an_actor_that_cannot_be_sent(actor):
    with pytest.raises(podium.InvalidArgument, match="printable ASCII"):
        podium.connect(actor=actor)


# What it does.


def test_everything_that_is_offered_is_there():
    assert set(offered) <= set(dir(podium))
    for name in offered:
        assert getattr(podium, name) is not None
    with pytest.raises(AttributeError, match="podium has no 'publish_everything'"):
        _ = podium.publish_everything
    methods = {name for name in vars(podium.Registry) if not name.startswith("_")} - {"cache"}
    assert methods <= set(offered)


def test_the_contract_and_the_command_line_do_not_load_the_client():
    code = (
        "import sys, podium.v1.models_pb2, podium.cli; print([m for m in sys.modules if m in ('podium.api', 'tenacity', 'rich')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize("module", sorted(path.stem for path in Path(podium.__file__).parent.glob("[a-z]*.py")))
def test_every_module_can_be_the_first_that_is_imported(module):
    subprocess.run([sys.executable, "-c", f"import podium.{module}"], check=True)


def test_the_version_of_the_package():
    assert podium.__version__ == version("podium")


def test_the_functions_are_those_of_a_registry(server, monkeypatch, model, tmp_path):
    monkeypatch.setenv("PODIUM_URL", server.address)
    monkeypatch.setenv("PODIUM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m").write_text("1")
    pushed = podium.push(model, tmp_path / "m", aliases=["champion"])
    assert podium.resolve(f"{model}@champion").number == pushed.version.number == 1
    assert (podium.pull(f"{model}@champion") / "m").read_text() == "1"


def test_resolve(registry, pushed):
    for reference in (":1", ":1.0.0", "@champion", "#staging"):
        assert registry.resolve(pushed + reference).number == 1
    target = registry.resolve(pushed + "@latest")
    assert (target.number, target.version, target.stage) == (2, "1.0.1", "development")
    assert registry.resolve(f"{pushed}@{target.digest}") == target
    with pytest.raises(podium.NotFound) as missing:
        registry.resolve(pushed + "@absent")
    assert missing.value.reason == "ALIAS_NOT_FOUND"
    with pytest.raises(podium.InvalidArgument) as bare:
        registry.resolve(pushed)
    assert "reference" in bare.value.fields


def test_reads_show_what_a_position_says(registry, pushed):
    position = registry.set_alias(pushed, "blue", 2).position
    assert registry.resolve(f"{pushed}@blue", at_least=position).number == 2
    assert registry.get(f"{pushed}@blue", at_least=position).number == 2
    assert next(registry.versions(pushed, at_least=position)).number == 2
    assert next(registry.models(at_least=position))
    assert next(registry.events(pushed, at_least=position))
    with pytest.raises(podium.InvalidArgument):
        registry.resolve(f"{pushed}@blue", at_least="nonsense")


def test_a_version_that_may_not_serve(registry, pushed):
    registry.transition(f"{pushed}:1", "archived")
    registry.transition(f"{pushed}:1", "deprecated")
    target = registry.resolve(f"{pushed}:1")
    assert target.warnings
    if not target.servable:
        with pytest.raises(podium.FailedPrecondition) as refused:
            registry.resolve(f"{pushed}:1", for_serving=True)
        assert refused.value.reason == "NOT_SERVABLE"
    assert registry.resolve(f"{pushed}:2", for_serving=True).servable


def test_get_and_note(registry, pushed):
    note = registry.note(f"{pushed}:1", "looks good")
    version = registry.get(f"{pushed}:1")
    assert list(version.notes) == [note]
    assert (note.text, note.actor) == ("looks good", "tester@here")
    assert version.record.params[0].string_value == "1"


def test_versions_are_listed_over_pages_newest_first(registry, pushed):
    registry.create_model(pushed + ".many", strategy="integer")
    with podium.connect(registry._transport.address) as other:
        for number in range(130):
            other._call(lambda stub: stub.RegisterVersion, register(pushed + ".many", number))
    assert [version.number for version in registry.versions(pushed + ".many")] == list(range(130, 0, -1))
    assert [version.number for version in registry.versions(pushed, stage="staging")] == [1]
    assert [version.number for version in registry.versions(pushed, labels={"content": "2"})] == [2]
    assert [version.number for version in registry.versions(pushed, stage="")] == []
    assert [version.HasField("record") for version in registry.versions(pushed)] == [False, False]
    assert [version.HasField("record") for version in registry.versions(pushed, full=True)] == [True, True]


def register(model, number):
    return podium.v1.versions_pb2.RegisterVersionRequest(
        model=model, record=podium.VersionRecord(params=[podium.Param(name="n", int_value=number)]), request_id=str(number)
    )


def test_models(registry, model):
    made = registry.create_model(
        f"{model}/b", description="two", labels={"team": "risk"}, strategy="timestamp", lifecycle="permissive"
    )
    registry.create_model(f"{model}/a")
    assert (made.strategy, made.lifecycle) == (VersionStrategy.VERSION_STRATEGY_TIMESTAMP, "permissive")
    assert registry.model(f"{model}/b") == made
    assert [found.name for found in registry.models(name_prefix=f"{model}/")] == [f"{model}/a", f"{model}/b"]
    assert [found.name for found in registry.models(name_prefix=f"{model}/", labels={"team": "risk"})] == [f"{model}/b"]
    with pytest.raises(podium.AlreadyExists) as taken:
        registry.create_model(f"{model}/b")
    assert taken.value.reason == "MODEL_EXISTS"


def test_edits_change_what_they_name_and_nothing_else(registry, pushed):
    registry.edit_model(pushed, description="about", labels={"a": "1", "b.c_D": "2"})
    edited = registry.edit_model(pushed, labels={"a": "3"}, remove_labels=["b.c_D", "absent"])
    assert (edited.description, dict(edited.labels)) == ("about", {"a": "3"})
    assert registry.edit_model(pushed, description="").description == ""
    stale = registry.edit_model(pushed, description="new").etag
    registry.edit_model(pushed, description="newer")
    with pytest.raises(podium.Conflict):
        registry.edit_model(pushed, description="newest", etag=stale)
    version = registry.edit_version(f"{pushed}:1", description="about", labels={"x": "1"}, remove_labels=["content"])
    assert (version.description, dict(version.labels)) == ("about", {"x": "1"})
    with pytest.raises(podium.InvalidArgument):
        registry.edit_version(f"{pushed}:1")


def test_a_text_is_no_list_of_labels(registry, pushed):
    with pytest.raises(podium.InvalidArgument, match="remove_labels is a list"):
        registry.edit_model(pushed, remove_labels="team")
    with pytest.raises(podium.InvalidArgument, match="remove_labels is a list"):
        registry.edit_version(f"{pushed}:1", remove_labels="content")


def test_aliases(registry, pushed):
    moved = registry.set_alias(pushed, "champion", "1.0.1", expected_number=1, reason="better")
    assert (moved.alias.number, moved.previous_number) == (2, 1)
    with pytest.raises(podium.Conflict) as lost:
        registry.set_alias(pushed, "champion", 1, expected_number=1)
    assert lost.value.metadata["current"] == "2"
    with pytest.raises(podium.Conflict):
        registry.set_alias(pushed, "new", 1, expected_number=7)
    assert registry.set_alias(pushed, "new", "@champion", expected_number=0).alias.number == 2
    assert registry.set_alias(pushed, "old", "#staging").alias.number == 1
    assert [alias.alias for alias in registry.aliases(pushed)] == ["champion", "new", "old"]
    assert registry.delete_alias(pushed, "old", expected_number=1, reason="gone").previous_number == 1
    with pytest.raises(podium.NotFound):
        registry.delete_alias(pushed, "old")


def test_transitions(registry, pushed):
    registry.transition(f"{pushed}:1", "production", reason="go", expected_stage="staging")
    registry.transition(f"{pushed}:2", "staging")
    reply = registry.transition(f"{pushed}:2", "production", archive_existing=True)
    assert (reply.version.stage, list(reply.archived_numbers)) == ("production", [1])
    with pytest.raises(podium.FailedPrecondition) as refused:
        registry.transition(f"{pushed}:1", "production")
    assert refused.value.reason == "TRANSITION_NOT_ALLOWED"
    assert "development" in refused.value.metadata["possible"]
    assert registry.transition(f"{pushed}:1", "production", rollback=True).version.stage == "production"
    with pytest.raises(podium.Conflict):
        registry.transition(f"{pushed}:1", "archived", expected_stage="")


def test_events(registry, pushed):
    kinds = podium.EventKind
    everything = list(registry.events(pushed))
    assert everything[0].kind == kinds.EVENT_KIND_MODEL_CREATED
    assert list(registry.events(pushed, newest_first=True)) == everything[::-1]
    chosen = list(registry.events(pushed, kinds=[kinds.EVENT_KIND_VERSION_REGISTERED]))
    assert [event.name for event in chosen] == ["1.0.0", "1.0.1"]
    later = list(registry.events(pushed, after=chosen[-1].position))
    assert [event.revision for event in later] == [event.revision for event in everything if event.revision > chosen[-1].revision]
    assert len(list(registry.events())) >= len(everything)


def test_files_and_manifest(registry, pushed):
    (file,) = registry.files(f"{pushed}@champion")
    assert registry.manifest(f"{pushed}@champion") == f"{file.digest[7:]}  model\n"


def test_info(registry):
    info = registry.info()
    assert [lifecycle.name for lifecycle in info.lifecycles] == ["default", "permissive"]
    assert info.limits.max_files == 10_000


# Its errors.


def test_errors_are_whole_after_pickling(registry):
    with pytest.raises(podium.NotFound) as missing:
        registry.model("absent")
    copy = pickle.loads(pickle.dumps(missing.value))
    assert isinstance(copy, podium.NotFound)
    assert str(copy) == str(missing.value)
    assert (copy.reason, copy.metadata, copy.code) == ("MODEL_NOT_FOUND", missing.value.metadata, grpc.StatusCode.NOT_FOUND)
    assert missing.value.__cause__ is None
    assert missing.value.__suppress_context__  # no trace of grpc's own error


# Progress.


def test_progress_is_silent_without_a_terminal(capsys):
    with reporting(None) as report:
        report("hashing", 1 << 30, 1 << 30)
    with reporting(False) as report:
        report("hashing", 1 << 30, 1 << 30)
    assert capsys.readouterr() == ("", "")


def test_progress_in_a_terminal_is_a_bar_for_what_takes_long():
    code = (
        "from podium.progress import Meter, reporting\n"
        "with reporting(None) as report:\n"
        "    Meter(report, 'hashing', 1000).add(1000)\n"
        "    meter = Meter(report, 'uploading', 100 << 20)\n"
        "    meter.add(50 << 20)\n"
        "    meter.add(50 << 20)\n"
    )
    main, terminal = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    ran = subprocess.Popen([sys.executable, "-c", code], stderr=terminal, env=environment)
    os.close(terminal)
    shown = b""
    while select.select([main], [], [], 60)[0]:
        try:
            shown += os.read(main, 4096)
        except OSError:
            break
    os.close(main)
    assert ran.wait(60) == 0
    assert b"uploading" in shown
    assert b"hashing" not in shown


def test_a_meter_counts_what_all_threads_do():
    told = []
    meter = Meter(lambda *report: told.append(report), "uploading", 4000)
    threads = [threading.Thread(target=lambda: [meter.add(1) for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [("uploading", done, 4000) for done in range(1, 4001)]


def test_ctrl_c_ends_a_push_at_once_and_the_next_one_goes_on(server, model, tmp_path):
    """The wire stops passing bytes on: the push hangs in the middle of a stream, and Ctrl-C must still end it."""
    (tmp_path / "big").write_bytes(os.urandom(40 * MIB))
    relay = Relay(server.address)
    stuck, release = threading.Event(), threading.Event()

    def hold():
        stuck.set()
        release.wait()

    relay.when_cut = hold
    relay.cut_after(up=20 * MIB)
    code = "import podium, sys; podium.push(*sys.argv[1:])"
    environment = {**os.environ, "PODIUM_URL": relay.address}
    process = subprocess.Popen(
        [sys.executable, "-c", code, model, tmp_path / "big"], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert stuck.wait(60)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert error.splitlines()[-1] == "KeyboardInterrupt"
    release.set()
    relay.close()
    # As long as the server has not noticed, each attempt is refused, and may have sent something in vain.
    until(lambda: not server.database.run("SELECT digest FROM upload WHERE lease <> ''"))
    with podium.connect(server.address) as registry:
        assert registry.push(model, tmp_path / "big").uploaded_bytes < 40 * MIB


# Forks.


def in_child(work):
    """Runs work in a forked child, which must end by itself, and returns whether it went well."""
    child = os.fork()
    if not child:
        signal.alarm(60)  # a child that hangs dies
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_makes_its_own_connection(server, registry, pushed):
    registry.resolve(f"{pushed}:1")
    other = podium.connect(server.address)  # its connection must not be taken for the child's
    other.info()

    def work():
        assert registry.resolve(f"{pushed}:1").number == 1
        assert in_child(lambda: registry.resolve(f"{pushed}:1"))
        registry.close()

    for _ in range(5):
        assert in_child(work)
        assert registry.resolve(f"{pushed}:1").number == 1
    assert other.info()


def test_a_child_that_ends_as_programs_do(registry, pushed):
    registry.resolve(f"{pushed}:1")
    process = multiprocessing.get_context("fork").Process(target=registry.resolve, args=(f"{pushed}:1",))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_forks_among_calls_of_other_threads(registry, pushed, caplog):
    """Without turns, some of these children hang: gRPC cannot be forked while a thread is in it."""
    stop, failures = threading.Event(), []

    def call():
        while not stop.is_set():
            try:
                registry.resolve(f"{pushed}:1")
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    good = [in_child(lambda: registry.resolve(f"{pushed}:1")) for _ in range(60)]
    stop.set()
    for thread in threads:
        thread.join()
    assert all(good)
    assert failures == []
    assert not caplog.records  # such as one that says that a fork did not wait


@pytest.mark.parametrize("way", ["up", "down"])
def test_forks_in_the_middle_of_a_transfer(start_server, model, tmp_path, caplog, way):
    """The wire holds still, so that only cutting the stream lets the fork go on; then the transfer goes on where it stopped."""
    content = os.urandom(64 * MIB)
    (tmp_path / "big").write_bytes(content)
    server = start_server()
    relay = Relay(server.address)
    stuck, release, done = threading.Event(), threading.Event(), []

    def hold():
        stuck.set()
        release.wait()

    registry = podium.connect(relay.address, cache=tmp_path / "cache")
    if way == "down":
        registry.push(model, tmp_path / "big")
        before = relay.down
    relay.when_cut = hold
    relay.cut_after(**{way: 48 * MIB})

    def transfer():
        done.append(registry.push(model, tmp_path / "big") if way == "up" else registry.pull(f"{model}:1"))

    worker = threading.Thread(target=transfer)
    worker.start()
    assert stuck.wait(60)
    with podium.connect(server.address) as direct:
        assert in_child(direct.info)
    release.set()
    worker.join()
    assert not caplog.records  # such as one that says that a fork did not wait
    if way == "down":
        assert (done[0] / "big").read_bytes() == content
        assert relay.down - before < (64 + 40) * MIB
    else:
        assert done[0].created
        assert relay.up < (64 + 40) * MIB
    registry.close()
    relay.close()


def test_a_fork_does_not_wait_for_ever(monkeypatch, caplog):
    monkeypatch.setattr("podium.forks.PATIENCE_SECONDS", 0.1)
    entered, leave = threading.Event(), threading.Event()

    def stay():
        with turns.calling():
            entered.set()
            leave.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    entered.wait()
    assert in_child(lambda: None)
    assert "the child may hang" in caplog.text
    leave.set()
    thread.join()


def test_generations_count_forks():
    before = turns.generation

    def work():
        assert turns.generation == before + 1

    assert in_child(work)
    assert turns.generation == before


def test_a_pull_in_forked_children(registry, pushed, tmp_path):
    folder = registry.pull(f"{pushed}:1")

    def work():
        assert registry.pull(f"{pushed}:1") == folder
        assert registry.pull(f"{pushed}:2") != folder

    assert in_child(work)
    assert registry.pull(f"{pushed}:2").is_dir()
    gc.collect()
