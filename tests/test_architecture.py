"""Who may import whom, and what no module is called: the shape that the README's map of the code promises."""

import ast
from pathlib import Path

import pytest
from podium.v1.registry_service_pb2 import DESCRIPTOR

ROOT = Path(__file__).parents[1]
RPCS = sorted(method.name for method in DESCRIPTOR.services_by_name["RegistryService"].methods)
SAYS_NOTHING = {
    "util",
    "utils",
    "helpers",
    "common",
    "misc",
    "manager",
    "mapper",
    "converter",
    "converters",
    "entities",
}
GENERATED = "podium.v1"
SERVE = "podium.cli.serve"  # the command that is the server's own main, where its extra is installed
MIGRATE = "podium.cli.migrate"  # the command that needs no server to run, but the same extra


def modules(folder: Path) -> dict[str, Path]:
    """Every hand-written module below a folder of packages, by its dotted name."""
    found = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in folder.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in found.items() if not within(name, GENERATED)}


def serves(path: Path) -> list[str]:
    """The RPCs that a module has a method for."""
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [function.name for function in functions if function.name in RPCS]


def imports(name: str, path: Path) -> set[str]:
    """All that a module imports, anywhere in it; `from a import b` is a and a.b, since b may be a module."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            found |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


MODULES = modules(ROOT / "server") | modules(ROOT / "clients/python")
NOUNS = {name: serves(path) for name, path in MODULES.items() if within(name, "podium_server") and serves(path)}
EDGES = [(name, used) for name, path in MODULES.items() for used in imports(name, path)]


def broken(importer: str, *used: str, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """What a module or package imports of what it may not."""
    return [(name, other) for name, other in EDGES if within(name, importer) and within(other, *used) and not within(other, *but)]


def test_every_rpc_is_at_home_in_one_noun() -> None:
    assert sorted(rpc for served in NOUNS.values() for rpc in served) == RPCS


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_a_noun_never_imports_another(noun: str) -> None:
    assert broken(noun, *(NOUNS.keys() - {noun})) == []


def test_blobs_know_neither_peewee_nor_protobuf_nor_the_rest_of_the_server() -> None:
    assert broken("podium_server.blobs", "peewee", "playhouse", "google.protobuf", "podium") == []
    assert broken("podium_server.blobs", "podium_server", but=("podium_server.blobs", "podium_server.errors")) == []


def test_clients_never_import_the_server() -> None:
    assert {importer for importer, _ in broken("podium", "podium_server")} <= {SERVE, MIGRATE}


def test_the_server_shares_only_generated_code_with_the_client() -> None:
    assert broken("podium_server", "podium", but=(GENERATED,)) == []


def test_nothing_imports_what_wires_it() -> None:
    assert {importer for importer, used in EDGES if within(used, "podium_server.__main__")} <= {SERVE}


def test_every_module_has_a_name_that_says_what_it_is() -> None:
    assert [name for name in MODULES if SAYS_NOTHING & set(name.split("."))] == []
