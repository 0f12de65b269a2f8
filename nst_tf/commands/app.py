"""The page in the browser: flags in, a server until Ctrl-C."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nst_tf import config as configs
from nst_tf import errors
from nst_tf.commands import console, flags
from nst_tf.commands.options import AppOptions
from nst_tf.runtime import signals

USAGE = """Opens a page for photos and paintings in the browser.

  {program} [--port=7860]

The page works without any other host. Ctrl-C ends it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serves the page and returns the exit status.

    0: ended by Ctrl-C or SIGTERM. 1: the port is taken, or a package is missing. 2: a flag is
    wrong.

    Args:
        argv: program name and flags; those of the process if None.
    """
    return console.run(argv, flags.APP, _command, USAGE)


def _command(values: Any) -> int:
    options: AppOptions = flags.to_dataclass(values, AppOptions)
    auth = [_account(text) for text in options.auth]
    with tempfile.TemporaryDirectory(prefix="nst_tf-") as folder:
        uploads = Path(folder) / "uploads"
        os.environ["GRADIO_TEMP_DIR"] = str(uploads)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_OFFLINE"] = "1"
        console.load_tensorflow([configs.StyleTransferConfig()])
        try:
            from starlette.middleware import Middleware

            from nst_tf.web import own_files, page, painter
        except ModuleNotFoundError as error:
            raise errors.StyleTransferError(
                f"the page needs the package {error.name}: pip install -r requirements-web.txt, or "
                "pip install 'nst-tf[web]'."
            ) from error
        names = [field.name for field in dataclasses.fields(painter.Limits)]
        limits = painter.Limits(**{name: getattr(options, name) for name in names})
        work = painter.Painter(Path(folder) / "results", limits, uploads)
        try:
            guard = Middleware(own_files.OwnFiles, folder=Path(folder))
            look = {**page.THEME, "app_kwargs": {"middleware": [guard]}}
            _serve(page.build(work, limits.kept_seconds), look, options, auth, folder)
        finally:
            work.close()
    return 0


def _account(text: str) -> tuple[str, str]:
    name, colon, word = text.partition(":")
    if not (name and colon and word):
        raise errors.ConfigError("--auth: expected NAME:PASSWORD.")
    return name, word


def _serve(
    built: Any, look: dict[str, Any], options: AppOptions, auth: list[tuple[str, str]], folder: str
) -> None:
    """Serves the page until a signal comes."""
    ended = threading.Event()
    try:
        _, address, _ = built.queue(max_size=None, default_concurrency_limit=None).launch(
            server_name=options.host,
            server_port=options.port,
            root_path=options.root_path or None,
            auth=auth or None,
            max_file_size=options.max_upload,
            allowed_paths=[str(Path(folder) / "results")],
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            strict_cors=True,
            footer_links=[],
            **look,
        )
    except OSError as error:
        raise errors.StyleTransferError(
            f"the port {options.port} cannot be used ({errors.reason(error)}); choose another by "
            "--port."
        ) from error
    console.say(f"The page is at {address.rstrip('/')}. Ctrl-C ends it.")
    previous = signals.install(lambda number, _: ended.set())
    try:
        ended.wait()
    finally:
        signals.restore(previous)
        built.close(verbose=False)
