"""The page, in a real browser: what a visitor does, and what nobody may do."""

from __future__ import annotations

import contextlib
import hashlib
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
from typing import Any, NamedTuple

import numpy as np
import proxy
import pytest
from PIL import Image

from nst_tf import config as configs
from nst_tf.records import recipe

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
KEPT = 150.0  # Seconds, in which other tests run.


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
        yield lambda: Visitor(stack.enter_context(new_page(browser))).come(server.address)


@contextlib.contextmanager
def new_page(browser) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1200, "height": 1600}, accept_downloads=True)
    yield context.new_page()
    context.close()


class Visitor:
    """A visitor of the page, and what the browser asked for."""

    def __init__(self, page: Any) -> None:
        self.page, self.addresses, self.errors = page, set(), []
        page.on("request", lambda request: self.addresses.add(request.url))
        page.on("pageerror", lambda error: self.errors.append(error))

    def come(self, address: str) -> Visitor:
        self.page.goto(address)
        self.page.wait_for_selector("#paint")
        return self

    def hosts(self) -> set[str]:
        return {address.split("/")[2] for address in self.addresses if "://" in address}

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
        self.fill(**settings)

    def fill(self, **settings: str) -> None:
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

    def wait_for_results(self, count: int) -> None:
        self.page.wait_for_function(
            "count => document.querySelectorAll('#results img').length == count",
            arg=count,
            timeout=60_000,
        )

    def result(self, link: str = "#download a") -> bytes:
        with self.page.expect_download() as download:
            self.page.locator(link).first.click()
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


def test_the_download_is_what_the_command_makes_and_for_its_visitor_alone(
    visit, pictures, command_environment, tmp_path
):
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
    addresses = [
        visitor.page.get_attribute(each, name)
        for each, name in (("#photo img", "src"), ("#download a", "href"), ("#results img", "src"))
    ]
    another = visit().page  # Gets none of them, nor may name them.
    for each in addresses:
        assert visitor.page.request.get(each).ok
        assert another.request.get(each).status == 403
        path = each.partition("file=")[2]
        for way in (path.replace("/uploads/", "/uploads/../uploads/"), path + "/../x"):
            assert another.request.get(each.replace(path, way)).status in (403, 404)
        call = each.partition("file=")[0] + "call/_to_paint_on"
        data = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
        assert another.request.post(call, data=data).status == 403
        assert visitor.page.request.post(call, data=data).ok
    visitor.paint("go-on")
    visitor.wait_for_results(2)
    (tmp_path / "on.png").write_bytes(gone_on := visitor.result())
    made = recipe.load(str(tmp_path / "on.png"))
    assert made["config"]["init"] == configs.GIVEN
    assert made["inputs"]["init"]["sha256"] == hashlib.sha256(found).hexdigest()
    assert b"nst_tf-" not in gone_on  # No folder of the server.
    assert len(visitor.hosts()) == 1
    assert not visitor.errors


class Behind(NamedTuple):
    """A page behind a proxy, and a visitor who has an account."""

    served: Server
    address: str
    visitor: Visitor


@pytest.fixture(scope="module")
def behind(command_environment, tmp_path_factory, browser) -> Iterator[Behind]:
    served = Server(
        command_environment, tmp_path_factory.mktemp("behind"), "--auth=me:word",
        "--root_path=/paint", f"--kept_seconds={KEPT}",
    )  # fmt: skip
    with proxy.serving(served.address, "/paint") as address, new_page(browser) as page:
        visitor = Visitor(page)
        page.goto(f"{address}/")
        for label, word in (("username", "me"), ("password", "word")):
            page.get_by_label(label).fill(word)
        page.get_by_role("button", name="Login").click()
        page.wait_for_selector("#paint")
        yield Behind(served, address, visitor)
    served.process.kill()
    served.process.communicate()


@pytest.fixture(scope="module")
def kept_files(behind: Behind, pictures) -> list[str]:
    """The addresses of an upload and of a result."""
    visitor = behind.visitor
    visitor.give(*pictures)
    visitor.set(**SMALL)
    visitor.paint()
    visitor.wait("Done")
    assert pixels(visitor.result()).shape[1] == 64
    upload = visitor.page.get_attribute("#photo img", "src")
    return [upload, visitor.page.get_attribute("#download a", "href")]


def test_behind_a_proxy_under_a_path_all_goes_by_that_path(behind: Behind, kept_files):
    asked = [each for each in behind.visitor.addresses if each.startswith("http")]
    strays = [each for each in asked if not each.startswith(f"{behind.address}/")]
    assert not strays
    for each in kept_files:
        assert behind.visitor.page.request.get(each).ok
        with pytest.raises(urllib.error.HTTPError) as found:  # Without the account.
            urllib.request.urlopen(each)
        assert found.value.code == 403
    with pytest.raises(urllib.error.HTTPError) as found:
        urllib.request.urlopen(f"{behind.address}/config")
    assert found.value.code == 401


