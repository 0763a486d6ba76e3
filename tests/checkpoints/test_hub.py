"""hf://ORG/NAME as a checkpoint, with a local stand-in of the Hugging Face Hub; uploads."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT
from huggingface_hub import constants

import lomar
from lomar.checkpoints import hub, load_file
from lomar.checkpoints.publish import publish
from lomar.cli import main

COMMITS = dict(main='a' * 40, v1='b' * 40)  # of every repository of the stand-in
REVISIONS = COMMITS | {commit: commit for commit in COMMITS.values()}
PRETRAIN = FIXTURES / 'v0.1/pretrain_lomar.pth'
IMAGE = np.zeros((64, 64, 3), np.uint8)


class Hub(BaseHTTPRequestHandler):
    """Answers the requests of `hf_hub_download`: /ORG/NAME/resolve/REVISION/FILE."""

    def __init__(self, root, requested, *args):
        self.root, self.requested = root, requested
        super().__init__(*args)

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        org, name, _, revision, file = self.path.strip('/').split('?')[0].split('/', 4)
        repository = self.root / org / name
        commit, content = REVISIONS.get(revision, ''), b''
        if not repository.is_dir():
            code, missing = 401, 'RepoNotFound'
        elif name == 'gated':
            code, missing = 403, 'GatedRepo'
        elif not commit:
            code, missing = 404, 'RevisionNotFound'
        elif not (repository / file).is_file():
            code, missing = 404, 'EntryNotFound'
        else:
            code, missing, content = 200, '', (repository / file).read_bytes()
            self.requested.append(file)
        self.send_response(code)
        if missing:
            self.send_header('X-Error-Code', missing)
        self.send_header('X-Repo-Commit', commit)
        self.send_header('ETag', f'"{sha256(content).hexdigest()}"')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope='module')
def repositories(tmp_path_factory):
    """The folder with the repositories of the stand-in, the files requested, and its address."""
    root, requested = tmp_path_factory.mktemp('hub'), []
    publish(PRETRAIN, root / 'org/encoder')
    publish(FIXTURES / 'v0.1/classifier_lomar.pth', root / 'org/classifier.v1')
    (root / 'org/encoder/modeling.py').write_text('raise SystemExit("executed")')
    for name, lost in (('no-config', 'config.json'), ('no-weights', 'model.safetensors')):
        shutil.copytree(root / 'org/encoder', root / 'org' / name)
        (root / 'org' / name / lost).unlink()
    (root / 'org/gated').mkdir()
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Hub, root, requested))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield root, requested, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def use(monkeypatch, address):
    """Set the address of the hub, which huggingface_hub reads when it is imported."""
    name, template = 'HUGGINGFACE_CO_URL_TEMPLATE', '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'ENDPOINT', address)
    for module in (constants, huggingface_hub.file_download):  # the latter in older releases
        monkeypatch.setattr(module, name, address + template, raising=False)


@pytest.fixture
def online(repositories, tmp_path, monkeypatch):
    """huggingface_hub with the stand-in's address and an empty cache; the files requested."""
    _, requested, address = repositories
    requested.clear()
    use(monkeypatch, address)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    return requested


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The cache folder that huggingface_hub reads offline."""
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.mark.parametrize(
    'name', ['hf://org/encoder', 'hf://org/encoder@v1', Path('hf://org/encoder')]
)
def test_content(online, name):
    found, expected = load_file(name), load_file(PRETRAIN)
    assert found['meta']['seed'] == expected['meta']['seed']
    assert all(torch.equal(found['state_dict'][k], v) for k, v in expected['state_dict'].items())
    assert set(online) == {'config.json', 'model.safetensors'}  # and no code


def test_readers(online, tmp_path, photographs):
    expected = lomar.Encoder(PRETRAIN)([IMAGE]).pooled
    assert torch.equal(lomar.Encoder('hf://org/encoder')([IMAGE]).pooled, expected)
    assert len(lomar.Classifier('hf://org/classifier.v1', device='cpu').classes) == 3
    for line in (
        ['encode', 'hf://org/encoder', str(photographs), '--out', f'{tmp_path}/a.npz'],
        ['convert', 'hf://org/encoder', f'{tmp_path}/a.pth', '--from', 'lomar', '--to', 'timm'],
        ['publish', 'hf://org/encoder', f'{tmp_path}/again'],
    ):
        assert main(line) == 0
    assert lomar.Encoder(tmp_path / 'again')([IMAGE]).pooled.equal(expected)


def test_metrics_of_a_repository_are_published_again(online, repositories, tmp_path):
    folder = shutil.copytree(repositories[0] / 'org/encoder', repositories[0] / 'org/measured')
    digest = sha256((folder / 'model.safetensors').read_bytes()).hexdigest()
    measured = dict(checkpoint_sha256=digest, metrics=dict(knn=91.5), images=8, dataset='a')
    (folder / 'metrics.json').write_text(json.dumps(measured))
    assert 'metrics.json' in publish('hf://org/measured', tmp_path / 'again').files
    assert json.loads((tmp_path / 'again/metrics.json').read_text()) == measured
    assert '| knn | 91.50 |' in (tmp_path / 'again/README.md').read_text()
    assert 'metrics.json' not in publish('hf://org/encoder', tmp_path / 'more').files


def test_trainings(online, tmp_path, photographs, capsys):
    """load_from and the weights of a teacher."""
    line = ['train', '', '--train-images', str(photographs), '--work-dir', str(tmp_path / 'work')]
    options = ['train_dataloader.batch_size=4', 'model.backbone.arch.embed_dim=16']
    options += ['model.backbone.arch.depth=2', 'train_dataloader.num_workers=0', 'custom_hooks=[]']
    shapes = ROOT / 'mmconfigs/shapes'
    line[1] = str(shapes / 'lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py')
    start = 'load_from=hf://org/encoder@v1'
    assert main([*line, '--cfg-options', *options, start, 'train_cfg.max_epochs=1']) == 0
    meta = load_file(tmp_path / 'work/epoch_1.pth')['meta']
    assert meta['started_from'][0]['file'] == 'hf://org/encoder@v1'
    assert main([*line, '--cfg-options', *options, 'load_from=hf://org/nothing']) == 1
    assert 'hf://org/nothing: the hub has no such repository' in capsys.readouterr().err
    line[1] = str(shapes / 'lomar-distil_vit-tiny-p8_1xb32-coslr-8e_shapes.py')
    teacher = ['model.head.target.weights=hf://org/encoder', 'train_dataloader.batch_size=4']
    del online[:]
    main([*line, '--dry-run', '--cfg-options', *teacher])
    assert 'hf://org/encoder' in capsys.readouterr().err and online  # of another architecture


def test_commits_are_not_mixed(online, monkeypatch):
    """The weights are those of the commit that config.json has, also if the branch moves."""
    asked = []

    def download(name, file, revision):
        asked.append((file, revision))
        return theirs(name, file, revision=revision)

    theirs = huggingface_hub.hf_hub_download
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    load_file('hf://org/encoder')
    assert asked == [('config.json', None), ('model.safetensors', COMMITS['main'])]


ERRORS = {
    'hf://org/nothing': 'the hub has no such repository, or it is private',
    'hf://org/encoder@v2': 'the repository has no such revision',
    'hf://org/no-config': r'the repository has no config\.json or no model\.safetensors',
    'hf://org/no-weights': r'the repository has no config\.json or no model\.safetensors',
    'hf://org/gated': 'access to the repository is restricted',
    **dict.fromkeys(
        (
            *(
                'hf://',
                'hf://encoder',
                'hf://org/',
                'hf:///encoder',
                'hf://org/encoder/config.json',
            ),
            *(
                'hf://../encoder',
                'hf://org/..',
                'hf://org/a..b',
                'hf://org/a--b',
                'hf://org/encoder@',
            ),
            *('hf://org/encoder@../../x', 'hf://org/en coder', 'hf://org/encoder?x'),
            *('hf://-org/encoder', f'hf://org/{"a" * 97}'),
        ),
        'names no repository of the Hugging Face Hub; allowed: ORG/NAME',
    ),
}


@pytest.mark.parametrize('name', ERRORS)
def test_errors(online, capsys, name):
    with pytest.raises(ValueError, match=ERRORS[name]) as error:
        load_file(name)
    assert '\n' not in str(error.value).strip()
    assert main(['encode', name, str(ROOT / 'docs/images'), '--out', 'x.npz']) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def in_cache(cache, repositories):
    """Put the encoder of the stand-in into a cache, as huggingface_hub does."""
    model = cache / 'models--org--encoder'
    shutil.copytree(repositories[0] / 'org/encoder', model / 'snapshots' / COMMITS['main'])
    (model / 'refs').mkdir()
    (model / 'refs/main').write_text(COMMITS['main'])


def test_the_cache_serves_offline(offline, repositories, tmp_path):
    cause = r'^hf://org/encoder: HF_HUB_OFFLINE is set, and the files are not in the cache, '
    with pytest.raises(ValueError, match=cause):
        load_file('hf://org/encoder')
    in_cache(offline, repositories)
    assert load_file('hf://org/encoder')['state_dict'].keys()
    assert load_file(f'hf://org/encoder@{COMMITS["main"]}')['state_dict'].keys()
    with pytest.raises(ValueError, match='HF_HUB_OFFLINE is set, and the files'):
        load_file('hf://org/encoder@v1')
    done = publish('hf://org/encoder', tmp_path / 'again')
    assert any('the metrics are left out: hf://org/encoder: HF_HUB_OFFL' in n for n in done.notes)


class Busy(BaseHTTPRequestHandler):
    """A hub that answers nothing but errors."""

    def do_HEAD(self):
        self.send_response(503)
        self.send_header('Content-Length', '0')
        self.end_headers()

    do_GET = do_POST = do_HEAD

    def log_message(self, *_):
        pass


@pytest.fixture
def down(request, monkeypatch):
    """Addresses of hubs that do not work, and the shortest time until one is given up."""
    monkeypatch.setattr(hub, 'SECONDS', 0.5)
    silent = socket.create_server(('127.0.0.1', 0))  # accepts, and never answers
    busy = ThreadingHTTPServer(('127.0.0.1', 0), Busy)
    threading.Thread(target=busy.serve_forever, daemon=True).start()
    yield dict(
        refused='http://127.0.0.1:9',
        silent=f'http://127.0.0.1:{silent.getsockname()[1]}',
        busy=f'http://127.0.0.1:{busy.server_port}',
        unknown='http://hub.invalid',
    )
    busy.shutdown()
    silent.close()


@pytest.mark.parametrize('kind', ['refused', 'silent', 'busy', 'unknown'])
def test_a_hub_that_is_down(kind, down, online, repositories, tmp_path, monkeypatch, capsys):
    """One line, in seconds; the files in the cache are used."""
    use(monkeypatch, down[kind])
    start = time.monotonic()
    assert main(['encode', 'hf://org/encoder', str(ROOT / 'docs/images'), '--out', 'x.npz']) == 1
    assert time.monotonic() - start < 8
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith('lomar encode: hf://org/encoder: http://')
    cause = 'answers HTTP 503' if kind == 'busy' else 'cannot be reached: '
    assert f'{down[kind]} {cause}' in said
    assert f'and the files are not in the cache, {tmp_path}/cache; check the network, or s' in said
    assert 'HF_ENDPOINT' in said and '`hf download`' in said
    in_cache(tmp_path / 'cache', repositories)
    assert load_file('hf://org/encoder')['state_dict'].keys()
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('kind', ['refused', 'unknown'])
def test_a_push_to_a_hub_that_is_down(kind, down, online, tmp_path, monkeypatch, capsys):
    use(monkeypatch, down[kind])
    monkeypatch.setattr(time, 'sleep', lambda _: None)  # between the attempts
    line = ['publish', str(PRETRAIN), str(tmp_path / 'out'), '--push', 'org/encoder']
    assert main(line) == 1
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith('lomar publish: --push org/encoder: ')
    assert load_file(tmp_path / 'out')['state_dict']


@pytest.mark.slow
def test_an_import_of_nothing_else(tmp_path):
    """Parts of huggingface_hub are imported when they are used."""
    code = "from lomar.checkpoints import load_file\nload_file('hf://org/encoder')"
    env = dict(os.environ, HF_HUB_OFFLINE='1', HF_HOME=str(tmp_path))
    done = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith('ValueError: hf://org/encoder: HF_HUB_OFFLINE')


def test_configs_of_the_hub_execute_nothing(online, repositories, tmp_path):
    folder = shutil.copytree(repositories[0] / 'org/encoder', repositories[0] / 'org/evil')
    content = json.loads((folder / 'config.json').read_text())
    text = f"__import__('os').system('touch {tmp_path}/touched')"
    content['lomar']['config']['model']['a'] = {'(python)': text}
    content['auto_map'] = dict(AutoModel='modeling.Model')
    (folder / 'config.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'^hf://org/evil: .*config\.json was refused'):
        load_file('hf://org/evil')
    assert not (tmp_path / 'touched').exists()


class Api:
    """Records the calls of `HfApi`."""

    def __init__(self, calls, error=None, **options):
        self.calls, self.error = calls, error

    def create_repo(self, name, **options):
        if self.error:
            raise self.error
        self.calls.append(('create_repo', name, options))
        return f'https://huggingface.co/{name}'

    def upload_folder(self, **options):
        here = sorted(path.name for path in Path(options['folder_path']).iterdir())
        self.calls.append(('upload_folder', options, here))


def test_push(tmp_path, monkeypatch, capsys):
    calls, out = [], tmp_path / 'out'
    monkeypatch.setattr(huggingface_hub, 'HfApi', partial(Api, calls))
    out.mkdir()
    (out / 'private.txt').write_text('mine')
    assert main(['publish', str(PRETRAIN), str(out), '--push', 'org/encoder']) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'https://huggingface.co/org/encoder'
    (create, name, options), (upload, given, there) = calls
    assert (create, name, options) == ('create_repo', 'org/encoder', dict(exist_ok=True))
    assert upload == 'upload_folder' and given['repo_id'] == 'org/encoder'
    assert sorted(given['allow_patterns']) == ['README.md', 'config.json', 'model.safetensors']
    assert set(given['allow_patterns']) < set(there)  # all written before the upload
    text = (out / 'README.md').read_text()
    assert "lomar.Encoder('hf://org/encoder')" in text and 'hf-hub:org/encoder' in text


@pytest.mark.parametrize('name', ['encoder', 'org/encoder@v1', '../x', 'org/a/b', 'org/'])
def test_a_malformed_name_stops_before_anything_is_written(tmp_path, capsys, name):
    assert main(['publish', str(PRETRAIN), str(tmp_path / 'out'), '--push', name]) == 1
    assert 'allowed: ORG/NAME' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_refused_upload_keeps_the_folder(tmp_path, monkeypatch, capsys):
    error = huggingface_hub.errors.HFValidationError('first line\nsecond line')
    monkeypatch.setattr(huggingface_hub, 'HfApi', partial(Api, [], error))
    assert main(['publish', str(PRETRAIN), str(tmp_path / 'out'), '--push', 'org/encoder']) == 1
    assert capsys.readouterr().err == 'lomar publish: --push org/encoder: first line\n'
    assert load_file(tmp_path / 'out')['state_dict']


def test_without_huggingface_hub(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    advice = "huggingface_hub: pip install 'lomar-openmmlab[hub]'"
    with pytest.raises(ImportError, match=r'^hf://org/encoder needs') as error:
        load_file('hf://org/encoder')
    assert advice in str(error.value)
    assert main(['publish', str(PRETRAIN), str(tmp_path / 'out'), '--push', 'org/encoder']) == 1
    assert advice in capsys.readouterr().err and not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_the_command_with_an_address_of_the_environment(repositories, tmp_path, photographs):
    env = dict(os.environ, HF_ENDPOINT=repositories[2], HF_HOME=str(tmp_path / 'home'))
    line = ['encode', 'hf://org/encoder', photographs, '--out', tmp_path / 'a.npz']
    command = [sys.executable, '-m', 'lomar', *map(str, line)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / 'a.npz')['features'].shape == (8, 16)
