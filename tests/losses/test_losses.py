"""Each loss against an independent float64 formula: values, weights, gradients, extremes."""

import functools

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nst_tf import errors, losses
from nst_tf.losses import sliced_wasserstein


def content_oracle(features, model, weights, model_weights):
    return np.sum(weights * (features - model) ** 2) / np.sum(model_weights * model**2)


def gram_oracle(features, model, weights, model_weights):
    def gram(array, weight):
        return np.einsum("hwa,hwb,hw->ab", array, array, weight[..., 0]) / np.sum(weight)

    wanted = gram(model, model_weights)
    return np.sum((gram(features, weights) - wanted) ** 2) / np.sum(wanted**2)


def variation_oracle(features, model, weights, model_weights, measure):
    """A pair of neighbours counts with the weight of the upper, or of the left, one."""
    height, width, channels = features.shape
    total = 0.0
    for row in range(height):
        for column in range(width):
            here, weight = features[row, column], weights[row, column, 0]
            if row + 1 < height:
                total += weight * np.sum(measure(features[row + 1, column] - here))
            if column + 1 < width:
                total += weight * np.sum(measure(features[row, column + 1] - here))
    return total / (np.sum(weights) * channels)


def power_oracle(features, model, weights, model_weights):
    """Only values with both neighbours count."""
    down = (features[1:] - features[:-1])[:, :-1]
    right = (features[:, 1:] - features[:, :-1])[:-1]
    weights = weights[:-1, :-1]
    total = np.sum(weights * (down**2 + right**2) ** 1.25)
    return total / (np.sum(weights) * features.shape[-1]) if weights.size else 0.0


def circular(oracle):
    """The value of a picture repeated around it, counted in its middle alone."""

    def value(features, model, weights, model_weights):
        height, width = features.shape[:2]
        middle = np.zeros((3, 3))
        middle[1, 1] = 1
        counted = np.kron(middle, np.ones((height, width)))[..., np.newaxis]
        counted = counted * np.tile(np.broadcast_to(weights, (height, width, 1)), (3, 3, 1))
        return oracle(np.tile(features, (3, 3, 1)), model, counted, model_weights)

    return value


def nine_point_oracle(features, model, weights, model_weights):
    """Diagonals are those of all squares of the picture with its border repeated."""
    border = ((1, 1), (1, 1), (0, 0))
    padded, square_weights = np.pad(features, border, "edge"), np.pad(weights, border, "edge")
    inner, channels = padded[1:-1, 1:-1], features.shape[-1]
    down, right = padded[2:, 1:-1] - inner, padded[1:-1, 2:] - inner
    falling = padded[1:, 1:] - padded[:-1, :-1]
    rising = padded[1:, :-1] - padded[:-1, 1:]
    square_weights = square_weights[:-1, :-1]
    straight = np.sum(weights * (down**2 + right**2)) / np.sum(weights)
    diagonal = np.sum(square_weights * (falling**2 + rising**2)) / np.sum(square_weights)
    return (straight * 2 / 3 + diagonal / 6) / channels


def wasserstein_oracle(features, model, weights, model_weights):
    def normal(array, weight, ridge):
        rows, weight = array.reshape(-1, array.shape[-1]), weight.ravel() / np.sum(weight)
        mean = weight @ rows
        spread = (rows - mean).T @ (weight[:, None] * (rows - mean))
        return mean, spread + ridge * np.eye(len(mean))

    channels = features.shape[-1]
    unit = np.sum(model_weights * model**2) / np.sum(model_weights) / channels
    mean, covariance = normal(features, weights, 1e-4 * unit)
    wanted_mean, wanted = normal(model, model_weights, 1e-4 * unit)
    root = scipy.linalg.sqrtm(wanted)
    middle = scipy.linalg.sqrtm(root @ covariance @ root).real
    distance = np.sum((mean - wanted_mean) ** 2) + np.trace(covariance + wanted - 2 * middle)
    return distance / (unit * channels)


