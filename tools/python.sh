# Sets PYTHON for the scripts beside it: $PYTHON, else .venv of this checkout, else python.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$ROOT/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python
fi
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
