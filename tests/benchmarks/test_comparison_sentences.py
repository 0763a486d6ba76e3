"""The sentences of docs/comparison.md and README.md that say in words what the results show."""

from statistics import mean, stdev

import pytest

from benchmarks.comparison.protocol import SEARCH_SEED
from benchmarks.comparison.report import grid_seconds, records
from benchmarks.comparison.tables import by_contender, difference, final
from benchmarks.results.measured import paired

RESULTS = records()


@pytest.mark.parametrize(
    ('scale', 'grid', 'times'),
    [('cpu', 14, 1.2), ('cpu', 24, 4.9), ('cpu', 28, 5.6), ('gpu', 28, 1.4)],
)
def test_mae_takes_longer_per_image(scale, grid, times):
    seconds = grid_seconds(scale)[grid]
    assert round(seconds['mae'] / seconds['lomar'], 1) == times


@pytest.mark.parametrize(('scale', 'percent'), [('cpu', 5), ('gpu', 38)])
def test_time_of_lomar_over_the_grid(scale, percent):
    seconds = grid_seconds(scale)
    assert round(100 * (seconds[28]['lomar'] / seconds[14]['lomar'] - 1)) == percent


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


RANDOM = ('random-lomar', None), ('random-mae', None)


def ahead(record, task, name, labels):
    """Return LoMaR's figure minus that of both kinds of random weights, for each seed."""
    found = by_contender(final(RESULTS[record], task, labels=labels))
    ours = found['lomar', 'time']
    return [
        [ours[seed]['figures'][name] - run['figures'][name] for seed, run in found[key].items()]
        for key in RANDOM
    ]


@pytest.mark.parametrize(('name', 'positive'), [('box_ap', 24), ('mask_ap', 23)])
def test_lomar_is_above_random_weights_in_pairs_of_runs(name, positive):
    found = [ahead('nuclei_cpu', 'detect', name, labels) for labels in (8, 32, 128, 530)]
    pairs = [one for both in found for pairs in both for one in pairs]
    assert len(pairs) == 24 and sum(one > 0 for one in pairs) == positive


@pytest.mark.parametrize(
    ('record', 'task', 'name', 'stars'),
    [
        ('nuclei_cpu', 'detect', 'box_ap', {8: 0, 32: 1, 128: 1, 530: 1}),
        ('imagenette_cpu', 'classify', 'top1', {100: 0, 1000: 0, 9469: 2}),
    ],
)
def test_differences_that_have_a_star(record, task, name, stars):
    for labels, count in stars.items():
        texts = [paired(pairs) for pairs in ahead(record, task, name, labels)]
        assert sum(text.endswith('*') for text in texts) == count


@pytest.mark.parametrize(('labels', 'points'), [(8, 0), (32, 4), (128, 1), (530, 4)])
def test_positions_and_mask_ap(labels, points):
    with_lomar, with_mae = map(mean, ahead('nuclei_cpu', 'detect', 'mask_ap', labels))
    assert round(with_mae - with_lomar) == points and 3 <= round(with_lomar) <= 4


def test_no_star_between_the_positions_of_random_weights():
    found = [
        by_contender(final(RESULTS['nuclei_cpu'], 'detect', labels=labels))
        for labels in (8, 32, 128, 530)
    ]
    texts = [difference(one[RANDOM[0]], one[RANDOM[1]], 'mask_ap') for one in found]
    assert [text.split(' ±')[0] for text in texts] == ['+0.4', '+3.6', '+1.0', '+4.0']
    assert '*' not in ''.join(texts)


def searched(contender, variant=None):
    """Return the box AP of the best detector of the search, or of a variant."""
    return max(tried(contender, variant), key=lambda figures: figures['mask_ap'])['box_ap']


def tried(contender, variant=None):
    return [
        run['figures']
        for run in RESULTS['nuclei_cpu']['runs']
        if run['seed'] == SEARCH_SEED
        and (run['task'], run['contender'], run.get('variant')) == ('detect', contender, variant)
    ]


@pytest.mark.parametrize(('contender', 'lost', 'behind'), [('lomar', 0.9, 5.1), ('mae', 0.8, 3.0)])
def test_layer_decay_of_random_weights(contender, lost, behind):
    one = searched(f'random-{contender}', 'layer decay 1')
    assert round(searched(f'random-{contender}') - one, 1) == lost
    assert round(searched('lomar', 'layer decay 1') - one, 1) == behind


