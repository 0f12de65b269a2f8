"""The page, in a real browser: what a visitor does, and what nobody may do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="requirements-web.txt is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if not CHROMIUM:
    MESSAGE = "THE PAGE IS NOT TESTED: there is no Chromium. Install Debian's package chromium."
    print(f"\n{MESSAGE}\n", file=sys.stderr)
    pytest.skip(MESSAGE, allow_module_level=True)

SMALL = {"image_size": "64", "steps": "4", "levels": "1"}
SECONDS = 120.0


class Server:
    """The page, served by the command in a process of its own."""

    def __init__(self, environment: dict[str, str], folder: Path, *flags: str) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        command = [sys.executable, ROOT / "scripts" / "app.py", f"--port={self.port}", *flags]
        self.folder = folder
        self.process = subprocess.Popen(
            command, env={**environment, "TMPDIR": str(folder)}, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr
        for line in self.process.stderr:
            if "The page is at" in line:
                return
        raise AssertionError("the page does not start")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=SECONDS)
        return self.process.returncode


@pytest.fixture(scope="module")
def server(command_environment, tmp_path_factory) -> Iterator[Server]:
    found = Server(
        command_environment, tmp_path_factory.mktemp("served"), "--side=512", "--pixels=1000000",
        "--max_upload=2mb",
    )  # fmt: skip
    yield found
    found.process.kill()
    found.process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture
def visit(server: Server, browser) -> Iterator[Callable[..., Visitor]]:
    """Opens the page as a new visitor."""
    with contextlib.ExitStack() as stack:

        def opened(width: int = 1200, **options: Any) -> Visitor:
            context = browser.new_context(
                viewport={"width": width, "height": 1600}, accept_downloads=True, **options
            )
            stack.callback(context.close)
            return Visitor(context.new_page(), server)

        yield opened


class Visitor:
    """A visitor of the page, and what the browser asked for."""

    def __init__(self, page: Any, server: Server) -> None:
        self.page, self.hosts, self.errors = page, set(), []
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        page.on("pageerror", lambda error: self.errors.append(error))
        page.goto(server.address)
        page.wait_for_selector("#paint")

    def give(self, photo: Path, *paintings: Path) -> None:
        self.page.set_input_files("#photo input[type=file]", photo)
        self.page.set_input_files("#paintings input[type=file]", list(paintings))
        self.page.wait_for_selector("#photo img")
        self.page.wait_for_function(
            "name => document.querySelector('#paintings').innerText.includes(name)",
            arg=paintings[-1].stem[:8],
        )

    def set(self, **settings: str) -> None:
        self.page.get_by_role("button", name="More settings").click()
        for name, value in settings.items():
            control = self.page.locator(f"#setting-{name}").locator("input, textarea").first
            control.fill(value)
            control.blur()

    def paint(self, button: str = "paint") -> None:
        self.page.click(f"#{button}")

    def status(self) -> str:
        return self.page.inner_text("#status")

    def wait(self, *words: str) -> str:
        """Waits for one of some words in the status, and returns it."""
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            if any(each in self.status() for each in words):
                return self.status()
            time.sleep(0.1)
        raise AssertionError(f"{words} did not come; the page says: {self.status()}")

    def result(self) -> bytes:
        link = self.page.locator("#download a").first
        with self.page.expect_download() as download:
            link.click()
        return Path(download.value.path()).read_bytes()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> tuple[Path, Path]:
    """A photo and a painting."""
    folder = tmp_path_factory.mktemp("given")
    for name, size in (("chelsea.png", (144, 96)), ("estuary.jpg", (120, 90))):
        Image.open(ROOT / "assets" / name).convert("RGB").resize(size).save(folder / name)
    return folder / "chelsea.png", folder / "estuary.jpg"


def pixels(data: bytes | Path) -> np.ndarray:
    with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_the_download_is_what_the_command_makes(visit, pictures, command_environment, tmp_path):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(**SMALL)
    visitor.paint()
    visitor.wait("Done")
    found = visitor.result()
    command = [
        sys.executable, ROOT / "scripts" / "stylize.py", f"--content={pictures[0]}",
        f"--style={pictures[1]}", f"--output={tmp_path / 'made.png'}",
        *(f"--{name}={value}" for name, value in SMALL.items()),
    ]  # fmt: skip
    subprocess.run(command, env=command_environment, check=True, capture_output=True)
    assert found == (tmp_path / "made.png").read_bytes()
    assert visitor.hosts == {visitor.page.url.split("/")[2]}
    assert not visitor.errors


def test_screenshot(visit, pictures):
    """With NST_TF_SCREENSHOTS=FOLDER, writes the picture of the README and the guide."""
    folder = os.environ.get("NST_TF_SCREENSHOTS")
    visitor = visit()
    if folder:
        visitor.give(ROOT / "assets" / "chelsea.png", ROOT / "assets" / "estuary.jpg")
    else:
        visitor.give(*pictures)
        visitor.set(**SMALL)
    visitor.paint()
    visitor.wait("Done")
    visitor.page.wait_for_selector("#slider img")
    visitor.page.wait_for_timeout(500)
    box = {"x": 0, "y": 0, "width": 1200, "height": 1100}
    shot = visitor.page.screenshot(clip=box)
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    assert image.size == (1200, 1100)
    if folder:
        image.save(Path(folder) / "page.jpg", quality=85)


def test_formats_settings_and_comparison(visit, pictures, tmp_path):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(**SMALL, seed="5")
    visitor.paint("variants")
    visitor.wait("Done")
    page = visitor.page
    page.wait_for_function("document.querySelectorAll('#results img').length == 4", timeout=6e4)
    page.get_by_role("button", name="Compare two results").click()
    page.click("#compare")
    page.wait_for_function("document.querySelector('#differing').textContent.includes('strength')")
    first = visitor.result()
    (tmp_path / "first.png").write_bytes(first)
    page.locator("#kind input").click()
    page.get_by_role("option", name="PNG, 16 bits").click()
    page.wait_for_selector("#download :text('-16')")
    assert b"IHDR" in (deep := visitor.result()) and deep[24] == 16
    other = visit()  # Who drops the picture in gets its settings.
    other.set()
    other.page.set_input_files("#recipe input[type=file]", tmp_path / "first.png")
    other.wait("The settings are those of first.png")
    assert other.page.locator("#setting-seed input").input_value() == "5"


def test_each_painting_alone(visit, pictures, tmp_path):
    other = tmp_path / "ink.png"
    Image.open(ROOT / "assets" / "ink.jpg").resize((120, 90)).save(other)
    visitor = visit()
    visitor.give(pictures[0], pictures[1], other)
    visitor.set(**SMALL)
    visitor.paint("each")
    visitor.wait("Done")
    visitor.page.wait_for_function(
        "document.querySelectorAll('#results img').length == 2", timeout=60_000
    )


def test_stop_and_keep(visit, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(image_size="512", steps="900,900")
    visitor.paint()
    visitor.wait("step 3", "step 4", "step 5")
    visitor.paint("stop")
    visitor.wait("this is the picture so far")
    assert pixels(visitor.result()).shape[1] == 512


def test_a_painted_region_changes_only_itself(visit, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(**SMALL)
    page = visitor.page
    canvas = page.locator("#brush canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1500)
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle[0] - 20, middle[1])
    page.mouse.down()
    for step in range(20):
        page.mouse.move(middle[0] - 20 + 2 * step, middle[1])
    page.mouse.up()
    page.wait_for_selector("#understood :text('of the photo is repainted')")
    share = int(re.search(r"(\d+)%", page.inner_text("#understood"))[1]) / 100
    assert 0 < share < 0.5
    visitor.paint()
    visitor.wait("Done")
    found = pixels(visitor.result())
    with Image.open(pictures[0]) as photo:
        before = np.asarray(photo.resize(found.shape[1::-1], Image.Resampling.LANCZOS)).astype(int)
    changed = np.abs(found - before).max(-1) > 40
    assert changed.any()
    assert changed.mean() < share + 0.1
    height, width = changed.shape
    for rows in (slice(height // 10), slice(-height // 10, None)):
        for columns in (slice(width // 10), slice(-width // 10, None)):
            assert not changed[rows, columns].any()


def test_files_that_are_no_good_are_told(visit, pictures, tmp_path):
    bad, bomb = tmp_path / "bad.png", tmp_path / "bomb.png"
    bad.write_bytes(b"no picture at all")
    Image.new("1", (3000, 3000)).save(bomb)
    visitor = visit()
    visitor.paint()
    visitor.wait("Choose a photo first")
    for file, words in ((bad, "bad.png"), (bomb, "bomb.png")):
        visitor.page.set_input_files("#photo input[type=file]", file)
        visitor.page.set_input_files("#paintings input[type=file]", pictures[1])
        visitor.page.wait_for_timeout(1500)
        visitor.paint()
        said = visitor.wait(words)
        assert str(tmp_path) not in said and "/" not in said.split(":")[0]
        visitor.page.reload()
        visitor.page.wait_for_selector("#paint")


def test_a_huge_file_is_refused(visit, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (900, 1000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "huge.png")
    assert (tmp_path / "huge.png").stat().st_size > 2_500_000
    visitor = visit()
    visitor.page.set_input_files("#photo input[type=file]", tmp_path / "huge.png")
    visitor.page.wait_for_selector(".toast-body")
    assert not visitor.page.locator("#photo img").count()


def test_a_click_on_a_result_brings_its_settings_back(visit, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(**SMALL, seed="7")
    visitor.paint()
    visitor.wait("Done")
    seed = visitor.page.locator("#setting-seed input")
    seed.fill("1")
    seed.blur()
    visitor.page.locator("#results button img").first.click()
    visitor.page.wait_for_function(
        "document.querySelector('#setting-seed input').value == '7'", timeout=10_000
    )


def test_a_name_with_a_script_is_a_name(visit, pictures, tmp_path):
    name = tmp_path / "<img src=x onerror=alert(1)>.png"
    shutil.copy(pictures[0], name)
    visitor = visit()
    alerts = []
    visitor.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    visitor.give(name, pictures[1])
    visitor.set(**SMALL)
    visitor.paint()
    visitor.wait("Done")
    assert not alerts and not visitor.errors


def test_two_visitors_take_turns_and_see_their_own(visit, pictures):
    one, other = visit(), visit()
    for visitor, seed in ((one, "1"), (other, "2")):
        visitor.give(*pictures)
        visitor.set(image_size="128", steps="25", levels="1", seed=seed, init_noise="0.5")
    one.paint()
    one.wait("step", "rough")
    other.paint()
    assert "1 before you" in other.wait("before you", "Done")
    one.wait("Done")
    other.wait("Done")
    assert not np.array_equal(pixels(one.result()), pixels(other.result()))
    for visitor in (one, other):
        assert visitor.page.locator("#results img").count() == 1


def test_a_reload_loses_nothing(visit, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(image_size="256", steps="25", levels="1")
    visitor.paint()
    visitor.wait("step")
    visitor.page.reload()
    visitor.page.wait_for_selector("#paint")
    visitor.wait("Done")
    visitor.page.wait_for_selector("#results img")
    assert pixels(visitor.result()).shape[1] == 256


def test_limits_are_told(visit, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(image_size="600")
    visitor.paint()
    visitor.wait("512 are allowed here")


def test_a_phone_needs_no_scrolling_sideways(visit, pictures):
    visitor = visit(width=390)
    visitor.give(*pictures)
    width = visitor.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, scheme: str):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    visitor = visit(color_scheme=scheme)
    visitor.set()
    visitor.page.wait_for_timeout(1000)
    found = axe.Axe().run(visitor.page).response["violations"]
    assert not [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]


def test_the_keyboard_alone_is_enough(visit, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(**SMALL)
    for _ in range(200):
        visitor.page.keyboard.press("Tab")
        if visitor.page.evaluate("document.activeElement.id") == "paint":
            break
    visitor.page.keyboard.press("Enter")
    visitor.wait("Done")


@pytest.mark.parametrize(
    "path",
    [
        "gradio_api/file=/etc/passwd",
        "gradio_api/file=requirements.txt",
        "gradio_api/file=../../../../etc/passwd",
        "gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
        "file=/etc/hosts",
    ],
)
def test_files_of_the_server_are_refused(server: Server, path: str):
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(f"{server.address}/{path}")
    assert found.value.code in (403, 404)


def test_a_path_of_the_server_is_no_upload(server: Server, content_path: Path):
    given = {"path": str(content_path), "meta": {"_type": "gradio.FileData"}}
    call = f"{server.address}/gradio_api/call/_to_paint_on"
    request = urllib.request.Request(
        call, json.dumps({"data": [given]}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{call}/{event}") as answer:
        said = answer.read().decode()
    assert "event: error" in said and "complete" not in said


def test_ctrl_c_ends_it_and_nothing_is_left(command_environment, tmp_path: Path):
    served = Server(command_environment, tmp_path, "--auth=me:word")
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(f"{served.address}/config")
    assert found.value.code == 401
    assert served.end() == 0
    assert not [name for name in os.listdir(tmp_path) if name.startswith("nst_tf-")]
