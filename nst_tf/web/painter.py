"""Paints for the visitors of a page, one picture at a time, in the order in which they asked."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nst_tf import callbacks, errors, jobs
from nst_tf import config as configs
from nst_tf.imaging import images, sheet
from nst_tf.jobs import outcome as outcomes
from nst_tf.jobs import running

if TYPE_CHECKING:
    from nst_tf.engine import transfer
    from nst_tf.engine.result import Result

_ROUGH_SIDE, _ROUGH_STEPS = 128, 12
_OVERHEAD = 1 << 14  # Pixels that take as long as what a step costs whatever its size.
_TIMED = 5  # Steps of a level from which the time left is told.
_PREVIEW_SECONDS = 0.7  # Between two previews.
KINDS = {
    "PNG": (".png", 8),
    "PNG, 16 bits": (".png", 16),
    "JPEG": (".jpg", 8),
    "WebP": (".webp", 8),
    "TIFF": (".tif", 8),
}
"""Suffix and bits of a channel of the formats for download."""
_MOST_RESULTS = 24  # Of a visitor; older ones go.
_SWEEP_SECONDS = 60.0
_TOKEN = re.compile("_[0-9a-f]{8}")  # In the name of a result.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a visitor may ask for.

    Attributes:
        side: longest side of a result, in pixels.
        pixels: largest upload, in pixels.
        waiting: most orders that wait.
        seconds: longest time for one picture.
        kept_seconds: seconds after which uploads and results are deleted.
    """

    side: int = 2048
    pixels: int = 40_000_000
    waiting: int = 20
    seconds: float = 1800.0
    kept_seconds: float = 3600.0


@dataclasses.dataclass(eq=False)
class Order:
    """A picture that a visitor asked for.

    Attributes:
        inputs: the pictures.
        config: the settings.
        label: what sets it apart from others that are ordered with it.
        start: path of the result that it goes on from, or an empty text.
        path: the file of the result.
        preview: the picture so far, uint8 `(height, width, 3)`, or None.
        words: where it stands, for the visitor.
        stopping: whether it was asked to stop.
        picture: the result with all its digits, of a visitor's newest picture; else None.
    """

    inputs: jobs.Paths
    config: configs.StyleTransferConfig
    label: str = ""
    start: str = ""
    path: Path = Path()
    preview: np.ndarray | None = None
    words: str = "Waiting."
    stopping: bool = False
    picture: Result | None = None

    @property
    def files(self) -> list[str]:
        """The files that it is made from."""
        given = self.inputs
        named = given.content, *given.styles, given.content_mask, *given.style_masks, self.start
        return [path for path in named if path]

    @property
    def job(self) -> jobs.Job:
        """The job, whose recipe would name the path of the result that it goes on from."""
        config = self.config.replace(init=self.start) if self.start else self.config
        return jobs.Job(self.inputs, config, jobs.Outputs(str(self.path)))


@dataclasses.dataclass(eq=False)
class Visitor:
    """A visitor, who is known by a secret key in the browser.

    Attributes:
        folder: folder of this visitor's results.
        orders: orders that wait or are at work, in their order.
        results: orders that are over and have a picture, the newest first.
        together: the orders that were given last.
    """

    folder: Path
    orders: list[Order] = dataclasses.field(default_factory=list)
    results: list[Order] = dataclasses.field(default_factory=list)
    together: Sequence[Order] = ()


