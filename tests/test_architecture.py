"""The walls between the rooms, read off the imports."""

import ast
import functools
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "xmc"
EVERYWHERE = {"errors"}
MAY_IMPORT = {
    "errors": set(),
    "strings": set(),
    "sparse_rows": {"values"},
    "tokenizer": set(),
    "values": set(),
    "terminal": set(),
    "threads": set(),
    "machine": {"threads"},
    "job": set(),
    "distributed": {"job"},
    "spelling": set(),
    "section": set(),
    "part": {"section"},
    "registry": {"section"},
    "recipe": set(),
    "endings": {"terminal"},
    "types": set(),
    "storage": {"terminal"},
    "ops": {"types", "values", "storage"},
    "model": {"distributed", "types", "strings", "sparse_rows", "tokenizer", "values", "storage", "ops", "endings"},
    "sparsity": {"distributed", "part", "section", "registry", "types", "values", "ops", "model"},
    "train": {"distributed", "types", "values", "storage", "ops", "model", "sparsity"},
    "data": {
        *("part", "section", "registry", "types", "strings", "sparse_rows", "tokenizer", "values", "spelling"),
        *("storage", "terminal", "endings"),
    },
    "evaluate": {"types", "spelling"},
    "parts": {
        *("part", "registry", "values", "section", "types", "tokenizer", "storage", "endings", "ops", "model"),
        *("sparsity", "train", "data", "distributed"),
    },
    "config": {"section", "registry", "parts", "sparsity", "data", "values", "spelling", "storage"},
    "factory": {
        *("types", "registry", "threads", "storage", "parts", "config", "ops", "model", "sparsity", "train", "data"),
        "distributed",
    },
    "run_report": {"types", "storage", "data", "evaluate", "model", "ops", "sparsity"},
    "estimate": {"types", "parts", "config", "factory", "data", "model"},
    "workflow": {
        *("types", "strings", "values", "storage", "config", "recipe", "factory", "data", "evaluate", "model", "ops"),
        *("train", "run_report", "parts", "distributed", "machine"),
    },
    "serve": {"model"},
    "commands": {
        *("part", "section", "values", "storage", "endings", "parts", "config", "factory", "data", "evaluate", "model"),
        *("train", "run_report", "estimate", "workflow", "serve", "distributed", "job", "machine"),
    },
    "estimator": {
        *("spelling", "storage", "config", "factory", "workflow", "evaluate", "model", "train", "machine"),
    },
    "integrations": {"values", "config", "factory", "workflow", "data", "model", "storage", "train", "machine"},
    "launch": {"section", "spelling", "config", "commands", "endings", "job"},
    "cli": {"terminal", "spelling", "commands", "launch", "endings", "job"},
    "__init__": {"threads", "model", "estimator", "workflow"},
    "__main__": {"cli", "endings", "terminal"},
}
HYDRA_ROOMS = {"launch", "config"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text()))]


def calls_of(path: Path) -> list[ast.Call]:
    return [node for node in nodes_of(path) if isinstance(node, ast.Call)]


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_arrows_run_one_way() -> None:
    for path in MODULES:
        room = room_of(path)
        imported = {name.split(".")[1] for name in imports_of(path) if name.startswith("xmc.")}
        assert imported - {room} <= MAY_IMPORT[room] | EVERYWHERE, path


def test_hydra_stays_at_the_door() -> None:
    for path in MODULES:
        if room_of(path) not in HYDRA_ROOMS:
            assert not {name for name in imports_of(path) if name.split(".")[0] in ("hydra", "omegaconf")}, path


def test_no_pickle_is_loaded() -> None:
    for path in MODULES:
        assert not {name for name in imports_of(path) if name.split(".")[0] in ("pickle", "joblib", "dill")}, path
        for call in calls_of(path):
            assert ast.unparse(call.func) != "torch.load", path
            if ast.unparse(call.func) == "np.load":
                assert "allow_pickle=False" in map(ast.unparse, call.keywords), path


def test_nothing_foreign_is_loaded_but_through_one_door() -> None:
    for path in MODULES:
        for call in calls_of(path):
            if ast.unparse(call.func).startswith("Auto") and call.func.attr in ("from_pretrained", "from_config"):  # type: ignore[attr-defined]
                assert path.name == "huggingface.py", path
                given = set(map(ast.unparse, call.keywords))
                assert "trust_remote_code=False" in given
                assert call.func.attr == "from_config" or "local_files_only=True" in given  # type: ignore[attr-defined]
                if ast.unparse(call.func) == "AutoModel.from_pretrained":
                    assert "use_safetensors=True" in given


def test_each_file_of_tests_has_a_name_of_its_own() -> None:
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_a_module_can_be_read_in_one_sitting() -> None:
    """Kernels aside."""
    long = [path for path in MODULES if len(path.read_text().splitlines()) > 300 and path.parent.name != "impl"]
    assert not long
