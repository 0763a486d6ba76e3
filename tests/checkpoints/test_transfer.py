"""Pretrained backbones from this package, the original code and mmpretrain, and what is refused."""

import pytest
import torch
from conftest import TINY_ARCH, randomised, tiny_lomar

from lomar.checkpoints import TransferError, transfer_backbone
from lomar.models import RPEViT


def detector_backbone(position='irpe', patch_size=8, **settings):
    return RPEViT(
        TINY_ARCH,
        96,
        patch_size,
        out_type='featmap',
        with_cls_token=False,
        final_norm=False,
        position=position,
        window_size=4,
        global_blocks=[2],
        **settings,
    )


def test_from_this_package():
    lomar, backbone = randomised(tiny_lomar()), detector_backbone()
    report = transfer_backbone(lomar.state_dict(), backbone)
    assert report.missing == report.unexpected == report.resized == []
    assert sorted(report.left_out) == ['cls_token', 'mask_token', 'norm.bias', 'norm.weight']
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, lomar.backbone.state_dict()[name]), name


def test_from_the_original_code(official):
    _, weights, _ = official('official_pretrain_tiny.npz')
    backbone = detector_backbone()
    report = transfer_backbone(weights, backbone)
    assert len(report.matched) == len(backbone.state_dict()) and report.missing == []
    # Its position table was never added to anything.
    assert 'pos_embed' in report.left_out


def test_from_mmpretrain_gives_the_same_features(mae):
    backbone = RPEViT(TINY_ARCH, 64, 8, out_type='raw', position='absolute')
    report = transfer_backbone(mae.state_dict(), backbone)
    assert report.missing == report.unexpected == []
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mae.backbone.out_type = 'raw'
    mae.eval()
    expected = mae.backbone(images, mask=None)[-1]
    torch.testing.assert_close(backbone.eval()(images)[0], expected, atol=1e-5, rtol=1e-5)


def test_absolute_positions_and_patches_are_resized(mae):
    backbone = detector_backbone('absolute+decomposed', patch_size=12)
    report = transfer_backbone(mae.state_dict(), backbone)
    assert [line.split()[0] for line in report.resized] == ['pos_embed', 'patch_embed.proj.weight']
    # New in ViTDet, and zero, so that nothing changes before they are trained.
    assert all('rel_pos' in name for name in report.missing) and len(report.missing) == 6
    assert 'resized       2  pos_embed (1, 65, 48) -> (1, 64, 48)' in str(report)


@pytest.mark.parametrize('size', [(64, 128), (48, 64)])  # 129 and 49 positions, cls token included
def test_absolute_positions_of_a_grid_that_is_not_square(size):
    model = randomised(RPEViT(TINY_ARCH, size, 8, position='absolute'))
    same = RPEViT(TINY_ARCH, size, 8, position='absolute')
    assert not transfer_backbone(model.state_dict(), same).resized
    assert torch.equal(same.pos_embed, model.pos_embed)
    if size == (48, 64):
        return  # without a cls token 49 positions are those of 7 x 7
    detector = detector_backbone('absolute', pretrain_img_size=size)
    transfer_backbone(model.state_dict(), detector)
    assert torch.equal(detector.pos_embed, model.pos_embed[:, 1:])
    with pytest.raises(TransferError, match=r'not of a square grid.*: set backbone\.pretrain_img'):
        transfer_backbone(model.state_dict(), detector_backbone('absolute'))


def test_what_does_not_fit_is_refused(mae, official):
    _, weights, _ = official('official_pretrain_tiny.npz')
    with pytest.raises(TransferError, match=r"trained with absolute positions: use .*'absolute'"):
        transfer_backbone(mae.state_dict(), detector_backbone())
    with pytest.raises(TransferError, match=r"trained with iRPE: use backbone\.position='irpe'"):
        transfer_backbone(weights, detector_backbone('absolute'))
    with pytest.raises(TransferError, match=r'41 of its weights did not load'):
        transfer_backbone({'model.layer1.weight': torch.ones(1)}, detector_backbone())
    wide, colours = dict(embed_dim=96, depth=3, num_heads=3), dict(in_channels=4)
    for wrong, hint in (
        ({'arch': wide}, 'another width: set backbone.arch'),
        (colours, 'another number of channels'),
    ):
        other = RPEViT(**{'arch': TINY_ARCH, 'img_size': 64, 'patch_size': 8, **wrong})
        with pytest.raises(TransferError, match=hint):
            transfer_backbone(other.state_dict(), detector_backbone())
    del weights['blocks.1.mlp.fc1.weight']
    weights['blocks.2.attn.qkv.weight'] = torch.ones(3, 3)
    weights['blocks.2.extra'] = torch.ones(1)
    with pytest.raises(TransferError) as refused:
        transfer_backbone(weights, detector_backbone())
    for name in (
        'blocks.*.mlp.fc1.weight',
        'blocks.*.attn.qkv.weight (3, 3) -> (144, 48)',
        'extra',
    ):
        assert name in str(refused.value)
    allow = ['blocks.1.mlp.fc1.weight', 'blocks.2.*']
    assert transfer_backbone(weights, detector_backbone(), allow).matched
