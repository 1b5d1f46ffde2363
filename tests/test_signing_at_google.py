"""Signing and direct reads by Google's own names: over TLS, through a proxy, by a key or as a machine of Google's cloud."""

import os
import sys

import pytest
from gcs_servers import BUCKET
from google_hosts import IAM, STORAGE, Google
from podium.v1.artifacts_pb2 import SignDownloadsRequest
from podium.v1.server_pb2 import GetServerInfoRequest
from processes import Process
from story import create_model, register, upload_files

FILES = {"weights.bin": os.urandom(3 << 20), "text": b"text"}


@pytest.fixture
def google(gcs, tmp_path):
    google = Google(gcs, tmp_path)
    yield google
    google.close()


@pytest.fixture
def start(start_server):
    """Starts a server with the version m:1, in an environment."""

    def start(environment):
        server = start_server("--blobs", f"gs://{BUCKET}/registry", environment=environment)
        create_model(server.stub, "m")
        register(server.stub, "m", files=upload_files(server.stub, "m", FILES))
        return server

    return start


def pull(server, destination, **environment):
    """What podium pull --direct prints on stderr."""
    program = "from podium.cli import main; main()"
    command = [sys.executable, "-c", program, "pull", "--direct", "m:1", destination, "--url", server.address]
    own = {"PODIUM_CACHE": str(destination.parent / f"{destination.name}-cache"), **environment}
    with Process(command, env={**os.environ, **own}) as process:
        assert process.wait() == 0, process.rest()
        assert {path.name: path.read_bytes() for path in destination.iterdir()} == FILES
        return process.rest()[1]


def signed(server):
    return server.stub.SignDownloads(SignDownloadsRequest(reference="m:1", paths=list(FILES))).downloads


def says_that_it_signs(server):
    return server.stub.GetServerInfo(GetServerInfoRequest()).signs_downloads


@pytest.mark.parametrize("account", ["with_key", "with_machine"])
def test_files_are_read_through_the_proxy_and_over_tls(account, google, start, gcs, tmp_path):
    server = start(getattr(google, account))
    assert says_that_it_signs(server), server.output()
    assert pull(server, tmp_path / "pulled", **google.client) == []
    assert gcs.reads()["by_url"] == 2
    assert {host for host, who in google.tunnels if who == "me:a!b"} == {STORAGE}
    assert google.signed == (3 if account == "with_machine" else 0), "both files, and once to see whether it signs"


def test_files_are_read_through_the_proxy_without_tls_too(google, start, gcs, tmp_path):
    server = start(gcs.account(tmp_path))
    assert pull(server, tmp_path / "pulled", http_proxy=google.client["HTTPS_PROXY"]) == []
    assert gcs.reads()["by_url"] == 2
    assert google.tunnels == [(STORAGE, "me:a!b")] * 2


def test_who_does_not_know_the_certificate_reads_by_way_of_the_server(google, start, gcs, tmp_path):
    server = start(google.with_key)
    (warning,) = pull(server, tmp_path / "pulled", HTTPS_PROXY=google.client["HTTPS_PROXY"])
    assert "certificate" in warning
    assert not gcs.reads()["by_url"]


def test_iam_is_asked_again(google, start):
    server = start(google.with_machine)
    google.refusals = [503, 429]
    assert len(signed(server)) == 2


def test_iam_that_does_not_sign_is_no_error_for_who_pulls(google, start, gcs, tmp_path, refused):
    server = start(google.with_machine)
    google.refusals = [403] * 100
    refusal = refused(signed, server)
    assert (refusal.reason, "give podium@tests the role Service Account Token Creator" in refusal.message) == ("CANNOT_SIGN", True)
    (warning,) = pull(server, tmp_path / "pulled", **google.client)
    assert refusal.message in warning


def test_an_account_that_iam_does_not_sign_for_says_so_from_the_start(google, start, refused):
    google.refusals = [403]
    server = start(google.with_machine)
    assert not says_that_it_signs(server)
    assert refused(signed, server).reason == "CANNOT_SIGN"
    assert "URLs of blobs cannot be signed: IAM does not sign: give podium@tests the role" in server.output()
    assert {host for host, _ in google.tunnels} == {IAM, STORAGE}
