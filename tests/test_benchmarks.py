"""The benchmarks: the judge against independent formulas, the programs at a small size."""

import base64
import io
import json
import re
import sys
from pathlib import Path

import forked
import h5py
import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import scipy.spatial
import scipy.stats

import nst_tf

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
sys.path.insert(0, str(FOLDER))

import blind  # noqa: E402
import judge as judges  # noqa: E402
import nnst_work as nnst  # noqa: E402
import time_to_quality  # noqa: E402
import work  # noqa: E402


def _picture(name, height, width):
    return nst_tf.imaging.resize(nst_tf.imaging.load(ROOT / "assets" / name).rgb, height, width)


@pytest.fixture(scope="module")
def pair():
    return _picture("chelsea.png", 128, 160), _picture("estuary.jpg", 128, 160)


def _run(*arguments):
    done = forked.run(*arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _convolved(x, kernel, bias, stride, around):
    """Returns a convolution in float64, written as correlations of planes."""
    padded = np.pad(x, [(around, around), (around, around), (0, 0)])
    planes = [
        sum(
            scipy.signal.correlate2d(padded[:, :, i], kernel[:, :, i, o], "valid")
            for i in range(x.shape[2])
        )
        for o in range(kernel.shape[3])
    ]
    return np.maximum(np.stack(planes, axis=2)[::stride, ::stride] + bias, 0)


def _pooled(x):
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))[::2, ::2]
    return windows.max(axis=(-1, -2))


def test_activations_are_those_of_alexnet():
    picture = np.random.default_rng(0).random((39, 43, 3), np.float32)
    found = judges.activations(picture)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    with h5py.File(FOLDER / "alexnet.h5") as file:
        layers = [
            [np.float64(file[f"conv{index}/{key}"]) for key in ("kernel", "bias")]
            for index in (1, 2)
        ]
    # LPIPS rounds the normalisation of ImageNet: -0.030 is 2 · 0.485 - 1.
    normalised = (picture - mean) / deviation
    first = _convolved(normalised, *layers[0], 4, 2)
    second = _convolved(_pooled(first), *layers[1], 1, 2)
    np.testing.assert_allclose(found[0], first, atol=2e-3 * first.max())
    np.testing.assert_allclose(found[1], second, atol=2e-3 * second.max())
    assert [each.shape for each in found[2:]] == [(1, 1, 384), (1, 1, 256), (1, 1, 256)]


def test_sliced_distance_of_two_samples_is_that_of_their_quantiles():
    random = np.random.default_rng(0)
    first, second = random.normal(0, 1, (4000, 2)), random.normal(3, 1, (5000, 2))
    ranked = [judges._quantiles(np.float32(each)) for each in (first, second)]
    # A shift by a vector v has the squared distance |v|² / dimensions over all directions.
    assert np.mean((ranked[0] - ranked[1]) ** 2) == pytest.approx(3**2, rel=0.15)


def test_the_photo_has_no_style_and_the_painting_all_of_it(pair):
    photo, painting = pair
    judge = judges.Judge(photo, painting)
    untouched = judge(photo)
    assert untouched.style_gain == 0
    assert untouched.content == 0
    assert untouched.structure == pytest.approx(1, abs=1e-6)
    assert untouched.bare == 1
    assert untouched.lpips_grey == 0
    itself = judge(painting)
    assert itself.style_gain == pytest.approx(1, abs=1e-6)
    assert itself.colour == 0
    assert itself.bare == 0
    assert itself.frechet == pytest.approx(0, abs=1e-4)
    assert untouched.frechet > 0.1
    assert itself.structure < 0.7


def _layers(seed, *shapes):
    random = np.random.default_rng(seed)
    return [random.gamma(1, 1, shape).astype(np.float32) for shape in shapes]


def _centred(layer, mean):
    return np.float64(layer).reshape(-1, layer.shape[-1]) - mean


