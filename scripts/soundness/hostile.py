"""What may be wrong with a model folder, by accident or on purpose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .model_changes import (
    AUTO_MAP,
    DEEP,
    POINTER,
    SECRET_OF,
    Change,
    absolute_shard,
    added_token_beyond,
    bin_shard,
    both,
    cut_off,
    entry,
    header_of,
    json_with,
    lines_of_labels,
    linked,
    missing,
    of_first,
    one_less,
    pickled,
    pickled_as,
    replaced,
    shard_above,
    sharded,
    tensors,
    text_of,
    word_beyond,
    yaml_value,
    yaml_with,
)


@dataclass(frozen=True)
class Hostile:
    base: str
    name: str
    apply: Change


_ALIASES = "more: &a0 [x, x]\n" + "".join(f"more{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 12)}]\n" for i in range(1, 12))
_JSON_FILES = ("xmc.json", "encoder/config.json", "encoder/tokenizer_config.json", "encoder/pooling.json")


def _of_every_base(base: str) -> list[Hostile]:
    """What may be wrong with the folder of any encoder."""
    at = "" if base == "encoder" else "encoder/"
    changes: dict[str, Change] = {
        "auto_map in config.json": json_with(f"{at}config.json", auto_map=AUTO_MAP),
        "auto_map and another model_type": json_with(f"{at}config.json", auto_map=AUTO_MAP, model_type="canary"),
        "auto_map in tokenizer_config.json": json_with(f"{at}tokenizer_config.json", auto_map=AUTO_MAP),
        "auto_map and tokenizer_class T": json_with(
            f"{at}tokenizer_config.json", auto_map=AUTO_MAP, tokenizer_class="T"
        ),
        "auto_map of another repository": json_with(
            f"{at}tokenizer_config.json", auto_map={"AutoTokenizer": ["nobody/none--canary.T", None]}
        ),
        "auto_map in other files": both(
            *(
                json_with(f"{at}{name}", auto_map=AUTO_MAP, custom_generate="canary")
                for name in ("generation_config.json", "processor_config.json", "preprocessor_config.json")
            )
        ),
        "an adapter": json_with(f"{at}adapter_config.json", auto_map=AUTO_MAP, base_model_name_or_path="nobody/none"),
        "kernels of a hub": json_with(f"{at}config.json", _attn_implementation="nobody/none"),
        "weights named in config.json": both(
            json_with(f"{at}config.json", transformers_weights="weights.bin"), pickled_as(f"{at}weights.bin")
        ),
        "weights pickled": pickled,
        "model.safetensors a pickle": pickled_as(f"{at}model.safetensors"),
        "a shard .bin": sharded(bin_shard),
        "a shard by absolute path": sharded(absolute_shard),
        "a shard above": sharded(shard_above),
        "a shard that is not there": sharded(lambda encoder, marker: "none.safetensors"),
        "weights a pointer of Git LFS": replaced(f"{at}model.safetensors", POINTER),
        "weights cut off": cut_off(f"{at}model.safetensors", 500),
        "a tensor missing": tensors(f"{at}model.safetensors", one_less),
        "a tensor more": tensors(f"{at}model.safetensors", lambda v: v.setdefault("more", torch.zeros(3))),
        "a tensor of another shape": tensors(f"{at}model.safetensors", of_first(lambda t: t[:-1])),
        "NaN in the weights": tensors(f"{at}model.safetensors", of_first(entry(float("nan")))),
        "infinity in the weights": tensors(f"{at}model.safetensors", of_first(entry(float("inf")))),
        "weights of integers": tensors(f"{at}model.safetensors", of_first(lambda t: t.long())),
        "config.json nested deep": text_of(f"{at}config.json", lambda text: '{"a":' + DEEP + "," + text[1:]),
        "config.json an array": text_of(f"{at}config.json", lambda text: "[1]"),
        "config.json a pointer of Git LFS": text_of(f"{at}config.json", lambda text: POINTER),
        "config.json without model_type": json_with(f"{at}config.json", model_type=...),
        "config.json of another model": json_with(f"{at}config.json", model_type="gpt2"),
        "tokenizer.json nested deep": text_of(f"{at}tokenizer.json", lambda text: '{"a":' + DEEP + "," + text[1:]),
        "tokenizer.json cut off": text_of(f"{at}tokenizer.json", lambda text: text[: len(text) // 2]),
        "tokenizer.json missing": missing(f"{at}tokenizer.json"),
        "tokenizer.json is /dev/zero": linked(f"{at}tokenizer.json", "/dev/zero"),
        "weights are /dev/zero": linked(f"{at}model.safetensors", "/dev/zero"),
        "tokenizer_config.json an array": text_of(f"{at}tokenizer_config.json", lambda text: "[1]"),
    }
    if base != "encoder":
        changes |= {
            "a word beyond the table": word_beyond,
            "an added token beyond the table": added_token_beyond,
        }
    return [Hostile(base, name, change) for name, change in changes.items()]


def _pooling() -> dict[str, Change]:
    values: dict[str, Any] = {
        "pooling unknown": {"pooling": "canary"},
        "max_length 0": {"max_length": 0},
        "max_length text": {"max_length": "many"},
        "layers 99": {"layers": 99},
        "dropout 2": {"dropout": 2},
        "a key more": {"more": 1},
        "a bag that is not there": {"lexical": True},
        "transformation unknown": {"transformation": {"kind": "canary", "sparsity": 0.5}},
        "transformation a number": {"transformation": 7},
        "no pooling": {"pooling": ...},
    }
    return {f"pooling.json: {name}": json_with("encoder/pooling.json", **value) for name, value in values.items()}


def _card() -> dict[str, Change]:
    values: dict[str, dict[str, Any]] = {
        "loss unknown": {"loss": "hinge"},
        "loss a list": {"loss": ["bce"]},
        "no loss": {"loss": ...},
        "loss an interpolation": {"loss": SECRET_OF},
        "kind unknown": {"classifier__kind": "canary"},
        "kind dense": {"classifier__kind": "dense"},
        "another width": {"classifier__in_features": 31},
        "width of 2^40": {"classifier__in_features": 2**40},
        "width text": {"classifier__in_features": "many"},
        "format of tomorrow": {"format_version": 99},
        "format text": {"format_version": "3"},
        "no format": {"format_version": ...},
        "adjustment text": {"logit_adjustment": "much"},
        "intermediate unknown": {"intermediate__kind": "canary"},
        "intermediate with a width": {
            "intermediate": {"kind": "linear", "width": 8, "activation": "exec", "dropout": 0}
        },
        "intermediate null": {"intermediate": None},
        "scale NaN": {"calibration__scale": float("nan")},
        "scale text": {"calibration__scale": "much"},
        "scale below 0": {"calibration__scale": -1.0},
        "k 0": {"calibration__k": 0},
        "threshold null": {"calibration__threshold": None},
        "threshold NaN": {"calibration__threshold": float("nan")},
        "calibration a number": {"calibration": 7},
        "_target_": {"_target_": "os.system", "classifier___target_": "os.system"},
    }
    return {f"xmc.json: {name}": json_with("xmc.json", **value) for name, value in values.items()}


def _labels() -> dict[str, Change]:
    changes: dict[str, Callable[[list[str]], list[str]]] = {
        "a line less": lambda lines: lines[1:],
        "a line more": lambda lines: [*lines, '{"id": "more", "name": "more"}'],
        "an id twice": lambda lines: [lines[1], *lines[1:]],
        "an id null": lambda lines: ['{"id": null, "name": "x"}', *lines[1:]],
        "no id": lambda lines: ['{"name": "x"}', *lines[1:]],
        "an id of a number": lambda lines: ['{"id": 7, "name": "x"}', *lines[1:]],
        "a name null": lambda lines: ['{"id": "topic0", "name": null}', *lines[1:]],
        "nested deep": lambda lines: [f'{{"id": {DEEP}, "name": "x"}}', *lines[1:]],
        "no JSON": lambda lines: ["canary", *lines[1:]],
        "an array": lambda lines: ["[1, 2]", *lines[1:]],
        "nothing": lambda lines: [],
        "blank lines": lambda lines: [line for given in lines for line in (given, "")],
    }
    return {f"labels.jsonl: {name}": lines_of_labels(change) for name, change in changes.items()}


def _of_head() -> dict[str, Change]:
    head = "head.safetensors"
    return {
        "head: a tensor missing": tensors(head, one_less),
        "head: a tensor more": tensors(head, lambda v: v.setdefault("more", torch.zeros(3))),
        "head: a row less": tensors(head, of_first(lambda t: t[:-1], "classifier.weight")),
        "head: a connection less": tensors(head, of_first(lambda t: t[:, :-1], "classifier.weight")),
        "head: NaN": tensors(head, of_first(entry(float("nan")), "classifier.weight")),
        "head: a bias of infinity": tensors(head, of_first(entry(float("inf")), "bias")),
        "head: a column beyond the last": tensors(head, of_first(entry(10_000), "index")),
        "head: a column below 0": tensors(head, of_first(entry(-1), "index")),
        "head: columns of floats": tensors(head, of_first(lambda t: t.float(), "index")),
        "head: weights of integers": tensors(head, of_first(lambda t: t.long(), "classifier.weight")),
        "head: cut off": cut_off(head, 300),
        "head: empty": cut_off(head, 0),
        "head: a header of 2^60 bytes": header_of(2**60),
        "head: a header nested deep": header_of(len(DEEP), DEEP.encode()),
        "head: a pointer of Git LFS": replaced(head, POINTER),
        "head: a pickle": pickled_as(head),
        "thresholds: one less": tensors("thresholds*.safetensors", of_first(lambda t: t[:-1], "")),
        "thresholds: NaN": tensors("thresholds*.safetensors", of_first(entry(float("nan")), "")),
        "thresholds: missing": missing("thresholds*.safetensors"),
    }


def _of_run() -> dict[str, Change]:
    return {
        "config.yaml: a secret for a key": yaml_value("metric", SECRET_OF),
        "config.yaml: a secret for the seed": yaml_value("seed", SECRET_OF),
        "config.yaml: a secret for the data": yaml_value("root", SECRET_OF),
        "config.yaml: a key more": yaml_with(f"more: {SECRET_OF}\n"),
        "config.yaml: aliases of aliases": yaml_with(_ALIASES),
        "config.yaml: a call": yaml_with("more: !!python/object/apply:os.system ['true']\n"),
        "config.yaml: callbacks": yaml_with("hydra: {callbacks: {c: {_target_: os.system, command: 'true'}}}\n"),
        "config.yaml: an array": text_of("config.yaml", lambda text: "[1, 2]\n"),
        "config.yaml: nested deep": yaml_with(f"more: {DEEP}\n"),
        "config.yaml: not UTF-8": text_of("config.yaml", lambda text: b"\xff\xfe" + text.encode()),
        "config.yaml: empty": text_of("config.yaml", lambda text: ""),
        "log.jsonl: nested deep": text_of("log.jsonl", lambda text: text + f'{{"step": {DEEP}}}\n'),
        "log.jsonl: no JSON": text_of("log.jsonl", lambda text: text + "canary\n"),
        "metrics-dev.json: an array": text_of("metrics-dev.json", lambda text: "[1]"),
    }


def _of_bag() -> dict[str, Change]:
    broken: dict[str, Change] = {}
    for file in _JSON_FILES:
        broken[f"{file}: cut off"] = text_of(file, lambda text: text[: len(text) // 2])
        broken[f"{file}: nested deep, more"] = text_of(file, lambda text: '{"more":' + DEEP + "," + text.lstrip()[1:])
        broken[f"{file}: secrets"] = json_with(file, more=SECRET_OF)
    return broken | _pooling() | _card() | _labels() | _of_head() | _of_run()


HOSTILE = [
    *_of_every_base("encoder"),
    *(Hostile("bag", name, change) for name, change in _of_bag().items()),
    *_of_every_base("bag"),
    *_of_every_base("transformer"),
    *_of_every_base("transformed"),
]
