"""The tables. Columns are named as the fields of the messages, so that one `to_proto` does for all of them.

What is only replayed (records, the states of events, replies) is stored as message bytes, what is queried as columns.
"""

from peewee import (
    SQL,
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    TextField,
)

from podium_server.rows import Table


class Head(Table):
    """The one row that every mutation takes first: where history stands. `origin` is the nonce of revision 0."""

    id = IntegerField(primary_key=True)
    registry_uid = TextField()
    origin = BlobField()
    revision = BigIntegerField()
    nonce = BlobField()
    time = BigIntegerField()


class Lifecycle(Table):
    """A set of stages; shipped data until lifecycles can be made."""

    name = TextField(primary_key=True)
    initial_stage = TextField()
    archive_stage = TextField()


class LifecycleStage(Table):
    """A stage of a lifecycle. `place` is its usual order."""

    lifecycle = ForeignKeyField(Lifecycle, column_name="lifecycle", index=False)
    name = TextField()
    place = IntegerField()
    servable = BooleanField()
    warning = TextField()

    class Meta:
        primary_key = CompositeKey("lifecycle", "name")


class LifecycleTransition(Table):
    """A legal move; an empty `from_stage` is no stage."""

    lifecycle = ForeignKeyField(Lifecycle, column_name="lifecycle", index=False)
    from_stage = TextField()
    to_stage = TextField()
    rollback_only = BooleanField()

    class Meta:
        primary_key = CompositeKey("lifecycle", "from_stage", "to_stage")


class Model(Table):
    """A model. `highest_version` is the highest semantic version, which a bump follows."""

    id: int
    lifecycle_name: str
    name = TextField()
    uid = TextField(unique=True)
    description = TextField()
    strategy = IntegerField()
    lifecycle = ForeignKeyField(Lifecycle, column_name="lifecycle", index=False, object_id_name="lifecycle_name")
    last_number = BigIntegerField()
    highest_version = TextField()
    create_time = BigIntegerField()
    update_time = BigIntegerField()
    etag = TextField()
    deleted_at = BigIntegerField(null=True)


# A name is free again when its model is deleted.
Model.add_index(Model.index(Model.name, name="model_name_live", unique=True, where=Model.deleted_at.is_null()))


class Label(Table):
    """A label of a model (`number` 0) or of one of its versions."""

    owner = ForeignKeyField(Model, column_name="model_id", index=False)
    number = BigIntegerField()
    key = TextField()
    value = TextField()

    class Meta:
        primary_key = CompositeKey("owner", "number", "key")
        indexes = ((("key", "value"), False),)


class Record(Table):
    """The bytes of a VersionRecord by their digest."""

    digest = TextField(primary_key=True)
    content = BlobField()


class Manifest(Table):
    """That the list of stored files with the digest of its text is complete."""

    digest = TextField(primary_key=True)


class ManifestFile(Table):
    """A file of a manifest. Written before its manifest is, in pieces, so there is no foreign key."""

    manifest_digest = TextField()
    path = TextField()
    digest = TextField()
    size_bytes = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("manifest_digest", "path")
        without_rowid = True


class ExternalFile(Table):
    """A file of a record that is kept elsewhere."""

    record_digest = TextField()
    path = TextField()
    uri = TextField()
    digest = TextField()
    size_bytes = BigIntegerField(null=True)

    class Meta:
        primary_key = CompositeKey("record_digest", "path")
        without_rowid = True


class Version(Table):
    """A version. `stage_entered` is the revision at which it entered its stage: the latest entrant is the stage's head."""

    id: int
    manifest_digest: str
    record_id: str
    owner = ForeignKeyField(Model, column_name="model_id", index=False)
    number = BigIntegerField()
    version = TextField()
    digest = ForeignKeyField(Manifest, column_name="digest", index=False, object_id_name="manifest_digest")
    record_digest = ForeignKeyField(Record, column_name="record_digest", object_id_name="record_id")
    file_count = IntegerField()
    size_bytes = BigIntegerField()
    external_file_count = IntegerField()
    stage = TextField()
    stage_entered = BigIntegerField()
    description = TextField()
    actor = TextField()
    note_count = IntegerField()
    create_time = BigIntegerField()
    update_time = BigIntegerField()
    etag = TextField()
    deleted_at = BigIntegerField(null=True)

    class Meta:
        indexes = (
            (("owner", "number"), True),
            (("owner", "version"), True),
            (("owner", "digest", "number"), False),
            (("owner", "stage", "stage_entered", "number"), False),
        )


class Note(Table):
    """A remark on a version."""

    owner = ForeignKeyField(Version, column_name="version_id")
    text = TextField()
    actor = TextField()
    create_time = BigIntegerField()


