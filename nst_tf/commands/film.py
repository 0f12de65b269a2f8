"""The film: flags in, a film out."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import tqdm

from nst_tf import callbacks as watching
from nst_tf import config as configs
from nst_tf import errors
from nst_tf.commands import console, flags
from nst_tf.commands import options as command_options
from nst_tf.commands.options import FilmOptions
from nst_tf.runtime import signals, terminal

USAGE = """Repaints a clip in the manner of a painting.

  {program} --content=clip.mp4 --style=painting.jpg [--output=painted.mp4]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Makes a film and returns the exit status.

    0: the film is written. 1: a file, the weights or a frame failed. 2: a flag is wrong. 130:
    stopped by Ctrl-C. 143: by SIGTERM. 129: by SIGHUP.

    Args:
        argv: program name and flags; those of the process if None.
    """
    return console.run(argv, flags.FILM, _command, USAGE)


def _command(values: Any) -> int:
    options: FilmOptions = flags.to_dataclass(values, FilmOptions)
    paths = command_options.paths(options)
    config = flags.to_config(values, options.preset)
    configs.warn_idle((config, flags.given(values, configs.StyleTransferConfig)))
    console.load_tensorflow([config])
    from nst_tf.engine import transfer
    from nst_tf.film import film as films
    from nst_tf.film import painting

    film = _film(options, config, paths.styles)
    clip = films.check(film)
    seconds = f"{clip.seconds:.1f} s, " if clip.seconds else ""
    console.say(
        f"{console.painted(film.content, film.styles)} -> {film.output}; {seconds}"
        f"{float(clip.rate):g} frames a second, {clip.size[1]}x{clip.size[0]}."
    )
    begin = time.perf_counter()
    watcher = _watcher(painting)
    previous = signals.install(watcher.came)
    try:
        path = films.make(
            film,
            transfer.StyleTransfer(config, console.build_backbone(config)),
            clip=clip,
            watcher=watcher,
            workers=options.workers,
            preview=options.preview,
        )
    except painting.StoppedError as error:
        raise _stopped(film, watcher) from error
    except errors.StyleTransferError as error:
        if isinstance(error, errors.ConfigError) or not film.folder.exists():
            raise
        raise errors.StyleTransferError(
            f"{error} The frames so far are in {film.folder}; --resume goes on with them."
        ) from error
    finally:
        watcher.close()
        signals.restore(previous)
    console.give(path)
    console.say(f"Done in {time.perf_counter() - begin:.0f} s, {watcher.painted} frames painted.")
    return 0


def _stopped(film: Any, watcher: Any) -> KeyboardInterrupt:
    what = f"What is painted so far is {film.partial}. " if film.partial.exists() else ""
    return console.interruption(watcher.signal)(
        f"Stopped. {what}--resume goes on with the frames in {film.folder}."
    )


def _film(options: FilmOptions, config: configs.StyleTransferConfig, styles: Sequence[str]) -> Any:
    from nst_tf.film import clips, coherence
    from nst_tf.film import film as films

    output = options.output or f"{console.result_name(options.content, styles)}.mp4"
    end = Fraction(options.end).limit_denominator(10**6) if options.end else None
    return films.Film(
        content=options.content,
        styles=styles,
        output=output,
        config=config,
        coherence=coherence.Coherence(
            steps=options.later_steps,
            previous_weight=options.previous_weight,
            first_weight=options.first_weight,
            keyframe_every=options.keyframe_every,
            loop=options.loop,
        ),
        part=clips.Part(Fraction(options.start).limit_denominator(10**6), end, options.every),
        cuts=_cuts(options.cuts),
        content_mask=options.content_mask,
        style_masks=options.style_mask,
        rate=options.frame_rate,
        audio=options.audio,
        fade=[_pair(text) for text in options.fade],
        overwrite=options.overwrite,
        resume=options.resume,
    )


def _cuts(texts: Sequence[str]) -> list[int] | None:
    """Returns the numbers of `--cuts`; None for those that are found."""
    if tuple(texts) == ("auto",):
        return None
    try:
        return [] if tuple(texts) == ("none",) else [int(text) for text in texts]
    except ValueError:
        raise errors.ConfigError(
            f"--cuts={','.join(texts)}: expected auto, none, or numbers of frames with commas."
        ) from None


def _pair(text: str) -> tuple[int, float]:
    number, _, share = text.partition(":")
    try:
        found = int(number), float(share)
    except ValueError:
        found = -1, 0.0
    if found[0] < 0 or not 0 <= found[1] <= 1:
        raise errors.ConfigError(
            f"--fade: {text!r} is no FRAME:SHARE; expected a frame's number and a share from 0 to "
            "1, as in --fade=0:0,48:1."
        )
    return found


def _watcher(painting: Any) -> Any:
    """Returns what follows the film; its class needs TensorFlow, so it is made here."""

    class Watcher(painting.Watcher):
        """A bar for all frames, and Ctrl-C."""

        def __init__(self) -> None:
            self.signal, self.painted = 0, 0
            self._stream = terminal.Output(sys.stderr)
            self._bar: tqdm.tqdm | None = None
            self._shown = time.perf_counter()

        @property
        def stopping(self) -> bool:
            return bool(self.signal)

        def came(self, number: int, frame: Any) -> None:
            """Receives a signal: the first ends the film after a step, a second one at once."""
            del frame
            if self.signal:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self.signal = number
            self._stream.line("\nStopping after this step.")

        def on_survey(self, survey: Any, done: int) -> None:
            count, shots = len(survey.times), len(survey.shots)
            console.say(
                f"{count} frames in {shots} shot{'s' * (shots > 1)}"
                + (f", {done} of them painted earlier." if done else ".")
            )
            self._bar = tqdm.tqdm(
                total=count,
                initial=done,
                desc="frames",
                unit="frame",
                file=self._stream,
                dynamic_ncols=True,
                mininterval=0.5 if self._stream.isatty() else 10.0,
            )

        def on_frame(self, number: int) -> None:
            del number
            self.painted += 1
            if self._bar is not None:
                self._bar.update()

        def of_frame(self, number: int, shot: int) -> Sequence[watching.Callback]:
            return [_Postfix(self._bar, shot)] if self._bar is not None else []

        def close(self) -> None:
            """Ends the bar."""
            if self._bar is not None:
                self._bar.close()

    return Watcher()


class _Postfix(watching.Callback):
    """Shows shot, level, step and loss behind the bar."""

    def __init__(self, bar: tqdm.tqdm, shot: int) -> None:
        self._bar, self._shot = bar, shot

    def on_begin(self, run: watching.Run) -> None:
        self._levels = run.levels

    def on_step_end(self, step: watching.StepEnd) -> None:
        level = self._levels[step.level]
        self._bar.set_postfix_str(
            f"shot {self._shot + 1}, level {step.level + 1}/{len(self._levels)}, step "
            f"{step.step}/{level.steps}, loss {float(step.loss):.3g}",
            refresh=False,
        )
