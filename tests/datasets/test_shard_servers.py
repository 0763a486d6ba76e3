"""Shards at addresses: ranges from an HTTP server, servers that fail, and object stores."""

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest
from test_shards import draws, pack, place

from lomar.datasets import UnlabelledImages, byte_ranges, list_images, read_rgb
from lomar.datasets.byte_ranges import file_size, read_range
from lomar.datasets.shards import shard_images


class Handler(BaseHTTPRequestHandler):
    """Serve the server's `folder` with ranges; `faults` are answers to the next requests."""

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get('Range')))
        fault = self.server.faults.pop(0) if self.server.faults else None
        file = self.server.folder / self.path.partition('?')[0].lstrip('/')
        if fault == 'cut':
            span = self.headers['Range'].replace('=', ' ')
            return self.answer(206, b'', {'Content-Range': f'{span}/9999', 'Content-Length': '9'})
        if fault == 'drop':
            return self.connection.close()
        if isinstance(fault, int):
            return self.answer(fault, b'')
        if self.path.startswith('/moved'):
            place = f'http://{self.headers["Host"]}/{file.name}'
            return self.answer(302, b'', {'Location': place})
        if not file.is_file():
            return self.answer(404, b'')
        content = file.read_bytes()
        if self.server.plain:
            return self.answer(200, content)
        first, last = map(int, re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers['Range']).groups())
        if first >= len(content):
            return self.answer(416, b'', {'Content-Range': f'bytes */{len(content)}'})
        part = content[first : last + 1]
        place = f'bytes {first}-{first + len(part) - 1}/{len(content)}'
        return self.answer(206, part, {'Content-Range': place})

    def answer(self, status, content, headers=()):
        self.send_response(status)
        for key, value in dict({'Content-Length': str(len(content))}, **dict(headers)).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(photographs, tmp_path, monkeypatch):
    """A server of two shards with indices; its address is `address`."""
    monkeypatch.setattr(byte_ranges, 'WAITS', (0.01, 0.01))
    monkeypatch.setenv('no_proxy', '*')
    folder = tmp_path / 'served'
    folder.mkdir()
    for number in range(2):
        names = [f'{4 * number + i}.jpg' for i in range(4)]
        pack(folder / f'{number}.tar', *names, folder=photographs)
    list_images(folder)
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.folder, server.plain, server.requests, server.faults = folder, False, [], []
    server.address = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def equal(images, photographs):
    assert [image.member for image in images] == [f'{number}.jpg' for number in range(8)]
    for image in images:
        file = read_rgb(photographs / image.member)
        assert np.array_equal(np.asarray(read_rgb(image)), np.asarray(file))


@pytest.mark.parametrize('pattern', ('{0..1}.tar', '{0..1}.tar?key=a/b', 'moved/{0..1}.tar'))
def test_images_of_a_server(pattern, server, photographs):
    images = list_images(f'{server.address}/{pattern}')
    equal(images, photographs)
    server.requests.clear()
    read_rgb(images[5])
    image = images[5]
    place = f'bytes={image.offset}-{image.offset + image.size - 1}'
    assert {place} == {span for _, span in server.requests}
    assert server.requests[0][0].endswith('1.tar' + ''.join(re.findall(r'\?.*', pattern)))


def test_headers_are_read_without_an_index(server, photographs, caplog):
    expected = list_images(f'{server.address}/{{0..1}}.tar')
    for path in server.folder.glob('*.index'):
        path.unlink()
    images = list_images(f'{server.address}/{{0..1}}.tar')
    assert [*map(place, images)] == [*map(place, expected)]
    equal(images, photographs)
    assert not list(server.folder.glob('*.index'))


def test_missing_shards_are_named_at_once(server):
    with pytest.raises(FileNotFoundError, match=r'2 of 4 shards do not exist:\n.*/2.tar\n.*/3.tar'):
        list_images(f'{server.address}/{{0..3}}.tar')


def test_a_server_without_ranges_is_refused(server):
    server.plain = True
    with pytest.raises(OSError, match=r'/0\.tar: the server sends no ranges of bytes') as error:
        list_images(f'{server.address}/0.tar')
    assert '\n' not in str(error.value) and len(server.requests) == 1


FAULTS = {
    'busy': ([503, 429], None),
    'cut and dropped': (['cut', 'drop'], None),
    'dropped': (['drop', 'drop', 'drop'], r'/0\.tar: '),
    'broken': ([500, 500, 500], r'/0\.tar: HTTP Error 500'),
    'forbidden': ([403], r'/0\.tar: HTTP Error 403'),
}


@pytest.mark.parametrize('case', FAULTS)
def test_failures_are_tried_again_a_few_times(case, server):
    (image, *_), _ = shard_images([f'{server.address}/0.tar'])
    expected = read_range(image.shard, image.offset, image.size)
    server.requests.clear()
    server.faults, message = list(FAULTS[case][0]), FAULTS[case][1]
    if message:
        with pytest.raises(OSError, match=message):
            read_range(image.shard, image.offset, image.size)
    else:
        assert read_range(image.shard, image.offset, image.size) == expected
    assert len(server.requests) == len(FAULTS[case][0]) + (message is None)


