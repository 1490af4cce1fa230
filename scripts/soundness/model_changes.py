"""Ways to change a model folder. What could be executed would leave a marker."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

Change = Callable[[Path, Path], None]
"""Changes the folder of a run, or for the base `encoder` that of an encoder; the second path is the marker."""

DEEP = "[" * 20_000 + "]" * 20_000
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1234\n"
SECRET_OF = "${oc.env:XMC_CANARY_SECRET}"


class _Canary:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.marker), "w"))


def _code(folder: Path, marker: Path) -> None:
    """Python beside a model that leaves the marker as soon as it is imported."""
    source = f"open({str(marker)!r}, 'w')\nfrom transformers import *\n"
    source += (
        "class C(PretrainedConfig): pass\nclass M(PreTrainedModel): pass\nclass T(PreTrainedTokenizerFast): pass\n"
    )
    for name in ("canary.py", "tokenization_bert.py", "modeling_bert.py", "configuration_bert.py"):
        (folder / name).write_text(source)


AUTO_MAP = {
    "AutoConfig": "canary.C",
    "AutoModel": "canary.M",
    "AutoTokenizer": ["canary.T", "canary.T"],
    "AutoProcessor": "canary.T",
}


def _at(folder: Path, file: str) -> Path:
    """A file of a run, or of its model, or of an encoder."""
    if "*" in file:
        return next((folder / "model").glob(file))
    model = folder / "model" / file
    return model if model.exists() or (model.parent.exists() and "/" in file) else folder / file


def json_with(file: str, **values: Any) -> Change:
    """A JSON file with other values, `...` being none; keys of parts below are joined by two underscores."""

    def apply(folder: Path, marker: Path) -> None:
        path = _at(folder, file)
        content = json.loads(path.read_text()) if path.exists() else {}
        for key, value in values.items():
            *above, last = key.split("__")
            part = content
            for name in above:
                part = part[int(name) if isinstance(part, list) else name]
            if value is ...:
                del part[last]
            else:
                part[last] = value
        path.write_text(json.dumps(content))
        _code(path.parent, marker)

    return apply


def text_of(file: str, change: Callable[[str], str | bytes]) -> Change:
    def apply(folder: Path, marker: Path) -> None:
        path = _at(folder, file)
        changed = change(path.read_text())
        path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return apply


def replaced(file: str, content: str) -> Change:
    def apply(folder: Path, marker: Path) -> None:
        _at(folder, file).write_text(content)

    return apply


def both(*changes: Change) -> Change:
    def apply(folder: Path, marker: Path) -> None:
        for change in changes:
            change(folder, marker)

    return apply


def tensors(file: str, change: Callable[[dict[str, Tensor]], object]) -> Change:
    """A safetensors file after `change` of its tensors, in place."""

    def apply(folder: Path, marker: Path) -> None:
        path = _at(folder, file)
        values = {name: value.clone() for name, value in load_file(path).items()}
        change(values)
        save_file(values, path, metadata={"format": "pt"})

    return apply


def of_first(change: Callable[[Tensor], Tensor], containing: str = "weight") -> Callable[[dict[str, Tensor]], None]:
    """Change of the first tensor whose name contains that."""

    def apply(values: dict[str, Tensor]) -> None:
        name = next(name for name in sorted(values) if containing in name)
        values[name] = change(values[name]).contiguous()

    return apply


def entry(value: float) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[tensor.numel() // 2] = value
        return tensor

    return change


def one_less(values: dict[str, Tensor]) -> None:
    del values[next((name for name in sorted(values) if "layer.1" in name), max(values))]


def header_of(length: int, content: bytes = b"{}") -> Callable[[Path, Path], None]:
    def apply(folder: Path, marker: Path) -> None:
        _at(folder, "head.safetensors").write_bytes(length.to_bytes(8, "little") + content)

    return apply


def pickled(folder: Path, marker: Path) -> None:
    """Weights as a pickle alone, under every name that a library looks for."""
    encoder = folder / "model" / "encoder" if (folder / "model").exists() else folder
    (encoder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.bin", "pytorch_model.pt", "model.safetensors.bin"):
        (encoder / name).write_bytes(pickle.dumps(_Canary(marker)))


def pickled_as(file: str) -> Change:
    def apply(folder: Path, marker: Path) -> None:
        _at(folder, file).write_bytes(pickle.dumps(_Canary(marker)))

    return apply


def sharded(target: Callable[[Path, Path], str]) -> Change:
    """The weights in a shard index that names another file. target: makes that file and gives its name."""

    def apply(folder: Path, marker: Path) -> None:
        encoder = folder / "model" / "encoder" if (folder / "model").exists() else folder
        names = list(load_file(encoder / "model.safetensors"))
        shard = target(encoder, marker)
        (encoder / "model.safetensors").unlink(missing_ok=True)
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, shard)}
        (encoder / "model.safetensors.index.json").write_text(json.dumps(index))

    return apply


def bin_shard(encoder: Path, marker: Path) -> str:
    (encoder / "shard.bin").write_bytes(pickle.dumps(_Canary(marker)))
    return "shard.bin"


def absolute_shard(encoder: Path, marker: Path) -> str:
    elsewhere = marker.parent / "elsewhere.safetensors"
    shutil.copy(encoder / "model.safetensors", elsewhere)
    return _other_weights(elsewhere)


def shard_above(encoder: Path, marker: Path) -> str:
    shutil.copy(encoder / "model.safetensors", encoder.parent / "above.safetensors")
    _other_weights(encoder.parent / "above.safetensors")
    return "../above.safetensors"


def _other_weights(path: Path) -> str:
    save_file({name: value + 1 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    return str(path)


def cut_off(file: str, size: int) -> Change:
    return lambda folder, marker: os.truncate(_at(folder, file), size)


def linked(file: str, target: str) -> Change:
    def apply(folder: Path, marker: Path) -> None:
        path = _at(folder, file)
        path.unlink()
        os.symlink(target, path)

    return apply


def missing(file: str) -> Change:
    return lambda folder, marker: _at(folder, file).unlink()


def lines_of_labels(change: Callable[[list[str]], list[str]]) -> Change:
    return text_of("labels.jsonl", lambda text: "".join(line + "\n" for line in change(text.splitlines())))


def yaml_with(more: str) -> Change:
    """Lines behind a run's config.yaml."""
    return text_of("config.yaml", lambda text: text + more)


def yaml_value(key: str, value: str) -> Change:
    return text_of(
        "config.yaml",
        lambda text: "".join(
            f"{line.partition(key)[0]}{key}: {value}\n" if line.strip().startswith(f"{key}:") else line + "\n"
            for line in text.splitlines()
        ),
    )


def word_beyond(folder: Path, marker: Path) -> None:
    """A word of the test documents whose id lies beyond the table."""
    path = _at(folder, "encoder/tokenizer.json")
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[next(word for word in vocabulary if word.startswith("word"))] = 10**6
    path.write_text(json.dumps(content))


def added_token_beyond(folder: Path, marker: Path) -> None:
    path = _at(folder, "encoder/tokenizer.json")
    content = json.loads(path.read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    content["added_tokens"].append({"id": 10**6, "content": "word0a", **flags})
    path.write_text(json.dumps(content))
