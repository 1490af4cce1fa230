"""Models on the Hugging Face Hub: the folder of a saved model, with a page about it."""

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from xmc.errors import XMCError, said
from xmc.storage import home_expanded

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

    from xmc.model.model import XMCModel

FILES = ("*.json", "*.jsonl", "*.safetensors", "*.txt", "*.model")  # all that a model is read from, and no pickle


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of that name or, where there is none, the download of the Hub's repository `owner/model`.

    Raises:
        XMCError: there is neither, or it cannot be reached.
    """
    folder = home_expanded(name)
    if folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        return folder
    return download(str(name), revision, FILES)


def download(repository: str, revision: str | None, files: tuple[str, ...]) -> Path:
    """The folder of a repository's files, by their patterns.

    Raises:
        XMCError: it cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise XMCError(
            f"{repository} is no folder here, and as a repository of the Hugging Face Hub it cannot be read: "
            f"{said(error)}; give the folder of a model, or for a private repository log in with `hf auth login`"
        ) from None


def push(
    save: Callable[[Path], None], page: "ModelCard", repo_id: str, *, private: bool, message: str, token: str | None
) -> str:
    """Upload what `save` writes into a folder, and README.md, to a repository, made where it lacks; its address."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    address = api.create_repo(repo_id, private=private, exist_ok=True)
    with TemporaryDirectory() as folder:
        save(Path(folder))
        page.save(Path(folder, "README.md"))
        api.upload_folder(repo_id=address.repo_id, folder_path=folder, commit_message=message)
    return str(address)


def facts_of(model: "XMCModel") -> dict[str, str]:
    """What the page says of a model, by name."""
    facts = {"labels": f"{model.classifier.num_labels:,}", "encoder": model.encoder.backbone.config.model_type}
    facts["classifier"] = f"{model.classifier.kind}, {model.classifier.in_features:,} features"
    if model.lexical is not None:
        facts["lexical half"] = f"a tree of linear classifiers, and centroids, over {len(model.lexical.terms):,} terms"
    if model.logit_adjustment:
        facts["ranking"] = f"rare labels higher, by a logit adjustment of {model.logit_adjustment:g}"
    if (calibration := model.calibration) is not None:
        facts["probabilities"] = "calibrated on dev data"
        facts["threshold"] = "one a label" if calibration.own is not None else f"{calibration.threshold:.4g}"
    return facts


def model_page(repo_id: str, facts: dict[str, str]) -> "ModelCard":
    """A model card in Markdown, with the metadata that the Hub reads."""
    from huggingface_hub import ModelCard, ModelCardData

    metadata = ModelCardData(
        library_name="xmc",
        pipeline_tag="text-classification",
        tags=["multi-label-classification", "extreme-multi-label-classification", "sparse"],
    )
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return ModelCard(f"""\
---
{metadata}
---
# {repo_id.rpartition("/")[2]}

Text in, ranked labels out: an encoder and a classifier, trained together with `xmc`.

| | |
|---|---|
{rows}

    from xmc import XMCModel

    model = XMCModel.from_pretrained("{repo_id}")
    model.predict(["a text"], k=5)
""")