class Painter:
    """Paints the orders of all visitors in one thread, with one network and its compiled steps.

    Visitors take turns: the next order is that of the visitor who has waited longest. An order goes
    on when its visitor has gone.

    Args:
        folder: folder for results; what is older than the limit is deleted.
        limits: what a visitor may ask for.
        copies: folder where Gradio keeps, in folders, uploads and copies of what it shows.
    """

    def __init__(self, folder: Path, limits: Limits, copies: Path) -> None:
        self.limits = limits
        self._folder, self._copies = folder, copies
        self._visitors: dict[str, Visitor] = {}
        self._turns: collections.deque[str] = collections.deque()
        self._at_work: Order | None = None
        self._own: transfer.StyleTransfer | None = None
        self._other: transfer.StyleTransfer | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="nst_tf-paint", daemon=True)
        self._thread.start()
        threading.Thread(target=self._sweep, name="nst_tf-sweep", daemon=True).start()

    def visitor(self, key: str) -> Visitor:
        """Returns the visitor with a key, a new one if there is none."""
        with self._changed:
            if key not in self._visitors:
                folder = self._folder / secrets.token_hex(16)
                folder.mkdir(parents=True)
                self._visitors[key] = Visitor(folder)
            return self._visitors[key]

    def order(self, key: str, *orders: Order) -> None:
        """Takes orders of a visitor: all of them, or none.

        Raises:
            StyleTransferError: they are beyond the limits, or pictures or settings are no good.
        """
        visitor = self.visitor(key)
        for order in orders:
            self._check(order, visitor.folder)
        with self._changed:
            waiting = sum(len(each.orders) for each in self._visitors.values())
            if waiting + len(orders) > self.limits.waiting:
                raise errors.ConfigError("too many pictures are waiting; try again in a while.")
            visitor.orders += orders
            visitor.together = orders
            if key not in self._turns:
                self._turns.append(key)
            self._changed.notify_all()

    def _check(self, order: Order, folder: Path) -> None:
        """Checks an order, and names its file."""
        for path in order.files:
            images.size(path, self.limits.pixels)
        name = f"{Path(order.inputs.content).stem[:60]}_{secrets.token_hex(4)}.png"
        order.path = folder / name
        finest = jobs.check(order.job)[-1]
        longest = max(finest.height, finest.width)
        if longest > self.limits.side:
            raise errors.ConfigError(
                f"the picture would have a side of {longest} pixels, and {self.limits.side} are "
                "allowed here. Lower image_size."
            )

    def stop(self, key: str) -> None:
        """Stops the visitor's orders: the picture at work is kept as it is, others are dropped."""
        with self._changed:
            for order in self.visitor_orders(key):
                order.stopping = True
                if order is not self._at_work:
                    self._end(key, order, jobs.Outcome("stopped", "it was not begun."))

    def visitor_orders(self, key: str) -> list[Order]:
        """Returns a visitor's orders that wait or are at work."""
        return list(self._visitors[key].orders) if key in self._visitors else []

    def ahead(self, key: str) -> int:
        """Returns the number of orders before the visitor's next one."""
        with self._changed:
            if self._at_work in self.visitor_orders(key):
                return 0
            place = list(self._turns).index(key) if key in self._turns else 0
            return place + (self._at_work is not None)

    def follow(self, key: str, seconds: float = 0.5) -> Iterator[Order]:
        """Yields the order of a visitor that is next or at work, until all are over.

        Args:
            key: the visitor.
            seconds: longest time between two.
        """
        while orders := self.visitor_orders(key):
            yield orders[0]
            with self._changed:
                self._changed.wait(seconds)

    def saved(self, key: str, kind: str) -> Path:
        """Returns the path of a visitor's newest result in one of `KINDS`.

        Raises:
            StyleTransferError: there is no result, or it cannot be written.
        """
        results = self.visitor(key).results
        picture = results[0].picture if results else None
        if picture is None:
            raise errors.ConfigError("there is no picture yet to download.")
        newest, (suffix, bits) = results[0], KINDS[kind]
        if (suffix, bits) == (".png", 8):
            return newest.path
        path = newest.path.with_name(f"{newest.path.stem}{'-16' if bits == 16 else ''}{suffix}")
        return picture.save(path, bits, overwrite=True)

    def sheet(self, key: str) -> Path | None:
        """Returns the sheet of the pictures that a visitor ordered last, if they are several.

        It is drawn once all of them are over. Those without a picture are left out.
        """
        visitor = self.visitor(key)
        with self._changed:
            over = not set(visitor.orders) & set(visitor.together)
            found = [order for order in visitor.together if order in visitor.results]
        if not over or len(found) < 2:
            return None
        path = found[0].path.with_name(f"{found[0].path.stem}_sheet.png")
        if not path.exists():
            try:
                images.save(sheet.draw(_sheet_of(found)), path, overwrite=True)
            except errors.StyleTransferError:
                return None  # The photo may be deleted by now.
        return path

    def close(self) -> None:
        """Ends after the current step, and deletes all files."""
        with self._changed:
            self._ended = True
            if self._at_work:
                self._at_work.stopping = True
            self._changed.notify_all()
        self._thread.join(60)
        shutil.rmtree(self._folder, ignore_errors=True)

    # In the thread.

    def _work(self) -> None:
        with contextlib.suppress(Exception):  # A visitor will be told why.
            self._warm_up()
        while True:
            with self._changed:
                while not self._turns and not self._ended:
                    self._changed.wait()
                if self._ended:
                    return
                key = self._turns.popleft()
                orders = self.visitor_orders(key)
                if not orders:
                    continue
                order = self._at_work = orders[0]
                if len(orders) > 1:
                    self._turns.append(key)
            outcome = self._painted(order)
            with self._changed:
                self._at_work = None
                self._end(key, order, outcome)

    def _warm_up(self) -> None:
        """Builds the network and compiles the steps, so that the first picture comes soon."""
        grey = np.random.default_rng(0).random((_ROUGH_SIDE, _ROUGH_SIDE, 3), np.float32)
        config = configs.StyleTransferConfig(image_size=_ROUGH_SIDE, steps=(2, 2), levels=2)
        self._engine_for(config).with_config(config).stylize(grey, grey[::-1])

    def _engine_for(self, config: configs.StyleTransferConfig) -> transfer.StyleTransfer:
        """Returns an engine with the network of some settings. The last other one is kept, too."""
        from nst_tf.engine import transfer

        if self._own is None:
            self._own = transfer.StyleTransfer(configs.StyleTransferConfig())
        for engine in (self._own, self._other):
            if engine and running.fits(config, engine):
                return engine
        self._other = transfer.StyleTransfer(config)
        return self._other

    def _end(self, key: str, order: Order, outcome: jobs.Outcome) -> None:
        """Moves an order to the results. Called with the lock."""
        visitor = self._visitors[key]
        order.words = _in_words(outcome)
        if order in visitor.orders:
            visitor.orders.remove(order)
        if outcome.path:
            order.path = outcome.path
            for earlier in visitor.results:
                earlier.picture = None  # It would take memory.
            visitor.results = [order, *visitor.results][:_MOST_RESULTS]
        self._changed.notify_all()

    def _painted(self, order: Order) -> jobs.Outcome:
        try:
            self._show_rough(order)
            outcome = self._made(order, order.job)
        except Exception as error:  # The thread serves all visitors.
            return outcomes.of_error(error)
        order.picture = outcome.picture
        return dataclasses.replace(outcome, picture=None)

    def _show_rough(self, order: Order) -> None:
        """Shows a small picture of a few steps within seconds."""
        side = order.config.image_size or _ROUGH_SIDE + 1
        if side > _ROUGH_SIDE and not order.config.goes_on:
            order.words = "A rough picture first."
            with contextlib.suppress(errors.StyleTransferError):  # Some settings allow none.
                small = order.config.replace(image_size=_ROUGH_SIDE, steps=_ROUGH_STEPS, levels=1)
                self._made(order, jobs.Job(order.inputs, small))

    def _made(self, order: Order, job: jobs.Job) -> jobs.Outcome:
        feed = _Feed(order, self.limits.seconds, self._tell)
        return jobs.run(_without_path(job), self._engine_for(job.config), [feed])

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _sweep(self) -> None:
        """Deletes files, and forgets visitors, that are too old."""
        while True:
            time.sleep(min(_SWEEP_SECONDS, self.limits.kept_seconds / 20))
            oldest = time.time() - self.limits.kept_seconds
            with self._changed:
                if self._ended:
                    return
                for key, visitor in list(self._visitors.items()):
                    self._delete_before(oldest, visitor)
                    idle = not visitor.orders and not visitor.results
                    if idle and _changed(visitor.folder) < oldest:
                        del self._visitors[key]
                        shutil.rmtree(visitor.folder, ignore_errors=True)

    def _delete_before(self, oldest: float, visitor: Visitor) -> None:
        """Deletes a visitor's files before a time, unless they are still needed."""
        needed = {path for order in visitor.orders for path in order.files}
        for path in visitor.folder.iterdir():
            if str(path) in needed or _changed(path) >= oldest:
                continue
            path.unlink(missing_ok=True)
            # Gradio deletes most copies of what it shows, but not all.
            for token in _TOKEN.findall(path.name):
                for copy in self._copies.glob(f"*/*{token}*"):
                    copy.unlink(missing_ok=True)
        visitor.results = [each for each in visitor.results if each.path.exists()]