def test_structure_is_the_correlation_of_self_similarities():
    shapes = [(2, 2, 3), (2, 2, 3), (3, 4, 5), (4, 3, 6), (60, 50, 4)]
    picture, photo = (_layers(seed, *shapes) for seed in (0, 1))
    picture[4] += 2 * photo[4]
    expected = []
    for layers in zip(picture[2:], photo[2:], strict=True):
        centred = [_centred(layer, np.float64(layer).mean((0, 1))) for layer in layers]
        similar = [1 - scipy.spatial.distance.pdist(each, "cosine") for each in centred]
        expected.append(scipy.stats.pearsonr(*similar).statistic)
    assert expected[2] > 0.4
    found = judges.structure([*picture[:4], picture[3]], [*photo[:4], photo[3]])
    assert found == pytest.approx((expected[0] + 2 * expected[1]) / 3, abs=1e-5)
    # Of the 3000 places of the last layer not all take part.
    assert judges.structure(picture, photo) == pytest.approx(np.mean(expected), abs=0.01)


def test_structure_does_not_change_with_a_swap_of_features():
    photo = _layers(0, *[(3, 4, 6)] * 5)
    rotation = scipy.stats.ortho_group.rvs(6, random_state=0)
    assert judges.structure([layer @ rotation + 3 for layer in photo], photo) == pytest.approx(1)


def test_bare_is_the_share_of_places_nearest_to_the_photo():
    photo, painting, picture = (_layers(seed, *[(9, 8, 3)] * 5) for seed in range(3))
    picture[1] = photo[1].copy()
    picture[1][:6] = painting[1][3:]
    expected = []
    for found, same, others in zip(picture[:4], photo[:4], painting[:4], strict=True):
        mean = np.float64(others).mean((0, 1))
        found, same, others = (_centred(each, mean) for each in (found, same, others))
        apart = scipy.spatial.distance.cdist(found, others, "cosine").min(axis=1)
        own = np.diag(scipy.spatial.distance.cdist(found, same, "cosine"))
        expected.append(np.mean(own < apart))
    assert expected[1] == pytest.approx(1 / 3)
    assert judges.bare(picture, photo, painting) == pytest.approx(np.mean(expected), abs=1e-6)


def test_bare_of_many_places_is_that_of_some():
    photo, painting = (_layers(seed, (140, 130, 4), *[(2, 2, 4)] * 4) for seed in (0, 1))
    picture = [*map(np.copy, painting)]
    picture[0][:70] = photo[0][:70]
    assert judges.bare(picture, photo, painting) == pytest.approx(0.5 / 4, abs=0.01)


def test_frechet_distance_is_that_of_normal_distributions():
    random = np.random.default_rng(0)
    mixed = [
        random.normal(1, 1, (count, 5)) @ random.normal(0, 1, (5, 5)) + shift
        for count, shift in ((40, 0.5), (60, 0))
    ]
    (mean, other_mean), (spread, other_spread) = (
        [f(each) for each in mixed]
        for f in (lambda x: x.mean(axis=0), lambda x: np.cov(x.T, bias=True))
    )
    distance = ((mean - other_mean) ** 2).sum() + np.trace(
        spread + other_spread - 2 * scipy.linalg.sqrtm(spread @ other_spread).real
    )
    found = judges.frechet(*([judges.moments(np.float32(each))] for each in mixed))
    assert found == pytest.approx(distance / np.mean((mixed[1] ** 2).sum(axis=1)), rel=1e-4)
    # Fewer samples than channels; of one pair of values, ±1 and ±3 about 0: (3 - 1)² of 3².
    one, three = (np.float32([[each, 0, 0], [-each, 0, 0]]) for each in (1, 3))
    assert judges.frechet([judges.moments(one)], [judges.moments(three)]) == pytest.approx(4 / 9)


