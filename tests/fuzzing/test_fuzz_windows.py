"""Window settings of any value: windows and masks that hold what they promise, or a reason."""

import torch
from fuzzing.mutations import JUNK, works_or_says_why
from hypothesis import given, settings
from hypothesis import strategies as st

from lomar.models.windows import MASKS, SAMPLERS, build_samplers, masked_indices

BATCH = 2
sides, numbers, ratios = st.integers(-1, 12), st.integers(-1, 40), st.floats(-0.5, 1.5)


def one_or_list(values):
    return st.one_of(values, st.lists(values, max_size=3), JUNK)


windows = st.fixed_dictionaries(
    {},
    optional=dict(
        size=one_or_list(sides),
        number=one_or_list(numbers),
        mask_ratio=one_or_list(ratios),
        sampling=st.one_of(st.sampled_from(sorted(SAMPLERS)), JUNK),
        masking=st.one_of(st.sampled_from(sorted(MASKS)), JUNK),
    ),
)
valid = st.fixed_dictionaries(
    {},
    optional=dict(
        size=st.one_of(st.integers(2, 5), st.lists(st.integers(2, 5), min_size=2, max_size=2)),
        number=st.integers(1, 4),
        mask_ratio=st.floats(0.25, 0.99),
        sampling=st.sampled_from(sorted(SAMPLERS)),
        masking=st.sampled_from(sorted(MASKS)),
    ),
)


@settings(max_examples=300, deadline=None)
@given(found=st.one_of(windows, valid), grid=st.tuples(st.integers(1, 14), st.integers(1, 14)))
def test_any_window_settings(found, grid):
    for sampler in works_or_says_why(build_samplers, **found) or ():
        drawn = works_or_says_why(sampler, BATCH, grid, torch.Generator().manual_seed(0))
        if drawn is not None:
            check_promises(sampler, grid, *drawn)


def check_promises(sampler, grid, windows, masked):
    """Each window lies in the grid, and each has the number of masked patches."""
    assert windows.shape == (BATCH, sampler.number, 2)
    assert masked.shape == (BATCH, sampler.number, sampler.size**2)
    assert (windows >= 0).all() and (windows + sampler.size <= torch.tensor(grid)).all()
    assert (masked.sum(-1) == sampler.num_masked).all()
    assert 0 < sampler.num_masked < sampler.size**2
    index = masked_indices(masked, sampler.num_masked)
    assert masked.gather(-1, index).all()
    if sampler.sampling == 'image':  # 'batch' repeats windows as the released code does
        for image in windows.tolist():
            assert len({tuple(place) for place in image}) == sampler.number
