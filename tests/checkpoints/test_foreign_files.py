"""What people name as a checkpoint by mistake: every reader says in one line what it is."""

import gzip
import io
import re
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from conftest import TINY_ARCH, tiny_lomar
from mmengine.runner.checkpoint import _load_checkpoint
from PIL import Image
from safetensors.torch import save_file
from test_readers import load_by_runner
from torch import nn

from lomar import Encoder
from lomar.checkpoints import load_file, transfer_backbone, unwrap
from lomar.checkpoints.convert import convert_file
from lomar.cli import main
from lomar.engine.resume import read_resumed
from lomar.models import RPEViT
from lomar.models.targets import InputFormat
from lomar.targets import teacher
from lomar.targets.tokenizer import PatchTokenizer
from lomar.targets.tokens import TokenTarget

WEIGHT = 'blocks.1.attn.qkv.weight'


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def vit(**changed):
    weights = RPEViT(TINY_ARCH, 64, 8).state_dict()
    return weights | {name.replace('__', '.'): value for name, value in changed.items()}


def broken(name, number):
    weights = vit()
    weights[name] = weights[name].clone()
    weights[name].view(-1)[:2] = number
    return dict(state_dict=weights)


def image():
    buffer = io.BytesIO()
    Image.new('RGB', (8, 8)).save(buffer, 'JPEG')
    return buffer.getvalue()


def archive(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as out:
        for name, content in files.items():
            out.writestr(name, content)
    return buffer.getvalue()


def arrays():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    return buffer.getvalue()


def script():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), buffer)
    return buffer.getvalue()


def folder(*names):
    def make(path):
        path.mkdir()
        for name in names:
            (path / name).write_bytes(b'')

    return make


def quantized():
    return torch.quantize_per_tensor(torch.ones(144, 48), 0.1, 0, torch.qint8)


def flipped():
    """A checkpoint with other numbers in the middle of the largest weight."""
    whole = saved(vit(head__weight=torch.full((300, 48), 0.5)))
    place = whole.index(torch.full((64,), 0.5).numpy().tobytes()) + 20_000
    return whole[:place] + bytes(1000) + whole[place + 1000 :]


LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 343279349\n'
PAGE = b'\n<!DOCTYPE html>\n<html><title>Sign in</title></html>\n'
# (what people name, the reason that every reader gives)
FILES = dict(
    a_list=(saved([torch.ones(1)]), 'holds no state dict but list; allowed: a state dict'),
    a_tensor=(saved(torch.ones(1)), 'holds no state dict but a tensor; allowed'),
    none=(saved(None), 'holds no state dict but NoneType; allowed'),
    a_string=(saved('weights'), 'holds no state dict but str; allowed'),
    no_weights=(saved({}), 'holds no state dict; allowed'),
    strings=(saved(dict(state_dict={'a': 'b'})), 'holds no tensors under a; allowed'),
    nan=(saved(broken(WEIGHT, float('nan'))), rf'{WEIGHT} has 2 NaN or infinite numbers of 6912;'),
    inf=(saved(broken(WEIGHT, float('-inf'))), rf'{WEIGHT} has 2 NaN or infinite numbers of 6912'),
    integers=(
        saved(vit(norm__weight=torch.ones(48, dtype=torch.int32))),
        r'norm\.weight has the type torch\.int32; allowed: finite real',
    ),
    quantized=(saved(vit(head__weight=quantized())), r'head\.weight is quantized: save the'),
    empty_shards=(saved(vit(norm__bias=torch.ones(0))), r'norm\.bias is empty, as .*DeepSpeed'),
    sparse=(saved(vit(norm__bias=torch.ones(48).to_sparse())), r'norm\.bias has no dense values'),
    a_model=(saved(nn.Linear(2, 2)), r'was refused: .*a whole model.* torch\.nn\.modules\.linear'),
    script=(script(), 'is a TorchScript archive'),
    a_folder=(folder('epoch_1.pth', 'epoch_2.pth'), r'is a folder; .*epoch_1\.pth, epoch_2\.pth'),
    no_file=(folder(), r'is a folder; allowed: a file in it; it has no \.pth'),
    deepspeed=(folder('zero_to_fp32.py', 'latest'), r'is a folder, .*DeepSpeed.*zero_to_fp32\.py'),
    fsdp=(folder('.metadata', '__0_0.distcp'), 'is a folder, a distributed .*dcp_to_torch FOLDER'),
    empty=(b'', r'is empty \(0 bytes\)'),
    zeros=(bytes(5000), 'is filled with zero bytes'),
    cut_off=(saved(vit())[:20000], 'damaged, it may be cut off'),
    damaged=(flipped(), r'is damaged, the checksum of archive/data/\d+ in it is wrong'),
    zipped=(archive(**{'epoch_8.pth': b'PK'}), r'is a zip archive of epoch_8\.pth: unpack it'),
    arrays=(arrays(), r'is a NumPy archive \(\.npz\)'),
    gzipped=(gzip.compress(saved(vit())), 'is compressed by gzip: unpack it'),
    image=(image(), 'is a JPEG image; allowed'),
    page=(PAGE, r'is a web page \(HTML\)'),
    pointer=(LFS, 'is a Git LFS pointer .*run `git lfs pull`'),
    message=(b'Access denied.\n', 'is a text file that begins with "Access denied."'),
    noise=(bytes(range(128, 256)), 'was refused: it is not a PyTorch file'),
)


def write(path, content):
    content(path) if callable(content) else path.write_bytes(content)
    return path


