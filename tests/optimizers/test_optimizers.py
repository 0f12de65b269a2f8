"""L-BFGS against SciPy and a dense BFGS matrix, Adam against the published algorithm."""

import itertools
import math

import keras
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from nst_tf import config, errors, optimizers
from nst_tf.optimizers import curvature as curvature_pairs
from nst_tf.optimizers import smoothing
from nst_tf.tiling import bands

SHAPE = (1, 3, 2, 3)


def objective(function):
    """Returns the evaluation of a TensorFlow function of a tensor."""

    def evaluate(point):
        with tf.GradientTape() as tape:
            tape.watch(point)
            loss = function(point)
        return optimizers.Evaluation(loss, tape.gradient(loss, point), {"loss": loss})

    return evaluate


def minimise(optimizer, function, start, steps):
    """Returns every point and state on the way, the first state excluded."""
    evaluate = objective(function)
    step = tf.function(lambda point, state: optimizers.step(optimizer, point, state, evaluate))
    point = tf.constant(start, tf.float32)
    state, path = optimizer.init(point, steps), []
    for _ in range(steps):
        point, state, _ = step(point, state)
        path.append((point.numpy(), {name: value.numpy() for name, value in state.items()}))
    return path


# L-BFGS.


def quadratic(seed):
    """Returns a convex quadratic in float32 for TensorFlow, and in float64 for SciPy."""
    random = np.random.default_rng(seed)
    size = math.prod(SHAPE)
    rotation = np.linalg.qr(random.normal(size=(size, size)))[0]
    matrix = rotation @ np.diag(np.geomspace(1, 30, size)) @ rotation.T
    centre = random.uniform(-0.5, 1.5, size)

    def in_tensorflow(point):
        away = tf.reshape(point, (-1, 1)) - tf.constant(centre[:, np.newaxis], tf.float32)
        return 0.5 * tf.reduce_sum(away * tf.matmul(tf.constant(matrix, tf.float32), away))

    def in_numpy(point):
        away = point - centre
        return 0.5 * away @ matrix @ away, matrix @ away

    return in_tensorflow, in_numpy


def rosenbrock(point):
    x, y = tf.unstack(tf.reshape(point, (2,)))
    return 100 * (y - x**2) ** 2 + (1 - x) ** 2


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("octaves", [0, 4])
def test_lbfgs_finds_the_minimiser_that_scipy_finds(bounds, seed, octaves):
    in_tensorflow, in_numpy = quadratic(seed)
    start = np.full(SHAPE, 0.5)
    optimizer = optimizers.LBFGS(10, octaves=octaves, bounds=bounds)
    found = minimise(optimizer, in_tensorflow, start, 150)[-1][0]
    expected = scipy.optimize.minimize(
        in_numpy,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds and [bounds] * start.size,
        options={"ftol": 1e-14, "gtol": 1e-10},
    )
    np.testing.assert_allclose(found.ravel(), expected.x, atol=1e-3)


def test_lbfgs_solves_rosenbrock_in_about_as_many_evaluations_as_scipy():
    start = np.array([-1.2, 1.0])
    path = minimise(
        optimizers.LBFGS(10, bounds=None, first_step=0.1, largest_step=1.0),
        rosenbrock,
        start.reshape(1, 1, 2, 1),
        200,
    )
    taken = next(i for i, (_, state) in enumerate(path, 1) if state["loss"] < 1e-5)
    expected = scipy.optimize.minimize(
        scipy.optimize.rosen, start, jac=scipy.optimize.rosen_der, method="L-BFGS-B"
    )
    assert taken <= 2 * expected.nfev


def smoothing_matrix(weights):
    """Returns what `smoothed` does to a gradient of `SHAPE`, as a matrix."""
    unit = np.eye(math.prod(SHAPE), dtype=np.float32).reshape(-1, 1, *SHAPE)
    rows = [smoothing.smoothed(tf.constant(each), weights).numpy().ravel() for each in unit[:, 0]]
    return np.array(rows, np.float64)


