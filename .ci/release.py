"""Build, check and try a release of the last commit: `make release`.

Writes dist/: the source archive, the wheel, SHA256SUMS, licences.md (of the packages that an
installation of the wheel takes) and transcript.txt (of the demo in that installation).
"""

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / 'dist'
TOOLS = Path(sys.executable).parent
# Sentences of the licences of code that must not be copied: CC-BY-NC, and the header of MAE.
FOREIGN = re.compile(b'Attribution-Non[C]ommercial|Copyright \\(c\\) (Meta|Facebook)')


def main() -> None:
    version, epoch = check_commit()
    with tempfile.TemporaryDirectory() as folder:
        first, second = (build(Path(folder, name), epoch) for name in ('first', 'second'))
        for one, other in zip(first, second, strict=True):
            if one.read_bytes() != other.read_bytes():
                sys.exit(f'{one.name} differs between two builds of one commit')
        check_sources(first[0])
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        archive, wheel = (Path(shutil.copy(path, DIST)) for path in first)
        run(sys.executable, '-m', 'twine', 'check', '--strict', archive, wheel)
        run(sys.executable, '-m', 'check_wheel_contents', wheel)
        try_wheel(wheel, Path(folder))
    sums = [f'{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}' for path in archives()]
    (DIST / 'SHA256SUMS').write_text('\n'.join(sums) + '\n')
    print(f'Version {version}: {DIST}', *sums, sep='\n')


def check_commit() -> tuple[str, int]:
    """Return the version and the time of the last commit, which every file names alike."""
    if changed := output('git', 'status', '--porcelain'):
        sys.exit(f'A release is built from a commit, and files are not committed:\n{changed}')
    found = {
        name: re.search(pattern, (ROOT / name).read_text(encoding='utf-8'), re.MULTILINE)
        for name, pattern in {
            'lomar/__init__.py': r"^__version__ = '(.+)'",
            'CHANGELOG.md': r'^## \[(\d.+?)\] - \d{4}-\d\d-\d\d',
            'CITATION.cff': r'^version: (.+)',
        }.items()
    }
    versions = {name: match and match[1] for name, match in found.items()}
    if len(set(versions.values())) != 1 or None in versions.values():
        sys.exit(f'One version is needed in all of these files: {versions}')
    return str(versions['lomar/__init__.py']), int(output('git', 'log', '-1', '--format=%ct'))


def build(folder: Path, epoch: int) -> tuple[Path, Path]:
    """Return a source archive and a wheel of the last commit, built in `folder`."""
    source = folder / 'source'
    source.mkdir(parents=True)
    archive = subprocess.check_output(['git', 'archive', 'HEAD'], cwd=ROOT)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(source, filter='data')
    environment = {**os.environ, 'SOURCE_DATE_EPOCH': str(epoch)}
    run(sys.executable, '-m', 'build', '--outdir', folder, source, env=environment)
    (packed,), (wheel,) = folder.glob('*.tar.gz'), folder.glob('*.whl')
    normalize(packed, epoch)
    return packed, wheel


def normalize(archive: Path, epoch: int) -> None:
    """Give all members of a source archive one time and owner; setuptools keeps those of files."""
    with tarfile.open(archive) as opened:
        members = [
            (one, opened.extractfile(one).read() if one.isfile() else b'')
            for one in sorted(opened.getmembers(), key=lambda one: one.name)
        ]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w', format=tarfile.PAX_FORMAT) as written:
        for member, content in members:
            member.mtime, member.uid, member.gid = epoch, 0, 0
            member.uname = member.gname = ''
            member.pax_headers = {}
            written.addfile(member, io.BytesIO(content))
    archive.write_bytes(gzip.compress(buffer.getvalue(), mtime=epoch))


def check_sources(archive: Path) -> None:
    """Stop if a file of the source archive carries a licence that forbids commercial use."""
    with tarfile.open(archive) as opened:
        files = [(one.name, opened.extractfile(one).read()) for one in opened if one.isfile()]
    code = (one for one in files if one[0].endswith(('.py', '.pyi', '.sh')))
    if found := [name for name, content in code if FOREIGN.search(content)]:
        sys.exit(f'Files of foreign, non-commercial sources: {found}')


def try_wheel(wheel: Path, folder: Path) -> None:
    """Install the wheel in an empty environment, list licences there, and run the demo."""
    run(sys.executable, '-m', 'venv', folder / 'venv')
    python = folder / 'venv/bin/python'
    run(python, '-m', 'pip', 'install', '-q', '-c', 'constraints.txt', f'{wheel}[openmmlab,demo]')
    listed = output(
        TOOLS / 'pip-licenses', f'--python={python}', '--format=markdown', '--order=license'
    )
    (DIST / 'licences.md').write_text(listed + '\n', encoding='utf-8')
    lomar, text = folder / 'venv/bin/lomar', []
    for line in ('lomar --version', 'lomar demo --work-dir demo'):
        shown = output(lomar, *line.split()[1:], cwd=folder)
        text.append(f'$ {line}\n{shown}\n')
    (DIST / 'transcript.txt').write_text('\n'.join(text), encoding='utf-8')


def archives() -> list[Path]:
    """Return the archives of the release."""
    return sorted([*DIST.glob('*.tar.gz'), *DIST.glob('*.whl')])


def run(*command: object, **options) -> None:
    """Run a command in the repository, and stop if it fails."""
    subprocess.run([str(word) for word in command], **{'cwd': ROOT, 'check': True, **options})


def output(*command: object, cwd: Path = ROOT) -> str:
    """Return what a command prints, and stop if it fails."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, stdout=subprocess.PIPE, check=True, text=True
    )
    return done.stdout.strip()


if __name__ == '__main__':
    main()
