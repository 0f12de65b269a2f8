"""Many jobs: each has its outcome, once, whatever happens to others, and equal pictures."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import nst_tf
from nst_tf import errors, jobs

CONFIG = nst_tf.StyleTransferConfig(
    backbone="vgg16", image_size=48, levels=1, steps=(3,), content_layers=("block1_conv2",),
    style_layers=("block1_conv1",), optimizer="adam", device="cpu", style_loss="gram",
    precision="float32",
)  # fmt: skip


@pytest.fixture
def job_of(content_path: Path, style_path: Path, tmp_path: Path) -> Callable[..., jobs.Job]:
    """Returns a job with a seed of its own; its picture goes into the test's folder."""

    def make(seed: int, **changes: object) -> jobs.Job:
        output = changes.pop("output", tmp_path / f"{seed}.png")
        content = changes.pop("content", content_path)
        paths = jobs.Paths(str(content), [str(style_path)])
        settings = {"init": "noise", **changes}
        config = CONFIG.replace(seed=seed, **settings)
        return jobs.Job(paths, config, jobs.Outputs(str(output)))

    return make


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def made(found: Sequence[nst_tf.jobs.Outcome]) -> dict[str, str]:
    """Returns the status of each job by the name of its output."""
    return {Path(each.job.outputs.picture).name: each.status for each in found}


def test_the_pictures_are_those_of_single_jobs(job_of, tmp_path: Path):
    given = [job_of(seed, image_size=size) for seed, size in enumerate((48, 40, 48))]
    found = list(nst_tf.stylize_many(given))
    assert [each.status for each in found] == ["done"] * 3
    assert {id(each.job) for each in found} == set(map(id, given))
    for job in given:
        alone = dataclasses.replace(job, outputs=jobs.Outputs(str(tmp_path / "alone.png")))
        assert jobs.run(alone).done
        np.testing.assert_array_equal(pixels(job.outputs.picture), pixels(tmp_path / "alone.png"))
        (tmp_path / "alone.png").unlink()


def test_an_outcome_holds_its_picture_only_without_a_file(job_of):
    found = list(nst_tf.stylize_many([job_of(0), job_of(1, output="")]))
    pictures = {each.job.outputs.picture == "": each.picture for each in found}
    assert pictures[False] is None
    assert pictures[True].shape == (36, 48, 3)


def test_a_failure_is_an_outcome_and_the_others_go_on(job_of, tmp_path: Path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    given = [job_of(0), job_of(1, content=broken), job_of(2, output=tmp_path / "no" / "2.png")]
    found = list(nst_tf.stylize_many(given, retries=2))
    assert made(found) == {"0.png": "done", "1.png": "failed", "2.png": "failed"}
    reasons = {each.job.config.seed: each.reason for each in found}
    assert "broken.png" in reasons[1] and "no/2.png" in reasons[2]


def test_a_failed_job_is_tried_again_after_the_others(job_of, tmp_path: Path):
    late, found = tmp_path / "late.png", []
    slow = job_of(1, steps=(60,), image_size=96)

    def appear(progress: jobs.Progress) -> None:
        Image.new("RGB", (48, 48), "red").save(late)

    for outcome in nst_tf.stylize_many([job_of(0, content=late), slow], retries=1, progress=appear):
        found.append(outcome)
    assert made(found) == {"1.png": "done", "0.png": "done"}


def test_finished_pictures_are_kept_and_others_are_not_replaced(job_of, tmp_path: Path):
    assert all(each.done for each in nst_tf.stylize_many([job_of(0), job_of(1)]))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    given = [job_of(0), job_of(1, style_weight=5.0), job_of(2)]
    found = list(nst_tf.stylize_many(given, keep_finished=True))
    assert made(found) == {"0.png": "done", "1.png": "failed", "2.png": "done"}
    assert [each.job.config.seed for each in found if each.kept] == [0]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_picture_of_another_photo_is_not_finished(job_of, content_path: Path, tmp_path: Path):
    photo = tmp_path / "photo.bmp"
    Image.open(content_path).save(photo)
    job = job_of(0, content=photo)
    assert not jobs.finished(job)
    assert jobs.run(job).done
    assert jobs.finished(job)
    assert jobs.finished(dataclasses.replace(job, config=job.config.replace(precision="auto")))
    assert not jobs.finished(dataclasses.replace(job, config=job.config.replace(seed=1)))
    Image.new("RGB", (96, 72), "red").save(photo)
    assert not jobs.finished(job)


def test_it_stops_after_a_step(job_of):
    asked = threading.Event()
    found = []
    for outcome in nst_tf.stylize_many([job_of(0), job_of(1), job_of(2)], stopping=asked.is_set):
        asked.set()
        found.append(outcome)
    # The second had begun when the outcome of the first was known.
    assert [each.status for each in found] in (["done"], ["done", "stopped"], ["done", "done"])


@pytest.mark.parametrize(("workers", "retries"), [(0, 0), (1, -1)])
def test_numbers_out_of_range_are_refused(workers: int, retries: int):
    with pytest.raises(errors.ConfigError, match=f"workers is {workers} and retries {retries}"):
        list(nst_tf.stylize_many([], workers=workers, retries=retries))


# In several processes.


def test_several_workers_make_the_same_pictures(job_of, tmp_path: Path):
    found = list(nst_tf.stylize_many([job_of(seed) for seed in range(4)], workers=2))
    assert [each.status for each in found] == ["done"] * 4
    one = {seed: tmp_path / f"one{seed}.png" for seed in range(4)}
    assert all(
        each.done
        for each in nst_tf.stylize_many([job_of(seed, output=one[seed]) for seed in range(4)])
    )
    for seed, path in one.items():
        np.testing.assert_array_equal(pixels(tmp_path / f"{seed}.png"), pixels(path))


def kill_one(killed: list[int], progress: jobs.Progress) -> None:
    """Kills a worker at work, once."""
    if not killed:
        children = psutil.Process().children()
        workers = [each for each in children if "spawn_main" in " ".join(each.cmdline())]
        killed.append(workers[0].pid)
        os.kill(workers[0].pid, signal.SIGKILL)


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_that_is_killed_loses_at_most_its_job(job_of, retries: int):
    killed: list[int] = []
    given = [job_of(seed, steps=(60,), image_size=96) for seed in range(2 + retries)]
    found = list(
        nst_tf.stylize_many(
            given, workers=2, retries=retries, progress=functools.partial(kill_one, killed)
        )
    )
    assert killed and len(found) == len(given)
    failed = [each for each in found if not each.done]
    assert len(failed) == (0 if retries else 1)
    for each in failed:
        assert "signal 9" in each.reason
    for each in found:
        assert os.path.exists(each.job.outputs.picture) == each.done


def test_workers_end_with_the_caller_of_the_generator(job_of):
    given = [job_of(seed, steps=(60,), image_size=96) for seed in range(3)]
    found = nst_tf.stylize_many(given, workers=2)
    next(found)
    found.close()
    ends = time.monotonic() + 30
    while time.monotonic() < ends and any(
        "spawn_main" in " ".join(each.cmdline()) for each in psutil.Process().children()
    ):
        time.sleep(0.1)
    left = [each for each in psutil.Process().children() if "spawn_main" in str(each.cmdline())]
    assert not left
