"""Where the bytes of blobs are kept. The contract is in `base`; there is a module for each technology."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from podium_server.blobs.base import BlobStore
from podium_server.blobs.errors import StoreOfAnother, UnsupportedStore
from podium_server.blobs.local import LocalStore

_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/([A-Za-z0-9/._=-]*))?")


def open_store(url: str) -> BlobStore:
    """Opens the store at a URL: `file:///an/absolute/folder`, which is made if it is not there, or `gs://bucket/prefix`."""
    if bucket := _BUCKET.fullmatch(url):
        from podium_server.blobs.gcs import GcsStore  # noqa: PLC0415 - Google's libraries cost time and memory, only where used

        return GcsStore(bucket[1], (bucket[2] or "").strip("/"))
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise UnsupportedStore(
            f"{url!r} is not the URL of a blob store: use file:///FOLDER with an absolute folder, or gs://BUCKET/PREFIX"
        )
    return LocalStore(Path(unquote(parts.path)))


def check_owner(store: BlobStore, registry: str) -> None:
    """StoreOfAnother if the store has the blobs of another registry: one would delete what the other needs."""
    owner = store.owner(registry)
    if owner != registry:
        raise StoreOfAnother(f"the blobs are those of another registry, {owner}, and not of {registry}: start with other --blobs")
