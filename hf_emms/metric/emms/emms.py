"""EMMS for the evaluate library: which pretrained checkpoint fits your labels, without fine-tuning any."""

import evaluate

# Indented, so that evaluate's scan for imports leaves a missing package to the message below.
try:
    from hf_emms.metric import metric
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("hf_emms"):
        raise
    raise ImportError('the metric "emms" needs the package hf-emms, or a newer one') from None

_DESCRIPTION = """\
EMMS tells which pretrained checkpoint to fine-tune on your dataset, without fine-tuning any. Each label is written as
text and embedded by K foundation models (the F-labels); the score says how well a linear map of the checkpoint's
features explains the best mixture of these embeddings. Higher is better, 0 is perfect. By default the map is judged on
rows that it was not fitted on. A score is relative: compare checkpoints on one dataset, sample and set of labels only.
"""

_CITATION = """\
@inproceedings{meng2023foundation,
  title     = {Foundation Model is Efficient Multimodal Multitask Model Selector},
  author    = {Meng, Fanqing and Shao, Wenqi and Peng, Zhanglin and Jiang, Chonghe and Zhang, Kaipeng and Qiao, Yu
               and Luo, Ping},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023},
  url       = {https://arxiv.org/abs/2308.06262}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: features of one checkpoint, floats of shape (N, D1): one row a sample.
    references: the labels of the same rows, in one of these forms:
        (N, D2) floats: one F-label; (N, K, D2) floats: K F-labels (the shorter axis is K, so (N, D2, K) does as well);
        (N,) class ids or texts: F-labels come from `encoders` or `label_table`; without either, class ids and texts
        that repeat are classes, and their F-label is the one-hot code.
    method (str): "emms_knn" (held out, ridge and 3 nearest rows: what `hf-emms rank` orders by; the default), "cv"
        (held out, the ridge alone, which needs sums only), "exact" (the paper's objective at its optimum), "one_pass"
        (the official function) or "alternating" (the paper's Algorithm 1).
    groups: (N,) integers or strings, one for rows that share an input (five captions of an image); they share a fold.
        Default: rows of equal features do. The same ids for every checkpoint compare all of them on the same folds.
    folds (int): folds of the held-out score. Default 5.
    seed (int): seed of the folds. Default 0.
    encoders (list of str): text encoders, as Hub ids or folders, or a set: "base", "paper", "demo".
    label_table: embeddings of the distinct labels: {text: (D2,) or (K, D2)}, (U, D2), (U, K, D2), a list of K arrays
        (U, D2_k) or a hf_emms.LabelTable. Class ids number its rows.
    class_names (list of str): the text of every class id.
    estimators (list of str): scores to return beside, such as "logme" and "knn".
    device (str): where the encoders run. Default "auto".

Returns:
    score (float): minus the mean squared residual of the mixed, standardised F-label. At most 0, higher is better.
    stderr (float or None): its standard error over the folds; None for the methods without folds.
    weights (list of K floats): the mixture, not negative, with sum 1.
    r2 (float): share of the mixed F-label's variance that the features explain, held out with "emms_knn" and "cv".
    n (int), d1 (int), method (str): what was scored, and how.
    logme (float), knn (float), …: those of `estimators`.

Examples:
    >>> import evaluate
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(200, 8))
    >>> labels = features @ rng.normal(size=(8, 4)) + rng.normal(size=(200, 4))
    >>> emms = evaluate.load("emms")
    >>> results = emms.compute(predictions=features, references=labels)
    >>> print(round(results["r2"], 1), results["n"], results["weights"])
    0.9 200 [1.0]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Emms(metric.ScoreOfRows):
    """The metric: its behaviour is ScoreOfRows's, its mathematics hf_emms.scoring's."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=self.inputs(),
            license="Apache-2.0",
            homepage="https://arxiv.org/abs/2308.06262",
            codebase_urls=["https://github.com/OpenGVLab/Multitask-Model-Selector"],
            reference_urls=["https://arxiv.org/abs/2308.06262", "https://openreview.net/forum?id=2ep5PXEZiw"],
        )
