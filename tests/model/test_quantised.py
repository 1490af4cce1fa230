import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file
from test_model import TEXTS, make_model
from test_saved import ENCODER, Edit, put, tensors

from xmc.errors import XMCError
from xmc.model import XMCModel
from xmc.model.bag import BagConfig, BagModel
from xmc.model.encoder import Encoder
from xmc.model.huggingface import load_backbone
from xmc.model.quantised import packed, round_tables_, rounded, table_names
from xmc.model.sparse_features import SparseFeaturesConfig, SparseFeaturesModel, SparseFeaturesTokenizer
from xmc.model.tensor_file import fill, scale_of
from xmc.model.word_tokenizer import WordTokenizer


def bag_of(*rows: torch.Tensor) -> SparseFeaturesModel:
    table = torch.stack(rows)
    bag = SparseFeaturesModel(SparseFeaturesConfig(len(table), hidden_size=table.shape[1]))
    bag.table.data.copy_(table)
    return bag


def state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_rows_move_by_half_a_level_at_most() -> None:
    table = torch.randn(9000, 33, generator=torch.Generator().manual_seed(0)) * torch.logspace(-20, 20, 9000)[:, None]
    bag = bag_of(*table)
    round_tables_(bag)
    step = table.abs().amax(1, keepdim=True) / 127
    assert ((bag.table - table).abs() <= 0.50001 * step).all()


def test_rounded_rows_are_found_again() -> None:
    generator = torch.Generator().manual_seed(1)
    bag = bag_of(*torch.randn(5000, 17, generator=generator) * torch.logspace(-29, 37, 5000)[:, None])
    round_tables_(bag)
    before = state(bag)
    small = packed(bag)
    assert small["table"].dtype == torch.int8 and small["table"].abs().amax(1).eq(127).all()
    again = {name: torch.empty_like(value) for name, value in before.items()}
    fill(again, small)
    round_tables_(bag)
    assert all(
        torch.equal(again[name], value) and torch.equal(bag.state_dict()[name], value) for name, value in before.items()
    )


def test_rows_without_a_scale() -> None:
    """Of zeros, and of numbers too small for one."""
    bag = bag_of(torch.zeros(3), torch.tensor([1e-31, 0.0, -1e-38]), torch.full((3,), 127.0))
    round_tables_(bag)
    assert bag.table.tolist() == [[0.0] * 3, [0.0] * 3, [127.0] * 3]
    assert packed(bag)[scale_of("table")].tolist()[:2] == [0.0, 0.0]


def test_other_tables_are_saved_as_they_are() -> None:
    for number in (0.3, torch.nan, torch.inf):
        bag = bag_of(torch.full((3,), 127.0), torch.tensor([1.0, 0.1, number]))
        assert packed(bag).keys() == bag.state_dict().keys()
        assert packed(bag)["table"].dtype == torch.float32


def test_rounded_leaves_its_argument() -> None:
    bag = bag_of(*torch.randn(5, 7))
    before = state(bag)
    small = rounded(bag.state_dict(), table_names(bag))
    assert torch.equal(bag.table, before["table"])
    round_tables_(bag)
    fill(before, small)
    assert torch.equal(bag.table, before["table"])


def test_a_rounded_model_is_saved_small_and_found_again(tmp_path: Path) -> None:
    model = make_model()
    model.save_pretrained(tmp_path / "as it is")
    assert load_file(tmp_path / "as it is" / ENCODER)["table"].dtype == torch.float32
    round_tables_(model)
    model.save_pretrained(tmp_path / "rounded")
    assert load_file(tmp_path / "rounded" / ENCODER)["table"].dtype == torch.int8
    again = XMCModel.from_pretrained(tmp_path / "rounded")
    assert again.predict(TEXTS, k=7) == model.predict(TEXTS, k=7)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    again.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / ENCODER).read_bytes() == (tmp_path / "rounded" / ENCODER).read_bytes()


def test_all_bags_of_an_encoder(bert_folder: Path, tmp_path: Path) -> None:
    backbone, words = load_backbone(str(bert_folder))
    bag = BagModel(BagConfig(len(words), 0, hidden_size=6))
    features = bag_of(*torch.randn(5, 7))
    for encoder, file, name in (
        (Encoder(backbone, words, pooling="mean", max_length=8, lexical=bag), "lexical/", "lexical.table"),
        (Encoder(features, SparseFeaturesTokenizer(5), pooling="none", max_length=4), "", "backbone.table"),
    ):
        assert table_names(encoder) == [name]
        round_tables_(encoder)
        encoder.save_pretrained(tmp_path)
        assert load_file(tmp_path / file / "model.safetensors")["table"].dtype == torch.int8
        again = Encoder.from_pretrained(tmp_path)
        assert all(torch.equal(again.state_dict()[key], value) for key, value in encoder.state_dict().items())
        shutil.rmtree(tmp_path)


def test_a_sharded_bag(tmp_path: Path) -> None:
    words = WordTokenizer.learned(TEXTS, 50)
    encoder = Encoder(BagModel(BagConfig(len(words), 0, hidden_size=128)), words, pooling="none", max_length=16)
    round_tables_(encoder)
    encoder.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    save_torch_state_dict(packed(encoder.backbone), tmp_path, max_shard_size="1KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    again = Encoder.from_pretrained(tmp_path)
    assert all(torch.equal(again.state_dict()[name], value) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (tensors(ENCODER, table_scale=None), r"table is int8 \[12, 8\], expected float32 \[12, 8\]"),
        (tensors(ENCODER, table_scale=put(torch.nan)), "table has a number that is not finite"),
        (tensors(ENCODER, table_scale=put(3e38)), "table has a number that is not finite"),
        (tensors(ENCODER, table_scale=lambda t: t[:-1]), r"table_scale is float32 \[11\], expected float32 \[12\]"),
        (tensors(ENCODER, table_scale=lambda t: t[:, None]), r"table_scale is float32 \[12, 1\], expected"),
        (tensors(ENCODER, table_scale=torch.Tensor.double), r"table_scale is float64 \[12\], expected"),
        (tensors(ENCODER, table=torch.Tensor.short), r"table is int16 \[12, 8\], expected int8 \[12, 8\]"),
        (tensors(ENCODER, table=lambda t: t[:, 1:]), r"table is int8 \[12, 7\], expected int8 \[12, 8\]"),
    ],
)
def test_a_rounded_table_is_whole_or_refused(edit: Edit, said: str, tmp_path: Path) -> None:
    model = make_model()
    round_tables_(model)
    model.save_pretrained(tmp_path)
    edit(tmp_path)
    with pytest.raises(XMCError, match=said):
        XMCModel.from_pretrained(tmp_path)