@pytest.mark.parametrize("weights", [(), (1.0, 0.5)], ids=["as it is", "smoothed"])
@pytest.mark.parametrize("stored", [0, 1, 3, 6])
def test_the_two_loop_recursion_is_the_product_with_the_dense_bfgs_matrix(stored, weights):
    random = np.random.default_rng(stored)
    size, places = math.prod(SHAPE), 6
    curvature = random.normal(size=(size, size))
    curvature = curvature @ curvature.T / size + np.eye(size)
    moves = random.normal(size=(stored, size))
    changes = moves @ curvature
    vector = random.normal(size=size)
    smooth = smoothing_matrix(weights)

    inverse = np.zeros((size, size))
    if stored:
        last = changes[-1]
        inverse = smooth * (moves[-1] @ last) / (last @ smooth @ last)
    for move, change in zip(moves, changes, strict=True):
        # Nocedal and Wright, equation 6.17.
        scale = 1 / (move @ change)
        left = np.eye(size) - scale * np.outer(move, change)
        inverse = left @ inverse @ left.T + scale * np.outer(move, move)

    def padded(pairs):
        # Whatever lies in places without curvature must have no effect.
        full = np.concatenate([np.full((places - stored, size), 7.0), pairs])
        return tf.constant(full.reshape(places, *SHAPE), tf.float32)

    pairs = np.concatenate([moves, changes @ smooth])
    needed = pairs @ changes.T
    needed[:stored] = np.triu(needed[:stored])  # Of a move, those with no older change.
    slopes = np.zeros((2 * places, places))
    there = np.r_[places - stored : places, 2 * places - stored : 2 * places]
    slopes[np.ix_(there, np.arange(places - stored, places))] = needed
    history = curvature_pairs.CurvaturePairs(
        tf.unstack(padded(moves)),
        tf.unstack(padded(changes @ smooth)),
        tf.zeros((2 * places, 2 * places)),
        tf.constant(slopes, tf.float32),
    )
    own = np.full((2, 2 * places + 1), 7.0)
    own[1, -1] = vector @ smooth @ vector
    own[1, there] = pairs @ vector
    factors = history.inverse_hessian_factors(tf.constant(own, tf.float32))
    smoothed = tf.constant((smooth @ vector).reshape(SHAPE), tf.float32)
    found = history.combined(factors, smoothed)
    np.testing.assert_allclose(found.numpy().ravel(), inverse @ vector, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("octaves", [0, 2])
def test_lbfgs_knows_the_products_of_what_it_remembers(octaves):
    """On a quadratic a change is the matrix times the move."""
    in_tensorflow, in_numpy = quadratic(1)
    optimizer = optimizers.LBFGS(4, octaves=octaves, bounds=None)
    state = minimise(optimizer, in_tensorflow, np.full(SHAPE, 0.5), 16)[-1][1]
    moves, smoothed = (
        np.array([state[f"{name}/{i}"].ravel() for i in range(4)], np.float64)
        for name in ("moves", "changes")
    )
    origin = in_numpy(np.zeros(moves.shape[1]))[1]
    changes = np.array([in_numpy(move)[1] - origin for move in moves])
    smooth = smoothing_matrix((1.0,) * octaves)
    scale = np.abs(smoothed).max()
    np.testing.assert_allclose(smoothed, changes @ smooth, atol=1e-4 * scale)
    np.testing.assert_allclose(
        np.triu(state["slopes"][:4]), np.triu(moves @ changes.T), rtol=1e-2, atol=1e-6
    )
    np.testing.assert_allclose(state["slopes"][4:], smoothed @ changes.T, rtol=1e-2, atol=1e-5)
    pairs = np.concatenate([moves, smoothed])
    np.testing.assert_allclose(state["products"], pairs @ pairs.T, rtol=1e-2, atol=1e-5)


def test_finer_levels_smooth_less():
    optimizer, picture = optimizers.Guarded(optimizers.LBFGS(4, octaves=4)), tf.zeros(SHAPE)
    first = optimizer.init(picture, 9)
    later = optimizer.carried_state(first, picture, 9)
    weights = [[float(each) for each in optimizer.smoothing(state)] for state in (first, later)]
    assert weights == [[1, 1, 1, 1], [1, 1, 0, 0]]


def bumpy(point):
    """A function with many hollows, curved upwards in some places and downwards in others."""
    return tf.reduce_sum(tf.sin(9 * point) + 2 * (point - 0.4) ** 2)


def remembered_moves(state):
    return [state[f"moves/{i}"] for i in range(state["slopes"].shape[1])]


def test_lbfgs_never_accepts_a_higher_loss():
    start = np.random.default_rng(3).random(SHAPE)
    path = minimise(optimizers.LBFGS(5), bumpy, start, 60)
    accepted = [float(state["loss"]) for _, state in path]
    assert all(later <= earlier for earlier, later in itertools.pairwise(accepted))
    assert accepted[-1] < accepted[0] - 1
    for point, state in path:
        np.testing.assert_allclose(bumpy(tf.constant(point)), state["loss"], rtol=1e-5)


def test_the_first_step_of_lbfgs_evaluates_the_start():
    start = np.random.default_rng(4).random(SHAPE).astype(np.float32)
    (point, state), *_ = minimise(optimizers.LBFGS(5), bumpy, start, 1)
    np.testing.assert_array_equal(point, start)
    np.testing.assert_allclose(state["loss"], bumpy(tf.constant(start)), rtol=1e-6)


def test_lbfgs_forgets_pairs_without_positive_curvature():
    start = np.random.default_rng(5).uniform(0.1, 0.2, SHAPE)
    path = minimise(optimizers.LBFGS(4, bounds=None), lambda x: -tf.reduce_sum(x**2), start, 6)
    assert np.abs(path[-1][0] - start).max() > 0.01
    assert not np.any(remembered_moves(path[-1][1]))
    assert not path[-1][1]["products"].any()
    assert not path[-1][1]["slopes"].any()


def test_lbfgs_remembers_the_newest_pairs_last():
    in_tensorflow, _ = quadratic(0)
    path = minimise(optimizers.LBFGS(3, bounds=None), in_tensorflow, np.full(SHAPE, 0.5), 9)
    points = [point for point, _ in path]
    walked = [b - a for a, b in itertools.pairwise(points) if (a != b).any()]
    np.testing.assert_allclose(remembered_moves(path[-1][1]), walked[-3:], atol=1e-6)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_lbfgs_turns_back_from_where_the_objective_is_no_number(broken):
    edge, optimizer = 0.56, optimizers.LBFGS(5)

    def evaluate(point):
        nan = tf.where(tf.reduce_max(point) > edge, float("nan"), 0.0)
        loss, gradient = tf.reduce_sum((point - 2) ** 2), 2 * (point - 2)
        if broken == "loss":
            return optimizers.Evaluation(loss + nan, gradient + nan, {})
        return optimizers.Evaluation(loss, gradient + nan, {})

    point = tf.fill(SHAPE, 0.3)
    state = optimizer.init(point, 30)
    for _ in range(30):
        point, state, _ = optimizers.step(optimizer, point, state, evaluate)
        assert tf.reduce_max(point) <= edge
        assert all(np.isfinite(value).all() for value in state.values())
    assert tf.reduce_min(point) > edge - 0.05


@pytest.mark.parametrize("steepness", [1e-6, 1.0, 1e6])
def test_no_move_of_lbfgs_exceeds_the_largest_step(steepness):
    optimizer = optimizers.LBFGS(5, first_step=0.02, largest_step=0.05, bounds=None)
    path = minimise(optimizer, lambda x: steepness * bumpy(x), np.full(SHAPE, 0.5), 12)
    points = [point for point, _ in path]
    moves = [np.sqrt(np.mean((b - a) ** 2)) for a, b in itertools.pairwise(points)]
    assert max(moves) <= 0.05 * (1 + 1e-5)
    assert moves[0] > 0


# Adam.


class PlainAdam:
    """Algorithm 1 of Kingma and Ba (2015) in float64, with the additions nst_tf documents."""

    def __init__(self, rate, beta_1, beta_2, epsilon, final_rate, average):
        self.rate, self.final_rate, self.average = rate, final_rate, average
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def run(self, gradient, point, steps, moments=(0.0, 0.0, 0)):
        """Returns the last point, the average of the points, and the moments with their age."""
        first, second, age = moments
        averaged = (1 - self.average) * point
        for step in range(steps):
            age += 1
            slope = gradient(point)
            first = self.beta_1 * first + (1 - self.beta_1) * slope
            second = self.beta_2 * second + (1 - self.beta_2) * slope**2
            unbiased = first / (1 - self.beta_1**age), second / (1 - self.beta_2**age)
            fall = (1 + math.cos(math.pi * step / max(steps - 1, 1))) / 2
            rate = self.rate * (self.final_rate + (1 - self.final_rate) * fall)
            move = rate * unbiased[0] / (np.sqrt(unbiased[1]) + self.epsilon)
            point = np.clip(point - move, 0, 1)
            averaged = self.average * averaged + (1 - self.average) * point
        return point, averaged / (1 - self.average ** (steps + 1)), (first, second, age)


SETTINGS = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3, "final_rate": 0.2, "average": 0.7}


