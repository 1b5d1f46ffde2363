"""What the command line makes of its arguments, and how things look: no server is needed."""

import json
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from podium.cli.output import facts, safe, short, size, to_json, word
from podium.cli.push import push
from podium.cli.record import record_facts
from podium.cli.record_file import read_record
from podium.cli.values import dataset, number, pairs, typed
from podium.v1.models_pb2 import Model, VersionStrategy
from podium.v1.records_pb2 import VersionRecord

CONTEXT = click.Context(push)
OPTION = next(parameter for parameter in push.params if parameter.name == "record")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100", 100),
        ("-7", -7),
        ("0", 0),
        ("9223372036854775807", 2**63 - 1),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("-2.5E+6", -2.5e6),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("adam", "adam"),
        ("", ""),
        ("007", "007"),
        ("1_000", "1_000"),
        ("1e999", "1e999"),
        ("nan", "nan"),
        ("inf", "inf"),
        ('"100"', "100"),
        ("'true'", "true"),
        ('"', '"'),
        ('"a"b"', 'a"b'),
        ("1.0.0", "1.0.0"),
        (" 1", " 1"),
    ],
)
def test_a_param_keeps_its_type(text: str, value: object) -> None:
    assert (typed(text), type(typed(text))) == (value, type(value))


def test_an_integer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit 64 bits; quote it"):
        typed("9223372036854775808")


def test_a_metric_is_a_number() -> None:
    assert number("0.93") == 0.93
    assert number("inf") == float("inf")
    for text in ("nan", "good", ""):
        with pytest.raises(ValueError, match="is not a number"):
            number(text)


def test_pairs_are_split_at_the_first_sign() -> None:
    assert pairs(str)(CONTEXT, OPTION, ["a=b=c", "d="]) == {"a": "b=c", "d": ""}


@pytest.mark.parametrize(("texts", "message"), [(["a"], "not NAME=VALUE"), (["=b"], "not NAME="), (["a=1", "a=2"], "twice")])
def test_pairs_that_are_none_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        pairs(str)(CONTEXT, OPTION, texts)


@pytest.mark.parametrize(
    ("text", "name", "version", "digest"),
    [
        ("sales", "sales", "", ""),
        ("risk/sales:2024-01", "risk/sales", "2024-01", ""),
        (f"sales:3@sha256:{'a' * 64}", "sales", "3", f"sha256:{'a' * 64}"),
        ("sales@md5:1f3a", "sales", "", "md5:1f3a"),
    ],
)
def test_a_data_set_has_a_name_a_version_and_a_digest(text: str, name: str, version: str, digest: str) -> None:
    found = dataset(text)
    assert (found.name, found.version, found.digest) == (name, version, digest)


@pytest.mark.parametrize("text", ["", ":3", "sales@", "sales:", "sales:3@sha256:1f3a", f"sales@sha256:{'A' * 64}"])
def test_a_data_set_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        dataset(text)


RECORD = {
    "author": "ann",
    "training_start_time": "2025-01-24T12:00:00Z",
    "training_duration": "90s",
    "framework": {"name": "scikit-learn", "version": "1.7"},
    "params": [
        {"name": "depth", "int_value": "4"},
        {"name": "note", "string_value": "100"},
        {"name": "big", "string_value": "9" * 20},
    ],
    "metrics": [{"name": "auc", "value": 0.93, "dataset": "holdout", "slice": "country=DE", "step": "0"}],
    "hardware": {"cpu": "EPYC", "memory_bytes": "64000000000"},
    "inputs": [{"kind": "INPUT_KIND_FEATURES", "name": "basket", "uri": "feast://basket"}],
    "source": {"repository": "https://example.org/risk", "commit": "1f3a9c2", "dirty": False},
    "parents": [{"uri": "hf://bert", "relation": "distilled"}],
    "run": {"system": "mlflow", "id": "8f2c"},
    "input_schema": [{"name": "age", "type": "float32", "shape": ["-1", "3"], "optional": True}],
    "external_files": [{"path": "big.bin", "uri": "s3://models/big.bin", "size_bytes": "12"}],
    "serving": {"image": "serve:1", "request_content_types": ["text/csv", "application/json"]},
}


