"""The labels of models and versions, and the update masks that change them together with the description."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from podium.v1.models_pb2 import Model
from podium.v1.versions_pb2 import Version

from podium_server import tables
from podium_server.errors import InvalidArgument
from podium_server.ledger import Transaction
from podium_server.limits import check_description, check_label_key, check_labels
from podium_server.tables import Reader

OF_MODEL = 0


class Change(NamedTuple):
    """What an update asks for: a new description (None: as it is), labels to set, labels to remove, or all of them anew.

    `field` is where the request has the labels.
    """

    field: str
    description: str | None
    setting: dict[str, str]
    removing: frozenset[str]
    replacing: bool

    def labels(self, current: Mapping[str, str]) -> dict[str, str]:
        """The labels after the change; InvalidArgument if they are too many."""
        kept = {} if self.replacing else {key: value for key, value in current.items() if key not in self.removing}
        labels = {**kept, **self.setting}
        check_labels(labels, self.field)
        return labels


def parse_mask(paths: Sequence[str], resource: Model | Version, field: str) -> Change:
    """Reads an update mask: `description`, `labels` and `labels.KEY` may be named, and at least one must be.

    `field` is where the request has the resource with the new values; what the mask does not name of it is not looked at.
    """
    if not paths:
        raise InvalidArgument("the mask is empty: name description, labels or labels.KEY", field="update_mask")
    setting: dict[str, str] = {}
    removing: set[str] = set()
    named = frozenset(paths)
    for path in named:
        root, dot, key = path.partition(".")
        if path == "labels":
            setting.update(resource.labels)
        elif root == "labels" and dot and key in resource.labels:
            setting[key] = resource.labels[key]
        elif root == "labels" and dot:
            check_label_key(key, "update_mask")
            removing.add(key)
        elif path != "description":
            raise InvalidArgument(
                f"{path[:80]!r} cannot be changed: only description, labels and labels.KEY can", field="update_mask"
            )
    check_labels(setting, f"{field}.labels")
    description = resource.description if "description" in named else None
    check_description(description or "", f"{field}.description")
    return Change(f"{field}.labels", description, setting, frozenset(removing), "labels" in named)


def read_labels(reader: Reader, model: tables.Model, number: int = OF_MODEL) -> dict[str, str]:
    """The labels of a model, or of its version with this number."""
    return dict(reader.all("SELECT key, value FROM label WHERE model_id = ? AND number = ?", model.id, number))


def write_labels(tx: Transaction, model: tables.Model, labels: Mapping[str, str], number: int = OF_MODEL) -> None:
    """Makes these the labels of a model, or of its version with this number."""
    tx.run("DELETE FROM label WHERE model_id = ? AND number = ?", model.id, number)
    tx.insert(tables.Label, *((model.id, number, key, value) for key, value in labels.items()))
