"""The jobs of a batch: every pair of photo and painting, or the rows of a table."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import glob
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nst_tf import config as configs
from nst_tf import errors, jobs
from nst_tf.commands import console, flags
from nst_tf.commands.options import BatchOptions
from nst_tf.imaging import images
from nst_tf.runtime import files

_SETTINGS = {field.name for field in dataclasses.fields(configs.StyleTransferConfig)}
_ONE_FILE, _SEVERAL_FILES = ("content", "content_mask"), ("style", "style_mask")
_COLUMNS = (*_ONE_FILE, *_SEVERAL_FILES, "output", "preset")
_FILES = ("init", "weights")  # Settings that may be paths.
_LONGEST_NAME = 200  # Bytes of the name of a picture.


@dataclasses.dataclass(frozen=True)
class Row:
    """One job as the user gives it.

    Attributes:
        place: where it is given, for messages.
        content: path of the photo.
        styles: paths of the paintings, whose styles are blended.
        content_mask: path of the photo's mask, or an empty text.
        style_masks: paths of the paintings' masks.
        output: path of the picture within the folder; an empty text for a name by the template.
        settings: settings of this job alone, `preset` included.
    """

    place: str
    content: str
    styles: tuple[str, ...]
    content_mask: str = ""
    style_masks: tuple[str, ...] = ()
    output: str = ""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A job of the batch.

    Attributes:
        job: the job.
        name: path of its picture within the folder.
        settings: the settings given for it, those of all jobs included.
    """

    job: jobs.Job
    name: str
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The job in words."""
        given = self.job.paths
        styles = [path for role, path in given.items() if role.split()[0] == "style"]
        return console.painted(given["content"], styles[: len(self.job.inputs.styles)])


def entries(options: BatchOptions, values: Any) -> list[Entry]:
    """Returns the jobs of a batch, those of other shards left out.

    Args:
        options: options of the command.
        values: parsed flags; those that are settings apply to every job.

    Raises:
        ConfigError: a flag, a column or a setting is not valid, or two jobs have one output.
        ImageError: a folder or a pattern has no picture.
    """
    rows = _manifest(options.manifest) if options.manifest else _pairs(options)
    if not rows:
        raise errors.ConfigError(f"{options.manifest or '--contents'}: there are no jobs in it.")
    config_of = _Configs(options, values)
    found = [_entry(number, row, options, config_of) for number, row in enumerate(rows, 1)]
    _check_apart(found, rows)
    config_of.warn()
    number, count = _shard(options.shard)
    return found[number - 1 :: count]


def _shard(text: str) -> tuple[int, int]:
    """Returns number and count of a shard."""
    number, _, count = text.partition("/")
    with contextlib.suppress(ValueError):
        found = (int(number), int(count)) if text else (1, 1)
        if 1 <= found[0] <= found[1]:
            return found
    raise errors.ConfigError(
        f"--shard={text}: expected N/M, the number of this part and the number of all, such as "
        "3/16; the first is 1."
    )


# Rows.


def _pairs(options: BatchOptions) -> list[Row]:
    for name, given in (("contents", options.contents), ("styles", options.styles)):
        if not given:
            raise errors.ConfigError(
                f"--{name} is missing; expected --{name}=PICTURES, or a table of jobs by "
                "--manifest=FILE."
            )
    contents, styles = images.expand(options.contents), images.expand(options.styles)
    made = os.path.realpath(options.output_dir)
    others = [path for path in contents if not _is_in(path, made)]
    if len(others) < len(contents):
        console.say(
            f"{len(contents) - len(others)} of the photos are in {options.output_dir}, and are "
            "left out."
        )
    return [Row("--contents", content, (style,)) for content in others for style in styles]


def _is_in(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _manifest(path: str) -> list[Row]:
    """Returns the rows of a table."""
    name = "standard input" if path == "-" else path
    folder = "" if path == "-" else os.path.dirname(path)
    text = _text(path)
    first = text.lstrip()[:1]
    in_json = Path(path).suffix.lower() in (".jsonl", ".ndjson", ".json") or (
        path == "-" and first == "{"
    )
    read = _json_lines if in_json else _csv
    return [_row(f"{name}, line {line}", folder, cells) for line, cells in read(name, text)]


def _text(path: str) -> str:
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise errors.ConfigError(f"{path}: is no text in UTF-8 ({error.reason}).") from error
    except (OSError, ValueError) as error:
        raise errors.ConfigError(f"{path}: cannot be read ({errors.reason(error)}).") from error


def _csv(name: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_columns(name, reader.fieldnames or ())
        for cells in reader:
            if None in cells or None in cells.values():
                raise errors.ConfigError(
                    f"{name}, line {reader.line_num}: the row has another number of cells than the "
                    "first; quote a cell that holds a comma."
                )
            yield reader.line_num, {key.strip(): value.strip() for key, value in cells.items()}
    except csv.Error as error:
        raise errors.ConfigError(f"{name}, line {reader.line_num}: {error}.") from error


def _json_lines(name: str, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = files.parse_json(line)
        except ValueError as error:
            raise errors.ConfigError(f"{name}, line {number}: is no JSON ({error}).") from error
        if not isinstance(cells, dict):
            raise errors.ConfigError(f"{name}, line {number}: expected an object, in braces.")
        _check_columns(f"{name}, line {number}", cells)
        yield number, cells


def _check_columns(place: str, names: Any) -> None:
    unknown = [name for name in map(str.strip, names) if name not in {*_COLUMNS, *_SETTINGS}]
    if unknown:
        near = errors.unknown_name("column", unknown[0], [*_COLUMNS, *sorted(_SETTINGS)])
        hint = str(near).partition(" Did you mean")
        raise errors.ConfigError(
            f"{place}: unknown column{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}; "
            f"expected {', '.join(_COLUMNS)} or a setting.{''.join(hint[1:])}"
        )


def _row(place: str, folder: str, cells: Mapping[str, Any]) -> Row:
    given = {name: value for name, value in cells.items() if value not in ("", None)}
    try:
        found = {name: _files(folder, given.get(name, "")) for name in _ONE_FILE + _SEVERAL_FILES}
    except errors.StyleTransferError as error:
        raise type(error)(f"{place}: {error}") from None
    for name in ("content", "style"):
        if not found[name]:
            raise errors.ConfigError(f"{place}: {name} is missing.")
    for name in _ONE_FILE:
        if len(found[name]) > 1:
            raise errors.ConfigError(
                f"{place}: {name} names {len(found[name])} files; expected one."
            )
    return Row(
        place,
        found["content"][0],
        found["style"],
        "".join(found["content_mask"]),
        found["style_mask"],
        str(given.get("output", "")),
        {
            name: _from(folder, value) if name in _FILES and isinstance(value, str) else value
            for name, value in given.items()
            if name in _SETTINGS or name == "preset"
        },
    )


def _from(folder: str, value: str) -> str:
    """Returns the value of a setting that may be a path, which then starts from a folder."""
    return value if value in configs.INITIALISATIONS else os.path.join(folder, value)


def _files(folder: str, given: Any) -> tuple[str, ...]:
    """Returns the files of a cell: a path, a pattern, a folder, or several with commas."""
    if isinstance(given, list):
        return tuple(path for each in given for path in _files(folder, each))
    if not isinstance(given, str):
        raise errors.ConfigError(f"{given!r} is no path; expected text.")
    path = os.path.join(folder, os.path.expanduser(given)) if given else ""
    parts = [os.path.join(folder, os.path.expanduser(part)) for part in configs.split(given)]
    if not os.path.exists(path) and any(map(os.path.exists, parts)):
        return tuple(images.expand(parts))
    if not os.path.exists(path) and glob.has_magic(path):
        return tuple(sorted(glob.glob(path, recursive=True))) or (path,)
    return tuple(images.expand([path])) if path else ()


# Jobs.


class _Configs:
    """The settings of rows. Equal ones are read once.

    Args:
        options: options of the command.
        values: parsed flags.
    """

    def __init__(self, options: BatchOptions, values: Any) -> None:
        self._preset, self._values = options.preset, values
        self.given = flags.given(values, configs.StyleTransferConfig)
        self._read = functools.cache(self._of)
        self._seen: list[tuple[configs.StyleTransferConfig, set[str]]] = []

    def of(self, row: Row) -> configs.StyleTransferConfig:
        """Returns the settings of a row.

        Raises:
            ConfigError: a setting is not valid.
        """
        return self._read(json.dumps(row.settings, sort_keys=True))

    def _of(self, text: str) -> configs.StyleTransferConfig:
        given = json.loads(text)
        preset = given.pop("preset", self._preset)
        changes = {
            name: _parsed(name, value) if isinstance(value, str) else value
            for name, value in given.items()
        }
        config = flags.to_config(self._values, preset, **changes)
        self._seen.append((config, {*changes, *self.given}))
        return config

    def warn(self) -> None:
        """Warns of settings without effect."""
        configs.warn_idle(*self._seen)


def _parsed(name: str, text: str) -> Any:
    """Returns the value of a setting, given as text as for its flag."""
    try:
        return flags.parse_value(configs.StyleTransferConfig, name, text)
    except errors.ConfigError as error:
        words = str(error).removeprefix("--").removesuffix("--helpfull lists all flags.")
        raise errors.ConfigError(words.rstrip()) from None


def _entry(number: int, row: Row, options: BatchOptions, config_of: _Configs) -> Entry:
    try:
        config = config_of.of(row)
        name = _name(number, row, options, config)
    except errors.ConfigError as error:
        raise errors.ConfigError(f"{row.place}: {error}") from None
    inputs = jobs.Paths(row.content, row.styles, row.content_mask, row.style_masks)
    outputs = jobs.Outputs(
        os.path.join(options.output_dir, name),
        bit_depth=options.bit_depth,
        overwrite=options.overwrite,
        partial=False,
    )
    settings = {"preset": options.preset} if options.preset else {}
    return Entry(
        jobs.Job(inputs, config, outputs), name, {**settings, **config_of.given, **row.settings}
    )


def _name(number: int, row: Row, options: BatchOptions, config: configs.StyleTransferConfig) -> str:
    """Returns the path of a picture within the folder."""
    name = row.output or _filled(number, row, options, config)
    if not row.output:
        folder, last = os.path.split(name)
        name = os.path.join(folder, files.shortened(last, _LONGEST_NAME))
    if Path(name).suffix.lower() not in images.FORMATS:
        name += ".png"
    parts = Path(name).parts
    if os.path.isabs(name) or ".." in parts or not Path(name).stem.strip("."):
        raise errors.ConfigError(f"the output {name!r} is no path within --output_dir.")
    return os.path.join(*parts)


def _filled(
    number: int, row: Row, options: BatchOptions, config: configs.StyleTransferConfig
) -> str:
    """Returns the name by the template."""
    known: dict[str, Any] = {
        name: value if isinstance(value, (int, float)) else configs.written(value, "+")
        for name, value in config.to_dict().items()
    }
    known |= {
        "content": Path(row.content).stem,
        "style": "_".join(Path(path).stem for path in row.styles),
        "folder": Path(os.path.abspath(row.content)).parent.name,
        "index": number,
        "preset": row.settings.get("preset", options.preset),
    }
    plain = {
        name: value.replace("/", "-").replace("\\", "-") if isinstance(value, str) else value
        for name, value in known.items()
    }
    try:
        return options.name.format_map(plain)
    except KeyError as error:
        raise errors.unknown_name("name in the braces of --name", error.args[0], known) from None
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise errors.ConfigError(
            f"--name={options.name}: {error}; expected text with names in braces, such as "
            "{content}_{style}."
        ) from None


def _check_apart(found: Sequence[Entry], rows: Sequence[Row]) -> None:
    """Refuses two jobs with one output."""
    owners: dict[str, int] = {}
    for at, entry in enumerate(found):
        other = owners.setdefault(entry.name.casefold(), at)
        if other != at:
            raise errors.ConfigError(
                f"two jobs have the output {entry.name}: {found[other].label} "
                f"({rows[other].place}) and {entry.label} ({rows[at].place}). Tell them apart by "
                "--name, for example with {folder}, {style} or {index}, or by the column output."
            )