def test_the_normalization_of_the_nuclei():
    variants = (None, 'mean and deviation of the nuclei')
    ahead = [searched('lomar', one) - searched('random-lomar', one) for one in variants]
    assert [round(points, 1) for points in ahead] == [3.3, 0.3]


def test_three_seeds_of_the_normalization_of_the_nuclei():
    variants = (None, 'mean and deviation of the nuclei')
    imagenet, own = (
        by_contender(final(RESULTS['nuclei_cpu'], 'detect', labels=32, variant=variant))
        for variant in variants
    )
    lomar = 'lomar', 'time'
    mean_ap = [
        {
            key: mean(run['figures']['box_ap'] for run in found[key].values())
            for key in (lomar, *RANDOM)
        }
        for found in (imagenet, own)
    ]
    assert all(len(runs) == 3 for runs in own.values()) and {*own} == {lomar, *RANDOM}
    changed = [round(mean_ap[1][key] - mean_ap[0][key], 1) for key in (lomar, RANDOM[0])]
    assert changed == [-1.6, 0.9]
    assert round(mean_ap[0][lomar] - max(mean_ap[1].values())) == 2
    assert [
        [difference(found[lomar], found[key], 'box_ap') for key in RANDOM]
        for found in (imagenet, own)
    ] == [['+2.8 ± 1.4', '+4.4 ± 1.1*'], ['+0.4 ± 0.2', '+2.0 ± 1.9']]
    assert difference(own[lomar], own[RANDOM[0]], 'mask_ap') == '-0.6 ± 0.4'
    assert difference(imagenet[lomar], own[RANDOM[0]], 'box_ap') == '+2.0 ± 1.6'
    seeds = own[lomar]
    shrunk = [
        paired(
            [
                advantage(imagenet[lomar], imagenet[key], seed)
                - advantage(own[lomar], own[key], seed)
                for seed in seeds
            ]
        )
        for key in RANDOM
    ]
    assert shrunk == ['+2.5 ± 1.4', '+2.4 ± 1.3']
    precisions = [
        {run['hardware'].get('precision') for runs in found.values() for run in runs.values()}
        for found in (imagenet, own)
    ]
    assert precisions == [{None}, {'bfloat16'}]


def advantage(ours, theirs, seed):
    return ours[seed]['figures']['box_ap'] - theirs[seed]['figures']['box_ap']


def test_longer_fine_tuning_removes_the_advantage():
    found = {
        name: [
            [round(run[key], 1) for key in ('box_ap', 'mask_ap')]
            for run in tried(name, '4 x the fine-tuning')
        ]
        for name in ('lomar', 'random-lomar', 'random-mae')
    }
    assert found == {
        'lomar': [[33.2, 33.0]],
        'random-lomar': [[32.7, 33.2]],
        'random-mae': [[33.3, 32.7]],
    }
    gained = {name: one[0][0] - searched(name) for name, one in found.items()}
    assert [round(gained[name]) for name in found] == [5, 8, 7]


@pytest.mark.parametrize(
    ('variant', 'points'),
    [
        ('layer decay 0.75', 1.4),
        ('layer decay 1', 1.0),
        ('8 windows of 5 x 5', 0.1),
        ('60 % masked', 0.8),
        ('4 x the pretraining', 1.4),
        ('embedding and two blocks frozen', -1.5),
        ('HOG target', -3.9),
    ],
)
def test_variants_of_lomar(variant, points):
    assert round(searched('lomar', variant) - searched('lomar'), 1) == points


@pytest.mark.parametrize(('contender', 'points'), [('random-lomar', 3.3), ('random-mae', 1.3)])
def test_the_search_on_the_nuclei(contender, points):
    assert round(searched('lomar') - searched(contender), 1) == points
    assert (len(tried('lomar')), len(tried(contender))) == (5, 3)


@pytest.mark.parametrize(('contender', 'points'), [('random-lomar', 3.1), ('random-mae', 0.2)])
def test_mask_ap_of_the_search_on_the_nuclei(contender, points):
    ours, theirs = (max(one['mask_ap'] for one in tried(name)) for name in ('lomar', contender))
    assert round(ours - theirs, 1) == points


def test_the_epochs_of_pretraining_on_the_nuclei():
    runs = by_contender(final(RESULTS['nuclei_cpu'], 'pretrain'))['lomar', 'time'].values()
    assert {run['epochs'] for run in runs} == {125}


