"""Folders of models that would have transformers fetch or run what is not ours, one function a sort.

Each changes the folder of an encoder, so that the file `marker` appears where anything of it is run.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Sort = Callable[[Path, Path], None]


class Opens:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def change(path: Path, **values: object) -> None:
    """Set keys of a JSON file; None removes one."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({key: value for key, value in (kept | values).items() if value is not None}))


def tokenizer_code(folder: Path, marker: Path) -> None:
    _code(folder, marker)
    change(folder / "tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]})


def tokenizer_code_in_a_list(folder: Path, marker: Path) -> None:
    _code(folder, marker)
    change(folder / "tokenizer_config.json", tokenizer_class=None, auto_map=["evil.Evil", None])


def tokenizer_code_elsewhere(folder: Path, marker: Path) -> None:
    code = {"AutoTokenizer": ["owner/evil--evil.Evil", None]}
    change(folder / "tokenizer_config.json", tokenizer_class="Evil", auto_map=code)


def model_code(folder: Path, marker: Path) -> None:
    _code(folder, marker)
    change(folder / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})


def model_code_of_a_known_type(folder: Path, marker: Path) -> None:
    _code(folder, marker)
    change(folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})


def code_of_a_processor(folder: Path, marker: Path) -> None:
    """Reached by a tokenizer class that is no tokenizer, and that asks on its own."""
    _code(folder, marker)
    change(folder / "tokenizer_config.json", tokenizer_class="AutoProcessor")
    change(folder / "processor_config.json", auto_map={"AutoProcessor": "evil.Evil"}, processor_class="Evil")


def code_of_a_part(folder: Path, marker: Path) -> None:
    """A tokenizer made of two, each loaded by itself."""
    for part in ("question_encoder_tokenizer", "generator_tokenizer"):
        (folder / part).mkdir()
        _code(folder / part, marker)
        change(folder / part / "tokenizer_config.json", tokenizer_class="Evil", auto_map=["evil.Evil", None])
    change(folder / "tokenizer_config.json", tokenizer_class="RagTokenizer")


def tokenizer_that_is_a_model(folder: Path, marker: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Opens(marker)))
    change(folder / "tokenizer_config.json", tokenizer_class="AutoModel")


def pickled_weights(folder: Path, marker: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Opens(marker)))


def pickled_weights_by_name(folder: Path, marker: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Opens(marker)))
    change(folder / "config.json", transformers_weights="adapter_model.bin")


def adapter(folder: Path, marker: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Opens(marker)))
    change(folder / "adapter_config.json", base_model_name_or_path="owner/evil", peft_type="LORA", auto_mapping={})


def kernel(folder: Path, marker: Path) -> None:
    change(folder / "config.json", attn_implementation="owner/evil:kernel", _attn_implementation="owner/evil:kernel")


def quantized(folder: Path, marker: Path) -> None:
    change(folder / "config.json", quantization_config={"quant_method": "torchao", "quant_type": "evil"})


def generation_code(folder: Path, marker: Path) -> None:
    """Beside a model that generates, and in the template of a chat."""
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"open({str(marker)!r}, 'w')")
    template = "{{ cycler.__init__.__globals__.os.system('touch " + str(marker) + "') }}"
    (folder / "chat_template.jinja").write_text(template)
    change(folder / "tokenizer_config.json", chat_template=template)


def shards_in_a_pickle(folder: Path, marker: Path) -> None:
    (folder / "evil.bin").write_bytes(pickle.dumps(Opens(marker)))
    _sharded(folder, "evil.bin")


def shards_elsewhere(folder: Path, marker: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "elsewhere.safetensors")
    _sharded(folder, str(folder.parent / "elsewhere.safetensors"))


def shards_above(folder: Path, marker: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent / "above.safetensors")
    _sharded(folder, "../above.safetensors")


def shards_missing(folder: Path, marker: Path) -> None:
    _sharded(folder, "model-00001-of-00001.safetensors")


def tokenizer_without_end(folder: Path, marker: Path) -> None:
    """A file to read for ever."""
    (folder / "tokenizer.json").unlink(missing_ok=True)
    (folder / "tokenizer.json").symlink_to("/dev/zero")


def _code(folder: Path, marker: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil: pass\n")


def _sharded(folder: Path, file: str) -> None:
    (folder / "model.safetensors").unlink()
    change(folder / "model.safetensors.index.json", metadata={}, weight_map={"table": file})


SORTS: tuple[Sort, ...] = (
    *(tokenizer_code, tokenizer_code_in_a_list, tokenizer_code_elsewhere, code_of_a_processor, code_of_a_part),
    *(
        tokenizer_without_end,
        tokenizer_that_is_a_model,
        model_code,
        model_code_of_a_known_type,
        generation_code,
        kernel,
        adapter,
        quantized,
    ),
    *(pickled_weights, pickled_weights_by_name, shards_in_a_pickle, shards_elsewhere, shards_above, shards_missing),
)