def test_grey_likeness_does_not_see_colours(pair):
    photo, painting = pair
    photo = 0.3 + 0.4 * photo
    # The luminance of a colour is 0.2126 red + 0.7152 green + 0.0722 blue; these have none.
    shift = np.float32([0.7152, -0.2126, 0]) * 0.3
    verdict = judges.Judge(photo, painting)(photo + shift)
    assert verdict.content > 0.02
    assert verdict.lpips_grey < 1e-5
    grey = [np.repeat(x @ np.float32([[0.2126], [0.7152], [0.0722]]), 3, axis=2) for x in pair]
    expected = judges.lpips(*map(judges.activations, grey))
    assert judges.Judge(*pair)(painting).lpips_grey == pytest.approx(expected, rel=1e-4)


def test_noise_is_told_from_style(pair):
    photo, painting = pair
    judge = judges.Judge(photo, painting)
    noise = np.random.default_rng(1).random(photo.shape, np.float32)
    grainy = np.clip(photo + 0.2 * (noise - 0.5), 0, 1)
    assert judge(noise).style_gain < 0.25
    assert judge(noise).content > 1
    assert judge(noise).grain > 10
    assert judge(grainy).style_gain < 0.1
    assert judge(grainy).grain > 3 * judge(photo).grain


def test_more_content_has_less_style_and_stays_nearer(pair):
    photo, painting = (nst_tf.imaging.resize(each, 76, 96) for each in pair)
    judge = judges.Judge(photo, painting)
    transfer = nst_tf.StyleTransfer(
        nst_tf.StyleTransferConfig(backbone="vgg16", image_size=96, levels=1, steps=25)
    )
    verdicts = [
        judge(transfer.replace(content_weight=weight).stylize(photo, painting).numpy())
        for weight in (0.1, 3.0, 100.0)
    ]
    gains, contents = (
        [getattr(each, key) for each in verdicts] for key in ("style_gain", "content")
    )
    assert gains == sorted(gains, reverse=True)
    assert contents == sorted(contents, reverse=True)
    assert gains[0] > 0.3


def test_quality_prints_and_writes_verdicts(tmp_path):
    inputs = [f"--{name}={ROOT}/assets/{file}" for name, file in
              (("content", "chelsea.png"), ("style", "estuary.jpg"))]  # fmt: skip
    results = tmp_path / "verdicts.json"
    printed = _run(FOLDER / "quality.py", *inputs, f"--json={results}", ROOT / "assets/chelsea.png")
    (verdict,) = json.loads(results.read_text())["results"].values()
    assert verdict["style_gain"] == 0
    assert "grain" in printed


def test_a_recipe_that_begins_at_the_photo_gives_it_back(tmp_path):
    results = tmp_path / "identity.json"
    printed = _run(
        FOLDER / "quality.py", "--identity", f"--content={ROOT}/assets/chelsea.png", "--size=48",
        "--preset=gatys2016", "--steps=20", f"--json={results}",
    )  # fmt: skip
    figures = json.loads(results.read_text())["results"]
    assert figures["lpips"] < 0.01
    assert figures["difference"] < 0.01
    assert "lpips" in printed


def test_pairs_writes_what_it_has_and_names_what_it_lacks(tmp_path):
    given, output = tmp_path / "given", tmp_path / "pairs"
    given.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (40, 1200, 3), np.uint8)
    photos = ["taj_mahal", "ancient_city", "winter_wolf"]
    paintings = ["water_lilies", "sakai_hoitsu", "wave_kanagawa"]
    for name in photos + paintings:
        nst_tf.imaging.save(picture, given / f"{name}.jpg")
    printed = _run(FOLDER / "pairs.py", f"--pictures={given}", f"--output={output}")
    (line,) = (line for line in printed.splitlines() if line.startswith("03_town"))
    assert "left out" in line
    assert "kandinsky.jpg" in line
    listed = {pair["name"]: pair for pair in json.loads((output / "pairs.json").read_text())}
    day, night = listed["02_building_lilies"]["photo"], listed["09_night_pattern"]["photo"]
    assert {"04_landscape_woodcut", "05_animal_gold"} <= set(listed)
    assert "03_town_abstract" not in listed
    files = {file for pair in listed.values() for file in (pair["photo"], pair["painting"])}
    assert files == {path.name for path in output.glob("*.png")}
    pictures = {file: nst_tf.imaging.load(output / file).rgb for file in files}
    assert max(max(picture.shape[:2]) for picture in pictures.values()) == 1024
    assert pictures[night].mean() < 0.35 * pictures[day].mean()


