"""Programs in processes that have TensorFlow loaded already, which takes seconds.

They are forks of one process that has imported it and done no more.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]
_QUIET = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}


def context() -> ForkServerContext:
    """Returns what starts the processes."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["nst_tf.engine.transfer"])
    with mock.patch.dict(os.environ, _QUIET):
        forkserver.ensure_running()
    return found


def run(
    program: Path,
    *arguments: object,
    folder: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a Python program to its end, as `subprocess.run` does.

    Args:
        program: path of the program.
        arguments: its arguments.
        folder: its working folder.
        environment: what is set in its environment.
    """
    command = [str(program), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as streams:
        out, error = Path(streams, "out"), Path(streams, "error")
        given = (command, folder, {**os.environ, **(environment or {})}, out, error)
        process = context().Process(target=_begin, args=given)
        process.start()
        process.join(300)
        process.kill()  # If it hangs.
        process.join()
        return subprocess.CompletedProcess(
            command, process.exitcode, out.read_text(), error.read_text()
        )


def _begin(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    out: Path,
    error: Path,
) -> None:
    for number, path in ((1, out), (2, error)):
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY), number)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # What the environment says now.
    os.chdir(folder)
    sys.argv = list(command)
    sys.path.insert(0, str(Path(command[0]).parent))
    runpy.run_path(command[0], run_name="__main__")
