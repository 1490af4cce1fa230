"""Texts of scripts that put no spaces between words, from raw text to ranked labels."""

import json
import random
from collections import Counter
from pathlib import Path

from harness import Run, small

ALPHABETS = {
    "chinese": "机器学习语言天地人山水火",
    "japanese": "日本語かなのタワー行東京",
    "thai": "กขคงจชซญดตนบ",
    "lao": "ກຂຄງຈຊຍດຕຖທນ",
    "khmer": "កខគឃងចឆជឈញដឋ",
    "burmese": "ကခဂဃငစဆဇညဋဌဍ",
}


def write_topics(folder: Path) -> None:
    """Four topics in each script: the words of all are made of the same characters, and only their order tells."""
    rng = random.Random(0)
    folder.mkdir()
    words = {
        f"{script}{topic}": ["".join(rng.sample(letters, 3)) for _ in range(6)]
        for script, letters in ALPHABETS.items()
        for topic in range(4)
    }
    for split, count in (("train", 40), ("dev", 10)):
        with open(folder / f"{split}.jsonl", "w") as out:
            for label, of_topic in words.items():
                for i in range(count):
                    noise = ["".join(rng.sample(ALPHABETS[label[:-1]], 2)) for _ in range(6)]
                    text = rng.choices(of_topic, k=10) + noise
                    rng.shuffle(text)
                    record = {"id": f"{split}-{label}-{i}", "text": "".join(text), "labels": [label]}
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")


def test_topics_are_told_apart_in_every_script(xmc: Run, tmp_path: Path) -> None:
    data, run = tmp_path / "topics", tmp_path / "run"
    write_topics(data)
    done = xmc("train", *small(data, f"run={run}", "encoder.width=128", "classifier.fan_in=32"))
    assert "by script: " in done.stderr and "Thai 12" in done.stderr
    output = tmp_path / "predictions.jsonl"
    xmc("predict", f"run={run}", f"input={data / 'dev.jsonl'}", f"output={output}", "k=1")
    right: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        prediction = json.loads(line)
        label = prediction["id"].split("-")[1]
        right[label[:-1]] += prediction["labels"][0]["label"] == label
    assert all(right[script] >= 0.95 * 40 for script in ALPHABETS), right
