"""Classification metrics: top-1 and top-5 accuracy, accuracy by class, confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmpretrain.evaluation.metrics import Accuracy, ConfusionMatrix

from lomar.utils import write_json


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """Metric for top-1 and top-5 accuracy; top-5 is None with fewer than five classes.

    Args:
        out: folder for accuracy.json (accuracy by class, confusion matrix) and confusion.png.
    """

    default_prefix = 'accuracy'

    def __init__(self, out: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.out = out
        self.summary: dict[str, dict] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store scores and labels of a batch."""
        for sample in data_samples:
            self.results.append((sample['pred_score'].float().cpu(), int(sample['gt_label'])))

    def compute_metrics(self, results: list[tuple[torch.Tensor, int]]) -> dict[str, float]:
        """Return accuracies in percent, and store them in `summary`."""
        scores = torch.stack([score for score, _ in results])
        labels = torch.tensor([label for _, label in results])
        top = {f'top{k}': k for k in (1, 5) if k <= scores.shape[1]}
        values = Accuracy.calculate(scores, labels, topk=list(top.values()))
        figures = {name: value[0].item() for name, value in zip(top, values, strict=True)}
        self.summary['accuracy'] = {'top5': None, **figures}
        if self.out:
            self._write(Path(self.out), scores, labels)
        return figures

    def _write(self, out: Path, scores: torch.Tensor, labels: torch.Tensor) -> None:
        """Write accuracy.json and confusion.png."""
        matrix = ConfusionMatrix.calculate(scores, labels, num_classes=scores.shape[1])
        right = matrix.diag() / matrix.sum(dim=1) * 100  # 0 / 0 where a class has no image
        names = self.dataset_meta['classes']
        by_class = {
            name: None if torch.isnan(value) else value.item()
            for name, value in zip(names, right, strict=True)
        }
        out.mkdir(parents=True, exist_ok=True)
        record = dict(
            **self.summary['accuracy'],
            per_class=by_class,
            classes=list(names),
            confusion=matrix.tolist(),  # row: the true class, column: the predicted one
        )
        write_json(out / 'accuracy.json', record, indent=None)
        figure = Figure(figsize=(6, 5), layout='constrained')
        axes = figure.subplots()
        share = matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)
        figure.colorbar(axes.imshow(share, vmin=0, vmax=1, cmap='Blues'), label='share of the row')
        axes.set(xlabel='predicted', ylabel='true')
        if len(names) <= 30:
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
        figure.savefig(out / 'confusion.png', dpi=120)