def test_screenshot(visit):
    """With NST_TF_SCREENSHOTS=FOLDER, writes the picture of the README and the guide."""
    folder = os.environ.get("NST_TF_SCREENSHOTS")
    if not folder:
        pytest.skip("writes a picture, and tests nothing")
    visitor = visit()
    visitor.give(ROOT / "assets" / "chelsea.png", ROOT / "assets" / "estuary.jpg")
    visitor.paint()
    visitor.wait("Done")
    visitor.page.wait_for_selector("#slider img")
    visitor.page.wait_for_timeout(500)
    box = {"x": 0, "y": 0, "width": 1200, "height": 1100}
    shot = visitor.page.screenshot(clip=box)
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image.save(Path(folder) / "page.jpg", quality=85)


@pytest.fixture(scope="module")
def painted(server: Server, browser, pictures) -> Iterator[Visitor]:
    """A visitor with four results."""
    with new_page(browser) as page:
        visitor = Visitor(page).come(server.address)
        visitor.give(*pictures)
        visitor.set(**SMALL, seed="5")
        visitor.paint("variants")
        visitor.wait("Done")
        visitor.wait_for_results(4)
        yield visitor


def test_formats_settings_and_comparison(painted, visit, tmp_path):
    page = painted.page
    page.get_by_role("button", name="Compare two results").click()
    page.click("#compare")
    page.wait_for_function("document.querySelector('#differing').textContent.includes('strength')")
    first = painted.result()
    (tmp_path / "first.png").write_bytes(first)
    page.locator("#kind input").click()
    page.get_by_role("option", name="PNG, 16 bits").click()
    page.wait_for_selector("#download :text('-16')")
    assert b"IHDR" in (deep := painted.result()) and deep[24] == 16
    painted.fill(seed="1")
    page.locator("#results button img").first.click()  # Brings its settings back.
    page.wait_for_function("document.querySelector('#setting-seed input').value == '5'")
    other = visit()  # Who drops the picture in gets its settings.
    other.set()
    other.page.set_input_files("#recipe input[type=file]", tmp_path / "first.png")
    other.wait("The settings are those of first.png")
    assert other.page.locator("#setting-seed input").input_value() == "5"


def test_a_sheet_shows_an_order_photo_first(painted, pictures):
    sheet = pixels(painted.result("#sheet a"))
    assert sheet.shape[1] > 5 * 64
    with Image.open(pictures[0]) as photo:
        small = np.asarray(photo.resize((64, 43), Image.Resampling.BICUBIC)).astype(int)
    places = np.lib.stride_tricks.sliding_window_view(sheet, small.shape)[..., 0, :, :, :]
    misfit = [np.abs(row - small).mean((1, 2, 3)) for row in places]
    top, left = np.unravel_index(np.argmin(misfit), places.shape[:2])
    assert np.min(misfit) < 3
    results = sheet[top : top + 43, left + 64 :]
    assert (results.min(2) < 200).any(0).sum() >= 4 * 64  # Four pictures right of it.


def test_the_keyboard_zooms_and_moves_the_divider(painted):
    page, share = painted.page, "document.querySelector('#viewer output').textContent"

    def press(key: str, times: int = 1) -> int:
        for _ in range(times):
            page.keyboard.press(key)
        page.wait_for_timeout(200)
        return int(page.evaluate(share).removesuffix("%"))

    page.focus("#zoom")
    fitting = press("Enter")
    assert press("+", 4) == pytest.approx(4 * fitting, abs=3)
    page.focus("#viewer .stage")
    at = "document.querySelector('#viewer .stage').scrollLeft"
    before = page.evaluate(at)
    press("ArrowRight", 3)
    assert page.evaluate(at) > before
    clip = "document.querySelector('#viewer img + img').style.clipPath"
    before = page.evaluate(clip)
    page.focus("#viewer [name=divider]")
    press("ArrowLeft", 5)
    assert page.evaluate(clip) != before
    page.focus("#viewer [name=pixels]")
    assert press("Enter") == 100
    press("Escape")
    assert page.evaluate("document.activeElement.id") == "zoom"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(painted, scheme: str):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = painted.page
    page.emulate_media(color_scheme=scheme)
    page.reload()
    painted.wait_for_results(4)
    painted.set()

    def violations() -> list[Any]:
        page.wait_for_timeout(500)
        found = axe.Axe().run(page).response["violations"]
        return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found]

    assert not violations()
    page.click("#zoom")
    assert not violations()
    page.keyboard.press("Escape")


