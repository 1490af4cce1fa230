import hashlib
import json
from pathlib import Path

from test_config import composed

from xmc import build
from xmc.config import TrainConfig, parse


def test_runs_from_before_a_key_go_on(tmp_path: Path) -> None:
    """The fingerprint that ties a checkpoint to its configuration is that of a configuration without the later keys."""
    (tmp_path / "train.jsonl").write_text('{"id": "1", "text": "a word", "labels": ["x"]}\n' * 1)
    values = composed(
        "data=jsonl", f"data.root={tmp_path}", f"data.cache_dir={tmp_path / 'cache'}", "data.dev_fraction=0"
    )
    corpus = build.load_corpus(parse(TrainConfig, values))
    for key in ("label_texts", "logit_adjustment"):
        del values["trainer"][key]
    before = parse(TrainConfig, values)
    settings = {
        k: v for k, v in before.model_dump(mode="json").items() if k not in {"run", "resume", "tracking", "data"}
    }
    for key in ("label_texts", "logit_adjustment"):
        del settings["trainer"][key]
    text = json.dumps(settings, sort_keys=True) + corpus.fingerprint
    assert build.run_fingerprint(before, corpus) == hashlib.sha256(text.encode()).hexdigest()
    values["trainer"]["logit_adjustment"] = 0.2
    assert build.run_fingerprint(parse(TrainConfig, values), corpus) != build.run_fingerprint(before, corpus)
