"""All that `import podium` offers. The functions are methods of one registry that this process shares, see Registry."""

from podium.cache import Cache, Entry, Pruned
from podium.comparison import Difference
from podium.errors import (
    AlreadyExists,
    Conflict,
    DamagedFile,
    DataLoss,
    DiskFull,
    FailedPrecondition,
    HostileServer,
    InternalError,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PodiumError,
    PushRefused,
    ResourceExhausted,
    Unavailable,
)
from podium.publish import Push
from podium.registry import Registry, connect
from podium.v1.aliases_pb2 import Alias
from podium.v1.events_pb2 import Event, EventKind
from podium.v1.models_pb2 import Model
from podium.v1.records_pb2 import (
    Column,
    ExternalFile,
    Hardware,
    Input,
    InputKind,
    Library,
    Metric,
    Param,
    Parent,
    Run,
    Serving,
    Source,
    VersionRecord,
)
from podium.v1.resolve_pb2 import Target
from podium.v1.versions_pb2 import File, Note, Version

__all__ = [
    "Alias",
    "AlreadyExists",
    "Cache",
    "Column",
    "Conflict",
    "DamagedFile",
    "DataLoss",
    "Difference",
    "DiskFull",
    "Entry",
    "Event",
    "EventKind",
    "ExternalFile",
    "FailedPrecondition",
    "File",
    "Hardware",
    "HostileServer",
    "Input",
    "InputKind",
    "InternalError",
    "InvalidArgument",
    "Library",
    "Metric",
    "Model",
    "NotFound",
    "Note",
    "OutOfRange",
    "Param",
    "Parent",
    "PodiumError",
    "Pruned",
    "Push",
    "PushRefused",
    "Registry",
    "ResourceExhausted",
    "Run",
    "Serving",
    "Source",
    "Target",
    "Unavailable",
    "Version",
    "VersionRecord",
    "aliases",
    "close",
    "connect",
    "create_model",
    "delete_alias",
    "edit_model",
    "edit_version",
    "events",
    "files",
    "get",
    "info",
    "manifest",
    "model",
    "models",
    "note",
    "pull",
    "push",
    "resolve",
    "set_alias",
    "transition",
    "verify",
    "versions",
]

_shared = Registry()

aliases = _shared.aliases
close = _shared.close
create_model = _shared.create_model
delete_alias = _shared.delete_alias
edit_model = _shared.edit_model
edit_version = _shared.edit_version
events = _shared.events
files = _shared.files
get = _shared.get
info = _shared.info
manifest = _shared.manifest
model = _shared.model
models = _shared.models
note = _shared.note
pull = _shared.pull
push = _shared.push
resolve = _shared.resolve
set_alias = _shared.set_alias
transition = _shared.transition
verify = _shared.verify
versions = _shared.versions
