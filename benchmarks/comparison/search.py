"""Stages of a study, each of which follows from the results of the earlier ones."""

from collections.abc import Callable, Generator, Mapping

from benchmarks.comparison.runs import Run

# Figures of finished runs by the name of the run.
Scores = Mapping[str, Mapping[str, float]]


def each_stage(
    stages: Generator[list[Run], Scores, object], act: Callable[[list[Run]], Scores]
) -> None:
    """Call `act` with the runs of each stage; the next stage follows from the returned scores."""
    runs = next(stages)
    while True:
        scores = act(runs)
        try:
            runs = stages.send(scores)
        except StopIteration:
            return


def best(tried: Mapping[float, Run], scores: Scores, figure: str) -> float:
    """Return the learning rate whose run has the highest figure; the first of equal ones.

    Without scores, as in a plan, that is the first rate.
    """
    return max(tried, key=lambda rate: scores.get(tried[rate].name, {}).get(figure, 0.0))