def _without_path(job: jobs.Job) -> jobs.Job:
    """Returns a job whose recipe names the initial picture by its hash, not by its path."""
    if not job.config.goes_on or not isinstance(job.inputs, jobs.Paths):
        return job
    given = jobs.read_pictures(job.inputs, job.config)
    return dataclasses.replace(job, inputs=given, config=job.config.replace(init=configs.GIVEN))


def _sheet_of(orders: Sequence[Order]) -> sheet.Sheet:
    """Returns the photo and the results beside each other."""
    given, pictures = orders[0].inputs, [sheet.shown(order.path) for order in orders]
    height, width = max((each.shape[:2] for each in pictures), key=max)
    photo = images.resize(sheet.shown(given.content), height, width)
    styles = list(dict.fromkeys(style for order in orders for style in order.inputs.styles))
    names = " and ".join(Path(style).name for style in styles)
    return sheet.Sheet(
        title=f"{Path(given.content).name} after {names}",
        note="",
        sources=[sheet.shown(style) for style in styles],
        rows=[""],
        columns=["photo", *(order.label for order in orders)],
        pictures=[[photo, *pictures]],
        size=(height, width),
    )


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _in_words(outcome: jobs.Outcome) -> str:
    if outcome.done:
        return f"Done in {outcome.seconds:.0f} s."
    if outcome.status == "stopped":
        return "Stopped; this is the picture so far." if outcome.path else "Stopped."
    return without_folders(f"{outcome.reason[:1].upper()}{outcome.reason[1:]}")