def moments_oracle(features, model, weights, model_weights):
    def found(array, weight):
        mean = np.einsum("hwc,hw->c", array, weight[..., 0]) / np.sum(weight)
        apart = array - mean
        return mean, np.einsum("hwa,hwb,hw->ab", apart, apart, weight[..., 0]) / np.sum(weight)

    (mean, spread), (mean_t, spread_t) = found(features, weights), found(model, model_weights)
    energy = np.sum(model_weights * model**2) / np.sum(model_weights)
    shift = np.sum((mean - mean_t) ** 2) / np.sum(mean_t**2)
    return shift + np.sum((spread - spread_t) ** 2) / (np.sum(spread_t**2) + 1e-6 * energy**2)


def laplacian_oracle(features, model, weights, model_weights, size=4):
    """Filters one place after the other, and looks for each pixel at the nearest in the picture."""

    def response(array):
        height, width, _ = array.shape

        def pooled(row, column):
            rows = np.clip(np.arange(row, row + size), 0, height - 1)
            columns = np.clip(np.arange(column, column + size), 0, width - 1)
            return array[np.ix_(rows, columns)].mean((0, 1)).sum()

        start = -(size // 2)
        found = np.empty((height, width, 1))
        for row, column in np.ndindex(height, width):
            at = row + start, column + start
            around = [(-size, 0), (size, 0), (0, -size), (0, size)]
            beside = sum(pooled(at[0] + down, at[1] + right) for down, right in around)
            found[row, column] = beside / 4 - pooled(*at)
        return found

    energy = np.sum(model_weights * np.sum(model, axis=-1, keepdims=True) ** 2)
    return np.sum(weights * (response(features) - response(model)) ** 2) / energy


def transport_oracle(features, model, weights, model_weights, directions=None):
    """The distance of quantile functions of the binned values, integrated piece by piece."""
    centres = sliced_wasserstein.bin_centres()
    edges, widths = (centres[1:] + centres[:-1]) / 2, np.diff(centres)
    scale = (len(centres) - 1) / 2 / np.log1p(1e7)

    def below(values, weight):
        """The share below each edge, as each value has its own straight flank."""
        place = np.sign(values) * np.log1p(np.abs(values) / 0.01) * scale
        place += (len(centres) - 1) / 2
        flanks = np.clip(np.arange(1, len(centres)) - place[:, np.newaxis], 0, 1)
        return weight @ flanks / weight.sum()

    def flat(array, weight):
        rows = array.reshape(-1, array.shape[-1])
        return rows if directions is None else rows @ directions(rows.shape[1]), weight.ravel()

    (found, weight), (wanted, model_weight) = flat(features, weights), flat(model, model_weights)
    total = 0.0
    for column in range(found.shape[1]):
        cdf, target = below(found[:, column], weight), below(wanted[:, column], model_weight)
        knots = np.concatenate([[0], target, [1]])
        at = np.concatenate([centres[:1], edges, centres[-1:]])
        kept = np.concatenate([[True], np.diff(knots) > 0])
        kept[:-1] |= np.diff(knots) > 0
        for edge, width, one, other in zip(edges, widths, cdf, target, strict=True):
            if one == other:
                continue
            # The quantile function is straight between knots, so the rule of trapezia is exact.
            places = np.unique(np.clip(np.append(knots, [one, other]), *sorted((one, other))))
            middle = (places[1:] + places[:-1]) / 2
            quantile = np.interp(middle, knots[kept], at[kept])
            total += 2 * width * np.sign(one - other) * np.sum((quantile - edge) * np.diff(places))
    energy = np.sum(model_weights * model**2) / np.sum(model_weights)
    return total / energy


def unit(array):
    rows = array.reshape(-1, array.shape[-1])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def emd_oracle(features, model, weights, model_weights):
    costs = 1 - unit(features) @ unit(model).T
    forth = np.average(costs[:, model_weights.ravel() > 0].min(1), weights=weights.ravel())
    back = np.average(costs[weights.ravel() > 0].min(0), weights=model_weights.ravel())
    return max(forth, back)


def strotss_oracle(features, model, weights, model_weights):
    def moments(array, weight):
        rows = array.reshape(-1, array.shape[-1])
        mean = np.average(rows, axis=0, weights=weight.ravel())
        return mean, np.cov(rows.T, aweights=weight.ravel(), ddof=0)

    pairs = zip(moments(features, weights), moments(model, model_weights), strict=True)
    apart = sum(np.mean(np.abs(found - wanted)) for found, wanted in pairs)
    return emd_oracle(features, model, weights, model_weights) + apart


def palette_oracle(features, model, weights, model_weights, angles=0.0):
    found, wanted = (each.reshape(-1, each.shape[-1]) for each in (features, model))
    costs = np.linalg.norm(found[:, np.newaxis] - wanted, axis=-1) / np.sqrt(3)
    costs += angles * (1 - unit(features) @ unit(model).T)
    forth = np.average(costs[:, model_weights.ravel() > 0].min(1), weights=weights.ravel())
    back = np.average(costs[weights.ravel() > 0].min(0), weights=model_weights.ravel())
    return max(forth, back)


def similarity_oracle(features, model, weights, model_weights):
    def pattern(array, weight):
        distances = 1 - unit(array) @ unit(array).T
        return distances / (weight.ravel() @ (distances + 1e-5))

    difference = np.abs(pattern(features, weights) - pattern(model, model_weights))
    each = weights.ravel()
    return each @ difference @ each / each.sum()


SLICED = losses.SlicedWasserstein()
CASES = {
    "content": (losses.Content(), content_oracle),
    "laplacian": (losses.Laplacian(), laplacian_oracle),
    "self-similarity": (losses.SelfSimilarity(), similarity_oracle),
    "gram": (losses.Gram(), gram_oracle),
    "moments": (losses.Moments(), moments_oracle),
    "sliced": (SLICED, functools.partial(transport_oracle, directions=SLICED.directions)),
    "histogram": (losses.Histogram(), transport_oracle),
    "relaxed emd": (losses.RelaxedEMD(), emd_oracle),
    "relaxed emd and moments": (losses.RelaxedEMD("strotss"), strotss_oracle),
    "palette": (losses.Palette(), palette_oracle),
    "palette by angles, too": (
        losses.Palette("strotss"),
        functools.partial(palette_oracle, angles=1.0),
    ),
    "squared variation": (
        losses.TotalVariation("squared"),
        functools.partial(variation_oracle, measure=np.square),
    ),
    "absolute variation": (
        losses.TotalVariation("absolute"),
        functools.partial(variation_oracle, measure=np.abs),
    ),
    "power variation": (losses.TotalVariation("power"), power_oracle),
    "circular variation": (
        losses.TotalVariation("squared", circular=True),
        circular(functools.partial(variation_oracle, measure=np.square)),
    ),
    "circular nine-point variation": (
        losses.TotalVariation("nine_point", circular=True),
        circular(nine_point_oracle),
    ),
    "circular power variation": (
        losses.TotalVariation("power", circular=True),
        circular(power_oracle),
    ),
    "nine-point variation": (losses.TotalVariation("nine_point"), nine_point_oracle),
    "wasserstein": (losses.Wasserstein2(), wasserstein_oracle),
}
every_loss = pytest.mark.parametrize(("loss", "oracle"), CASES.values(), ids=CASES)
MODELLED = {name: loss for name, (loss, _) in CASES.items() if loss.references}
WITH_UNITS = "relaxed emd and moments", "palette", "palette by angles, too"
RELATIVE = {name: loss for name, loss in MODELLED.items() if name not in WITH_UNITS}
modelled_loss = pytest.mark.parametrize("loss", MODELLED.values(), ids=MODELLED)


def evaluate(loss, features, model, weights=1.0, model_weights=1.0):
    """Returns the value of a loss, and its gradient with respect to `features`."""
    features, model, weights, model_weights = (
        tf.constant(np.asarray(array)[np.newaxis] if np.ndim(array) else array, tf.float32)
        for array in (features, model, weights, model_weights)
    )
    target = loss.target(model, model_weights)
    with tf.GradientTape() as tape:
        tape.watch(features)
        value = loss.value(loss.statistics(features, weights, target), target)
    gradient = tape.gradient(value, features).numpy()
    return value.numpy(), gradient[0]


def sample(seed, *shape):
    """Returns features, features of a model, and two weight maps, all exact in float32."""
    random = np.random.default_rng(seed)
    maps = (*shape[:2], 1)
    arrays = [random.normal(1, 1, shape), random.normal(0.5, 2, shape), *random.random((2, *maps))]
    return [array.astype(np.float32).astype(np.float64) for array in arrays]


@every_loss
def test_without_a_mask_the_value_is_that_of_the_formula(loss, oracle):
    features, model, _, _ = sample(0, 7, 5, 4)
    ones = np.ones((7, 5, 1))
    expected = oracle(features, model, ones, ones)
    np.testing.assert_allclose(evaluate(loss, features, model)[0], expected, rtol=1e-5)


@every_loss
def test_with_a_weight_map_the_value_is_that_of_the_formula(loss, oracle):
    arrays = sample(1, 6, 8, 3)
    np.testing.assert_allclose(evaluate(loss, *arrays)[0], oracle(*arrays), rtol=1e-5)


@every_loss
def test_a_weight_of_one_is_a_map_of_ones(loss, oracle):
    features, model, _, _ = sample(2, 4, 5, 3)
    ones = np.ones((4, 5, 1))
    np.testing.assert_allclose(
        evaluate(loss, features, model)[0], evaluate(loss, features, model, ones, ones)[0], 1e-6
    )


@every_loss
def test_the_gradient_is_that_of_the_formula(loss, oracle):
    features, model, weights, model_weights = sample(3, 4, 3, 2)
    expected, step = np.empty_like(features), 1e-6
    for index in np.ndindex(features.shape):
        shift = np.zeros_like(features)
        shift[index] = step
        rise = oracle(features + shift, model, weights, model_weights)
        fall = oracle(features - shift, model, weights, model_weights)
        expected[index] = (rise - fall) / (2 * step)
    found = evaluate(loss, features, model, weights, model_weights)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@every_loss
@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    channels=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_every_shape_gives_the_value_of_the_formula(loss, oracle, height, width, channels, seed):
    random = np.random.default_rng(seed)
    shape, maps = (height, width, channels), (height, width, 1)
    # Kept apart from the model, so that no difference cancels in float32.
    features, model = random.uniform(1, 2, shape), random.uniform(0.1, 0.5, shape)
    weights, model_weights = random.uniform(0.1, 1, (2, *maps))
    arrays = [
        a.astype(np.float32).astype(np.float64) for a in (features, model, weights, model_weights)
    ]
    rough, least = 1e-5, 1e-12
    if oracle in (laplacian_oracle, moments_oracle):
        rough = 1e-3  # Both are what is left when nearly equal numbers are subtracted.
    if oracle in (emd_oracle, similarity_oracle):
        assume(channels > 1 and height * width > 1)  # Or all angles are 0, to rounding.
        least = 1e-4
    np.testing.assert_allclose(evaluate(loss, *arrays)[0], oracle(*arrays), rtol=rough, atol=least)


@every_loss
def test_a_model_without_energy_gives_no_nan(loss, oracle):
    features, _, _, _ = sample(4, 5, 5, 3)
    value, gradient = evaluate(loss, features, np.zeros_like(features))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", RELATIVE.values(), ids=RELATIVE)
@pytest.mark.parametrize("scale", [1e-2, 0.5, 300.0])
def test_the_scale_of_the_activations_does_not_matter(loss, scale):
    features, model, weights, model_weights = sample(5, 6, 5, 4)
    plain = evaluate(loss, features, model, weights, model_weights)[0]
    scaled = evaluate(loss, scale * features, scale * model, weights, model_weights)[0]
    # Bins are what they are, whatever the scale.
    binned = isinstance(loss, losses.SlicedWasserstein)
    np.testing.assert_allclose(scaled, plain, rtol=5e-3 if binned else 1e-5)


LOCAL = {name: loss for name, loss in MODELLED.items() if not loss.neighbourhood}
local_loss = pytest.mark.parametrize("loss", LOCAL.values(), ids=LOCAL)


@local_loss
def test_a_binary_mask_leaves_the_masked_positions_alone(loss):
    features, model, _, _ = sample(6, 6, 7, 3)
    mask = np.random.default_rng(6).random((6, 7, 1)) < 0.4
    kept = mask[..., 0]
    masked = evaluate(loss, features, model, mask, mask)
    alone = evaluate(loss, features[kept][:, np.newaxis], model[kept][:, np.newaxis])
    np.testing.assert_allclose(masked[0], alone[0], rtol=1e-5)
    np.testing.assert_allclose(masked[1][kept], alone[1][:, 0], rtol=1e-4, atol=1e-7)
    assert not masked[1][~kept].any()


@local_loss
def test_a_picture_and_its_model_repeated_give_the_same_value(loss):
    features, model, _, _ = sample(7, 5, 4, 3)
    repeated = evaluate(loss, np.tile(features, (2, 3, 1)), np.tile(model, (2, 3, 1)))[0]
    np.testing.assert_allclose(repeated, evaluate(loss, features, model)[0], rtol=1e-5)


@pytest.mark.parametrize("loss", [SLICED, losses.Histogram()], ids=["sliced", "histogram"])
def test_bins_give_about_the_distance_of_sorted_activations(loss):
    """The published formula, which needs pictures of one size and sees any difference."""
    random = np.random.default_rng(11)
    features = np.maximum(random.normal(0.2, 1, (40, 50, 4)), 0)
    model = np.maximum(random.normal(0, 2, (40, 50, 4)), 0)
    axes = np.eye(4) if loss.directions(4) is None else loss.directions(4)
    found, wanted = features.reshape(-1, 4) @ axes, model.reshape(-1, 4) @ axes
    distance = np.mean((np.sort(found, axis=0) - np.sort(wanted, axis=0)) ** 2)
    value, gradient = evaluate(loss, features, model)
    np.testing.assert_allclose(value, distance / np.mean(model**2), rtol=5e-3)
    matched = np.empty_like(found)
    for column in range(4):
        matched[np.argsort(found[:, column]), column] = np.sort(wanted[:, column])
    expected = 2 * (found - matched) @ axes.T / found.size / np.mean(model**2)
    difference = np.linalg.norm(gradient.reshape(-1, 4) - expected)
    assert difference < 0.05 * np.linalg.norm(expected)


def test_directions_are_a_rotation():
    directions = losses.SlicedWasserstein().directions(64)
    np.testing.assert_allclose(directions.T @ directions, np.eye(64), atol=1e-12)


def test_the_columns_of_several_paintings_stand_side_by_side():
    loss = losses.RelaxedEMD()
    features, one, _, _ = sample(12, 5, 4, 3)
    other = sample(13, 6, 7, 3)[0]
    targets = [loss.target(tf.constant(each[np.newaxis], tf.float32), 1.0) for each in (one, other)]
    blended = loss.blend(targets, np.float32([0.75, 0.25]))
    found = loss.statistics(tf.constant(features[np.newaxis], tf.float32), tf.ones(()), blended)
    costs = [1 - unit(features) @ unit(each).T for each in (one, other)]
    forth = np.minimum(costs[0].min(1), costs[1].min(1)).mean()
    back = 0.75 * costs[0].min(0).mean() + 0.25 * costs[1].min(0).mean()
    np.testing.assert_allclose([found["forth"], found["back"]], [forth, back], rtol=1e-5)


def test_the_moments_of_several_paintings_are_those_of_all_their_columns():
    """Of two paintings in shares of 3 to 1: as of the first three times, and the second."""
    loss = losses.RelaxedEMD("strotss")
    features, one, _, _ = sample(12, 5, 4, 3)
    other = sample(13, 5, 4, 3)[0]
    targets = [loss.target(tf.constant(each[np.newaxis], tf.float32), 1.0) for each in (one, other)]
    blended = loss.blend(targets, np.float32([0.75, 0.25]))
    found = loss.value(
        loss.statistics(tf.constant(features[np.newaxis], tf.float32), tf.ones(()), blended),
        blended,
    )
    together = np.concatenate([one, one, one, other])
    expected = strotss_oracle(features, together, np.ones((5, 4, 1)), np.ones((20, 4, 1)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_photo_and_painting_may_differ_in_size():
    features, model = sample(8, 5, 4, 3)[0], sample(9, 7, 6, 3)[1]
    expected = gram_oracle(features, model, np.ones((5, 4, 1)), np.ones((7, 6, 1)))
    np.testing.assert_allclose(evaluate(losses.Gram(), features, model)[0], expected, rtol=1e-5)


def test_a_flat_picture_has_no_variation():
    for form in ("squared", "absolute"):
        flat = np.full((5, 4, 3), 0.3)
        assert evaluate(losses.TotalVariation(form), flat, flat)[0] == 0


def test_an_unknown_name_lists_the_losses():
    with pytest.raises(errors.ConfigError, match=r"features.*Did you mean 'gram'"):
        losses.get("gramm")
    with pytest.raises(errors.ConfigError, match="squared, absolute"):
        losses.TotalVariation("square")


def test_get_takes_a_name_or_a_loss():
    loss = losses.TotalVariation("absolute")
    assert losses.get(loss) is loss
    assert isinstance(losses.get("features"), losses.Content)


@every_loss
def test_a_picture_without_weight_does_not_move(loss, oracle):
    features, model, _, model_weights = sample(14, 6, 5, 3)
    value, gradient = evaluate(loss, features, model, np.zeros((6, 5, 1)), model_weights)
    assert np.isfinite(value)
    assert not gradient.any()


@modelled_loss
def test_a_model_without_weight_gives_no_nan(loss):
    features, model, weights, _ = sample(15, 6, 5, 3)
    value, gradient = evaluate(loss, features, model, weights, np.zeros((6, 5, 1)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("flat", ["picture", "model", "both", "black model"])
@pytest.mark.parametrize(
    ("loss", "oracle"),
    [(losses.Wasserstein2(), wasserstein_oracle), (losses.Moments(), moments_oracle)],
    ids=["wasserstein", "moments"],
)
def test_pictures_of_one_colour_have_the_value_and_the_slope_of_the_formula(loss, oracle, flat):
    """Rounding makes of their covariance more than `epsilon` does, on either side of 0."""
    random = np.random.default_rng(16)
    size, ones = (150, 160), np.ones((150, 160, 1))
    features, model = np.maximum(random.normal(3, 4, (2, *size, 12)), 0)
    level = 0 if flat == "black model" else random.uniform(20, 60, 12)
    if flat != "picture":
        model = np.broadcast_to(level, model.shape)
    if flat in ("picture", "both"):
        features = np.broadcast_to(level + 0.5, features.shape)
    features, model = (np.float64(np.float32(each)) for each in (features, model))
    value, gradient = evaluate(loss, features, model)
    assert np.isfinite(gradient).all()
    if flat == "black model":
        return
    np.testing.assert_allclose(value, oracle(features, model, ones, ones), rtol=1e-3)
    way = gradient / np.linalg.norm(gradient)
    step = 1e-3 * np.linalg.norm(features) * way
    rise, fall = (oracle(features + sign * step, model, ones, ones) for sign in (1, -1))
    slope = (rise - fall) / (2 * np.linalg.norm(step))
    np.testing.assert_allclose(np.linalg.norm(gradient), slope, rtol=2e-2)


def test_what_is_no_number_is_no_riddle_to_the_eigenvalues():
    features, model, _, _ = sample(17, 5, 4, 3)
    features[2, 2] = np.nan
    assert np.isnan(evaluate(losses.Wasserstein2(), features, model)[0])


@pytest.mark.parametrize("normalization", ["relative", "mean"])
def test_color_distances_are_those_of_each_two_colours(normalization):
    random = np.random.default_rng(0)
    picture, photo, weights = random.random((5, 6, 3)), random.random((5, 6, 3)), random.random(30)

    def distances(colours):
        flat = colours.reshape(-1, 3)
        return np.linalg.norm(flat[:, np.newaxis] - flat, axis=-1)

    error, whole = np.abs(distances(picture) - distances(photo)), distances(photo)
    pairs = weights * weights[:, np.newaxis]
    divisor = (pairs * whole).sum() if normalization == "relative" else pairs.sum()
    loss = losses.ColorDistances(normalization)
    masses = tf.constant(weights.reshape(1, 5, 6, 1), tf.float32)
    seen, photo_ = (tf.constant(each[np.newaxis], tf.float32) for each in (picture, photo))
    target = loss.target(photo_, masses)
    found = loss.value(loss.statistics(seen, masses, target), target)
    assert float(found) == pytest.approx((pairs * error).sum() / divisor, rel=1e-4)