def test_the_gpu_took_as_long_for_1000_steps_of_both_methods():
    found = by_contender(final(RESULTS['nuclei_cpu'], 'pretrain'))
    runs = [[*found[key].values()] for key in (('lomar', 'time'), ('mae', 'images'))]
    assert {(run['steps'], run['hardware']['gpu']) for both in runs for run in both} == {
        (1000, 'NVIDIA H200')
    }
    ours, theirs = (mean(run['seconds'] for run in each) for each in runs)
    assert abs(theirs / ours - 1) < 0.05


def test_segmentation_shows_no_difference():
    found = by_contender(final(RESULTS['segment_cpu'], 'segment', labels=8))
    ours, theirs = found['lomar', 'time'], found['random-lomar', None]
    ahead = [ours[seed]['figures']['miou'] - theirs[seed]['figures']['miou'] for seed in ours]
    assert round(mean(ahead), 1) == 0.9 and min(ahead) < 0 < max(ahead)
    half = 4.303 * stdev(ahead) / len(ahead) ** 0.5  # 97.5 % of Student's t, 2 degrees of freedom
    assert (round(mean(ahead) - half, 1), round(mean(ahead) + half, 1)) == (-3.7, 5.5)


@pytest.mark.parametrize(('labels', 'points'), [(8, 2.9), (128, 6.4), (530, 9.5)])
def test_mae_with_equal_time_is_below_lomar(labels, points):
    scores = box_ap(labels)
    assert round(scores['lomar', 'time'] - scores['mae', 'time'], 1) == points


@pytest.mark.parametrize('labels', [8, 32, 128, 530])
def test_mae_with_equal_time_and_random_weights(labels):
    scores = box_ap(labels)
    ahead = [scores['mae', 'time'] - scores[key] for key in RANDOM]
    assert all(round(one) == 1 if labels == 8 else one < 0 for one in ahead)


def test_the_search_on_a_gpu():
    runs = RESULTS['imagenette_gpu']['runs']
    assert {(run['seed'], run['epochs'], run['grid']) for run in runs} == {(SEARCH_SEED, 25, 14)}
    best = {
        method: max(run['figures']['knn'] for run in runs if run['contender'] == method)
        for method in ('lomar', 'mae')
    }
    assert round(best['mae'] - best['lomar']) == 10


def probes(record, name, grid=14):
    """Return the mean accuracy of each contender's frozen features over the seeds."""
    found = by_contender(final(RESULTS[record], 'pretrain', grid=grid))
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


@pytest.mark.parametrize(('name', 'ahead', 'lost'), [('knn', 2, 4), ('linear', 5, 5)])
def test_probes_with_28_x_28_patches(name, ahead, lost):
    small = probes('imagenette_cpu', name)
    large = probes('imagenette_cpu', name, grid=28)
    assert {*large} == {('lomar', 'time'), ('mae', 'time')}  # random weights were not run
    assert round(large['mae', 'time'] - large['lomar', 'time']) == ahead
    assert round(small['mae', 'time'] - large['mae', 'time']) == lost
    assert abs(small['lomar', 'time'] - large['lomar', 'time']) < 1.5


@pytest.mark.parametrize(('name', 'ahead', 'equal_images'), [('knn', 2, 7), ('linear', 3, 12)])
def test_probes_with_24_x_24_patches_and_equal_images(name, ahead, equal_images):
    small, large = (probes('imagenette_cpu', name, grid=grid) for grid in (14, 24))
    assert round(large['mae', 'time'] - large['lomar', 'time']) == ahead
    assert round(small['mae', 'images'] - small['lomar', 'time']) == equal_images
    found = by_contender(final(RESULTS['imagenette_cpu'], 'pretrain', grid=24))
    assert {*found} == {('lomar', 'time'), ('mae', 'time')}  # random weights were not published
    assert {run['epochs'] for run in found['mae', 'time'].values()} == {2}
    assert '*' not in difference(found['lomar', 'time'], found['mae', 'time'], name)


def test_mae_needs_one_epoch_for_ten_of_lomar_with_28_x_28_patches():
    found = by_contender(final(RESULTS['imagenette_cpu'], 'pretrain', grid=28))
    theirs, ours = ([*found[method, 'time'].values()] for method in ('mae', 'lomar'))
    assert {tuple(each['epoch'] for each in run['curve']) for run in theirs} == {(1, 2)}
    assert {run['epochs'] for run in ours} == {10}
    for name in ('knn', 'linear'):
        first = mean(run['curve'][0][name] for run in theirs)
        assert abs(first - mean(run['figures'][name] for run in ours)) < 1