def without_folders(text: str) -> str:
    """Returns a message without the server's folders in it."""
    words = [os.path.basename(word) if word.startswith("/") else word for word in text.split(" ")]
    return " ".join(words)


class _Feed(callbacks.Callback):
    """Keeps an order up to date, and ends its run if that is asked for."""

    def __init__(self, order: Order, seconds: float, tell: Callable[[], None]) -> None:
        self._order, self._seconds, self._tell = order, seconds, tell

    def on_begin(self, run: callbacks.Run) -> None:
        self._run = run
        self._begin, self._shown = time.monotonic(), 0.0
        self._work = [
            (level.height * level.width + _OVERHEAD) * level.steps for level in run.levels
        ]

    def on_level_begin(self, level: int) -> None:
        self._level_begin = time.monotonic()

    def on_step_end(self, step: callbacks.StepEnd) -> None:
        now = time.monotonic()
        if self._order.stopping or now - self._begin > self._seconds:
            self._run.stopping = True
        if now - self._shown < _PREVIEW_SECONDS:
            return
        self._shown = now
        self._order.preview = _pixels(step.picture())
        self._order.words = self._words(step, now)
        self._tell()

    def _words(self, step: callbacks.StepEnd, now: float) -> str:
        level = self._run.levels[step.level]
        words = (
            f"Level {step.level + 1} of {len(self._work)} ({level.width}x{level.height}), step "
            f"{step.step} of {level.steps}, loss {float(step.loss):.3g}"
        )
        done = self._work[step.level] * step.step / level.steps
        if step.step < _TIMED:
            return f"{words}."
        left = (now - self._level_begin) / done * (sum(self._work[step.level :]) - done)
        return f"{words}, about {left:.0f} s left."


def _pixels(picture: Any) -> np.ndarray:
    return np.rint(255 * np.clip(np.asarray(picture), 0, 1)).astype(np.uint8)


def region_masks(
    regions: np.ndarray | str, colours: Sequence[tuple[int, int, int]], folder: Path
) -> tuple[str, tuple[str, ...]]:
    """Returns the paths of the masks of photo and paintings, and writes those that are missing.

    Args:
        regions: what was painted on the photo, uint8 `(height, width, 4)`, transparent elsewhere;
            or the path of a mask.
        colours: the colour of each painting.
        folder: folder for the masks.
    """
    name = secrets.token_hex(8)
    content = regions if isinstance(regions, str) else str(folder / f"{name}.png")
    if not isinstance(regions, str):
        alpha = regions[..., 3:].astype(np.float32) / 255
        # For one painting, any colour means that one.
        colour = 1.0 if len(colours) == 1 else regions[..., :3].astype(np.float32) / 255
        images.save(np.broadcast_to(colour * alpha, (*alpha.shape[:2], 3)), content)
    if len(colours) == 1:
        return content, ()
    styles = [str(folder / f"{name}-{number}.png") for number in range(len(colours))]
    for path, each in zip(styles, colours, strict=True):
        images.save(np.full((64, 64, 3), each, np.float32) / 255, path)
    return content, tuple(styles)
