"""A connection: gRPC's channel to one server or several, with its balancing, health checks, retries and keepalive."""

import json
import threading
import time
from dataclasses import dataclass, field

import grpc

from podium.addresses import Place, is_list, is_one_server, look_up, target_of
from podium.forks import turns
from podium.transfers import Crew
from podium.v1.artifacts_pb2 import DownloadArtifactRequest, UploadBlobResponse
from podium.v1.registry_service_pb2 import DESCRIPTOR
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub

# How old what the names of a list lead to may be, and how old if no server was there; how long a call waits for them.
LOOK_UP_SECONDS, LOST_SECONDS, PATIENCE_SECONDS = 30.0, 1.0, 1.0

_SERVICE = DESCRIPTOR.services_by_name["RegistryService"]
_STREAMS = [method.name for method in _SERVICE.methods if method.client_streaming or method.server_streaming]
_UNARY = [method.name for method in _SERVICE.methods if method.name not in _STREAMS]

_SOON = {"maxAttempts": 4, "initialBackoff": "0.05s", "maxBackoff": "1s", "backoffMultiplier": 2}
# Outlasts three seconds: one server has gone, and the connection to one that came back is made within one.
_ELSEWHERE = {"maxAttempts": 5, "initialBackoff": "0.05s", "maxBackoff": "2s", "backoffMultiplier": 4}

OPTIONS = [
    ("grpc.primary_user_agent", "podium-python"),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    # By default a request of more than 256 KiB is not repeated.
    ("grpc.per_rpc_retry_buffer_size", 5 << 20),
    # A chunk of 1 MiB is one frame and not 64.
    ("grpc.http2.max_frame_size", 1 << 20),
    # A server that stands still is left after 20 s, before the deadline of a call. What waits for a ping's answer is the ping's own
    # timeout: that of the keepalive has no effect in grpcio 1.85.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Else gRPC measures the line with pings amid a download, whose answers wait behind the data: a slow line would count as dead.
    # Instead of a window that grows with what was measured, a stream has one of 4 MiB.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 << 20),
    # A server that was restarted is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # Connections are not shared between channels: a forked child would get its parent's.
    ("grpc.use_local_subchannel_pool", 1),
]
_LOOPBACK = ("127.", "localhost:", "[::1]:")


@dataclass(eq=False)
class Connection:
    """A channel, what it is for, and its calls. The streams take and give bytes: see frames.

    `resumed` stops those that go on by themselves on another connection. `lost` says that a call found no server.
    """

    address: str
    places: frozenset[Place]
    generation: int
    channel: grpc.Channel
    lost: bool = False
    resumed: Crew = field(default_factory=Crew)

    def __post_init__(self) -> None:
        path, channel = f"/{_SERVICE.full_name}/", self.channel
        self.stub = RegistryServiceStub(channel)
        self.upload: grpc.StreamUnaryMultiCallable[bytes, UploadBlobResponse] = channel.stream_unary(
            f"{path}UploadBlob", None, UploadBlobResponse.FromString
        )
        self.download: grpc.UnaryStreamMultiCallable[DownloadArtifactRequest, bytes] = channel.unary_stream(
            f"{path}DownloadArtifact", DownloadArtifactRequest.SerializeToString, None
        )
        self._looked_up = time.monotonic()
        self._elsewhere = False

    def leads_elsewhere(self) -> bool:
        """Whether the names of a list lead to servers by now that this is no connection to.

        Those that cannot be looked up change nothing. A name server that is away is not waited for.
        """
        if is_list(self.address) and time.monotonic() - self._looked_up > (LOST_SECONDS if self.lost else LOOK_UP_SECONDS):
            self._looked_up, self.lost = time.monotonic(), False
            looking = threading.Thread(target=self._look_again, name="podium-look-up", daemon=True)
            looking.start()
            looking.join(PATIENCE_SECONDS)
        return self._elsewhere

    def _look_again(self) -> None:
        with turns.calling():
            self._elsewhere = bool(look_up(self.address) - self.places)


def open_connection(address: str) -> Connection:
    """A connection to what an address leads to now. Nothing is sent yet."""
    # A block that glibc's allocator takes back raises the size up to which it keeps free memory (mallopt(3), M_MMAP_THRESHOLD;
    # 32 MiB is the most). Else the memory of each chunk goes back to the kernel, and is faulted in again page by page.
    bytearray((32 << 20) - (64 << 10))
    places = look_up(address) if is_list(address) else frozenset[Place]()
    first = address.partition(",")[0]
    options = [
        *OPTIONS,
        ("grpc.service_config", json.dumps(_service_config(address))),
        # A proxy that the environment names for the web does not lead to this machine, nor to several servers.
        ("grpc.enable_http_proxy", int(not address.startswith(_LOOPBACK) and not places)),
        *([("grpc.default_authority", first)] if places else []),
    ]
    # If nothing can be looked up, gRPC says so of the first.
    channel = grpc.insecure_channel(target_of(places) if places else first, options=options)
    return Connection(address, places, turns.generation, channel)


def _service_config(address: str) -> dict[str, object]:
    # Every unary call may be repeated: a read changes nothing, a mutation carries a request id. Streams are resumed instead.
    names = [{"service": _SERVICE.full_name, "method": name} for name in _UNARY]
    # A server that stops cancels what it has not begun. What this client cancels by itself is not repeated.
    retry = {**(_SOON if is_one_server(address) else _ELSEWHERE), "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]}
    config: dict[str, object] = {"methodConfig": [{"name": names, "retryPolicy": retry}]}
    if not is_one_server(address):
        config["loadBalancingConfig"] = [{"round_robin": {}}]
        config["healthCheckConfig"] = {"serviceName": _SERVICE.full_name}
    return config
