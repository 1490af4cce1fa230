"""Text classification with many labels behind the interface of a scikit-learn estimator."""

from xmc.estimator.classifier import XMCClassifier

__all__ = ["XMCClassifier"]
