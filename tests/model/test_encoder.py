from pathlib import Path

import pytest
import torch
from hostile import change
from transformers import AutoModel, BertConfig, BertModel, PreTrainedTokenizerFast, RobertaConfig

from xmc.errors import XMCError
from xmc.model.bag import BagConfig, BagModel
from xmc.model.encoder import Encoder, pool
from xmc.model.huggingface import load_backbone
from xmc.model.pretrained_tokenizer import PretrainedTokenizer
from xmc.model.word_tokenizer import WordTokenizer


def encode(tokenizer: PretrainedTokenizer, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = tokenizer.wrapped(texts, padding=True, return_tensors="pt")
    return tokens["input_ids"], tokens["attention_mask"]


def test_special_tokens_come_from_the_tokenizer(bert_folder: Path) -> None:
    _, tokenizer = load_backbone(str(bert_folder))
    ids, _ = encode(tokenizer, ["open a file"])
    assert ids[0, 0] == tokenizer.wrapped.cls_token_id == 8
    assert ids[0, -1] == tokenizer.wrapped.sep_token_id == 1


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_features(bert_folder: Path, pooling: str) -> None:
    backbone, tokenizer = load_backbone(str(bert_folder))
    encoder = Encoder(backbone, tokenizer, pooling=pooling, max_length=32).eval()  # type: ignore[arg-type]
    alone = encoder(*encode(tokenizer, ["open a file"]))
    beside = encoder(*encode(tokenizer, ["open a file", "b c d e f g h a file module open"]))
    assert alone.shape == (1, 16)
    torch.testing.assert_close(alone[0], beside[0])


@pytest.mark.parametrize("setting", [{"padding_side": "left"}, {"pad_token": None}])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_is_ours_whatever_the_tokenizer_does(bert_folder: Path, pooling: str, setting: dict[str, str]) -> None:
    backbone, tokenizer = load_backbone(str(bert_folder))
    texts = ["open a file", "b c d e f g h a file module open"]
    expected = encode(tokenizer, texts)
    for name, value in setting.items():
        setattr(tokenizer.wrapped, name, value)
    encoder = Encoder(backbone, tokenizer, pooling=pooling, max_length=32).eval()  # type: ignore[arg-type]
    ids, mask, values = encoder.tokenize(texts)
    assert values is None and torch.equal(mask, expected[1])
    assert torch.equal(ids[mask > 0], expected[0][mask > 0])
    torch.testing.assert_close(encoder(ids, mask), encoder(*expected))


def test_mean_pooling_by_hand() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(states, mask, "mean").tolist() == [[2.0, 4.0]]
    assert pool(states, mask, "cls").tolist() == [[1.0, 2.0]]


def test_layers_are_pooled_and_joined(bert_folder: Path) -> None:
    backbone, tokenizer = load_backbone(str(bert_folder))
    last = Encoder(backbone, tokenizer, pooling="mean", max_length=32).eval()
    every = Encoder(backbone, tokenizer, pooling="mean", max_length=32, layers=3).eval()
    ids, mask = encode(tokenizer, ["open a file", "b c d e f g h a file module open"])
    features = every(ids, mask)
    assert every.width == 48 and features.shape == (2, 48)
    assert torch.equal(features[:, 32:], last(ids, mask))
    torch.testing.assert_close(features[:, :16], pool(backbone.embeddings(ids), mask, "mean"))
    with pytest.raises(XMCError, match=r"encoder\.layers=9: the encoder has 3 hidden states; give 1 to 3"):
        Encoder(backbone, tokenizer, pooling="mean", max_length=32, layers=9)


def test_round_trip(bert_folder: Path, tmp_path: Path) -> None:
    backbone, tokenizer = load_backbone(str(bert_folder))
    encoder = Encoder(backbone, tokenizer, pooling="cls", max_length=7, layers=2, dropout=0.3).eval()
    encoder.save_pretrained(tmp_path / "encoder")
    again = Encoder.from_pretrained(tmp_path / "encoder").eval()
    assert (again.pooling, again.max_length, again.layers, again.dropout.p) == ("cls", 7, 2, 0.3)
    inputs = encode(tokenizer, ["open a file", "module"])
    assert torch.equal(encoder(*inputs), again(*inputs))


def test_a_bag_beside_the_transformer(bert_folder: Path, tmp_path: Path) -> None:
    backbone, tokenizer = load_backbone(str(bert_folder))
    bag = BagModel(BagConfig(len(tokenizer), 0, hidden_size=6))
    encoder = Encoder(backbone, tokenizer, pooling="mean", max_length=32, lexical=bag).eval()
    alone = Encoder(backbone, tokenizer, pooling="mean", max_length=32).eval()
    inputs = encode(tokenizer, ["open a file", "module"])
    assert encoder.width == 22
    assert torch.equal(encoder(*inputs), torch.cat([alone(*inputs), bag(*inputs)], dim=1))
    encoder.save_pretrained(tmp_path / "encoder")
    assert torch.equal(Encoder.from_pretrained(tmp_path / "encoder").eval()(*inputs), encoder(*inputs))


def test_dropout_inside_the_backbone(bert_folder: Path, tmp_path: Path) -> None:
    own, tokenizer = load_backbone(str(bert_folder))
    inputs = encode(tokenizer, ["open a file", "module"])
    noisy = Encoder(own, tokenizer, pooling="mean", max_length=8).train()
    assert not torch.equal(noisy(*inputs), noisy(*inputs))
    encoder = Encoder(load_backbone(str(bert_folder), dropout=0.0)[0], tokenizer, pooling="mean", max_length=8).train()
    assert torch.equal(encoder(*inputs), encoder(*inputs))
    encoder.save_pretrained(tmp_path / "encoder")
    again = Encoder.from_pretrained(tmp_path / "encoder").train()
    assert torch.equal(again(*inputs), encoder(*inputs))


ODD = ["", "!!!", "\n\t ", "[PAD] open [UNK]", "open " * 40, "x" * 3000, "nie gesehen 東京", "parseHTTPHeader a_file"]


@pytest.mark.parametrize("special", [True, False])
def test_tokens_are_those_of_the_call(special: bool) -> None:
    """Also where the tokenizer was told to cut and to pad otherwise before."""
    library = WordTokenizer.learned(["open the file", "parse a file"] * 2, 100).library
    words = PreTrainedTokenizerFast(tokenizer_object=library, pad_token="[PAD]", unk_token="[UNK]")
    words.split_special_tokens = special
    bag = BagModel(BagConfig(len(words), 0, hidden_size=4))
    encoder = Encoder(bag, PretrainedTokenizer(words), pooling="none", max_length=6)
    texts = [*ODD, "open the file"]
    expected = words(texts, truncation=True, max_length=6)["input_ids"]
    words(texts, truncation=True, max_length=3, padding="max_length")
    ids, mask, values = encoder.tokenize(texts)
    assert [row[seen.bool()].tolist() for row, seen in zip(ids, mask, strict=True)] == expected
    assert values is None and not ids[mask == 0].any() and ids.shape == (len(texts), 6)
    assert [encoder.tokenize([text])[0].tolist() for text in texts] == [[row] for row in expected]


def test_frozen(bert_folder: Path) -> None:
    backbone, tokenizer = load_backbone(str(bert_folder))
    encoder = Encoder(backbone, tokenizer, pooling="mean", max_length=8, frozen=True).train()
    assert not backbone.training
    assert not encoder(*encode(tokenizer, ["a file"])).requires_grad


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(XMCError, match=r"encoder .*nowhere.* cannot be loaded.*hub id or a folder"):
        load_backbone(str(tmp_path / "nowhere"))


def test_pickled_weights_are_refused(bert_folder: Path, tmp_path: Path) -> None:
    for path in bert_folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(BertModel(BertConfig.from_pretrained(bert_folder)).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(XMCError, match="safetensors"):
        load_backbone(str(tmp_path))


LONG = "open a file module b c d e f g h " * 9


@pytest.mark.parametrize("made", [BertConfig, RobertaConfig])
def test_no_more_tokens_than_positions(
    made: type, bert_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The table of a model like RoBERTa has two rows more than positions."""
    shape = {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8, "intermediate_size": 8}
    backbone = AutoModel.from_config(made(vocab_size=16, max_position_embeddings=34, pad_token_id=1, **shape))
    most = 34 if made is BertConfig else 32
    encoder = Encoder(backbone, load_backbone(str(bert_folder))[1], pooling="mean", max_length=100).eval()
    assert f"encoder.max_length=100: {type(backbone).__name__} has positions for {most} tokens" in caplog.text
    ids, mask, _ = encoder.tokenize([LONG])
    assert encoder.max_length == ids.shape[1] == most and encoder(ids, mask).isfinite().all()
    encoder.save_pretrained(tmp_path)
    change(tmp_path / "pooling.json", max_length=100)  # as models were saved before
    assert Encoder.from_pretrained(tmp_path).max_length == most


def test_a_bag_is_no_transformer(bert_folder: Path) -> None:
    _, tokenizer = load_backbone(str(bert_folder))
    told = r"BagModel does not go with encoder.pooling=mean; give encoder.name a transformer"
    with pytest.raises(XMCError, match=told):
        Encoder(BagModel(BagConfig(16, 0, hidden_size=6)), tokenizer, pooling="mean", max_length=8)