@pytest.mark.parametrize('status, message', ((403, None), (500, 'HTTP Error 500')))
def test_only_an_index_that_is_missing_is_made(status, message, server, monkeypatch):
    """A store may forbid what does not exist. A server that is busy gets no further requests."""
    answer = Handler.do_GET

    def refuse(self):
        is_index = self.path.endswith('.index')
        return self.answer(status, b'') if is_index else answer(self)

    monkeypatch.setattr(Handler, 'do_GET', refuse)
    if message:
        with pytest.raises(OSError, match=message):
            list_images(f'{server.address}/0.tar')
    else:
        assert len(list_images(f'{server.address}/0.tar')) == 4


def test_a_failure_in_training_stops_the_run(server):
    crop = dict(type='LoadRandomResizedCrop', scale=24)
    steps = [crop, dict(type='mmpretrain.PackInputs')]
    data = UnlabelledImages(f'{server.address}/{{0..1}}.tar', steps)
    assert data[7]['inputs'].shape == (3, 24, 24)
    server.faults = [500] * 3
    with pytest.raises(OSError, match='HTTP Error 500'):
        data[7]


def test_a_shard_that_was_replaced_stops_the_run(server):
    images = list_images(f'{server.address}/0.tar')
    (server.folder / '0.tar').write_bytes(b'short')
    with pytest.raises(OSError, match=r'0\.tar ends at byte .* truncated or replaced'):
        read_rgb(images[-1])


def test_a_server_that_hangs_is_left(server, monkeypatch):
    monkeypatch.setattr(byte_ranges, 'TIMEOUT', 0.05)
    monkeypatch.setattr(Handler, 'do_GET', lambda self: time.sleep(0.3))
    with pytest.raises(OSError, match=r'/0\.tar: timed out'):
        file_size(f'{server.address}/0.tar')


def test_nobody_listens(monkeypatch):
    monkeypatch.setattr(byte_ranges, 'WAITS', ())
    with pytest.raises(OSError, match='Connection refused'):
        list_images('http://127.0.0.1:9/{0..1}.tar')


@pytest.fixture
def store(server):
    """The shards in fsspec's store in memory."""
    memory = fsspec.filesystem('memory')
    for path in server.folder.iterdir():
        memory.pipe_file(f'/bucket/{path.name}', path.read_bytes())
    yield memory
    memory.rm('/bucket', recursive=True)


@pytest.mark.parametrize('pattern', ('{0..1}.tar', '*.tar', '?.tar'))
def test_images_of_an_object_store(pattern, store, photographs):
    equal(list_images(f'memory://bucket/{pattern}'), photographs)


def test_errors_of_an_object_store(store, monkeypatch):
    monkeypatch.setattr(byte_ranges, 'WAITS', ())
    with pytest.raises(FileNotFoundError, match=r'1 of 2 shards do not exist:\n  memory:.*/9\.tar'):
        list_images('memory://bucket/{0,9}.tar')
    images = list_images('memory://bucket/0.tar')

    def fail(*_, **__):
        raise RuntimeError('of a store')

    monkeypatch.setattr(type(store), 'cat_file', fail)
    with pytest.raises(OSError, match=r'^memory://bucket/0\.tar: RuntimeError: of a store$'):
        read_rgb(images[0])


def test_a_missing_package_is_named(monkeypatch):
    def missing(_):
        raise ImportError('Install s3fs to access S3')

    monkeypatch.setattr('fsspec.core.url_to_fs', missing)
    with pytest.raises(ImportError, match=r"pip install 'lomar-openmmlab\[s3\]'"):
        list_images('s3://bucket/{0..1}.tar')


def test_an_image_of_no_bytes_needs_no_request(server):
    assert read_range(f'{server.address}/0.tar', 0, 0) == b'' and not server.requests


@pytest.fixture
def s3(server, monkeypatch):
    """The shards in a bucket of a local S3 server."""
    moto = pytest.importorskip('moto.server')
    pytest.importorskip('s3fs')
    running = moto.ThreadedMotoServer(port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    monkeypatch.setitem(fsspec.config.conf, 's3', dict(endpoint_url=f'http://{host}:{port}'))
    for name in ('ACCESS_KEY_ID', 'SECRET_ACCESS_KEY'):
        monkeypatch.setenv(f'AWS_{name}', 'test')
    store = fsspec.filesystem('s3')
    store.mkdir('bucket')
    for path in server.folder.iterdir():
        store.put(str(path), f'bucket/{path.name}')
    yield store
    running.stop()


def test_images_of_s3(s3, photographs):
    """Also in forked workers, each of which needs a connection of its own."""
    for pattern in ('{0..1}.tar', '*.tar'):
        equal(list_images(f's3://bucket/{pattern}'), photographs)
    assert draws('s3://bucket/*.tar', 2) == draws(photographs, 0)
    with pytest.raises(
        FileNotFoundError, match=r'1 of 2 shards do not exist:\n  s3://bucket/2\.tar'
    ):
        list_images('s3://bucket/{1..2}.tar')
