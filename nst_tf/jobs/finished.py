"""Recognises the finished picture of a job by its recipe."""

from __future__ import annotations

import functools
import os

from nst_tf import errors
from nst_tf.imaging import sources
from nst_tf.jobs.job import Job
from nst_tf.records import recipe
from nst_tf.runtime import files


def finished(job: Job) -> bool:
    """Returns whether the file of a job's picture holds that picture, so that it need not be made.

    Its recipe must have the settings of the job and the SHA-256 of its inputs. Where the settings
    say `auto`, for network and precision, what the recipe has is accepted; so are the software
    and the machine, which change the last bits at most.
    """
    path = job.outputs.picture
    if not path or not os.path.isfile(path) or not isinstance(job.inputs, sources.Paths):
        return False
    try:
        then = recipe.essence(recipe.load(path))
        now = recipe.with_network(job.config, then)
        inputs = recipe.input_hashes(job.inputs.roles(now), _hash)
    except (errors.StyleTransferError, OSError):
        return False
    return recipe.is_of(then, now, inputs)


def _hash(path: str) -> str:
    found = os.stat(path)
    return _hash_of(path, found.st_size, found.st_mtime_ns)


@functools.lru_cache(1 << 12)  # The same painting serves many jobs.
def _hash_of(path: str, size: int, changed: int) -> str:
    del size, changed  # Keys of the cache.
    return files.file_hash(path)
