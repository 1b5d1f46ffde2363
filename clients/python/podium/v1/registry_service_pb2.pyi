from podium.v1 import aliases_pb2 as _aliases_pb2
from podium.v1 import artifacts_pb2 as _artifacts_pb2
from podium.v1 import events_pb2 as _events_pb2
from podium.v1 import models_pb2 as _models_pb2
from podium.v1 import resolve_pb2 as _resolve_pb2
from podium.v1 import server_pb2 as _server_pb2
from podium.v1 import stages_pb2 as _stages_pb2
from podium.v1 import versions_pb2 as _versions_pb2
from podium.v1 import watch_pb2 as _watch_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