@pytest.mark.parametrize("seed", range(5))
def test_sides_are_balanced_and_the_order_is_random(seed):
    names = [f"{number:02}" for number in range(31)]
    trials = blind.drawn({"gram": names, "photo": names[:10]}, seed)
    assert sorted((trial.contender, trial.pair) for trial in trials) == [
        *(("gram", name) for name in names), *(("photo", name) for name in names[:10])
    ]  # fmt: skip
    left = {
        contender: sum(each.ours == "l" for each in trials if each.contender == contender)
        for contender in ("gram", "photo")
    }
    assert left["gram"] in (15, 16)
    assert left["photo"] == 5
    assert trials == blind.drawn({"gram": names, "photo": names[:10]}, seed)
    assert trials != blind.drawn({"gram": names, "photo": names[:10]}, seed + 1)
    by_pair = [each.ours for each in sorted(trials, key=lambda each: each.pair)]
    assert by_pair not in (by_pair[:2] * 20 + by_pair[:1], sorted(by_pair), sorted(by_pair)[::-1])
    assert [each.pair for each in trials] != sorted(each.pair for each in trials)


@pytest.fixture
def key():
    trials = [("a", "gram", "l"), ("b", "gram", "r"), ("a", "nnst", "r"), ("b", "nnst", "l")]
    named = [dict(zip(("pair", "contender", "ours"), each, strict=True)) for each in trials]
    return {"page": "abc", "trials": named}


@pytest.mark.parametrize(
    "text",
    [
        "1 l\n2 l\n\n 4  =\n3 R\n",
        json.dumps({"page": "abc", "answers": {"1": "l", "2": "l", "3": "r", "4": "="}}),
    ],
)
def test_choices_are_counted_for_whom_they_were(text, key):
    assert blind.counted(key, blind.answers_of(text, key)) == {
        "gram": {"ours": 1, "theirs": 1, "neither": 0},
        "nnst": {"ours": 1, "theirs": 0, "neither": 1},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 l\n1 r", "second one"),
        ("1 l\nleft", "'left'"),
        ("1 x", "expected l"),
        ("5 l", "trials 1 to 4"),
        ('{"page": "other", "answers": {}}', "page other"),
    ],
)
def test_answers_that_cannot_be_counted_are_named(text, said, key):
    with pytest.raises(nst_tf.errors.ConfigError, match=said):
        blind.counted(key, blind.answers_of(text, key))


@pytest.fixture
def contest(tmp_path):
    """Folders of three pairs, in which ours is red, Contestant green and the photo blue."""
    colours = {"pairs": (0, 0, 255), "ours": (255, 0, 0), "Contestant": (0, 255, 0)}
    for folder, colour in colours.items():
        (tmp_path / folder).mkdir()
        for name in ("01_Alpha", "02_Beta", "03_Gamma"):
            ending = "_photo" if folder == "pairs" else ""
            size = (40, 60) if folder == "ours" else (38, 60)
            picture = np.full((*size, 3), colour, np.uint8)
            nst_tf.imaging.save(picture, tmp_path / folder / f"{name}{ending}.png")
    grey = np.full((50, 50, 3), 128, np.uint8)
    nst_tf.imaging.save(grey, tmp_path / "pairs/painting.png")
    pairs = [
        {"name": name, "photo": f"{name}_photo.png", "painting": "painting.png"}
        for name in ("01_Alpha", "02_Beta", "03_Gamma")
    ]
    (tmp_path / "pairs/pairs.json").write_text(json.dumps(pairs))
    (tmp_path / "Contestant/03_Gamma.png").unlink()
    return tmp_path, [
        FOLDER / "blind.py", f"--pairs={tmp_path}/pairs", f"--ours={tmp_path}/ours",
        f"--contenders={tmp_path}/Contestant/", "--untouched",
    ]  # fmt: skip