def resume(path):
    read_resumed(str(path), path.parent)


def tokenizer(path):
    inputs = InputFormat(8, 3, [0.0] * 3, [1.0] * 3, (64, 64))
    TokenTarget(inputs, dict(type='PatchTokenizer'), str(path))


READERS = dict(
    load_from=lambda path: load_by_runner(path, tiny_lomar()),
    test=lambda path: load_by_runner(path, tiny_lomar(), train_loop=None),
    openmmlab=lambda path: unwrap(_load_checkpoint(str(path))),
    encoder=lambda path: Encoder(path, 'cpu'),
    convert=lambda path: convert_file(path, path.with_name('out.pth'), 'lomar', 'backbone'),
    teacher=lambda path: teacher._load(RPEViT(TINY_ARCH), str(path)),
    tokenizer=tokenizer,
)
MORE = dict(tokenizer='no file of `lomar tokenizer`')  # what a reader needs, and checks first


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('kind', FILES)
def test_every_reader_says_what_a_file_is(kind, reader, tmp_path):
    content, reason = FILES[kind]
    path = write(tmp_path / 'in.pth', content)
    with pytest.raises(ValueError, match=f'(?s)({reason}|{MORE.get(reader, reason)})') as refused:
        READERS[reader](path)
    if (kind, reader) not in [('no_weights', 'openmmlab'), ('strings', 'openmmlab')]:
        assert 'in.pth' in str(refused.value)


@pytest.mark.parametrize('reader', ['load_from', 'encoder', 'convert', 'teacher'])
@pytest.mark.parametrize('prefix', ['vit.', '', 'module.'])
def test_the_format_of_hugging_face_transformers(prefix, reader, tmp_path):
    names = (
        *('embeddings.cls_token', 'embeddings.patch_embeddings.projection.weight'),
        *('encoder.layer.0.attention.attention.query.weight', 'layernorm.weight'),
    )
    save_file({f'{prefix}{name}': torch.ones(2, 2) for name in names}, tmp_path / 'in.safetensors')
    reason = (
        r'format of Hugging Face transformers \(.*patch_embeddings\.projection\.weight\), which is '
        r'not read; allowed: .*facebookresearch/mae or hf://timm/vit_base_patch16_224\.mae$'
    )
    with pytest.raises(ValueError, match=reason) as refused:
        READERS[reader](tmp_path / 'in.safetensors')
    assert 'in.safetensors' in str(refused.value) and '\n' not in str(refused.value)


@pytest.mark.parametrize('kind', ['page', 'nan', 'a_list', 'a_folder'])
def test_commands_name_the_file_in_one_line(kind, tmp_path, photographs, capsys):
    content, reason = FILES[kind]
    path, out = write(tmp_path / 'in.pth', content), str(tmp_path / 'out.pth')
    config, images = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes', str(photographs)
    small = [f'train_dataloader.{name}' for name in ('num_workers=0', 'batch_size=2')]
    train = ['train', config, '--dry-run', '--train-images', images]
    for line in (
        ['encode', str(path), images, '--out', str(tmp_path / 'out')],
        ['convert', str(path), out, '--from', 'lomar', '--to', 'backbone'],
        ['reconstruct', config, str(path), images, '--out', str(tmp_path / 'out')],
        [*train, '--cfg-options', *small, '--resume', str(path)],
        [*train, '--cfg-options', *small, f'load_from={path}'],
    ):
        assert main(line) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f'lomar {line[0]}: ') and 'in.pth' in said, said
        assert re.search(reason, said), said


def test_values_of_a_tokenizer_are_checked(tmp_path):
    made = PatchTokenizer(8).checkpoint()
    made['state_dict']['codebook'][0, 0] = float('nan')
    torch.save(made, tmp_path / 'in.pth')
    with pytest.raises(ValueError, match='codebook has 1 NaN or infinite numbers'):
        tokenizer(tmp_path / 'in.pth')


@pytest.mark.parametrize('name', ['a.safetensors', 'a.pth', 'a.bin', 'a', 'a.pth.download'])
@pytest.mark.parametrize('save', [torch.save, save_file])
def test_the_format_is_that_of_the_contents(name, save, tmp_path):
    save({'a': torch.arange(3.0)}, tmp_path / name)
    assert torch.equal(load_file(tmp_path / name)['a'], torch.arange(3.0))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_real_types_load(dtype, tmp_path):
    weights = {name: value.to(dtype) for name, value in vit().items()}
    weights['blocks.0.num_batches_tracked'] = torch.ones((), dtype=torch.int64)
    torch.save(weights, tmp_path / 'in.pth')
    found = unwrap(load_file(tmp_path / 'in.pth'))
    report = transfer_backbone(found, RPEViT(TINY_ARCH, 64, 4), allow=['blocks.0.num_*'])
    assert len(report.resized) == 1 and not report.missing


@pytest.mark.parametrize('kind', ['page', 'empty', 'a_list', 'cut_off', 'nan', 'a_model'])
def test_a_download_is_checked_like_a_file(kind, tmp_path, monkeypatch):
    content, reason = FILES[kind]
    (tmp_path / 'site').mkdir()
    write(tmp_path / 'site/in.pth', content)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / 'site'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/in.pth'
        with pytest.raises(ValueError, match=f'(?s){url}: .*?({reason})'):
            load_by_runner(url, tiny_lomar())
        server.shutdown()


def test_files_without_checksums_open(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(a=torch.arange(3.0)), tmp_path / 'in.pth')
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(load_file(tmp_path / 'in.pth')['a'], torch.arange(3.0))
