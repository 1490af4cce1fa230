"""The whole classifier, text in, ranked labels out, and its folder on disk."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from xmc.distributed import ALONE, OwnRows, Processes
from xmc.errors import XMCError
from xmc.model import hub
from xmc.model.calibration import Calibration
from xmc.model.classifier import Classifier
from xmc.model.connections import Connections, connections_of
from xmc.model.encoder import Encoder
from xmc.model.explanation import Explanation, explain
from xmc.model.explanation.explain import numbers_of
from xmc.model.hierarchy import implied, path_above
from xmc.model.intermediate import Identity, Linear
from xmc.model.lexical import CANDIDATES, LexicalHalf
from xmc.model.precision import Precision, computing_type
from xmc.model.prediction import DEFAULT_K, Prediction, Threshold, check_texts, predictions, sigmoid
from xmc.model.saved import CARD, HEAD, check_connections, parts_of, read_card, write_card, write_model
from xmc.model.seal import seal_checked
from xmc.model.sharded import is_divided
from xmc.model.tensor_file import ANEW, TensorFile, fill
from xmc.types import Batch, TopK
from xmc.values import LossName


class XMCModel(nn.Module):
    """encoder -> intermediate layer -> classifier, beside it maybe a lexical half, with the names of the labels.

    A saved model is a folder: `encoder/` in Hugging Face layout, `head.safetensors` (intermediate layer, classifier),
    `lexical.safetensors` (where there is such a half), `labels.jsonl` (id and name, in the classifier's order) and
    `xmc.json`, which names the format's version and holds the calibration (`thresholds-<digest>.safetensors` beside it,
    where labels have their own).

    logit_adjustment: tau of `Classifier.adjust_logits`, which labels that come later are adjusted by too. precision: of
    products, in training, evaluation and prediction alike. above: int64 [P, 2], sorted, all pairs of a label and one
    above it, which is ranked at least as high.
    """

    above: Tensor | None

    def __init__(
        self,
        encoder: Encoder,
        intermediate: Linear | Identity,
        classifier: Classifier,
        *,
        label_ids: Sequence[str],
        label_names: Sequence[str],
        loss: LossName,
        calibration: Calibration | None = None,
        logit_adjustment: float = 0.0,
        lexical: LexicalHalf | None = None,
        precision: Precision = "auto",
        above: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.intermediate = intermediate
        self.classifier = classifier
        self.label_ids, self.label_names = label_ids, label_names
        self.loss: LossName = loss
        self.calibration, self.logit_adjustment = calibration, logit_adjustment
        self.lexical = lexical
        self.precision: Precision = precision
        self.register_buffer("above", above)

    @property
    def device(self) -> torch.device:
        return next(self.classifier.parameters()).device

    def features(self, input_ids_BT: Tensor, attention_mask_BT: Tensor, values_BT: Tensor | None = None) -> Tensor:
        """What the classifier sees, [B, D], in the type that `precision` says. values_BT: as in `Batch`."""
        device, dtype = self.device, computing_type(self.precision, self.device)
        if not len(input_ids_BT):  # of several processes one may have no document of a small batch
            return torch.zeros(0, self.classifier.in_features, dtype=dtype, device=device)
        narrow = torch.autocast(device.type, dtype) if dtype != torch.float32 else contextlib.nullcontext()
        with narrow:
            features_BD: Tensor = self.intermediate(self.encoder(input_ids_BT, attention_mask_BT, values_BT))
        return features_BD.to(dtype)

    def features_of(self, batch: Batch) -> Tensor:
        """`features` of a batch on any device, [B, D] on the model's."""
        batch = batch.to(self.device)
        return self.features(batch.input_ids, batch.attention_mask, batch.values)

    @torch.no_grad()
    def topk(self, input_ids_BT: Tensor, attention_mask_BT: Tensor, k: int, values_BT: Tensor | None = None) -> TopK:
        """The k best labels of each document, by the network and the lexical half, where there is one.

        Raises XMCError where the best score is not finite.
        """
        features_BD = self.features(input_ids_BT, attention_mask_BT, values_BT)
        if self.lexical is None:
            top = self._by_network(features_BD, k)
        else:
            others = self.lexical.rank(features_BD, input_ids_BT, attention_mask_BT, values_BT, max(k, CANDIDATES))
            top = self.lexical.stack(self.network_ranking(features_BD, max(k, CANDIDATES)), others, k)
        return top if self.above is None else implied(top, self.above, k)

    @torch.no_grad()
    def network_ranking(self, features_BD: Tensor, k: int) -> TopK:
        """The k best labels by the network alone, with their probabilities, on the CPU."""
        top = self._by_network(features_BD, k)
        return TopK(self.network_probability(top.scores).cpu(), top.labels.cpu())

    def _by_network(self, features_BD: Tensor, k: int) -> TopK:
        """Raises XMCError where a document's best logit is not finite: some step on the way to it has overflowed."""
        top = self.classifier.topk(features_BD, k)
        best = top.scores[:, :1]
        if not math.isfinite(best.sum().item()) and not best.isfinite().all():  # a NaN counts as -inf
            raise XMCError(f"the model's best score of a document is not finite: its weights are too large; {ANEW}")
        return top

    def probability(self, logits: Tensor) -> Tensor:
        """Calibrated probability or, without a calibration, the one that the loss ties to a logit."""
        return self.raw_probability(logits) if self.calibration is None else self.calibration.probability(logits)

    def raw_probability(self, logits: Tensor) -> Tensor:
        """Probability of a logit before calibration: of stacked rankings its sigmoid, else what the loss ties to it."""
        return sigmoid(logits) if self.lexical is not None else self.network_probability(logits)

    def network_probability(self, logits: Tensor) -> Tensor:
        """Probability that the loss ties to a logit of the network; the squared hinge's minimiser is 2p - 1."""
        return sigmoid(logits) if self.loss == "bce" else ((logits + 1) / 2).clamp(0, 1)

    def default_k(self, threshold: Threshold) -> int:
        """How many labels a list has at most, where nobody says."""
        return self._thresholds().k if threshold == "auto" else DEFAULT_K

    def predict(
        self, texts: Sequence[str], k: int | None = None, batch_size: int = 64, threshold: Threshold = None
    ) -> list[list[Prediction]]:
        """The k best labels of each text, best first, or those of them whose probability reaches the threshold.

        texts: rows `feature:value ...` where these are what the model was trained on. k: None is 5 or, with
        `threshold="auto"`, as many as the thresholds were chosen among.

        Raises:
            XMCError: a text is not a string or is empty, a row has a feature that there is not, the model has no
                thresholds for `auto`, or its weights are so large that the best score of a text is not finite.
        """
        check_texts(texts, self.encoder.reads_text)
        if k is None:
            k = self.default_k(threshold)
        with self.evaluating():
            return [p for inputs in self._inputs(texts, batch_size) for p in self._predicted(*inputs, k, threshold)]

    def explain(self, text: str, labels: Sequence[str]) -> list[Explanation]:
        """What each word of the text adds to the score of each of these labels, in their order. See docs/explain.md.

        labels: ids, whether they are predicted or not. Of a network that is not linear (a transformer, or layers
        between a bag and the classifier) it needs captum.

        Raises:
            XMCError: the text is empty, a label is unknown, captum is missing, or the tokenizer does not tell where its
                tokens stand.
        """
        return explain(self, text, labels)

    def names_above(self, label: int) -> list[str]:
        """The names of those above a label, told by its place, the topmost first."""
        return [] if self.above is None else [self.label_names[one] for one in path_above(label, self.above)]

    def connections(self, label: str) -> Connections:
        """Which features of the network a label, told by its id, is connected to, and by what weights."""
        return connections_of(self.classifier, int(numbers_of([label], self.label_ids)[0]))

    @torch.no_grad()
    def ranking(self, texts: Sequence[str], k: int, batch_size: int = 64) -> TopK:
        """The k best labels of each text, which may be empty, with their probabilities, [N, k], on the CPU.

        Raises XMCError where the best score of a text is not finite.
        """
        with self.evaluating():
            parts = [self.topk(ids, mask, k, values) for ids, mask, values in self._inputs(texts, batch_size)]
        return TopK.cat([TopK(self.probability(top.scores).float().cpu(), top.labels.cpu()) for top in parts])

    @torch.no_grad()
    def encode(self, texts: Sequence[str], batch_size: int = 64) -> Tensor:
        """Features of each text without dropout, [N, D] in float32.

        Raises:
            XMCError: a text is not a string or is empty.
        """
        check_texts(texts, self.encoder.reads_text)
        return self.embed(texts, batch_size)

    @torch.no_grad()
    def embed(self, texts: Sequence[str], batch_size: int) -> Tensor:
        """As `encode`, which checks the texts first; here they may be empty."""
        with self.evaluating():
            return torch.cat([self.features(*inputs).float() for inputs in self._inputs(texts, batch_size)])

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """All parts are as in evaluation meanwhile; those that are already are not asked twice for each document."""
        was_training = self.training
        if any(module.training for module in self.modules()):
            self.eval()
        try:
            yield
        finally:
            if was_training:
                self.train()

    def _inputs(self, texts: Sequence[str], batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Batches as the encoder reads them."""
        starts = range(0, len(texts), batch_size)
        return (self._tokenized(list(texts[start : start + batch_size])) for start in starts)

    def _tokenized(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor | None]:
        (ids, mask, values), device = self.encoder.tokenize(texts), self.device
        return ids.to(device), mask.to(device), None if values is None else values.to(device)

    def _predicted(
        self, ids: Tensor, mask: Tensor, values: Tensor | None, k: int, threshold: Threshold
    ) -> Iterator[list[Prediction]]:
        top = self.topk(ids, mask, k, values)
        probabilities = self.probability(top.scores)
        suggested = (top.labels >= 0) & self._reaches(probabilities, top.labels, threshold)
        logits = top.scores if self.calibration is None else self.calibration.logits(top.scores)
        return predictions(self, top.labels, probabilities, logits, suggested)

    def _reaches(self, probabilities: Tensor, labels: Tensor, threshold: Threshold) -> Tensor:
        match threshold:
            case None:
                return torch.ones_like(labels, dtype=torch.bool)
            case "auto":
                return probabilities >= self._thresholds().thresholds(labels)
        return probabilities >= threshold

    def _thresholds(self) -> Calibration:
        if self.calibration is None:
            raise XMCError(
                "the model has no thresholds; choose them on dev data with `xmc calibrate run=...`, or give a number"
            )
        return self.calibration

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model's folder (created if missing), for whom the umask lets read it.

        Its card is the last file to come, and the first to go where there is one: without it, no part is read.
        """
        write_model(self, Path(folder))

    def save_card(self, folder: str | Path) -> None:
        """Write the card of a saved model anew, and its calibration: if interrupted, all stays old."""
        write_card(self, Path(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        commit_message: str = "Upload an xmc model",
        token: str | None = None,
    ) -> str:
        """Upload the model's folder and a page about it to the Hugging Face Hub; the repository's address.

        repo_id: `owner/model`; it is made where it does not exist. token: None is the one of `hf auth login`.
        """
        page = hub.model_page(repo_id, hub.facts_of(self))
        return hub.push(self.save_pretrained, page, repo_id, private=private, message=commit_message, token=token)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        backend: str = "auto",
        precision: Precision = "auto",
        revision: str | None = None,
        processes: Processes = ALONE,
    ) -> "XMCModel":
        """Read a model's folder, or a repository of the Hugging Face Hub (`owner/model`), ready to predict.

        precision: float32 for a GPU whose scores are to be a CPU's but for rounding. revision: of the repository; a
        branch, a tag or a commit. processes: that share the labels, so that all of them rank documents together.

        Raises:
            XMCError: the folder is no model of ours, is of a later format, or its parts do not belong together.
        """
        folder = hub.local_folder(folder, revision)
        card = read_card(folder)
        with seal_checked(folder / CARD):
            head = TensorFile(folder / HEAD)
            model = cls(**parts_of(folder, card, head, device, backend, processes), precision=precision)
            own = {name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")}
            fill(own, head if processes.size == 1 else OwnRows(head, processes.shard, is_divided))
            check_connections(model)
        return model.to(device).eval()