class Metric(Table):
    """An indexed metric of a version's record; `place` is its index there, as in the tables that follow."""

    owner = ForeignKeyField(Version, column_name="version_id", index=False)
    place = IntegerField()
    name = TextField()
    value = DoubleField()
    dataset = TextField()
    slice = TextField()
    step = BigIntegerField(null=True)
    time = BigIntegerField(null=True)

    class Meta:
        primary_key = CompositeKey("owner", "place")
        without_rowid = True
        indexes = ((("name", "value"), False),)


class Param(Table):
    """An indexed param. `text` is exact; `number` is set for whole and broken numbers, so that they compare."""

    owner = ForeignKeyField(Version, column_name="version_id", index=False)
    name = TextField()
    type = TextField()
    text = TextField()
    number = DoubleField(null=True)

    class Meta:
        primary_key = CompositeKey("owner", "name")
        without_rowid = True
        indexes = ((("name", "number"), False),)


class Input(Table):
    """An indexed input."""

    owner = ForeignKeyField(Version, column_name="version_id", index=False)
    place = IntegerField()
    kind = IntegerField()
    name = TextField()
    version = TextField()
    digest = TextField()
    uri = TextField()

    class Meta:
        primary_key = CompositeKey("owner", "place")
        without_rowid = True
        indexes = ((("name", "version"), False), (("digest",), False))


class Parent(Table):
    """An indexed parent: a version here (uid and number) or a URI."""

    owner = ForeignKeyField(Version, column_name="version_id", index=False)
    place = IntegerField()
    reference = TextField()
    uri = TextField()
    relation = TextField()
    model_uid = TextField()
    number = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("owner", "place")
        without_rowid = True
        indexes = ((("model_uid", "number"), False), (("uri",), False))


class Reference(Table):
    """What a movable reference means now; `kind` is an EventKind: ALIAS, STAGE or LATEST. This is what the view holds."""

    owner = ForeignKeyField(Model, column_name="model_id", index=False)
    kind = IntegerField()
    name = TextField()
    number = BigIntegerField()
    target = BlobField()
    time = BigIntegerField()
    revision = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("owner", "kind", "name")
        indexes = ((("owner", "number"), False),)


class Event(Table):
    """What happened, for ever. Who and free text are columns, so that they can be erased without touching the states."""

    revision = BigIntegerField()
    ordinal = IntegerField()
    time = BigIntegerField()
    kind = IntegerField()
    model = TextField()
    model_uid = TextField()
    name = TextField()
    actor = TextField()
    peer = TextField()
    request_id = TextField()
    reason = TextField()
    text = TextField(null=True)
    rollback = BooleanField()
    before = BlobField(null=True)
    after = BlobField(null=True)
    nonce = BlobField()

    class Meta:
        primary_key = CompositeKey("revision", "ordinal")
        without_rowid = True
        indexes = ((("model_uid", "name", "revision"), False), (("model_uid", "revision"), False))


class Request(Table):
    """The reply to a mutation, by its caller's id for it."""

    actor = TextField()
    method = TextField()
    request_id = TextField()
    content = BlobField()
    reply = BlobField()
    time = BigIntegerField(index=True)

    class Meta:
        primary_key = CompositeKey("actor", "method", "request_id")
        without_rowid = True


class Blob(Table):
    """Stored bytes. `crc32c` has four bytes, big-endian, for each MiB. A quarantined one is damaged and counts as missing."""

    digest = TextField(primary_key=True)
    size_bytes = BigIntegerField()
    stored_size = BigIntegerField()
    encoding = TextField()
    state = TextField(constraints=[SQL("CHECK (state IN ('complete', 'quarantined'))")])
    generation = BigIntegerField()
    crc32c = BlobField()
    create_time = BigIntegerField()


class ModelBlob(Table):
    """That a model has a blob: by an upload or by a version."""

    owner = ForeignKeyField(Model, column_name="model_id", index=False)
    digest = ForeignKeyField(Blob, column_name="digest", index=False)

    class Meta:
        primary_key = CompositeKey("owner", "digest")
        without_rowid = True
        indexes = ((("digest",), False),)


class Upload(Table):
    """An unfinished upload. `lease` names its writer, empty for none; `resume` is the store's own string."""

    owner = ForeignKeyField(Model, column_name="model_id", index=False)
    digest = TextField()
    size_bytes = BigIntegerField()
    committed_bytes = BigIntegerField()
    resume = TextField()
    lease = TextField()
    lease_time = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("owner", "digest")


TABLES: list[type[Table]] = [
    Head, Lifecycle, LifecycleStage, LifecycleTransition, Model, Label, Record, Manifest, ManifestFile, ExternalFile, Version, Note,
    Metric, Param, Input, Parent, Reference, Event, Request, Blob, ModelBlob, Upload,
]  # fmt: skip
