"""What can go wrong in a blob store."""


class StoreError(Exception):
    """A blob store did not do what it was asked to."""


class StoreFull(StoreError):
    """There is no room for more bytes."""


class StoreUnavailable(StoreError):
    """The store does not work now."""


class StoreOfAnother(StoreError):
    """The store has the blobs of another registry."""


class NoSuchBlob(StoreError):
    """There is no blob with this digest."""


class PartialLost(StoreError):
    """Another writer has taken this partial over."""


class SigningFailed(StoreError):
    """The store could not sign a URL."""


class UnsupportedStore(StoreError):
    """The URL names no store that this release knows."""
