"""The registry as Python sees it: one method a thing to do. What it takes and gives are the messages of the contract."""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, cast
from weakref import WeakSet

from google.protobuf.field_mask_pb2 import FieldMask

from podium.cache import Cache
from podium.checkout import checkout, copy_out, free_place
from podium.comparison import Difference, break_seals, compare
from podium.errors import HostileServer, InvalidArgument
from podium.folder import Folder
from podium.follower import Follower, OnChange
from podium.listing import Listing, list_files, pinned
from podium.progress import Report, reporting
from podium.provenance import provenance
from podium.publish import Push, ensure_model, publish
from podium.record import Value, build_record
from podium.transfers import Crew
from podium.transport import Transport, user_name
from podium.v1.aliases_pb2 import (
    Alias,
    DeleteAliasRequest,
    DeleteAliasResponse,
    ListAliasesRequest,
    SetAliasRequest,
    SetAliasResponse,
)
from podium.v1.events_pb2 import Event, EventFilter, EventKind, ListEventsRequest
from podium.v1.models_pb2 import (
    CreateModelRequest,
    GetModelRequest,
    ListModelsRequest,
    Model,
    ModelFilter,
    UpdateModelRequest,
    VersionStrategy,
)
from podium.v1.records_pb2 import Input, Metric, Parent, Run, VersionRecord
from podium.v1.resolve_pb2 import ResolveVersionRequest, Target
from podium.v1.server_pb2 import GetServerInfoRequest, GetServerInfoResponse
from podium.v1.stages_pb2 import TransitionStageRequest, TransitionStageResponse
from podium.v1.versions_pb2 import (
    AddNoteRequest,
    File,
    GetVersionRequest,
    ListFilesRequest,
    ListVersionsRequest,
    Note,
    RegisterVersionRequest,
    UpdateVersionRequest,
    Version,
    VersionBump,
    VersionFilter,
    VersionView,
)
from podium.watch_filters import watch_filters
from podium.watching import Watch

if TYPE_CHECKING:
    import grpc
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

    from podium.v1.registry_service_pb2_grpc import RegistryServiceStub

DEFAULT_TIMEOUT = 30.0  # seconds

Strategy = Literal["semantic", "git", "timestamp", "integer"]


class _Paged(Protocol):
    page_token: str


class _Page(Protocol):
    @property
    def next_page_token(self) -> str: ...


PagedRequest = TypeVar("PagedRequest", bound=_Paged)
PageReply = TypeVar("PageReply", bound=_Page)
Items = TypeVar("Items", bound=Iterable[object])


def connect(
    url: str | None = None,
    *,
    actor: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    cache: str | os.PathLike[str] | None = None,
    direct: bool = False,
) -> "Registry":
    """The registry at `url` (`host:port`), else at $PODIUM_URL, else at 127.0.0.1:7070. Nothing is sent yet.

    Several servers of one registry are `host1:port,host2:port`, or a name with several IP addresses: what one of them does not
    answer, another does, and this client sees what it did at all of them. clients/ADDRESSES.md says what that comes to.
    `actor` is who does it, for the events (else user@host). A call may take `timeout` seconds; a transfer is given up after
    so many seconds without a byte. `cache` is the folder of the content cache, else $PODIUM_CACHE, else ~/.cache/podium.
    With `direct`, files are read from where the server keeps them, if it signs URLs for that: the same bytes, verified as ever.
    Where that does not go they come by way of the server, and a warning of the logger `podium` says so.
    """
    return Registry(url, actor=actor, timeout=timeout, cache=cache, direct=direct)