def test_a_phone_needs_no_scrolling_sideways(painted, pictures):
    page = painted.page
    page.set_viewport_size({"width": 390, "height": 800})
    painted.give(*pictures)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#zoom-sheet")
    box = page.locator("#viewer").bounding_box()
    assert (box["x"], box["width"]) == (0, 390)
    assert page.evaluate("document.querySelector('#viewer').scrollWidth") <= 390
    page.keyboard.press("Escape")


def test_stop_and_keep(visit, pictures, tmp_path):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(image_size="512", steps="900,900")
    visitor.paint()
    visitor.wait("step 3", "step 4", "step 5")
    visitor.paint("stop")
    visitor.wait("this is the picture so far")
    stopped = visitor.result()
    assert pixels(stopped).shape[1] == 512
    visitor.fill(**SMALL)
    visitor.paint("go-on")
    visitor.wait_for_results(2)
    (tmp_path / "on.png").write_bytes(visitor.result())
    start = recipe.load(str(tmp_path / "on.png"))["inputs"]["init"]
    assert start["sha256"] == hashlib.sha256(stopped).hexdigest()


def test_each_painting_alone_and_then_in_the_regions_of_its_colour(visit, tmp_path):
    random = np.random.default_rng(0)
    paintings = [tmp_path / "warm.png", tmp_path / "cold.png"]
    for path, colour in zip(paintings, ((230, 60, 20), (20, 60, 230)), strict=True):
        noise = np.clip(random.normal(colour, 20, (90, 120, 3)), 0, 255)
        Image.fromarray(noise.astype(np.uint8)).save(path)
    visitor = visit()
    photo = ROOT / "assets" / "chelsea.png"
    visitor.give(photo, *paintings)
    visitor.set(**SMALL)
    visitor.paint("each")
    visitor.wait("Done")
    visitor.wait_for_results(2)
    page = visitor.page
    canvas = page.locator("#brush canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    box = canvas.bounding_box()

    def stroke(across: float) -> None:
        x, y = box["x"] + across * box["width"], box["y"] + box["height"] / 2
        page.mouse.move(x, y - 20)
        page.mouse.down()
        for step in range(20):
            page.mouse.move(x, y - 20 + 2 * step)
        page.mouse.up()

    stroke(0.4)
    page.click("#brush button[aria-label=Color]")
    page.click("#brush button[aria-label=blue]")
    stroke(0.6)
    page.wait_for_selector("#understood :text-matches('blue: [1-9]')")
    shares = [int(each) / 100 for each in re.findall(r"(\d+)%", page.inner_text("#understood"))]
    assert len(shares) == 2 and all(0 < each < 0.25 for each in shares)
    visitor.paint()
    visitor.wait_for_results(3)
    found = pixels(visitor.result())
    with Image.open(photo) as image:
        before = np.asarray(image.resize(found.shape[1::-1], Image.Resampling.LANCZOS)).astype(int)
    changed = np.abs(found - before).max(-1) > 40
    assert 0 < changed.mean() < sum(shares) + 0.1
    warm, cold = (
        changed & (found[..., 0] > found[..., 2]),
        changed & (found[..., 0] < found[..., 2]),
    )
    across = np.arange(changed.shape[1])
    assert warm.sum(0) @ across / warm.sum() + 4 < cold.sum(0) @ across / cold.sum()
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


def test_a_reload_loses_nothing_and_a_second_tab_sees_the_job(visit, server, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(image_size="256", steps="25", levels="1")
    visitor.paint()
    visitor.wait("step")
    visitor.page.reload()
    tab = Visitor(visitor.page.context.new_page()).come(server.address)
    tab.wait("step")
    visitor.page.wait_for_selector("#paint")
    for each in (visitor, tab):
        each.wait("Done")
        each.wait_for_results(1)
        assert pixels(each.result()).shape[1] == 256


def test_limits_are_told(visit, pictures):
    visitor = visit()
    visitor.give(*pictures)
    visitor.set(image_size="600")
    visitor.paint()
    visitor.wait("512 are allowed here")


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


def test_old_files_go_and_ctrl_c_leaves_nothing(behind: Behind, kept_files):
    page, folder = behind.visitor.page, behind.served.folder
    page.goto("about:blank")
    ends = time.monotonic() + KEPT + SECONDS
    results = "nst_tf-*/results/*/*"
    while any(page.request.get(each).ok for each in kept_files) or list(folder.glob(results)):
        assert time.monotonic() < ends
        time.sleep(1)
    assert behind.served.end() == 0
    assert not [name for name in os.listdir(folder) if name.startswith("nst_tf-")]
