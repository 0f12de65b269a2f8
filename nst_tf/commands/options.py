"""Options of one run of a command, such as file names, that do not affect the picture."""

from __future__ import annotations

import dataclasses
from typing import Any

from nst_tf import errors, presets
from nst_tf.config.fields import at_least, coerce_all, documented, setting, some
from nst_tf.imaging import images, sources

_CONTENT_MASK_HELP = "a picture of the photo's regions: white, or one colour each; black is none"
_STYLE_MASK_HELP = (
    "a picture of the painting's regions, in the colours of the content mask; with several styles "
    "one flag for each, in the same order"
)
_STYLE_HELP = (
    "the painting to repaint it after (required), or several, as a folder, a pattern such as "
    "'art/*.jpg', a list with commas, or by several flags: their styles are blended"
)


def _preset_knob(group: str) -> Any:
    names = ", ".join(presets.names())
    text = f"take all settings from a published recipe, flags apart: {names}"
    return setting("", group, text, first=True)


def _style_knob(group: str) -> Any:
    return setting((), group, _STYLE_HELP, repeated=True, path="read", first=True)


def _style_mask_knob(group: str, first: bool = True) -> Any:
    return setting((), group, _STYLE_MASK_HELP, repeated=True, path="read", first=first)


class _Options:
    """Base of all options: their values are checked, and converted to their types."""

    def __post_init__(self) -> None:
        coerce_all(self)


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class FileOptions(_Options):
    """The files of one run of the command."""

    content: str = setting("", "Files", "the photo to repaint (required)", path="read", first=True)
    style: tuple[str, ...] = _style_knob("Files")
    content_mask: str = setting("", "Files", _CONTENT_MASK_HELP, path="read", first=True)
    style_mask: tuple[str, ...] = _style_mask_knob("Files")
    save_mask_overlay: str = setting(
        "",
        "Files",
        "write the photo with its regions laid over it into this picture file",
        path="write",
    )
    output: str = setting(
        "",
        "Files",
        "where to write the picture: .png, .jpg, .webp or .tif; empty makes a PNG name from both "
        "inputs in the current folder",
        path="write",
        first=True,
    )
    overwrite: bool = setting(
        False, "Files", "replace an output, or checkpoints, that exist", first=True
    )
    bit_depth: int = setting(8, "Files", "bits a channel of the output: 8, or 16 for PNG")
    preview_every: int = setting(
        0, "Files", "refresh '<output>.preview.png' every so many steps; 0 never", first=True
    )
    timelapse: str = setting("", "Files", "write a film of the steps: .mp4 or .gif", path="write")
    plot: str = setting("", "Files", "draw the loss curves into this picture file", path="write")
    report: str = setting(
        "", "Files", "write a record of the run into this JSON file", path="write"
    )
    checkpoint_dir: str = setting(
        "",
        "Files",
        "save where the run stands into this folder, again and again, so that --resume can go on; "
        "removed once the picture is written",
        path="write",
        first=True,
    )
    checkpoint_seconds: float = setting(
        60.0,
        "Files",
        "between two checkpoints; they are also saved at the end of every level",
        needs=(some("checkpoint_dir"),),
        rule=at_least(0, "a number, 0 or above"),
    )
    resume: bool = setting(
        False,
        "Files",
        "go on from the newest checkpoint in --checkpoint_dir, or begin where there is none",
        first=True,
    )
    preset: str = _preset_knob("Recipe")
    replay: str = setting(
        "",
        "Recipe",
        "take all settings from a picture that this program made earlier, flags apart",
        path="read",
    )


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions(_Options):
    """The files of one run of the sweep, and the settings that it varies."""

    content: str = setting("", "Sweep", "the photo to repaint (required)", path="read", first=True)
    style: tuple[str, ...] = _style_knob("Sweep")
    content_mask: str = setting("", "Sweep", _CONTENT_MASK_HELP, path="read", first=True)
    style_mask: tuple[str, ...] = _style_mask_knob("Sweep")
    grid: tuple[str, ...] = setting(
        (),
        "Sweep",
        "FIELD=VALUE,VALUE,... a setting, or preset, and the values to try (required); where one "
        "value is a list, as of steps, a semicolon stands between values. The first --grid makes "
        "the rows, the second the columns, each further one more rows; a single one makes columns",
        repeated=True,
        first=True,
    )
    preset: str = _preset_knob("Sweep")
    output: str = setting(
        "",
        "Sweep",
        "folder for the pictures, their reports, sheet.png and losses.csv; empty makes a name "
        "from both inputs in the current folder",
        path="write",
        first=True,
    )
    overwrite: bool = setting(
        False, "Sweep", "replace pictures in the folder that were made in another way", first=True
    )


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchOptions(_Options):
    """The files of one run of the batch, and how it works on them."""

    contents: tuple[str, ...] = setting(
        (),
        "Batch",
        "the photos, as a folder, a pattern such as 'photos/**/*.jpg', a list with commas, or by "
        "several flags; each is repainted after each of --styles",
        repeated=True,
        path="read",
        first=True,
    )
    styles: tuple[str, ...] = setting(
        (), "Batch", "the paintings, given likewise", repeated=True, path="read", first=True
    )
    manifest: str = setting(
        "",
        "Batch",
        "a table of jobs instead of --contents and --styles: .csv, or .jsonl with an object a "
        "line; '-' reads either from standard input. Its columns are content, style, content_mask, "
        "style_mask, output, preset and all settings; its paths start from its folder",
        first=True,
    )
    output_dir: str = setting(
        "", "Batch", "folder for the pictures (required)", path="write", first=True
    )
    name: str = setting(
        "{content}_{style}",
        "Batch",
        "name of each picture; braces hold content, style, folder (that of the photo), index, "
        "preset or any setting. A suffix chooses the format, without one it is .png",
        first=True,
    )
    overwrite: bool = setting(
        False, "Batch", "replace pictures that were made in another way", first=True
    )
    bit_depth: int = setting(8, "Batch", "bits a channel of the pictures: 8, or 16 for PNG")
    preset: str = _preset_knob("Batch")
    workers: int = setting(
        1,
        "Batch",
        "pictures in the making at a time, each in a process of its own with its share of the "
        "cores",
        first=True,
        rule=at_least(1, "1 or more"),
    )
    devices: tuple[str, ...] = setting(
        (), "Batch", "devices of the workers in turn, such as GPU:0,GPU:1; empty for --device"
    )
    shard: str = setting(
        "",
        "Batch",
        "N/M takes every M-th job from the N-th on, for M machines that share a folder",
        first=True,
    )
    retries: int = setting(
        1, "Batch", "how often a failed job is tried again", rule=at_least(0, "0 or more")
    )
    checkpoint_seconds: float = setting(
        60.0,
        "Batch",
        "between two checkpoints of a picture, from which the batch goes on if it was ended",
        rule=at_least(0, "a number, 0 or above"),
    )
    status: str = setting(
        "",
        "Batch",
        "file that receives a line of JSON for each job and every few seconds; empty makes "
        "status.jsonl in the folder",
        path="write",
    )


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class FilmOptions(_Options):
    """The files of one film, its frames, and how they follow each other."""

    content: str = setting(
        "",
        "Film",
        "the clip to repaint (required): a video file, a GIF, APNG or WebP, or a folder of "
        "numbered pictures",
        path="read",
        first=True,
    )
    style: tuple[str, ...] = _style_knob("Film")
    output: str = setting(
        "",
        "Film",
        "where to write the film: .mp4, .mov, .mkv, .webm, .gif, .apng or .webp; without a suffix, "
        "a folder of pictures; empty makes an MP4 name from both inputs in the current folder",
        path="write",
        first=True,
    )
    overwrite: bool = setting(False, "Film", "replace a film that exists", first=True)
    resume: bool = setting(
        False,
        "Film",
        "go on with the frames of a film that was not finished, in '<output>.frames'",
        first=True,
    )
    preset: str = _preset_knob("Film")
    content_mask: str = setting(
        "",
        "Film",
        "the regions of the clip: a picture of its first frame's, which follows the motion, or a "
        "clip",
        path="read",
    )
    style_mask: tuple[str, ...] = _style_mask_knob("Film", first=False)
    start: float = setting(
        0.0, "Film", "seconds of the clip to leave out", first=True, rule=at_least(0, "0 or above")
    )
    end: float = setting(
        0.0,
        "Film",
        "second of the clip to end at; 0 for its end",
        first=True,
        rule=at_least(0, "0 or above"),
    )
    every: int = setting(
        1, "Film", "take each so-many-th frame; times are kept", rule=at_least(1, "1 or more")
    )
    frame_rate: float = setting(
        0.0,
        "Film",
        "frames a second of a folder of pictures; 0 for 25",
        rule=at_least(0, "0 or above"),
    )
    audio: bool = setting(True, "Film", "copy the audio of the clip as it is")
    cuts: tuple[str, ...] = setting(
        ("auto",),
        "Film",
        "numbers of the frames that begin a new shot, from 0; auto finds them, none for one shot",
    )
    fade: tuple[str, ...] = setting(
        (),
        "Film",
        "FRAME:SHARE,FRAME:SHARE,... share of the painting by frame, 0 to 1, as in 0:0,48:1; the "
        "rest is the clip",
    )
    later_steps: int = setting(
        10,
        "Film",
        "most steps of a frame after the first one of its shot, at full size",
        rule=at_least(1, "1 or more"),
    )
    keyframe_every: int = setting(
        1,
        "Film",
        "paint each so-many-th frame, and fill in the others along the motion from both sides",
        first=True,
        rule=at_least(1, "1 or more"),
    )
    loop: bool = setting(False, "Film", "make the end go over into the beginning")
    previous_weight: float = setting(
        1000.0,
        "Film",
        "weight of the difference from the frame before, along the motion",
        rule=at_least(0, "0 or above"),
    )
    first_weight: float = setting(
        300.0,
        "Film",
        "weight of the difference from the first frame of the shot, along the motion",
        rule=at_least(0, "0 or above"),
    )
    preview: bool = setting(
        False, "Film", "write '<output>.preview.mp4', which can be played while it grows"
    )
    workers: int = setting(
        1,
        "Film",
        "shots in the making at a time, each in a process of its own with its share of the cores",
        rule=at_least(1, "1 or more"),
    )


