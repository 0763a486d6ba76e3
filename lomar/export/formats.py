"""The two formats of exported files: how they are written, and how they are run for the check."""

import json
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram

OPSET = 18  # ONNX Runtime from 1.14 on; the exporter writes this version without a conversion
ONNX_LIMIT = 1536 * 2**20  # bytes of weights; protobuf files end at 2 GB
INPUT = 'images'
Outputs = dict[str, Tensor]


class Format(NamedTuple):
    """One format: `write(program, names, metadata, path)` and `run(path, images)`."""

    write: Callable[[ExportedProgram, list[str], dict[str, str], Path], None]
    run: Callable[[Path, Tensor], Outputs]


def check_packages(suffix: str) -> None:
    """Raise an ImportError that names the extra if packages of a format are missing."""
    if suffix != '.onnx':
        return
    try:
        for name in ('onnx', 'onnxruntime', 'onnxscript'):
            import_module(name)
    except ImportError as error:
        raise ImportError(
            f"a .onnx file needs {error.name}: pip install 'lomar-openmmlab[export]'; a .pt2 file "
            'needs PyTorch alone'
        ) from error


def _write_onnx(
    program: ExportedProgram, names: list[str], metadata: dict[str, str], path: Path
) -> None:
    size = sum(value.nbytes for value in program.state_dict.values())
    if size > ONNX_LIMIT:
        raise ValueError(
            f'the weights take {size / 1e9:.1f} GB, and a .onnx file holds at most 2 GB; allowed: '
            'the name of a .pt2 file'
        )
    with _silent():
        model = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=names,
            verbose=False,
        )
    assert model is not None  # without a path to write to
    for node in model.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of code with the paths of this machine
    model.model.metadata_props.clear()
    model.model.metadata_props.update(metadata)
    model.save(path, external_data=False)


def _run_onnx(path: Path, images: Tensor) -> Outputs:
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    arrays = session.run(names, {INPUT: images.numpy()})
    return {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}


def _write_pt2(
    program: ExportedProgram, names: list[str], metadata: dict[str, str], path: Path
) -> None:
    for node in program.graph.nodes:
        for key in ('stack_trace', 'nn_module_stack', 'source_fn_stack'):
            node.meta.pop(key, None)  # lines of code with the paths of this machine
    with open(path, 'wb') as file:  # a path would have to end in .pt2
        torch.export.save(program, file, extra_files={'metadata.json': json.dumps(metadata)})


def _run_pt2(path: Path, images: Tensor) -> Outputs:
    with open(path, 'rb') as file, torch.no_grad(), _silent():
        return torch.export.load(file).module()(images)


@contextmanager
def _silent():
    """Suppress PyTorch's warnings about its own code."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


FORMATS = {'.onnx': Format(_write_onnx, _run_onnx), '.pt2': Format(_write_pt2, _run_pt2)}
