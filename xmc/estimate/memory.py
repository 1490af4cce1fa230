"""The memory of a run before it is started: what is always there, and the moment that takes most beside it."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from xmc import factory
from xmc.config import TrainConfig
from xmc.errors import XMCError
from xmc.estimate.counts import Counts
from xmc.estimate.features import estimate_features
from xmc.estimate.part import Part
from xmc.estimate.traffic import traffic
from xmc.parts.output import Load, OutputBytes

MIB = 2**20
# Measured on x86-64 Linux with torch 2.13 (CPU): 535 when all is imported, 65 when the libraries were used once.
INTERPRETER = 600 * MIB
KERNELS = 110 * MIB  # numba's compiler and the compiled kernels
CUDA_CONTEXT = 512 * MIB  # not measured: the driver's, cuBLAS's workspace and the kernels'
CUDA_HOST = 2048 * MIB  # not measured: the interpreter with the libraries of CUDA
_TFIDF = 12  # bytes a token, and an entry of the labels' features, while labels are clustered
_LABEL_TERMS = 100
_FLOAT = 4
_INNER = "what the op takes in sparse layers inside the network; their activations are those of dense ones"


@dataclass(frozen=True)
class Moment:
    """A stage of a run and what is alive in it beside what always is."""

    name: str
    parts: tuple[Part, ...]

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True)
class Estimate:
    """always: while training goes on. moments: one after another, the largest decides. host: beside a GPU, what lies in
    the memory of its machine. unknown: what was taken for granted. width: of the features, D. traffic: what a device
    sends in a step, where there are several.
    """

    device: str
    width: int
    always: tuple[Part, ...]
    moments: tuple[Moment, ...]
    host: tuple[Part, ...]
    unknown: tuple[str, ...]
    traffic: tuple[Part, ...] = ()

    @property
    def largest(self) -> Moment:
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def peak(self) -> int:
        """Bytes of the device at the peak, all included."""
        return sum(part.bytes for part in self.always) + self.largest.bytes

    @property
    def needed(self) -> int:
        """The same without what the system can take back."""
        return self.peak - sum(part.bytes for part in self.always if part.reclaimable)


def estimate(config: TrainConfig, counts: Counts, devices: int = 1) -> Estimate:
    """Bytes of a run with this configuration on data of these counts; of several devices, on the first.

    Raises:
        XMCError: several devices cannot share the run.
    """
    if devices > 1:
        factory.check_divisible(config)
    on_gpu = is_gpu(config.trainer.device)
    features = estimate_features(_of_a_device(config, devices), counts, on_gpu)
    trainer, k = config.trainer, max(config.metrics.ks)
    load = Load(features.width, trainer.batch_size, factory.dev_batch_size(config), k, on_gpu, config.sparsity, devices)
    output = _output(config, -(-counts.labels // devices), load)
    auxiliary = config.auxiliary.memory(counts.labels, load)
    heads = [output] if auxiliary is None else [output, auxiliary]
    model = [
        Part("encoder: weights", features.weights),
        Part("encoder: optimizer state", features.moments),
        Part("classifier: weights", output.weights),
        Part("classifier: index", output.index),
        Part("classifier: optimizer state", output.moments),
        *([] if auxiliary is None else [Part("auxiliary head: weights, state", auxiliary.weights + auxiliary.moments)]),
    ]
    gradients = Part("classifier: gradients", sum(head.gradients for head in heads))
    of_encoder = Part("encoder: gradients", features.gradients)
    moments: tuple[Moment, ...] = (
        Moment(
            "the classifier's pass",
            (
                Part("encoder: activations", max(features.saved, features.forward - gradients.bytes)),
                gradients,
                Part("workspace of the op", max(head.step for head in heads)),
            ),
        ),
        Moment(
            "the encoder's backward pass",
            (of_encoder, Part("encoder: activations", max(0, features.backward - features.gradients)), gradients),
        ),
        Moment("the optimizers' step", (of_encoder, gradients, Part("updates", max(features.update, output.update)))),
        Moment("rewiring", (Part("what is dropped and grown", output.rewiring),)),
        Moment(
            "evaluation",
            (Part("encoder: activations", features.evaluation), Part("workspace of topk", output.ranking)),
        ),
    )
    exchanged = Part("features and their gradients, of all devices", 3 * _FLOAT * load.batch * load.width)
    if devices > 1:
        whole = _output(config, counts.labels, load)
        together = Part("classifier of all labels, on the first device", whole.weights + whole.index)
        moments = (_with(moments[0], exchanged), *moments[1:], Moment("bringing all labels together", (together,)))
    host = [*_host(counts), Part("weights that wait (Top-KAST)", output.waiting)]
    host.append(Part("weights that wait (Top-KAST), a file", output.mapped, reclaimable=True))
    preparing = Moment("preparing the data", (Part("TF-IDF, bigrams, clusters", _preparing(config, counts)),))
    unknown = [*counts.assumed, *_unknown(config, load)]
    sent = traffic(config, counts, features, devices, on_gpu) if devices > 1 else ()
    if on_gpu:
        runtime = Part("CUDA context", CUDA_CONTEXT)
        beside = [Part("interpreter and libraries", CUDA_HOST), *host, *preparing.parts]
        unknown.append("figures for a GPU: never measured")
        return Estimate(
            "GPU",
            features.width,
            tuple(_there([runtime, *model])),
            moments,
            tuple(_there(beside)),
            tuple(unknown),
            sent,
        )
    compiled = config.classifier.compiles or counts.terms is not None
    runtime = Part("interpreter and libraries", INTERPRETER + KERNELS * compiled)
    return Estimate(
        "CPU",
        features.width,
        tuple(_there([runtime, *host, *model])),
        (*moments, _before(preparing, model), _lexical_half(config, counts)),
        (),
        tuple(unknown),
        sent,
    )


def is_gpu(device: str) -> bool:
    """Whether a run on `trainer.device` would be on a GPU; it need not be there."""
    return torch.cuda.is_available() if device == "auto" else device.startswith("cuda")


def memory_of(device: str, given: str | None) -> int:
    """Bytes that the device has: as they are given, such as 8GiB, or those of the one at hand.

    Raises:
        XMCError: the device is not here and its memory was not given.
    """
    if given is not None:
        number, prefix, binary = re.fullmatch(r"([0-9.]+) ?([MG])(i?)B", given).groups()  # type: ignore[union-attr]
        base = 1024 if binary else 1000
        return int(float(number) * base ** {"M": 2, "G": 3}[prefix])
    if is_gpu(device):
        if not torch.cuda.is_available():
            raise XMCError(f"trainer.device={device}: there is no GPU here to ask; give device_memory=16GiB")
        return int(torch.cuda.get_device_properties(0).total_memory)
    information = Path("/proc/meminfo")
    if not information.exists():
        raise XMCError("the memory of this machine cannot be read; give device_memory=16GiB")
    return int(information.read_text().split("MemTotal:")[1].split()[0]) * 1024


def _output(config: TrainConfig, labels: int, load: Load) -> OutputBytes:
    """The classifier of so many labels, with what it adds to their logits."""
    adjustment = _FLOAT * labels * (config.trainer.logit_adjustment > 0)
    return config.classifier.memory(labels, load) + OutputBytes(weights=adjustment, ranking=adjustment)


def _of_a_device(config: TrainConfig, devices: int) -> TrainConfig:
    """With the documents of a step that one of so many devices encodes."""
    if devices == 1:
        return config
    trainer, size = config.trainer, -(-config.trainer.batch_size // devices)
    micro = None if trainer.micro_batch_size is None else min(size, trainer.micro_batch_size)
    changed = trainer.model_copy(update={"batch_size": size, "micro_batch_size": micro})
    return config.model_copy(update={"trainer": changed})


def _with(moment: Moment, part: Part) -> Moment:
    return Moment(moment.name, (*moment.parts, part))


def _there(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.bytes]


def _host(counts: Counts) -> list[Part]:
    """Of the data, in memory or mapped."""
    tokens = Part("tokens, in a file", 4 * counts.tokens, reclaimable=True)
    texts = Part("texts, in a file" if counts.mapped else "texts", counts.text_bytes, reclaimable=counts.mapped)
    return [texts, tokens, Part("ids, names and labels of the documents", counts.strings + 8 * counts.pairs)]


def _preparing(config: TrainConfig, counts: Counts) -> int:
    """What labels are clustered or grouped by; tokens and bigrams are counted before."""
    bigrams = 16 * counts.tokens if counts.terms is not None and counts.terms.bigrams else 0
    if not config.classifier.groups_labels and not config.auxiliary.clusters_labels:
        return bigrams
    entries = min(_LABEL_TERMS * counts.labels, counts.pairs * config.encoder.max_length)
    return max(bigrams, _TFIDF * counts.tokens + 2 * _TFIDF * entries)


def _lexical_half(config: TrainConfig, counts: Counts) -> Moment:
    documents, labels = config.lexical.learning_bytes(counts.documents, counts.tokens, counts.pairs)
    parts = Part("terms of the documents", documents), Part("terms of the labels", labels)
    return Moment("learning the lexical half", parts)


def _before(preparing: Moment, model: list[Part]) -> Moment:
    """Optimizers have no state yet while data is prepared."""
    state = sum(part.bytes for part in model if "optimizer state" in part.name)
    return Moment(preparing.name, (*preparing.parts, Part("without the optimizers' state", -state)))


def _unknown(config: TrainConfig, load: Load) -> list[str]:
    """What no formula here covers."""
    known = config.classifier.beyond_estimates(load)
    if config.sparse_ift.transformed:
        known.insert(0, _INNER)
    return known