@documented
@dataclasses.dataclass(frozen=True, kw_only=True)
class AppOptions(_Options):
    """How the page in the browser is served."""

    host: str = setting(
        "127.0.0.1",
        "Page",
        "address to serve; 0.0.0.0 serves every network of this machine, with --auth if others "
        "are in it",
        first=True,
    )
    port: int = setting(7860, "Page", "port of the page", first=True)
    root_path: str = setting("", "Page", "path of the page behind a reverse proxy, such as /paint")
    auth: tuple[str, ...] = setting(
        (), "Page", "NAME:PASSWORD of a visitor; others see nothing", repeated=True, first=True
    )
    max_upload: str = setting("50mb", "Page", "largest file that a visitor sends")
    side: int = setting(2048, "Page", "longest side of a result, in pixels", first=True)
    pixels: int = setting(40_000_000, "Page", "largest picture that a visitor sends, in pixels")
    waiting: int = setting(20, "Page", "most pictures that wait", rule=at_least(1, "1 or more"))
    seconds: float = setting(1800.0, "Page", "after which a picture is stopped and kept")
    kept_seconds: float = setting(3600.0, "Page", "after which uploads and results are deleted")


def paths(options: FileOptions | SweepOptions | FilmOptions) -> sources.Paths:
    """Returns the input pictures of a command; a folder stands for all pictures in it.

    Raises:
        ConfigError: content or style is missing.
        ImageError: a folder holds no picture.
    """
    for role, given in (("content", [options.content]), ("style", options.style)):
        if not (given and all(given)):
            raise errors.ConfigError(f"--{role} is missing; expected --{role}=PICTURE.")
    styles, masks = images.expand(options.style), images.expand(options.style_mask)
    return sources.Paths(options.content, styles, options.content_mask, masks)
