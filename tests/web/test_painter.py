"""What paints the orders of the page: going on, the network, the sheet, and what is deleted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nst_tf import config as configs
from nst_tf import errors, jobs, objective
from nst_tf.imaging import images
from nst_tf.records import recipe
from nst_tf.web import painter

SMALL = configs.StyleTransferConfig(image_size=64, steps=1, levels=1)
KEPT = 20.0  # Seconds; files are looked at 20 times as often.


@pytest.fixture
def work(tmp_path: Path, monkeypatch) -> Iterator[painter.Painter]:
    monkeypatch.setattr(painter.Painter, "_warm_up", lambda self: None)
    found = painter.Painter(
        tmp_path / "results", painter.Limits(waiting=3, kept_seconds=KEPT), tmp_path / "copies"
    )
    yield found
    found.close()


@pytest.fixture
def order(content_path: Path, style_path: Path) -> painter.Order:
    return painter.Order(jobs.Paths(str(content_path), (str(style_path),)), SMALL)


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 120
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.05)


def painted(work: painter.Painter, *orders: painter.Order) -> list[painter.Order]:
    """Returns a visitor's results, the newest first."""
    work.order("key", *orders)
    until(lambda: not work.visitor_orders("key"))
    return work.visitor("key").results


def test_the_life_of_results(
    work: painter.Painter, order: painter.Order, tmp_path: Path, monkeypatch
):
    built, build = [], objective.build_backbone
    monkeypatch.setattr(
        objective, "build_backbone", lambda *given: built.append(1) or build(*given)
    )
    (first,) = painted(work, order)

    # Going on with another strength: the network is kept, and no path is in the recipe.
    other = SMALL.replace(strength=0.7, init=configs.GIVEN)
    second = painted(
        work, dataclasses.replace(order, config=other, start=str(first.path), label="on")
    )[0]
    assert len(built) == 1
    found = recipe.load(str(second.path))
    digest = hashlib.sha256(first.path.read_bytes()).hexdigest()
    assert found["inputs"]["init"] == {"name": first.path.name, "sha256": digest}
    assert str(first.path.parent) not in json.dumps(found)

    # Another network is built once, and the page's own is kept.
    pooled = [
        dataclasses.replace(order, config=SMALL.replace(pooling=each), label=each)
        for each in ("max", "avg", "max")
    ]
    painted(work, *pooled)
    assert len(built) == 2

    # Those three are on one sheet, the photo first.
    sheet = work.sheet("key")
    assert images.size(sheet)[1] > 4 * 64
    assert work.sheet("key") == sheet

    with pytest.raises(errors.ConfigError, match="too many"):
        work.order("key", *(dataclasses.replace(order) for _ in range(4)))
    assert not work.visitor_orders("key")

    # What is old is deleted, with copies that are shown.
    copy = tmp_path / "copies" / "hash" / second.path.name
    copy.parent.mkdir(parents=True)
    copy.touch()
    folder = first.path.parent
    work.visitor("key").orders.append(second)  # Which still needs the first.
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    until(lambda: not second.path.exists())
    assert list(folder.iterdir()) == [first.path]
    assert not copy.exists()
    assert work.visitor("key").results == [first]
    work.visitor("key").orders.clear()
    until(lambda: not first.path.exists())


def test_a_mask_for_one_painting_is_of_any_colour(tmp_path: Path):
    regions = np.zeros((4, 4, 4), np.uint8)
    regions[0, 0] = (0, 0, 255, 255)
    path, styles = painter.region_masks(regions, [(255, 0, 0)], tmp_path)
    assert not styles
    assert images.load(path).rgb[0, 0].tolist() == [1, 1, 1]
    assert images.load(path).rgb[1:].max() == 0