def _colour(picture):
    return "rgb"[int(picture.reshape(-1, 3).mean(axis=0).argmax())]


def test_the_page_tells_nobody_which_is_which(contest):
    folder, command = contest
    printed = _run(*command, f"--output={folder}/page/blind.html")
    assert "no picture 03_Gamma" in printed
    page = (folder / "page/blind.html").read_text()
    scripts = re.sub(r"base64,[\w+/=]+", "", page)
    assert not re.search("alpha|beta|contestant|ours|untouched|png|src=|http", scripts, re.I)
    key = json.loads((folder / "page/blind_key.json").read_text())
    assert key["page"] in page
    (listed,) = re.findall(r"trials = (\[\[.*?\]\])", page)
    shown = [
        [nst_tf.imaging.load(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in trial]
        for trial in json.loads(listed)
    ]
    assert len(shown) == len(key["trials"]) == 5
    for trial, (photo, painting, *sides) in zip(key["trials"], shown, strict=True):
        assert _colour(photo.rgb) == "b"
        assert painting.rgb.mean() == pytest.approx(0.5, abs=0.01)
        theirs = "g" if trial["contender"] == "Contestant" else "b"
        expected = f"r{theirs}" if trial["ours"] == "l" else f"{theirs}r"
        assert "".join(_colour(each.rgb) for each in sides) == expected
        assert {each.size for each in sides} == {(40, 60)}


def test_strips_are_counted_from_a_text(contest):
    folder, command = contest
    _run(*command, f"--output={folder}/sheet", "--sheet")
    key, answers = folder / "sheet_key.json", folder / "answers.txt"
    strips = sorted((folder / "sheet").glob("*"))
    assert [strip.name for strip in strips] == [f"{number:03}.jpg" for number in range(1, 6)]
    lines = []
    for number, strip in enumerate(strips, 1):
        picture = nst_tf.imaging.load(strip).rgb
        assert _colour(picture[:10, :25]) == "b"
        right = _colour(picture[:, -50:]) == "r"
        assert right != (_colour(picture[:, -120:-75]) == "r")
        lines.append(f"{number} {'r' if right else 'l'}\n")
    answers.write_text("".join(lines[:-1]))
    printed = _run(FOLDER / "blind.py", f"--count={answers}", f"--key={key}")
    counts = {line[:32].strip(): line[32:].split() for line in printed.splitlines()}
    ours = {name: int(counts[name][0]) for name in ("Contestant", "untouched photo")}
    assert sum(ours.values()) == 4
    assert counts["Contestant"][1:] == counts["untouched photo"][1:] == ["0", "0"]
    assert "without an answer: 1" in printed


def test_step_compares_the_same_work(tmp_path):
    results = tmp_path / "step.json"
    contenders = "nst_tf,keras function"
    _run(
        FOLDER / "step.py", "--sizes=64", "--backbones=vgg16", f"--contenders={contenders}",
        "--turns=1", f"--json={results}",
    )  # fmt: skip
    found = json.loads(results.read_text())
    assert set(found["results"]["vgg16 64"]) == set(contenders.split(","))
    assert all(each["gflops"] > 0 for each in found["results"]["vgg16 64"].values())
    assert found["machine"]["matrix_product_gflops"] > 1


def test_tiling_compares_tiles_with_the_whole():
    arguments = ("--overhead=160", "--sides=64", "--turns=1")
    lines = _run(FOLDER / "tiling.py", *arguments).splitlines()
    assert re.search(r"no cut \(0,\): .* 1\.00 of the whole", lines[0])
    assert any("no cut (64,)" in line for line in lines[1:])
    assert all("s an evaluation" in line for line in lines)


def test_convolution_times_both_ways_of_both_kinds(tmp_path):
    results = tmp_path / "convolution.json"
    _run(FOLDER / "convolution.py", "--layers=64x96x20", "--turns=1", f"--json={results}")
    found = json.loads(results.read_text())["results"]["64x96x20"]
    assert set(found) == {"direct, forth", "direct, back", "minimal, forth", "minimal, back"}
    assert all(each["median"] > 0 for each in found.values())


def test_contenders_have_one_gradient():
    ours, theirs = (each.gradient() for each in (work.nst_tf_step("vgg16", 64),
                                                 work.keras_step("vgg16", 64, False)))  # fmt: skip
    assert np.linalg.norm(ours - theirs) < 1e-4 * np.linalg.norm(theirs)


def test_ratios_are_of_the_first_picture_as_good_as_the_reference():
    def point(seconds, gain, content):
        return {"seconds": seconds, "style_gain": gain, "content": content}

    curves = {
        "torch@5": [point(10, 0.1, 0.2), point(600, 0.5, 0.5)],
        "default@1": [point(20, 0.45, 0.3), point(60, 0.51, 0.49), point(80, 0.6, 0.5)],
        "default@0": [point(20, 0.6, 0.6)],
    }
    assert time_to_quality.ratios(curves) == [("torch@5", "default@1", 60, 10.0)]


def test_time_to_quality_draws_curves(tmp_path):
    _run(
        FOLDER / "time_to_quality.py", f"--content={ROOT}/assets/chelsea.png",
        f"--style={ROOT}/assets/estuary.jpg", "--size=128", "--steps=2", f"--folder={tmp_path}",
        "--runs=default@1,tutorial@10000",
    )  # fmt: skip
    curves = json.loads((tmp_path / "curves.json").read_text())["results"]["curves"]
    assert set(curves) == {"default@1", "tutorial@10000"}
    assert all(curve[-1]["seconds"] > 0 for curve in curves.values())
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert (tmp_path / "default@1.png").exists()


def test_the_exported_step_runs_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    _run(FOLDER / "gpu/export.py", "--size=64", f"--folder={tmp_path}")
    results = tmp_path / "run.json"
    _run(FOLDER / "gpu/run.py", f"--folder={tmp_path}", "--turns=1", f"--json={results}")
    found = json.loads(results.read_text())
    assert found["nst_tf"]["gradient_apart"] < 1e-4


def test_losses_compares_what_they_make_and_take(tmp_path):
    pair = f"{ROOT / 'assets/chelsea.png'}:{ROOT / 'assets/estuary.jpg'}"
    rows = "gram@1,remd+moments@1,features+laplacian@1"
    command = [
        FOLDER / "losses.py", f"--pairs={pair}", f"--folder={tmp_path}", "--size=128", "--turns=2",
        "--set=levels=1,steps=2,optimizer=adam",
    ]  # fmt: skip
    text = _run(*command, f"--rows={rows}")
    assert text.count("s a step") == 3
    assert "1.00 of gram@1" in text
    found = json.loads((tmp_path / "losses.json").read_text())
    assert list(found) == rows.split(",")
    for row, figures in found.items():
        assert (tmp_path / f"{row}-chelsea-estuary.png").exists()
        assert np.isfinite(list(figures["chelsea-estuary"].values())).all()
    seconds = json.loads((tmp_path / "seconds.json").read_text())["results"]
    assert [len(seconds[row]) for row in rows.split(",")] == [2, 2, 2]


def test_scales_of_nnst_are_those_of_the_program():
    found = nnst.scales("512x384")
    assert list(found.items()) == [
        ("64", (48, 64)), ("128", (96, 128)), ("256", (192, 256)), ("512", (384, 512)),
        ("final", (384, 512)),
    ]  # fmt: skip
    assert list(nnst.scales("96x128")) == ["64", "128", "final"]


@pytest.mark.parametrize("size", ["512", "500x300", "axb", "512x8", "2048x2048"])
def test_sizes_that_nnst_has_no_scales_for_are_refused(size):
    with pytest.raises(nst_tf.errors.ConfigError, match=size):
        nnst.scales(size)


def test_a_run_of_nnst_is_its_targets_and_200_steps_of_each_scale():
    scale = {"target_seconds": 3.0, "seconds": {"median": 0.25, "least": 0, "greatest": 9}}
    assert nnst.seconds_of_run({"64": scale, "final": scale}) == 2 * (3 + 200 * 0.25)


@pytest.mark.parametrize(
    ("offered", "rows"),
    # At 512x512 with four turns the content has 16384 columns in four bands.
    [(192 * 4, 16384), (16384, 16384), (48 * 64 * 16, 5461), (4 * 16384, 4096)],
)
def test_columns_of_nnst_are_centred_in_the_bands_of_the_program(offered, rows):
    assert nnst.rows_together(offered) == rows


def test_the_weights_of_nnst_are_those_of_the_package():
    convolutions, mean = nnst.weights()
    network = nst_tf.backbones.build("vgg16", nnst.LAYERS)
    assert len(convolutions) == 10
    for found, expected in zip(convolutions, work.layers(network), strict=True):
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(found[2], expected[2])
    np.testing.assert_allclose(mean[::-1] / 255, network.mean_colour, rtol=1e-6)


@pytest.mark.parametrize("contender", ["nst_tf", "torch"])
def test_nnst_times_every_scale(contender, tmp_path):
    if contender == "torch":
        pytest.importorskip("torch")
    results = tmp_path / "nnst.json"
    printed = _run(
        FOLDER / "nnst.py", "--size=64x48", "--steps=1", f"--contenders={contender}",
        f"--json={results}",
    )  # fmt: skip
    found = json.loads(results.read_text())["results"]
    assert list(found) == ["64", "final"]
    assert all(each[contender]["seconds"]["median"] > 0 for each in found.values())
    assert f"{contender}: " in printed


@pytest.mark.parametrize("final", [False, True])
def test_nnst_in_pytorch_has_the_loss_and_the_gradient_of_the_preset(final):
    pytest.importorskip("torch")
    found = nnst.apart(final)
    assert found["loss"] < 1e-5
    assert found["gradient"] < 1e-4


def test_nnst_in_pytorch_matches_the_nearest_centred_columns_of_each_band():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    sought, offered = random.gamma(1, 1, (9000, 3)), random.gamma(1, 1, (40000, 3))
    found = nnst.matched(torch.tensor(sought), torch.tensor(offered)).numpy()
    own = np.concatenate([sought[:8192] - sought[:8192].mean(0), sought[8192:] -
                          sought[8192:].mean(0)])  # fmt: skip
    some = [0, 4000, 8191, 8192, 8999]
    centred = offered - offered.mean(0)
    best = scipy.spatial.distance.cdist(own[some], centred, "cosine").argmin(1)
    np.testing.assert_array_equal(found[some], offered[best])


def test_nnst_in_pytorch_samples_layers_on_grids_and_repeats_the_fault():
    torch = pytest.importorskip("torch")
    large, small = torch.rand(1, 2, 128, 64), torch.rand(1, 4, 64, 32)
    grids = [
        large[0, :, top::2, left::2].flatten(1).T for top in range(2) for left in range(2)
    ]  # fmt: skip
    own, next_own = nnst.samples([large, small], fault=False)
    assert any(torch.equal(own, grid) for grid in grids)
    assert torch.equal(next_own, small[0].flatten(1).T)
    own, next_own = nnst.samples([large, small], fault=True)
    assert any(torch.equal(own, grid) for grid in grids)
    # Half of the places of a channel of the layer before make a channel.
    assert torch.equal(next_own.T, torch.cat([half for row in own.T for half in row.view(2, -1)])
                       .view(4, -1))  # fmt: skip


def test_the_bands_of_nnst_in_pytorch_add_up_to_the_picture():
    torch = pytest.importorskip("torch")
    picture = torch.rand(1, 3, 37, 50)
    bands = nnst.bands_of(picture)
    assert [tuple(band.shape[2:]) for band in bands] == [
        (37, 50), (18, 25), (9, 12), (4, 6), (2, 3), (1, 1), (1, 1), (1, 1), (1, 1)
    ]  # fmt: skip
    torch.testing.assert_close(nnst.picture_of(bands), picture)
