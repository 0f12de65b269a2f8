"""Footage for the tests of film: a textured ground that moves, and a square over it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

HEIGHT, WIDTH = 48, 64


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """Returns a picture with blotches of several sizes, float32 in [0, 1]."""
    random, found = np.random.default_rng(seed), np.zeros((height, width, 3), np.float32)
    for size in (4, 8, 16):
        coarse = random.random((height // size + 2, width // size + 2, 3), np.float32)
        found += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (found / 3).clip(0, 1)


def moving(count: int, seed: int = 0, step: int = 2) -> list[np.ndarray]:
    """Returns frames of a ground that moves to the left, with a square that stays."""
    ground = texture(seed, HEIGHT, WIDTH + step * count)
    square = texture(seed + 100, 16, 16)
    found = []
    for number in range(count):
        frame = ground[:, step * number : step * number + WIDTH].copy()
        frame[16:32, 24:40] = square
        found.append(frame)
    return found


def another(count: int) -> list[np.ndarray]:
    """Returns frames of quite another place."""
    tint = np.float32([0.2, 0.4, 0.9])
    return [tint * (1 - frame[::-1]) for frame in moving(count, seed=7)]


def in_8_bits(frame: np.ndarray) -> np.ndarray:
    return np.rint(255 * frame).clip(0, 255).astype(np.uint8)


def write_clip(
    path: Path,
    frames: list[np.ndarray],
    *,
    times: list[int] | None = None,
    tracks: int = 0,
    codec: str = "libx264rgb",
    layout: str = "rgb24",
) -> Path:
    """Writes a clip without loss, whose times are in milliseconds, and whose audio is a tone."""
    times = times or [40 * number for number in range(len(frames))]
    with av.open(str(path), "w") as container:
        options = {"crf": "0"} if codec.startswith("libx264") else {}
        video = container.add_stream(codec, rate=25, options=options)
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], layout
        video.codec_context.time_base = Fraction(1, 1000)
        sounds = [container.add_stream("aac", rate=44100) for _ in range(tracks)]
        for time, frame in zip(times, frames, strict=True):
            made = av.VideoFrame.from_ndarray(np.ascontiguousarray(in_8_bits(frame)))
            made.pts, made.time_base = time, Fraction(1, 1000)
            container.mux(video.encode(made))
        container.mux(video.encode())
        for index, sound in enumerate(sounds):
            for block in range(round(times[-1] / 1000 * 44100 / 1024) + 1):
                tone = np.sin(np.arange(1024) * 0.05 * (index + 1))[np.newaxis]
                made = av.AudioFrame.from_ndarray(tone.astype(np.float32), "fltp", "mono")
                made.sample_rate, made.pts = 44100, 1024 * block
                made.time_base = Fraction(1, 44100)
                container.mux(sound.encode(made))
            container.mux(sound.encode())
    return path