class Registry:
    """A Podium server. Threads may share it, and so may forked children.

    What the server, the network or a value is to blame for is a PodiumError; files and folders of this machine that cannot be
    read or written may be an OSError, and arguments of a wrong type a TypeError.

    Where a method takes a reference, that is one of `name:1.4.0`, `name:7`, `name@alias`, `name#stage`, `name@latest` and
    `name@sha256:…`. `at_least` is a position: the answer then shows that position of the history or a later one. Without it, the
    answer shows the newest that this registry has seen, in a reply or by a watch.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        actor: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        cache: str | os.PathLike[str] | None = None,
        direct: bool = False,
    ) -> None:
        self._transport = Transport(url, actor, timeout)
        self._call = self._transport.call
        self._author = actor
        self._cache_folder = cache
        self._direct = direct
        self._open: WeakSet[Watch | Follower] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and what was opened by `watch` and `follow`. Another call would make a new one."""
        for opened in list(self._open):
            opened.close()
        self._transport.close()

    @property
    def cache(self) -> Cache:
        """The content cache that `pull` uses: where none was given, the one that PODIUM_CACHE names at the time."""
        return Cache(self._cache_folder)

    def watch(
        self,
        *references: str,
        kinds: Iterable[int] = (),
        since: str = "",
        at_least: str = "",
        for_serving: bool = False,
        on_connection: Callable[[bool], object] | None = None,
    ) -> Watch:
        """What happens to `fraud@champion`, `team/*#production`, `fraud@latest`, or all aliases and stages of `fraud` or `team/**`.

        Nothing means everything. `*` is any run of characters but `/`, `**` any run. `kinds` (EventKind numbers) are for models;
        else aliases and stages. `since` is a position that an earlier watch of the same gave: changes after it come, and no
        Snapshot. `for_serving` withholds versions that may not serve. `on_connection(connected)` is called in the
        reading thread: true once it has read what there was to say.
        """
        filters = watch_filters(references, kinds)
        watch = Watch(
            self._transport, filters, since=since, at_least=at_least, for_serving=for_serving, on_connection=on_connection
        )
        self._open.add(watch)
        return watch

    def follow(
        self,
        reference: str,
        *,
        timeout: float | None = None,
        on_change: OnChange | None = None,
        for_serving: bool = True,
    ) -> Follower:
        """Keeps what a reference that moves (an alias, a stage, latest) means in memory, and its verified files in the cache.

        It returns once there is a version: the server's, or where that is away for `timeout` seconds (else 2) the last one that
        a follower on this machine had, after reading all its bytes. Without one, Unavailable after `timeout` seconds (else the
        registry's), NotFound if the reference means nothing, FailedPrecondition if that may not serve (`for_serving`), or why it
        cannot be pulled. `on_change(current)` is called in a thread of the follower, each time after another version took its
        place. It blocks: on an event loop, `await asyncio.to_thread(podium.follow, …)`.
        """
        follower = Follower(
            self._transport,
            self.cache,
            reference,
            timeout=timeout,
            on_change=on_change,
            for_serving=for_serving,
            direct=self._direct,
        )
        self._open.add(follower)
        return follower

    def push(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        version: str = "",
        bump: Literal["major", "minor", "patch"] | None = None,
        stage: str | None = None,
        aliases: Iterable[str] = (),
        metrics: Mapping[str, float] | Sequence[Metric] | None = None,
        params: Mapping[str, Value | None] | None = None,
        labels: Mapping[str, str] | None = None,
        description: str = "",
        inputs: Sequence[Input] = (),
        parents: Sequence[str | Parent] = (),
        run: Run | str | None = None,
        record: VersionRecord | None = None,
        strategy: Strategy | None = None,
        lifecycle: str | None = None,
        create: bool = True,
        reason: str = "",
        request_id: str = "",
        progress: bool | Report | None = None,
    ) -> Push:
        """Registers the file or folder at `path` as a version of the model, of which only new bytes are sent.

        `stage` is the first stage (None: the lifecycle's initial one, "": none). `record` may say all that a VersionRecord
        can; the arguments win over it, and what is known anyway (git, user, Python, frameworks) fills the rest. Params that
        are None are left out, numpy's scalars are numbers. `strategy` and `lifecycle` are those of the model that is created
        (`create=False` forbids that); InvalidArgument if it is there and has others. Files that .podiumignore names (in
        gitignore's syntax) stay out, links are followed. PushRefused names a file that cannot be pushed.
        """
        folder = Folder(Path(path))
        request = RegisterVersionRequest(
            model=name,
            record=build_record(
                provenance(Path(path), self._author or user_name()),
                record,
                metrics=metrics,
                params=params,
                inputs=_several("inputs", inputs),
                parents=_several("parents", parents),
                run=run,
            ),
            version=version,
            bump=_number(VersionBump, bump),
            stage=stage,
            aliases=_several("aliases", aliases),
            description=description,
            labels=labels,
            reason=reason,
            request_id=request_id or _new_id(),
        )
        if create:
            ensure_model(self._transport, self._new_model(name, strategy=strategy, lifecycle=lifecycle or ""))
        with reporting(progress) as report:
            return publish(self._transport, folder, request, report)

    def pull(
        self,
        reference: str,
        destination: str | os.PathLike[str] | None = None,
        *,
        progress: bool | Report | None = None,
    ) -> Path:
        """The verified files of a version as a folder that appears whole or not at all.

        Without `destination` it is the read-only folder in the cache, safe from `prune` while this process runs; else a copy
        that may be edited, in a folder that must be new or empty. External files are not fetched; a warning of the logger
        `podium` names them.
        """
        place = None if destination is None else free_place(Path(destination))
        with reporting(progress) as report:
            listing, crew, cache = self._listing(reference), Crew(), self.cache
            cache.keep(listing.target.digest, crew.pause)
            folder = checkout(self._transport, cache, listing, report, crew, direct=self._direct)
            return folder if place is None else copy_out(folder, place, listing, report)

    def verify(self, reference: str, directory: str | os.PathLike[str]) -> list[Difference]:
        """What in a directory is not as in the version, byte for byte; empty if all is.

        If that is the version's folder in the cache, the next pull replaces what differs.
        """
        folder, listing = Path(directory), self._listing(reference)
        differences = compare(listing, folder)
        if folder.resolve() == self.cache.version_path(listing.target.digest):
            break_seals(differences, folder)
        return differences

    def resolve(self, reference: str, *, for_serving: bool = False, at_least: str = "") -> Target:
        """Which version a reference means now. With `for_serving`, one that may not serve is FailedPrecondition."""
        request = ResolveVersionRequest(reference=reference, for_serving=for_serving, at_least=at_least)
        return self._call(lambda stub: stub.ResolveVersion, request).target

    def get(self, reference: str, *, at_least: str = "") -> Version:
        """A version with its record and its latest notes."""
        request = GetVersionRequest(reference=reference, view=VersionView.VERSION_VIEW_FULL, at_least=at_least)
        return self._call(lambda stub: stub.GetVersion, request).version

    def versions(
        self,
        name: str,
        *,
        stage: str | None = None,
        labels: Mapping[str, str] | None = None,
        full: bool = False,
        at_least: str = "",
    ) -> Iterator[Version]:
        """A model's versions, the newest first; only those in a stage ("": in none) and with all these labels.

        `full` adds the records and notes.
        """
        request = ListVersionsRequest(
            model=name,
            filter=VersionFilter(stage=stage, labels=labels),
            view=VersionView.VERSION_VIEW_FULL if full else VersionView.VERSION_VIEW_BASIC,
            at_least=at_least,
        )
        for page in self._pages(lambda stub: stub.ListVersions, request):
            yield from page.versions

    def models(self, *, name_prefix: str = "", labels: Mapping[str, str] | None = None, at_least: str = "") -> Iterator[Model]:
        """The models by name; only those whose name starts so and that have all these labels."""
        request = ListModelsRequest(filter=ModelFilter(name_prefix=name_prefix, labels=labels), at_least=at_least)
        for page in self._pages(lambda stub: stub.ListModels, request):
            yield from page.models

    def model(self, name: str) -> Model:
        """One model."""
        return self._call(lambda stub: stub.GetModel, GetModelRequest(name=name)).model

    def files(self, reference: str) -> Iterator[File]:
        """A version's files, stored and external, by path."""
        request = ListFilesRequest(reference=pinned(self.resolve(reference)))
        for page in self._pages(lambda stub: stub.ListFiles, request):
            yield from page.files

    def manifest(self, reference: str) -> str:
        """The stored files as `sha256sum` prints them, and `sha256sum -c` reads them. Its SHA-256 is the version's digest."""
        return self._listing(reference).manifest

    def transition(
        self,
        reference: str,
        stage: str,
        *,
        reason: str = "",
        expected_stage: str | None = None,
        archive_existing: bool = False,
        rollback: bool = False,
    ) -> TransitionStageResponse:
        """Moves a version to another stage. FailedPrecondition says which ones its lifecycle allows.

        If it is not in `expected_stage` ("": in none), that is a Conflict. `archive_existing` archives the versions that are in
        the stage now; `rollback` says that this takes back a replacement.
        """
        request = TransitionStageRequest(
            reference=reference,
            stage=stage,
            reason=reason,
            expected_stage=expected_stage,
            archive_existing=archive_existing,
            rollback=rollback,
            request_id=_new_id(),
        )
        return self._call(lambda stub: stub.TransitionStage, request)

    def set_alias(
        self, name: str, alias: str, version: int | str, *, expected_number: int | None = None, reason: str = ""
    ) -> SetAliasResponse:
        """Points an alias at a version: 7, "1.4.0", "@challenger", "#staging", "@sha256:…".

        If it does not point at `expected_number` now (0: there is none), that is a Conflict.
        """
        sign = "" if str(version).startswith(("@", "#", ":")) else ":"
        request = SetAliasRequest(
            reference=f"{name}{sign}{version}",
            alias=alias,
            expected_number=expected_number,
            reason=reason,
            request_id=_new_id(),
        )
        return self._call(lambda stub: stub.SetAlias, request)

    def delete_alias(self, name: str, alias: str, *, expected_number: int | None = None, reason: str = "") -> DeleteAliasResponse:
        """Deletes an alias; a Conflict if it does not point at `expected_number` now."""
        request = DeleteAliasRequest(model=name, alias=alias, expected_number=expected_number, reason=reason, request_id=_new_id())
        return self._call(lambda stub: stub.DeleteAlias, request)

    def aliases(self, name: str) -> Iterator[Alias]:
        """A model's aliases by name, without `latest`."""
        for page in self._pages(lambda stub: stub.ListAliases, ListAliasesRequest(model=name)):
            yield from page.aliases

    def create_model(
        self,
        name: str,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        strategy: Strategy | None = None,
        lifecycle: str = "",
    ) -> Model:
        """A new model. How version strings are made (`strategy`) and the lifecycle are fixed then."""
        request = self._new_model(name, description=description, labels=labels, strategy=strategy, lifecycle=lifecycle)
        return self._call(lambda stub: stub.CreateModel, request).model

    def edit_model(
        self,
        name: str,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        remove_labels: Iterable[str] = (),
        etag: str = "",
    ) -> Model:
        """Changes the description, sets these labels, removes those; a Conflict if `etag` is not the model's."""
        request = UpdateModelRequest(
            model=Model(name=name, description=description, etag=etag),
            update_mask=_mask(description),
            set_labels=labels,
            remove_labels=_several("remove_labels", remove_labels),
            request_id=_new_id(),
        )
        return self._call(lambda stub: stub.UpdateModel, request).model

    def edit_version(
        self,
        reference: str,
        *,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        remove_labels: Iterable[str] = (),
        etag: str = "",
    ) -> Version:
        """Changes the description, sets these labels, removes those; a Conflict if `etag` is not the version's."""
        request = UpdateVersionRequest(
            reference=reference,
            version=Version(description=description, etag=etag),
            update_mask=_mask(description),
            set_labels=labels,
            remove_labels=_several("remove_labels", remove_labels),
            request_id=_new_id(),
        )
        return self._call(lambda stub: stub.UpdateVersion, request).version

    def note(self, reference: str, text: str) -> Note:
        """Appends a remark to a version, for good."""
        request = AddNoteRequest(reference=reference, text=text, request_id=_new_id())
        return self._call(lambda stub: stub.AddNote, request).note

    def events(
        self,
        name: str | None = None,
        *,
        kinds: Iterable[int] = (),
        newest_first: bool = False,
        after: str = "",
        at_least: str = "",
    ) -> Iterator[Event]:
        """What happened, to one model or to all; only of these kinds, and after a position."""
        request = ListEventsRequest(
            filter=EventFilter(model=name or "", kinds=cast("Iterable[EventKind]", kinds), after=after),
            newest_first=newest_first,
            at_least=at_least,
        )
        for page in self._pages(lambda stub: stub.ListEvents, request):
            yield from page.events

    def info(self) -> GetServerInfoResponse:
        """What the server is, its limits and its lifecycles."""
        return self._call(lambda stub: stub.GetServerInfo, GetServerInfoRequest())

    def _listing(self, reference: str) -> Listing:
        target = self.resolve(reference)
        pin = reference.partition("@sha256:")[2]
        if pin and target.digest != f"sha256:{pin}":
            raise HostileServer(f"the server resolves {reference} to {target.digest}")
        return list_files(self._transport, target, Crew())

    def _pages(
        self,
        method: "Callable[[RegistryServiceStub], grpc.UnaryUnaryMultiCallable[PagedRequest, PageReply]]",
        request: PagedRequest,
    ) -> Iterator[PageReply]:
        while True:
            page = self._call(method, request)
            yield page
            if not page.next_page_token:
                return
            if page.next_page_token == request.page_token:
                raise HostileServer("the server gives the same page again and again")
            request.page_token = page.next_page_token

    @staticmethod
    def _new_model(
        name: str,
        *,
        description: str = "",
        labels: Mapping[str, str] | None = None,
        strategy: Strategy | None,
        lifecycle: str,
    ) -> CreateModelRequest:
        return CreateModelRequest(
            name=name,
            description=description,
            labels=labels,
            strategy=_number(VersionStrategy, strategy),
            lifecycle=lifecycle,
            request_id=_new_id(),
        )


def _new_id() -> str:
    return uuid.uuid4().hex


def _several(name: str, items: Items) -> Items:
    """The items; InvalidArgument for a text, which would be taken letter by letter."""
    if isinstance(items, str):
        raise InvalidArgument(f"{name} is a list: [{items!r}]", fields={name: "is a text, not a list"})
    return items


def _number(enum: "EnumTypeWrapper", word: str | None) -> Any:
    """The value of an enum by the last word of its name."""
    if word is None:
        return None
    names = {name.rpartition("_")[2].lower(): number for name, number in enum.items()[1:]}
    if word not in names:
        raise InvalidArgument(f"{word!r} is none of {', '.join(names)}")
    return names[word]


def _mask(description: str | None) -> FieldMask | None:
    return None if description is None else FieldMask(paths=["description"])
