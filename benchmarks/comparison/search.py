"""Choice of a learning rate from the results of a search."""

from collections.abc import Mapping

from benchmarks.comparison.runs import Run

# Figures of finished runs by the name of the run.
Scores = Mapping[str, Mapping[str, float]]


def best(tried: Mapping[float, Run], scores: Scores, figure: str) -> float:
    """Return the learning rate whose run has the highest figure; the first of equal ones.

    Without scores, as in a plan, that is the first rate.
    """
    return max(tried, key=lambda rate: scores.get(tried[rate].name, {}).get(figure, 0.0))
