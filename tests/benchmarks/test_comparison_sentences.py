"""The sentences of docs/comparison.md and README.md that say in words what the results show."""

from statistics import mean

import pytest

from benchmarks.comparison.protocol import SEARCH_SEED
from benchmarks.comparison.report import grid_seconds, records
from benchmarks.comparison.tables import by_contender, final

RESULTS = records()


@pytest.mark.parametrize(
    ('scale', 'grid', 'times'), [('cpu', 24, 4.9), ('cpu', 28, 5.6), ('gpu', 28, 1.4)]
)
def test_mae_takes_longer_per_image(scale, grid, times):
    seconds = grid_seconds(scale)[grid]
    assert round(seconds['mae'] / seconds['lomar'], 1) == times


def box_ap(labels):
    """Return the mean box AP of each contender over the seeds."""
    found = by_contender(final(RESULTS['nuclei_cpu'], 'detect', labels=labels))
    return {
        key: mean(run['figures']['box_ap'] for run in runs.values()) for key, runs in found.items()
    }


@pytest.mark.parametrize('labels', [8, 32, 128, 530])
def test_lomar_is_3_to_6_points_above_random_weights(labels):
    scores = box_ap(labels)
    for contender in ('random-lomar', 'random-mae'):
        assert 3 <= round(scores['lomar', 'time'] - scores[contender, None]) <= 6


def test_lomar_is_above_random_weights_in_each_pair():
    runs = final(RESULTS['nuclei_cpu'], 'detect')
    for labels in (8, 32, 128, 530):
        found = by_contender([run for run in runs if run['labels'] == labels])
        for contender in ('random-lomar', 'random-mae'):
            for seed, theirs in found[contender, None].items():
                ours = found['lomar', 'time'][seed]
                assert ours['figures']['box_ap'] > theirs['figures']['box_ap']


def test_segmentation_shows_no_difference():
    found = by_contender(final(RESULTS['segment_cpu'], 'segment', labels=8))
    ours, theirs = found['lomar', 'time'], found['random-lomar', None]
    ahead = [ours[seed]['figures']['miou'] - theirs[seed]['figures']['miou'] for seed in ours]
    assert round(mean(ahead), 1) == 0.9 and min(ahead) < 0 < max(ahead)


@pytest.mark.parametrize(('labels', 'points'), [(8, 2.9), (128, 6.4), (530, 9.5)])
def test_mae_with_equal_time_is_below_lomar(labels, points):
    scores = box_ap(labels)
    assert round(scores['lomar', 'time'] - scores['mae', 'time'], 1) == points


def test_the_search_on_a_gpu():
    runs = RESULTS['imagenette_gpu']['runs']
    assert {(run['seed'], run['epochs'], run['grid']) for run in runs} == {(SEARCH_SEED, 25, 14)}
    best = {
        method: max(run['figures']['knn'] for run in runs if run['contender'] == method)
        for method in ('lomar', 'mae')
    }
    assert round(best['mae'] - best['lomar']) == 10


def probes(record, name):
    """Return the mean accuracy of each contender's frozen features over the three seeds."""
    found = by_contender(final(RESULTS[record], 'pretrain', grid=14))
    assert all(len(runs) == 3 for runs in found.values())
    return {key: mean(run['figures'][name] for run in runs.values()) for key, runs in found.items()}


def accuracy(labels):
    """Return the mean accuracy of each contender's classifier over the three seeds."""
    found = by_contender(final(RESULTS['imagenette_cpu'], 'classify', labels=labels))
    assert all(len(runs) == 3 for runs in found.values())
    return {
        key: mean(run['figures']['top1'] for run in runs.values()) for key, runs in found.items()
    }


def test_one_epoch_of_all_labels_is_as_good_as_ten_of_1000():
    few, all_labels = accuracy(1000), accuracy(9469)
    assert all(abs(all_labels[key] - few[key]) < 2 for key in few)


@pytest.mark.parametrize(
    ('labels', 'above_random', 'above_random_mae', 'mae_ahead'),
    [(100, 3, 3, 3), (1000, 5, 4, 11), (9469, 7, 7, 10)],
)
def test_fine_tuning_on_photographs(labels, above_random, above_random_mae, mae_ahead):
    top1 = accuracy(labels)
    lomar, random = top1['lomar', 'time'], top1['random-lomar', None]
    assert round(lomar - random) == above_random
    assert round(top1['mae', 'time'] - lomar) == mae_ahead
    assert round(lomar - top1['random-mae', None]) == above_random_mae
    assert abs(random - top1['random-mae', None]) < 0.5, "MAE's positions are as good as LoMaR's"


@pytest.mark.parametrize(('name', 'above_random', 'mae_ahead'), [('knn', 0, 6), ('linear', 3, 11)])
def test_frozen_features_on_photographs(name, above_random, mae_ahead):
    scores = probes('imagenette_cpu', name)
    lomar = scores['lomar', 'time']
    assert round(lomar - scores['random-lomar', None]) == above_random
    assert round(scores['mae', 'time'] - lomar) == mae_ahead
    assert abs(lomar - scores['random-mae', None]) < 1
