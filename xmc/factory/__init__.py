"""The one place where configuration becomes objects."""

from xmc.factory.data import build_batches, load_corpus, with_dev
from xmc.factory.model import build_encoder, build_intermediate, build_lexical_half
from xmc.factory.source import inherited_settings, learned_part, load_source, model_folder, with_kept_labels
from xmc.factory.sparsity import why_nothing_rewires
from xmc.factory.training import Training, build_training, check_divisible, dev_batch_size, run_fingerprint

__all__ = [
    "Training",
    "build_batches",
    "build_encoder",
    "build_intermediate",
    "build_lexical_half",
    "build_training",
    "check_divisible",
    "dev_batch_size",
    "inherited_settings",
    "learned_part",
    "load_corpus",
    "load_source",
    "model_folder",
    "run_fingerprint",
    "why_nothing_rewires",
    "with_dev",
    "with_kept_labels",
]