def wave_gradient(point):
    return 0.3 * np.cos(6 * point) + point - 0.5


def wave(point):
    return tf.reduce_sum(0.05 * tf.sin(6 * point) + 0.5 * (point - 0.5) ** 2)


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_adam_walks_like_the_published_algorithm(steps):
    start = np.random.default_rng(6).random(SHAPE)
    optimizer = optimizers.Adam(0.05, **SETTINGS)
    point, state = minimise(optimizer, wave, start, steps)[-1]
    expected, shown, (first, second, age) = PlainAdam(0.05, **SETTINGS).run(
        wave_gradient, start, steps
    )
    np.testing.assert_allclose(point, expected, atol=1e-5)
    np.testing.assert_allclose(optimizer.result(tf.constant(point), state), shown, atol=1e-5)
    np.testing.assert_allclose(state["first_moment/0"], first, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(state["second_moment/0"], second, rtol=1e-3, atol=1e-5)
    assert state["moment_steps"] == age == steps


@pytest.mark.parametrize("steps", [0, 3])
def test_the_picture_to_show_is_made_band_by_band(steps, monkeypatch):
    """The average of Adam's points, within [0, 1]; before the first step the picture itself."""
    start = np.random.default_rng(6).uniform(-0.2, 1.2, (1, 11, 7, 3))
    optimizer = optimizers.Adam(0.05, **SETTINGS)
    point, state, shown = start, {}, start
    if steps:
        point, state = minimise(optimizer, wave, start, steps)[-1]
        _, shown, _ = PlainAdam(0.05, **SETTINGS).run(wave_gradient, start, steps)
    monkeypatch.setattr(bands, "_BAND", 2 * 7)
    variables = {name: tf.Variable(value) for name, value in state.items()}
    found = bands.result(optimizer, tf.Variable(point, dtype=tf.float32), variables)
    np.testing.assert_allclose(found, np.clip(shown, 0, 1), atol=1e-5)


def test_adam_carries_its_moments_to_the_next_level():
    start = np.random.default_rng(7).random(SHAPE)
    optimizer = optimizers.Adam(0.05, **SETTINGS)
    plain = PlainAdam(0.05, **SETTINGS)
    coarse, state = minimise(optimizer, wave, start, 5)[-1]
    carried = optimizer.carried_state(state, tf.constant(coarse), 4)

    point, evaluate = tf.constant(coarse), objective(wave)
    for _ in range(4):
        point, carried, _ = optimizers.step(optimizer, point, carried, evaluate)
    coarse, _, moments = plain.run(wave_gradient, start, 5)
    expected, shown, _ = plain.run(wave_gradient, coarse, 4, moments)
    np.testing.assert_allclose(point, expected, atol=2e-5)
    np.testing.assert_allclose(optimizer.result(point, carried), shown, atol=2e-5)


def test_adam_resizes_its_moments_with_the_picture():
    optimizer = optimizers.Adam()
    state = optimizer.init(tf.zeros((1, 2, 2, 3)), 5)
    state["first_moment/0"] = tf.fill((1, 2, 2, 3), -0.25)
    state["second_moment/0"] = tf.fill((1, 2, 2, 3), 0.5)
    state["moment_steps"] = tf.constant(7.0)
    carried = optimizer.carried_state(state, tf.zeros((1, 5, 4, 3)), 3)
    np.testing.assert_allclose(carried["first_moment/0"], np.full((1, 5, 4, 3), -0.25), 1e-6)
    np.testing.assert_allclose(carried["second_moment/0"], np.full((1, 5, 4, 3), 0.5), 1e-6)
    assert carried["moment_steps"] == 7


@pytest.mark.parametrize("copies", [1, 4])
def test_the_size_of_the_picture_does_not_change_the_walk_of_adam(copies):
    """A mean over more pixels has smaller gradients, and Adam divides by their size."""
    optimizer = optimizers.Adam(0.05, **{**SETTINGS, "epsilon": 1e-14})

    def mean_wave(point):
        return tf.reduce_mean(tf.sin(5 * point))

    start = np.random.default_rng(8).random(SHAPE)
    one = minimise(optimizer, mean_wave, start, 6)[-1][0]
    many = minimise(optimizer, mean_wave, np.tile(start, (1, copies, 1, 1)), 6)[-1][0]
    np.testing.assert_allclose(many, np.tile(one, (1, copies, 1, 1)), atol=1e-5)


def test_without_averaging_adam_shows_the_last_point():
    optimizer = optimizers.Adam(0.05, average=0.0)
    point, state = minimise(optimizer, wave, np.full(SHAPE, 0.4), 3)[-1]
    np.testing.assert_allclose(optimizer.result(tf.constant(point), state), point, rtol=1e-6)


def test_adam_with_epsilon_hat_walks_like_that_of_keras():
    """Its epsilon counts before the bias correction, which matters while it is large."""
    keras_adam = keras.optimizers.Adam(0.03, beta_1=0.95, beta_2=0.98, epsilon=0.2)
    expected = tf.Variable(np.full(SHAPE, 0.3, np.float32))
    optimizer = optimizers.Adam(
        0.03, beta_1=0.95, beta_2=0.98, epsilon=0.0, epsilon_hat=0.2, final_rate=1.0, average=0.0
    )
    point = minimise(optimizer, wave, expected.numpy(), 7)[-1][0]
    for _ in range(7):
        keras_adam.apply([tf.constant(wave_gradient(expected.numpy()), tf.float32)], [expected])
    np.testing.assert_allclose(point, expected.numpy(), atol=1e-6)


def test_units_of_pixels_make_no_difference_but_to_the_numbers():
    """Rates and epsilons for 0 to 255 do there what they would do to the same function."""
    settings = config.StyleTransferConfig(
        learning_rate=5.0,
        pixel_range=255,
        adam_epsilon_hat=0.1,
        adam_epsilon=0.0,
        clip_pixels=False,
    )
    start = np.random.default_rng(9).random(SHAPE)
    for name, plain in {
        "adam": optimizers.Adam(
            5.0, beta_2=0.99, epsilon=0.0, epsilon_hat=0.1, average=0.9, bounds=None
        ),
        "gradient_descent": optimizers.GradientDescent(5.0, final_rate=0.1, bounds=None),
        "fixed_step_lbfgs": optimizers.FixedStepLBFGS(10, learning_rate=0.5, bounds=None),
    }.items():
        rate = 0.5 if name == "fixed_step_lbfgs" else 5.0
        unitless = optimizers.get(name, settings.replace(learning_rate=rate))
        found = minimise(unitless, wave, start, 5)[-1][0]
        expected = minimise(plain, lambda point: wave(point / 255), 255 * start, 5)[-1][0]
        np.testing.assert_allclose(255 * found, expected, rtol=1e-2, err_msg=name)


# Gradient descent.


def test_gradient_descent_walks_down_the_gradient_at_a_falling_rate():
    start = np.random.default_rng(10).random(SHAPE)
    optimizer = optimizers.GradientDescent(0.05, final_rate=0.2, rate_decay=0.9)
    point = start
    for step in range(6):
        cosine = 0.2 + 0.8 * (1 + math.cos(math.pi * step / 5)) / 2
        point = np.clip(point - 0.05 * cosine * 0.9**step * wave_gradient(point), 0, 1)
    found = minimise(optimizer, wave, start, 6)[-1][0]
    np.testing.assert_allclose(found, point, atol=1e-6)


# Steepest descent.


def test_steepest_descent_keeps_a_point_only_if_the_loss_fell():
    """The same rule in float64, on a function on which a large rate overshoots."""
    optimizer = optimizers.SteepestDescent(2.0, bounds=None)

    def loss(point):
        waves = 0.05 * np.sin(6 * point) + 0.5 * (point - 0.5) ** 2
        return np.sum(waves + 4 * (point - 0.2) ** 2)

    def slope(point):
        return wave_gradient(point) + 8 * (point - 0.2)

    point = np.random.default_rng(12).random(SHAPE)
    path = minimise(optimizer, lambda at: wave(at) + 4 * tf.reduce_sum((at - 0.2) ** 2), point, 7)
    rate = 2.0 / np.sqrt(np.mean(slope(point) ** 2))
    rejected = 0
    for found, state in path[1:]:
        trial = point - rate * slope(point)
        if loss(trial) <= loss(point):
            point, rate = trial, 1.2 * rate
        else:
            rejected, rate = rejected + 1, 0.5 * rate
        np.testing.assert_allclose(found, point, atol=1e-4)
        np.testing.assert_allclose(state["rate"], rate, rtol=1e-3)
    assert rejected > 1


# L-BFGS with fixed steps.


def torch_lbfgs(gradient, point, steps, history, rate, scale=1.0):
    """`torch.optim.LBFGS` without a line search, from its documentation, in float64."""
    pairs, before, moved = [], None, None
    for _ in range(steps):
        slope = gradient(point).ravel()
        length = min(1, 1 / np.abs(slope).sum()) * rate
        direction = -slope
        if before is not None:
            change = slope - before
            if moved @ change > 1e-10:
                pairs = [*pairs, (moved, change)][-history:]
            inverse = np.eye(slope.size)
            if pairs:
                newest_move, newest_change = pairs[-1]
                inverse *= newest_move @ newest_change / (newest_change @ newest_change)
            for move, change in pairs:  # The dense update, Nocedal and Wright, equation 6.17.
                rho = 1 / (move @ change)
                side = np.eye(slope.size) - rho * np.outer(move, change)
                inverse = side @ inverse @ side.T + rho * np.outer(move, move)
            direction, length = -inverse @ slope, rate
        before, moved = slope, length * direction
        point = point + moved.reshape(point.shape)
    return point


@pytest.mark.parametrize("history", [2, 20])
def test_fixed_step_lbfgs_walks_like_that_of_pytorch(history):
    start = np.random.default_rng(11).random(SHAPE)
    optimizer = optimizers.FixedStepLBFGS(history, learning_rate=0.5, bounds=None)
    for steps in (1, 2, 9):
        found = minimise(optimizer, wave, start, steps)[-1][0]
        expected = torch_lbfgs(wave_gradient, start, steps, history, 0.5)
        np.testing.assert_allclose(found, expected, atol=2e-5)


# By name.


def test_settings_reach_the_optimizers():
    settings = config.StyleTransferConfig(learning_rate=0.125, lbfgs_history=3)
    assert optimizers.get("adam", settings).learning_rate == 0.125
    assert optimizers.get("lbfgs", settings).history == 3
    adam = optimizers.Adam()
    assert optimizers.get(adam) is adam


def test_an_unknown_name_lists_the_optimizers():
    with pytest.raises(errors.ConfigError, match=r"adam.*Did you mean 'adam'"):
        optimizers.get("adams")


# Guarded.


def steep(point):
    return 50 * tf.reduce_sum((point - 0.3) ** 2)


@pytest.mark.parametrize(
    ("optimizer", "share"),
    [
        (optimizers.GradientDescent(1.0, bounds=None), 0.5),
        (optimizers.Adam(40.0, bounds=None, average=0.5, final_rate=0.01), 0.5),
        # Whose rate does not fall: it stays where the loss swings, within the limit.
        (optimizers.FixedStepLBFGS(3, learning_rate=1e3, bounds=None), 100.0),
    ],
    ids=["GradientDescent", "Adam", "FixedStepLBFGS"],
)
def test_a_rate_that_is_far_too_high_is_halved_until_the_loss_falls(optimizer, share):
    start = np.full(SHAPE, 0.4)
    first = steep(tf.constant(start, tf.float32))
    bare = minimise(optimizer, steep, start, 60)
    assert not max(steep(tf.constant(point)) for point, _ in bare) < 1e4 * first
    path = minimise(optimizers.Guarded(optimizer), steep, start, 60)
    point, state = path[-1]
    assert state["rollbacks"] > 0
    assert state["backoff"] == 0.5 ** state["rollbacks"]
    assert steep(tf.constant(point)) < share * first


def test_a_guard_changes_nothing_where_all_is_well():
    start, (in_tensorflow, _) = np.full(SHAPE, 0.5), quadratic(1)
    for optimizer in (optimizers.Adam(), optimizers.LBFGS(4), optimizers.GradientDescent(0.01)):
        bare = minimise(optimizer, in_tensorflow, start, 12)
        for (point, state), (expected, _) in zip(
            minimise(optimizers.Guarded(optimizer), in_tensorflow, start, 12), bare, strict=True
        ):
            np.testing.assert_array_equal(point, expected)
            assert state["rollbacks"] == 0


def test_a_level_that_begins_at_no_loss_is_not_taken_for_an_explosion():
    start = np.full(SHAPE, 0.3)
    (_, state), *_, last = minimise(optimizers.Guarded(optimizers.Adam()), steep, start, 9)
    assert state["first_loss"] == pytest.approx(0.0, abs=1e-9)
    assert last[1]["rollbacks"] == 0
