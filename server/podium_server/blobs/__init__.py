"""Where the bytes of blobs are kept. The contract is in `base`; there is a module for each technology."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from podium_server.blobs.base import BlobStore
from podium_server.blobs.errors import UnsupportedStore
from podium_server.blobs.local import LocalStore


def open_store(url: str) -> BlobStore:
    """Opens the store at a URL: `file:///an/absolute/folder`, which is made if it is not there."""
    parts = urlsplit(url)
    if parts.scheme == "gs":
        raise UnsupportedStore(f"{url}: this release cannot keep blobs in Google Cloud Storage yet, use file:///FOLDER")
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise UnsupportedStore(f"{url!r} is not the URL of a blob store: use file:///FOLDER with an absolute folder")
    return LocalStore(Path(unquote(parts.path)))
