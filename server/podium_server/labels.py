"""The labels of models and versions, and the updates that change them together with the description."""

from collections.abc import Mapping
from typing import NamedTuple

from podium.v1.models_pb2 import Model, UpdateModelRequest
from podium.v1.versions_pb2 import UpdateVersionRequest, Version

from podium_server import tables
from podium_server.errors import InvalidArgument, shown
from podium_server.ledger import Transaction
from podium_server.limits import MAX_LABELS, check_count, check_description, check_label_key, check_labels
from podium_server.rows import Reader

OF_MODEL = 0
CHANGEABLE = ("description", "labels")


class Change(NamedTuple):
    """What an update asks for: a new description (None: as it is), and labels to set and to remove, or all of them anew."""

    description: str | None
    setting: dict[str, str]
    removing: frozenset[str]
    replacing: bool

    def labels(self, current: Mapping[str, str]) -> dict[str, str]:
        """The labels after the change; InvalidArgument if they are too many."""
        kept = {} if self.replacing else {key: value for key, value in current.items() if key not in self.removing}
        labels = {**kept, **self.setting}
        check_count(labels, "labels", MAX_LABELS)
        return labels


def parse_change(request: UpdateModelRequest | UpdateVersionRequest, resource: Model | Version, field: str) -> Change:
    """Reads an update. `resource` has the new values; what the mask does not name of it is not looked at. `field` is its name."""
    check_count(request.update_mask.paths, "update_mask", len(CHANGEABLE))
    for path in request.update_mask.paths:
        if path not in CHANGEABLE:
            raise InvalidArgument(f"{shown(path)} cannot be changed: only {' and '.join(CHANGEABLE)} can", field="update_mask")
    replacing = "labels" in request.update_mask.paths
    if replacing and (request.set_labels or request.remove_labels):
        raise InvalidArgument("labels are changed either all or by key", field="update_mask")
    if not (request.update_mask.paths or request.set_labels or request.remove_labels):
        raise InvalidArgument("nothing is asked for: name description or labels, or set or remove labels", field="update_mask")
    check_labels(request.set_labels, "set_labels")
    check_count(request.remove_labels, "remove_labels", MAX_LABELS)
    for key in request.remove_labels:
        check_label_key(key, "remove_labels")
        if key in request.set_labels:
            raise InvalidArgument(f"the label {shown(key)} is to be set and removed", field="remove_labels")
    if replacing:
        check_labels(resource.labels, f"{field}.labels")
    description = resource.description if "description" in request.update_mask.paths else None
    check_description(description or "", f"{field}.description")
    setting = dict(resource.labels if replacing else request.set_labels)
    return Change(description, setting, frozenset(request.remove_labels), replacing)


def read_labels(reader: Reader, model: tables.Model, number: int = OF_MODEL) -> dict[str, str]:
    """The labels of a model, or of its version with this number."""
    return dict(reader.all("SELECT key, value FROM label WHERE model_id = ? AND number = ?", model.id, number))


def write_labels(tx: Transaction, model: tables.Model, labels: Mapping[str, str], number: int = OF_MODEL) -> None:
    """Makes these the labels of a model, or of its version with this number."""
    tx.run("DELETE FROM label WHERE model_id = ? AND number = ?", model.id, number)
    tx.insert(tables.Label, *((model.id, number, key, value) for key, value in labels.items()))
