"""Execute the steps of a Dockerfile in a root file system, on a computer without a Docker daemon.

    debootstrap --variant=minbase bookworm ROOT http://deb.debian.org/debian
    python docker/run_in_chroot.py docker/Dockerfile ROOT [--build-arg NAME=VALUE]

Needs root. ROOT takes the place of the image in FROM and is changed.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

CONTEXT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('dockerfile', type=Path)
    parser.add_argument('root', type=Path)
    parser.add_argument('--build-arg', action='append', default=[], metavar='NAME=VALUE')
    args = parser.parse_args()
    given = dict(pair.split('=', 1) for pair in args.build_arg)
    subprocess.run(['mount', '-t', 'proc', 'proc', args.root / 'proc'], check=True)
    try:
        execute(args.dockerfile, args.root.resolve(), given)
    finally:
        subprocess.run(['umount', args.root / 'proc'], check=True)


def execute(dockerfile: Path, root: Path, given: dict[str, str]) -> None:
    """Execute the instructions that docker/Dockerfile uses; raise a ValueError for others."""
    user, place = '0', '/'
    names = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'}
    for line in instructions(dockerfile.read_text()):
        print(f'--> {line}', flush=True)
        word, _, rest = line.partition(' ')
        if word in ('FROM', 'CMD'):
            continue
        if word in ('ARG', 'ENV'):
            name, _, value = rest.partition('=')
            value = given.get(name, value) if word == 'ARG' else value
            names[name] = re.sub(r'\$(\w+)', lambda match: names[match[1]], value)
        elif word == 'USER':
            user = rest
        elif word == 'WORKDIR':
            place = rest
        elif word == 'COPY':
            copy(root, place, user, *(one for one in rest.split() if not one.startswith('--')))
        elif word == 'RUN':
            variables = [f'{name}={value}' for name, value in names.items()]
            inside = f'cd {shlex.quote(place)} && {rest}'
            line = ['chroot', f'--userspec={user}', str(root), 'env', '-i', *variables]
            subprocess.run([*line, 'sh', '-c', inside], check=True)
        else:
            raise ValueError(f'{dockerfile} has {word}; this script knows the other instructions')


def instructions(text: str) -> list[str]:
    """Return the instructions of a Dockerfile, one line each, without comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith('#')]
    joined = re.sub(r'\\\n\s*', '', '\n'.join(lines))
    return [line for line in joined.splitlines() if line.strip()]


def copy(root: Path, place: str, user: str, *names: str) -> None:
    """Copy files that git knows from the repository into a folder of the root file system."""
    *sources, target = names
    folder = root / Path(place, target).as_posix().lstrip('/')
    for source in sources:
        found = subprocess.check_output(['git', 'ls-files', '-z', '--', source], cwd=CONTEXT)
        for name in found.decode().rstrip('\0').split('\0'):
            path = CONTEXT / name
            kept = path.relative_to(CONTEXT / source) if (CONTEXT / source).is_dir() else path.name
            (folder / kept).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / kept, follow_symlinks=False)
    subprocess.run(['chown', '-R', f'{user}:{user}', folder], check=True)


if __name__ == '__main__':
    sys.exit(main())
