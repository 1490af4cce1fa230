"""A saved model is whole or refused, in one line that names the file."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import change
from safetensors.torch import load_file, save_file
from test_huggingface import save_encoder
from test_model import TEXTS, make_model

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.bag import BagConfig, BagModel
from xmc.model.calibration import Calibration
from xmc.model.classifier import FixedFanIn
from xmc.model.dense import Dense
from xmc.model.encoder import Encoder
from xmc.model.head_and_tail import HeadAndTail
from xmc.model.word_tokenizer import WordTokenizer

Edit = Callable[[Path], None]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"
OWN = torch.linspace(0, 1, 7)


def tensors(file: str, **changes: Callable[[torch.Tensor], torch.Tensor] | None) -> Edit:
    """Change tensors of a file; None removes one. Underscores stand for the dots of their names."""

    def edit(folder: Path) -> None:
        path = next(folder.glob(file))
        values = load_file(path)
        for name, value in changes.items():
            key = next(k for k in values if k.replace(".", "_") == name)
            values[key] = values[key] if value is None else value(values[key]).contiguous()
            if value is None:
                del values[key]
        save_file(values, path, metadata={"format": "pt"})

    return edit


def added(file: str) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / file
        save_file(load_file(path) | {"more": torch.zeros(1)}, path, metadata={"format": "pt"})

    return edit


def content(file: str, value: bytes | Callable[[bytes], bytes]) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / file
        path.write_bytes(value if isinstance(value, bytes) else value(path.read_bytes()))

    return edit


def lines(do: Callable[[list[bytes]], list[bytes]]) -> Edit:
    return content("labels.jsonl", lambda text: b"".join(do(text.splitlines(keepends=True))))


def card(**values: object) -> Edit:
    return lambda folder: change(folder / "xmc.json", **values)


def calibration(**values: object) -> Edit:
    def edit(folder: Path) -> None:
        saved = json.loads((folder / "xmc.json").read_text())
        saved["calibration"] |= values
        (folder / "xmc.json").write_text(json.dumps(saved))

    return edit


def tokenizer(do: Callable[[dict[str, Any]], object]) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "encoder" / "tokenizer.json"
        saved = json.loads(path.read_text())
        do(saved)
        path.write_text(json.dumps(saved))

    return edit


def surrounded(by: int) -> Edit:
    """Each text begins with a token of this id, which the vocabulary need not have."""
    token = {"id": "[CLS]", "ids": [by], "tokens": ["[CLS]"]}
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": {"[CLS]": token}}
    return tokenizer(lambda saved: saved.update(post_processor=template))


def pooling(**values: object) -> Edit:
    return lambda folder: change(folder / "encoder" / "pooling.json", **values)


def config(**values: object) -> Edit:
    return lambda folder: change(folder / "encoder" / "config.json", **values)


def wide(width: int) -> Edit:
    def edit(folder: Path) -> None:
        saved = json.loads((folder / "xmc.json").read_text())
        change(folder / "xmc.json", intermediate=saved["intermediate"] | {"width": width})

    return edit


def put(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """The last number becomes this one."""

    def edit(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[-1] = value
        return tensor

    return edit


HEAD, ENCODER, THRESHOLDS = "head.safetensors", "encoder/model.safetensors", "thresholds-*.safetensors"
DEEP = b'{"id": "l0", "name": "a", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}\n"
EDITS: dict[str, tuple[Edit, str]] = {
    "encoder lacks": (tensors(ENCODER, norm_weight=None), r"model.safetensors: missing \['norm.weight'\]"),
    "encoder has more": (added(ENCODER), r"model.safetensors: .*unexpected \['more'\]"),
    "encoder has other shapes": (
        tensors(ENCODER, table=lambda t: t[:-1]),
        r"model.safetensors: table is float32 \[11, 8\], expected float32 \[12, 8\]",
    ),
    "encoder has NaN": (
        tensors(ENCODER, table=put(torch.nan)),
        "model.safetensors: table has a number that is not finite",
    ),
    "encoder is infinite": (
        tensors(ENCODER, idf=put(torch.inf)),
        "model.safetensors: idf has a number that is not finite",
    ),
    "encoder is a pointer": (content(ENCODER, POINTER), "encoder/model.safetensors is a Git-LFS pointer"),
    "encoder is cut": (content(ENCODER, lambda b: b[:-1]), "encoder/model.safetensors cannot be read"),
    "encoder is empty": (content(ENCODER, b""), "encoder/model.safetensors cannot be read"),
    "encoder config is cut": (content("encoder/config.json", lambda b: b[:-9]), "config.json: malformed JSON"),
    "encoder config is wrong": (config(hidden_size="8"), "encoder"),
    "encoder is narrower": (config(hidden_size=7), "encoder"),
    "tokenizer is a pointer": (content("encoder/tokenizer.json", POINTER), "encoder"),
    "tokenizer config is a list": (
        content("encoder/tokenizer_config.json", b"[]"),
        "tokenizer_config.json is not what was saved",
    ),
    "tokenizer ids": (
        content("encoder/tokenizer.json", lambda b: b.replace(b'"the": 2', b'"the": 99')),
        "the tokenizer has ids up to 99, the model 12 rows",
    ),
    "tokens around a text": (surrounded(12), "the tokenizer has ids up to 12, the model 12 rows"),
    "unknown token lacks": (tokenizer(lambda t: t["model"]["vocab"].pop("[UNK]")), "Missing .UNK. token"),
    "unknown token renamed": (tokenizer(lambda t: t["model"].update(unk_token="[OOV]")), "Missing .UNK. token"),
    "idf is below 0": (tensors(ENCODER, idf=put(-1.0)), "encoder: idf has a number that is not from 0 to 100"),
    "idf overflows": (tensors(ENCODER, idf=put(3e38)), "encoder: idf has a number that is not from 0 to 100"),
    "encoder of many labels": (config(num_labels=10**9), "num_labels is 1000000000; expected at most 1000000"),
    "encoder of many layers": (config(num_hidden_layers=10**9), "num_hidden_layers is 1000000000; expected at most"),
    "encoder is wide": (config(hidden_size=10**9), r"too few for table, float32 \[12, 1000000000\]"),
    "encoder has many words": (config(vocab_size=10**12), r"too few for table, float32 \[1000000000000, 8\]"),
    "pooling is a list": (content("encoder/pooling.json", b"[1]"), "pooling.json: holds"),
    "pooling unknown": (pooling(pooling="max"), "pooling.json: pooling: Input should be"),
    "pooling of a transformer": (pooling(pooling="mean"), "BagModel does not go with encoder.pooling=mean"),
    "pooling length": (pooling(max_length="16"), "pooling.json: max_length: .*not '16'"),
    "pooling length beyond": (pooling(max_length=10**30), "pooling.json: max_length: .*less than or equal"),
    "pooling layers": (pooling(layers=0), "pooling.json: layers"),
    "pooling dropout": (pooling(dropout=1.5), "pooling.json: dropout"),
    "pooling has more": (pooling(more=1), "pooling.json: more: Extra inputs"),
    "head lacks": (tensors(HEAD, classifier_bias=None), r"head.safetensors: missing \['classifier.bias'\]"),
    "head lacks its weight": (tensors(HEAD, classifier_weight=None), "head.safetensors: classifier.weight is missing"),
    "head has more": (added(HEAD), r"head.safetensors: missing \[\], unexpected \['more'\]"),
    "head has other shapes": (tensors(HEAD, classifier_bias=lambda t: t[:-1]), r"classifier.bias is float32 \[6\]"),
    "head has another type": (tensors(HEAD, classifier_bias=torch.Tensor.double), "bias is float64 .*expected float32"),
    "head has NaN": (tensors(HEAD, classifier_weight=put(torch.nan)), "classifier.weight has a number that is not fin"),
    "bias is infinite": (tensors(HEAD, classifier_bias=put(torch.inf)), "classifier.bias has a number that is not fin"),
    "intermediate has NaN": (tensors(HEAD, intermediate_body_0_weight=put(-torch.inf)), "intermediate.*not finite"),
    "head is a pointer": (content(HEAD, POINTER), "head.safetensors is a Git-LFS pointer"),
    "head is cut": (content(HEAD, lambda b: b[:-7]), "head.safetensors cannot be read"),
    "head is empty": (content(HEAD, b""), "head.safetensors cannot be read"),
    "column out of range": (
        tensors(HEAD, classifier_index=put(12)),
        r"classifier.index: expected columns in \[0, 12\)",
    ),
    "column below": (tensors(HEAD, classifier_index=put(-1)), r"classifier.index: expected columns in \[0, 12\)"),
    "column twice": (tensors(HEAD, classifier_index=lambda t: t[:, [0, 1, 2, 2]]), "each once in a row, got row 0"),
    "columns are numbers": (tensors(HEAD, classifier_index=torch.Tensor.float), "classifier.index is float32"),
    "columns are of another type": (tensors(HEAD, classifier_index=torch.Tensor.int), "classifier.index is int32"),
    "fewer columns": (tensors(HEAD, classifier_index=lambda t: t[:, :3]), "classifier.index is int16"),
    "fewer rows of columns": (tensors(HEAD, classifier_index=lambda t: t[:6]), "classifier.index int16"),
    "one line short": (lines(lambda ls: ls[:-1]), "labels.jsonl has 6 labels, the classifier 7"),
    "one line long": (lines(lambda ls: [*ls, b'{"id": "more", "name": "more"}\n']), "has 8 labels, the classifier 7"),
    "label twice": (lines(lambda ls: [*ls[:-1], ls[0]]), "labels.jsonl has the label 'l0' twice"),
    "label null": (lines(lambda ls: [*ls[:-1], b'{"id": null, "name": "x"}\n']), "has a label without an id or a name"),
    "label empty": (lines(lambda ls: [*ls[:-1], b'{"id": "", "name": "x"}\n']), "has a label without an id or a name"),
    "name null": (lines(lambda ls: [*ls[:-1], b'{"id": "x"}\n']), "labels.jsonl has a label without an id or a name"),
    "label is a number": (lines(lambda ls: [*ls[:-1], b'{"id": 3, "name": "x"}\n']), "labels.jsonl cannot be read"),
    "label has more": (
        lines(lambda ls: [*ls[:-1], b'{"id": "x", "name": "x", "y": 1}\n']),
        "labels.jsonl cannot be read",
    ),
    "label is not UTF-8": (
        lines(lambda ls: [*ls[:-1], b'{"id": "\xff", "name": "x"}\n']),
        "labels.jsonl cannot be read",
    ),
    "labels nested deep": (lines(lambda ls: [*ls[:-1], DEEP]), "labels.jsonl cannot be read"),
    "labels are a pointer": (content("labels.jsonl", POINTER), "labels.jsonl is a Git-LFS pointer"),
    "labels are empty": (content("labels.jsonl", b""), "labels.jsonl cannot be read"),
    "card is a pointer": (content("xmc.json", POINTER), "xmc.json is a Git-LFS pointer"),
    "card is cut": (content("xmc.json", lambda b: b[:-5]), "xmc.json: malformed JSON"),
    "card is nested deep": (content("xmc.json", b"[" * 100_000), "xmc.json: malformed JSON"),
    "card is a list": (content("xmc.json", b"[]"), "xmc.json: holds"),
    "card lacks": (card(loss=None), "xmc.json: loss: Field required"),
    "card has more": (card(more=1), "xmc.json: more: Extra inputs"),
    "later format": (card(format_version=99), "has format 99; this xmc reads up to 8"),
    "format of words": (card(format_version="3"), "xmc.json: format_version"),
    "unknown loss": (card(loss="hinge"), "xmc.json: loss: Input should be 'bce' or 'squared_hinge', not 'hinge'"),
    "unknown classifier": (card(classifier={"kind": "tree", "in_features": 12}), "xmc.json: classifier.kind"),
    "classifier of another width": (card(classifier={"kind": "fixed_fan_in", "in_features": 13}), "reads 13 features"),
    "classifier of another kind": (
        card(classifier={"kind": "dense", "in_features": 12}),
        "classifier.weight is float32",
    ),
    "unknown intermediate": (card(intermediate={"kind": "conv"}), "xmc.json: intermediate"),
    "intermediate is wide": (
        wide(10**9),
        r"head.safetensors has \d+ bytes, too few for body.0.weight, float32 \[1000000000, 8\]",
    ),
    "adjustment": (card(logit_adjustment="much"), "xmc.json: logit_adjustment"),
    "scale": (calibration(scale=-1.0), "xmc.json: calibration.scale"),
    "scale is no number": (calibration(scale=float("nan")), "xmc.json: calibration.scale"),
    "shift": (calibration(shift=None), "xmc.json: calibration.shift"),
    "threshold": (calibration(threshold=1.5), "xmc.json: calibration.threshold"),
    "k beyond": (calibration(k=10**12), "xmc.json: calibration.k: .*less than or equal to 100000"),
    "shift beyond": (calibration(shift=1e300), "xmc.json: calibration.shift"),
    "k": (calibration(k=0), "xmc.json: calibration.k"),
    "thresholds elsewhere": (calibration(own="../head.safetensors"), "xmc.json: calibration.own"),
    "thresholds missing": (calibration(own="thresholds-0.safetensors"), "thresholds-0.safetensors cannot be read"),
    "thresholds short": (tensors(THRESHOLDS, thresholds=lambda t: t[:-1]), r"thresholds is float32 \[6\], expected"),
    "thresholds beyond": (tensors(THRESHOLDS, thresholds=put(1.25)), "has a threshold that is no probability"),
    "thresholds NaN": (tensors(THRESHOLDS, thresholds=put(torch.nan)), "has a threshold that is no probability"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    model = make_model()
    model.calibration = Calibration(0.5, 0.1, 5, 0.25, OWN)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("edit", EDITS)
def test_a_model_is_whole_or_refused(edit: str, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "model")
    do, said = EDITS[edit]
    do(tmp_path / "model")
    with pytest.raises(XMCError, match=said) as refused:
        XMCModel.from_pretrained(tmp_path / "model")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("bigrams", [[-1, 5], [5, 144], [5, 5]])
def test_bigrams_are_of_words(bigrams: list[int], tmp_path: Path) -> None:
    words = WordTokenizer.learned(TEXTS, 50)
    bag = BagModel(BagConfig(len(words), 2, hidden_size=8))
    Encoder(bag, words, pooling="none", max_length=16).save_pretrained(tmp_path)
    Encoder.from_pretrained(tmp_path)
    tensors("model.safetensors", bigrams=lambda _: torch.tensor(bigrams))(tmp_path)
    with pytest.raises(XMCError, match=r"the bigrams do not ascend from 0 to 143"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(("file", "name"), [(ENCODER, "table"), (ENCODER, "norm_weight"), (HEAD, "classifier_weight")])
@pytest.mark.parametrize("loss", ["bce", "squared_hinge"])
def test_what_overflows_is_no_prediction(file: str, name: str, loss: str, saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    change(folder / "xmc.json", loss=loss, files=None, digest=None)
    XMCModel.from_pretrained(folder).predict(TEXTS)
    tensors(file, **{name: lambda t: torch.full_like(t, 3e38)})(folder)
    model = XMCModel.from_pretrained(folder)
    with pytest.raises(XMCError, match="best score of a document is not finite"):
        model.predict(TEXTS)
    with pytest.raises(XMCError, match="best score of a document is not finite"):
        model.topk(*model.encoder.tokenize(TEXTS)[:2], k=3)


def head_and_tail() -> XMCModel:
    model = make_model()
    layer = model.classifier
    assert isinstance(layer, FixedFanIn)
    dense = Dense(12, 3, generator=torch.Generator().manual_seed(1))
    tail = FixedFanIn(12, layer.index[:4], backend=layer.backend, generator=torch.Generator().manual_seed(2))
    model.classifier = HeadAndTail(dense, tail, torch.tensor([4, 1, 6, 0, 2, 5, 3]))
    return model


@pytest.mark.parametrize(("order", "made"), [("order", "groups"), ("order", "head and tail")])
@pytest.mark.parametrize("wrong", [put(4), put(7), put(-1), lambda t: t[:-1], torch.Tensor.float])
def test_an_order_is_a_permutation(order: str, made: str, wrong: Callable, tmp_path: Path) -> None:
    (make_model("groups") if made == "groups" else head_and_tail()).save_pretrained(tmp_path)
    XMCModel.from_pretrained(tmp_path)
    tensors(HEAD, classifier_order=wrong)(tmp_path)
    with pytest.raises(XMCError, match=r"classifier.order is .*expected each number from 0 to 6"):
        XMCModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["transformer", "transformed", "lexical"])
@pytest.mark.parametrize("wrong", ["missing", "unexpected", "NaN", "of other types"])
def test_an_encoder_is_whole_or_refused(kind: str, wrong: str, bert_folder: Path, tmp_path: Path) -> None:
    save_encoder(kind, bert_folder, tmp_path)
    Encoder.from_pretrained(tmp_path)
    file = "lexical/model.safetensors" if kind == "lexical" else "model.safetensors"
    name = "table" if kind == "lexical" else "embeddings_word_embeddings_weight"
    edits = {"unexpected": added(file), "missing": tensors(file, **{name: None})}
    edits["of other types"] = tensors(file, **{name: torch.Tensor.long})
    edits.get(wrong, tensors(file, **{name: put(torch.nan)}))(tmp_path)
    said = {"NaN": "not finite", "of other types": "of other types|is int64"}
    with pytest.raises(XMCError, match=f"{file}: .*({said.get(wrong, wrong)})"):
        Encoder.from_pretrained(tmp_path)


def test_an_encoder_without_room_for_text_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    save_encoder("transformer", bert_folder, tmp_path)
    change(tmp_path / "pooling.json", max_length=2)
    with pytest.raises(XMCError, match="max_length 2 has no room for text beside 2 special tokens"):
        Encoder.from_pretrained(tmp_path)


def test_an_encoder_without_its_tokenizer_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    save_encoder("transformer", bert_folder, tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").unlink(missing_ok=True)
    with pytest.raises(XMCError, match=r"has no tokenizer, neither tokenizer.json nor vocab.txt"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("kind", ["transformer", "transformed"])
def test_shards(kind: str, bert_folder: Path, tmp_path: Path) -> None:
    save_encoder(kind, bert_folder, tmp_path)
    whole = Encoder.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    whole.backbone.save_pretrained(tmp_path, max_shard_size="4KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    again = Encoder.from_pretrained(tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    shutil.copy(shards[0], shards[1])
    with pytest.raises(XMCError, match=r"model.safetensors.index.json and the files that it names differ in"):
        Encoder.from_pretrained(tmp_path)


def test_sparse_layers_of_an_encoder_have_columns_that_there_are(bert_folder: Path, tmp_path: Path) -> None:
    model = make_model(intermediate="doped")
    model.save_pretrained(tmp_path)
    tensors(HEAD, intermediate_body_sparse_index=put(8))(tmp_path)
    with pytest.raises(XMCError, match=r"intermediate.body.sparse.index: expected columns in \[0, 8\)"):
        XMCModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_older_formats_are_read(version: int, tmp_path: Path) -> None:
    model = make_model()
    if version > 1:
        model.calibration = Calibration(0.5, 0.1, 5, 0.25, OWN)
    model.save_pretrained(tmp_path)
    for thresholds in tmp_path.glob("thresholds-*"):
        thresholds.rename(tmp_path / "thresholds.safetensors")
        calibration(own=True)(tmp_path)
    unsealed = {"format_version": version, "files": None, "digest": None}
    change(tmp_path / "xmc.json", **unsealed, **{"logit_adjustment": None} if version < 3 else {})
    assert XMCModel.from_pretrained(tmp_path).predict(TEXTS) == model.predict(TEXTS)


def test_an_interrupted_calibration_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    model.calibration = Calibration(0.5, 0.1, 5, 0.25, OWN)
    model.save_pretrained(tmp_path)
    before = model.predict(TEXTS, threshold="auto")
    model.calibration = Calibration(2.0, 0.1, 5, 0.75, OWN.flip(0))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("xmc.model.saved.json.dumps", killed)
        with pytest.raises(KeyboardInterrupt):
            model.save_card(tmp_path)
    assert len(list(tmp_path.glob("thresholds-*"))) == 2
    assert XMCModel.from_pretrained(tmp_path).predict(TEXTS, threshold="auto") == before
    model.save_card(tmp_path)
    assert len(list(tmp_path.glob("thresholds-*"))) == 1
    assert XMCModel.from_pretrained(tmp_path).predict(TEXTS, threshold="auto") == model.predict(TEXTS, threshold="auto")


def test_an_interrupted_save_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model().save_pretrained(tmp_path)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xmc.model.saved.save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        make_model("dense").save_pretrained(tmp_path)
    with pytest.raises(XMCError, match=r"is no saved model \(xmc.json is missing\)"):
        XMCModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_are_for_whom_the_umask_lets(mask: int, mode: int, tmp_path: Path) -> None:
    model = make_model()
    model.calibration = Calibration(0.5, 0.1, 5, 0.25, OWN)
    before = os.umask(mask)
    try:
        model.save_pretrained(tmp_path / "model")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert len(files) >= 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}
