"""The record of a push: what the caller says, then what the caller's own record says, then what is known anyway."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real

from podium.errors import InvalidArgument
from podium.v1.records_pb2 import Input, Metric, Param, Parent, Run, VersionRecord

Value = str | int | float | bool


def build_record(
    known: VersionRecord,
    record: VersionRecord | None,
    *,
    metrics: Mapping[str, float] | Sequence[Metric] | None,
    params: Mapping[str, Value | None] | None,
    inputs: Sequence[Input],
    parents: Sequence[str | Parent],
    run: Run | str | None,
) -> VersionRecord:
    """The whole record; where several say the same thing, the arguments win over `record`, and that over `known`.

    Metrics and params are sorted: their order says nothing, and the same content is to have the same digest. Params that are
    None, as many of scikit-learn's are, say nothing and are left out.
    """
    built = VersionRecord()
    if record is not None:
        built.CopyFrom(record)
    _add_known(built, known)
    _add_metrics(built, metrics or ())
    _add_params(built, {name: value for name, value in (params or {}).items() if value is not None})
    built.inputs.extend(item for item in inputs if item not in built.inputs)
    built.parents.extend(parent for parent in map(_parent, parents) if parent not in built.parents)
    if run is not None:
        built.run.CopyFrom(_run(run) if isinstance(run, str) else run)
    return built


def _add_known(built: VersionRecord, known: VersionRecord) -> None:
    built.author = built.author or known.author
    if not built.HasField("source") and known.HasField("source"):
        built.source.CopyFrom(known.source)
    if not built.HasField("runtime"):
        built.runtime.CopyFrom(known.runtime)
    if not built.HasField("framework") and known.HasField("framework"):
        built.framework.CopyFrom(known.framework)
    named = {built.framework.name} | {library.name for library in built.dependencies}
    libraries = [*known.dependencies, *([known.framework] if known.HasField("framework") else [])]
    built.dependencies.extend(library for library in libraries if library.name not in named)
    built.dependencies.sort(key=lambda library: library.name)


def _add_metrics(built: VersionRecord, metrics: Mapping[str, float] | Sequence[Metric]) -> None:
    if isinstance(metrics, Mapping):
        metrics = [_metric(name, value) for name, value in metrics.items()]
    said = {_key(metric) for metric in metrics}
    everything = [metric for metric in built.metrics if _key(metric) not in said] + list(metrics)
    del built.metrics[:]
    built.metrics.extend(sorted(everything, key=_key))


def _add_params(built: VersionRecord, params: Mapping[str, Value]) -> None:
    everything = [param for param in built.params if param.name not in params]
    everything += [_param(name, value) for name, value in params.items()]
    del built.params[:]
    built.params.extend(sorted(everything, key=lambda param: param.name))


def _key(metric: Metric) -> tuple[str, str, str, bool, int]:
    return metric.name, metric.dataset, metric.slice, metric.HasField("step"), metric.step


def _metric(name: str, value: float) -> Metric:
    try:
        return Metric(name=name, value=float(value))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"the metric {name!r}: {error}", fields={"metrics": str(error)}) from None


def _param(name: str, value: object) -> Param:
    try:
        match _plain(value):
            case bool(truth):
                return Param(name=name, bool_value=truth)
            case Integral() as number:
                return Param(name=name, int_value=int(number))
            case Real() as number:
                return Param(name=name, double_value=float(number))
            case str(text):
                return Param(name=name, string_value=text)
        fault = f"a {type(value).__name__} is neither text nor a number nor a truth value: use str()"
    except ValueError as error:
        fault = str(error)
    raise InvalidArgument(f"the param {name!r}: {fault}", fields={"params": fault})


def _plain(value: object) -> object:
    """A scalar of numpy or of a library like it as Python's own; all else as it is."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "shape", None) == () else value


def _parent(parent: str | Parent) -> Parent:
    if not isinstance(parent, str):
        return parent
    return Parent(uri=parent) if "://" in parent else Parent(reference=parent)


def _run(text: str) -> Run:
    system, _, run_id = text.partition(":")
    if not system or not run_id:
        raise InvalidArgument(f"{text!r} is not a run: use SYSTEM:ID, mlflow:8f2c for example")
    return Run(system=system, id=run_id)