def read(path: Path) -> VersionRecord | None:
    return read_record(CONTEXT, OPTION, path)


def test_a_record_is_read_from_json_and_yaml(tmp_path: Path) -> None:
    text = json.dumps(RECORD)
    for name in ("record.json", "record.yaml"):
        (tmp_path / name).write_text(text)
        assert MessageToDict(read(tmp_path / name), preserving_proto_field_name=True) == RECORD


def test_yaml_times_need_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "record.yaml").write_text("author: ann\ntraining_start_time: 2025-01-24T12:00:00Z\n")
    record = read(tmp_path / "record.yaml")
    assert record is not None
    assert record.training_start_time.ToDatetime(UTC) == datetime(2025, 1, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.yaml", "metrics:\n- {name: auc, valu: 1}", r'metrics.*no field named "valu"'),
        ("r.yaml", "framework: {name: x, version: 1.10}", "framework field.*version field.*text in quotes"),
        ("r.yaml", "bogus: 1", 'no field named "bogus"'),
        ("r.yaml", "author: [", "r.yaml: while parsing"),
        ("r.yaml", "", "not a VersionRecord"),
        ("r.json", "[1]", "not a VersionRecord"),
        ("r.json", '{"author": 3}', "author field"),
        ("r.json", "{", "r.json: Expecting property name"),
        ("r.json", b"\xff", "r.json: 'utf-8' codec"),
    ],
)
def test_a_bad_record_is_refused_and_says_where(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(click.BadParameter, match=message) as refusal:
        read(tmp_path / name)
    assert "\n" not in refusal.value.message


def test_a_record_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match=r"none\.yaml: No such file"):
        read(tmp_path / "none.yaml")


def test_every_field_of_a_record_is_shown() -> None:
    shown = facts(record_facts(ParseDict(RECORD, VersionRecord())))
    for words in (
        "author", "ann", "0:01:30", "scikit-learn  1.7", "depth  4", 'note  "100"', f'big  "{"9" * 20}"',
        "auc  0.93  dataset holdout, slice country=DE, step 0", "cpu EPYC, memory bytes 64 GB",
        "features  basket  uri feast://basket", "https://example.org/risk  1f3a9c2  dirty no", "hf://bert  distilled",
        "mlflow  8f2c", "age  float32  [-1, 3]  optional yes", "big.bin  s3://models/big.bin  size bytes 12 B",
        "image serve:1, request content types text/csv application/json",
    ):  # fmt: skip
        assert words in shown
    labels = {line[2:].split("  ")[0] for line in shown.splitlines()}
    assert labels >= {field.replace("_", " ") for field in RECORD}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9949, "9.9 kB"),
        (9950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (412_345_678, "412 MB"),
        (1_234_567_890, "1.2 GB"),
        (2**63 - 1, "9223 PB"),
    ],
)
def test_sizes_are_decimal(count: int, text: str) -> None:
    assert size(count) == text


def test_a_terminal_gets_no_orders() -> None:
    hostile = "\x1b]0;owned\x07 \x9b31m a\r\nb \u202e \x7f [bold]x[/] é 模型"
    assert safe(hostile) == r"\x1b]0;owned\x07 \x9b31m a\r\nb \u202e \x7f [bold]x[/] é 模型"
    assert facts([("description", "one\ntwo\x1b[2J")]) == "  description  one\n               two\\x1b[2J"
    assert to_json({"text": hostile}).isascii()


def test_json_is_what_protobuf_writes_with_the_names_of_the_proto() -> None:
    document = json.loads(to_json(Model(name="m", last_number=7)))
    assert document["last_number"] == "7"
    assert document["description"] == ""
    assert document["strategy"] == "VERSION_STRATEGY_UNSPECIFIED"


def test_enums_are_words_also_unknown_ones() -> None:
    assert word(VersionStrategy, 1) == "semantic"
    assert word(VersionStrategy, 99) == "99"


def test_a_digest_is_cut() -> None:
    assert short(f"sha256:{'1f3a' * 16}") == "sha256:1f3a1f3a1f3a…"
