"""The estimate against what is built, against itself, and the recommended sizes against theirs."""

import json

import pytest
import torch
from transformers import BertConfig, DistilBertConfig

from xmc import factory
from xmc.commands.estimate import EstimateConfig
from xmc.config import parse
from xmc.config.compose import compose
from xmc.errors import XMCError
from xmc.estimate import Estimate, count, estimate, memory_of, remedies, table, verdict
from xmc.train.optim import InPlaceSGD

GIB = 2**30


def configuration(*overrides: str) -> EstimateConfig:
    return parse(EstimateConfig, compose(overrides, EstimateConfig))


def estimated(*overrides: str) -> Estimate:
    config = configuration(*overrides)
    return estimate(config, count(config, config.labels_a_document))


def part(name: str, of: Estimate) -> int:
    return sum(p.bytes for p in of.always if p.name == name)


@pytest.fixture(scope="module")
def bert_base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the configuration of BERT-base, and no weights."""
    folder = tmp_path_factory.mktemp("bert-base")
    BertConfig().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The overrides for a set of 60 documents and 20 labels, which stands there for data=bow, too."""
    folder = tmp_path_factory.mktemp("corpus")
    for split in ("train", "dev", "test"):
        documents = [
            {"id": f"{split}{i}", "text": f"word{i % 7} of document {i % 11}", "labels": [f"label{i % 20}"]}
            for i in range(60)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
        rows = "".join(f"{i % 20} {i % 7}:1 {7 + i % 11}:0.5\n" for i in range(60))
        (folder / f"{split}.txt").write_text("60 18 20\n" + rows)
    return ["data=jsonl", f"data.root={folder}", f"data.cache_dir={folder / 'cache'}"]


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("two-layers")
    BertConfig(num_hidden_layers=2).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def distilbert(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("distilbert")
    DistilBertConfig().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "overrides",
    [
        ["encoder.mlp_width=24", "trainer.label_texts=true"],
        ["classifier=dense", "classifier/optimizer=sgd", "classifier.optimizer.momentum=0.9"],
        ["classifier.head=0.1", "classifier.group_size=4", "intermediate=linear", "intermediate.width=64"],
        ["classifier/optimizer=sgd", "classifier.weight_dtype=bfloat16", "trainer.logit_adjustment=0.2"],
        ["sparsity=topkast", "classifier/optimizer=sgd", "sparsity.store=host"],
        ["auxiliary=clusters", "auxiliary.leaf_size=3", "trainer.logit_adjustment=0.2"],
        ["intermediate=linear", "sparse_ift=wide", "sparsity=rigl"],
        ["data=bow", "encoder=sparse_features"],
    ],
    ids=" ".join,
)
def test_weights_and_state_are_those_of_a_real_step(overrides: list[str], corpus: list[str]) -> None:
    classifier_of_8 = [] if "classifier=dense" in overrides else ["classifier.fan_in=8"]
    given = corpus[1:] if "data=bow" in overrides else corpus
    config = configuration("encoder.width=32", *classifier_of_8, *given, *overrides)
    told = estimate(config, count(config, config.labels_a_document))
    training = factory.build_training(config, factory.load_corpus(config), torch.device("cpu"))
    state = training.state
    classifier = [*state.model.classifier.state_dict().values()]
    places = [b for name, b in state.model.classifier.named_buffers() if name.endswith("place")]
    weights = part("classifier: weights", told) + part("classifier: index", told)
    assert weights == sum(t.nbytes for t in (*classifier, *places))
    before = [*state.model.encoder.parameters(), *state.model.encoder.buffers(), *state.model.intermediate.parameters()]
    before += [*state.model.intermediate.buffers()]
    assert part("encoder: weights", told) == sum(t.nbytes for t in before)
    for name, optimizer in state.optimizers.items():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                none = name == "embedding" or isinstance(optimizer, InPlaceSGD)
                parameter.grad = None if none else torch.zeros_like(parameter)
        optimizer.step()
    moments = {
        name: sum(v.nbytes for s in o.state.values() for v in s.values() if isinstance(v, torch.Tensor) and v.dim())
        for name, o in state.optimizers.items()
    }
    if state.auxiliary is not None:
        head = sum(t.nbytes for t in state.auxiliary.state_dict().values())
        assert part("auxiliary head: weights, state", told) == head + moments["auxiliary"]
    own = sum(moments.get(name, 0) for name in ("classifier", "bias", "head_classifier", "head_bias"))
    assert part("classifier: optimizer state", told) == own
    assert part("encoder: optimizer state", told) == moments.get("encoder", 0) + moments.get("sparse", 0)


def test_amazon_3m_on_a_small_gpu(bert_base: str) -> None:
    """Weights of bfloat16 updated in place, and micro-batches: within 4 GiB."""
    small = ["classifier/optimizer=sgd", "classifier.weight_dtype=bfloat16", "classifier.fan_in=64"]
    run = [
        "data=amazon-3m",
        "encoder=transformer",
        f"encoder.name={bert_base}",
        "trainer.device=cuda",
    ]
    told = estimated(*run, *small, "trainer.batch_size=128", "trainer.micro_batch_size=16")
    labels = 2_812_281
    assert part("classifier: weights", told) == labels * (2 * 64 + 4)
    assert part("classifier: index", told) == labels * 2 * 64
    assert told.needed < 4 * GIB


def test_a_device_of_four_has_a_quarter_of_the_labels(bert_base: str) -> None:
    run = ["data=amazon-3m", "encoder=transformer", f"encoder.name={bert_base}", "trainer.device=cuda"]
    config = configuration(*run, "trainer.logit_adjustment=0.3", "classifier.fan_in=64")
    counts = count(config, config.labels_a_document)
    one, four = estimate(config, counts), estimate(config, counts, devices=4)
    for name in ("classifier: weights", "classifier: index", "classifier: optimizer state"):
        assert part(name, four) == pytest.approx(part(name, one) / 4, rel=1e-5)
    assert part("encoder: weights", four) == part("encoder: weights", one)
    sent = {p.name: p.bytes for p in four.traffic}
    assert sent["features"] == sent["gradient of the features"] == 3 * 16 * 768 * 2
    assert sent["gradient of the encoder"] == 2 * 3 * -(-part("encoder: optimizer state", one) // 2 // 4)
    assert "sent by each device in a step" in table(four) and "sent by" not in table(one)
    best, _ = remedies(config, counts, GIB, devices=4)
    assert best and not any("group_size" in remedy.overrides for remedy in best)
    with pytest.raises(XMCError, match=r"classifier\.group_size puts all labels"):
        estimate(configuration(*run, "classifier.group_size=32"), counts, devices=4)


def test_each_remedy_saves_what_it_says(two_layers: str) -> None:
    encoder = ["encoder=transformer", f"encoder.name={two_layers}", "trainer.device=cuda"]
    run = ["data=amazon-3m", *encoder, "classifier.fan_in=64"]
    config = configuration(*run, "device_memory=4GiB")
    counts = count(config, config.labels_a_document)
    own, memory = estimate(config, counts), memory_of(config.trainer.device, config.device_memory)
    best, together = remedies(config, counts, memory)
    assert own.needed > memory and len(best) == 3
    assert all(r.saved == own.needed - r.needed > 0 for r in best)
    assert [r.saved for r in best] == sorted((r.saved for r in best), reverse=True)
    assert together is not None and together.needed <= memory
    typed = estimated(*run, *best[0].overrides.split())
    assert typed.needed == best[0].needed
    text = verdict(own, memory, best, together)
    assert "does not fit 4,096 MiB" in text and best[0].overrides in text
    assert "never measured" in table(own) and "5 labels a document" in table(own)


@pytest.mark.parametrize(
    ("data", "size"),
    [("amazon-3m", "8"), ("amazon-3m", "16"), ("amazon-3m", "24"), ("amazon-3m", "80"), ("lf-wikiseealso-320k", "8")],
)
def test_a_recommendation_fits_its_size(data: str, size: str, bert_base: str, distilbert: str) -> None:
    recipe = f"experiment=[recommended/{data},gpu/{size}gb]"
    backbone = distilbert if data.startswith("lf-") else bert_base
    told = estimated(recipe, f"encoder.name={backbone}")
    assert told.device == "GPU" and told.needed <= 0.95 * int(size) * 10**9


def test_micro_batches_and_recomputed_activations_take_less(two_layers: str) -> None:
    run = ["data=eurlex-4k", "encoder=transformer", f"encoder.name={two_layers}", "trainer.batch_size=64"]
    whole, parts = estimated(*run), estimated(*run, "trainer.micro_batch_size=4")
    again, frozen = estimated(*run, "encoder.activation_checkpointing=true"), estimated(*run, "encoder.frozen=true")
    assert parts.peak < frozen.peak < again.peak < whole.peak


def test_a_device_that_is_not_here_has_no_memory_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(XMCError, match="give device_memory=16GiB"):
        memory_of("cuda", None)
    assert memory_of("cuda", "8GB") == 8 * 10**9
    assert memory_of("cpu", "1.5GiB") == 3 * GIB // 2
