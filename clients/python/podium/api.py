"""All that `import podium` offers. The functions are methods of one registry that this process shares, see Registry."""

from podium.cache import Cache, Entry, Pruned
from podium.comparison import Difference
from podium.current import Current, State
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
from podium.follower import Follower
from podium.publish import Push
from podium.registry import Registry, connect
from podium.v1.aliases_pb2 import Alias
from podium.v1.events_pb2 import Absence, Event, EventKind
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
from podium.v1.watch_pb2 import Reference
from podium.watching import Changes, Snapshot, Watch

__all__ = [
    "Absence",
    "Alias",
    "AlreadyExists",
    "Cache",
    "Changes",
    "Column",
    "Conflict",
    "Current",
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
    "Follower",
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
    "Reference",
    "Registry",
    "ResourceExhausted",
    "Run",
    "Serving",
    "Snapshot",
    "Source",
    "State",
    "Target",
    "Unavailable",
    "Version",
    "VersionRecord",
    "Watch",
    "aliases",
    "close",
    "connect",
    "create_model",
    "delete_alias",
    "edit_model",
    "edit_version",
    "events",
    "files",
    "follow",
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
    "watch",
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
follow = _shared.follow
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
watch = _shared.watch
