"""Synthetic sounds: words spoken by espeak-ng in many voices, and tones, noises and pulses."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from scripts.demo import sources

RATE = 16_000  # of all sounds of this module
STORED_RATE = 8_000  # of the demo's dataset, as of a telephone
_QUIET = 0.01  # share of the loudest sample below which both ends are trimmed
_SOUND_SECONDS = 0.5


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng: name, words per minute, and pitch from 0 to 99."""

    name: str
    speed: int
    pitch: int


def voices(accents: tuple[str, ...], variants: tuple[str, ...]) -> list[Voice]:
    """Make a voice per variant, with alternating accents and different speed and pitch."""
    return [
        Voice(f"{accents[number % len(accents)]}+{variant}", 130 + 12 * (number % 5), 35 + 7 * (number % 6))
        for number, variant in enumerate(variants)
    ]


def spoken(word: str, voice: Voice) -> np.ndarray:
    """Return a spoken word as samples (T,) float32; espeak-ng writes it into build/demo once."""
    path = sources.BUILD / "spoken" / f"{voice.name}-{voice.speed}-{voice.pitch}" / f"{word}.wav"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = ["-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch)]
        fresh = path.with_suffix(".writing")
        subprocess.run(["espeak-ng", *settings, "-w", str(fresh), word], check=True)
        fresh.rename(path)
    samples, rate = soundfile.read(path, dtype="float32")
    loud = np.flatnonzero(np.abs(samples) > _QUIET * np.abs(samples).max())
    return soxr.resample(samples[loud[0] : loud[-1] + 1], rate, RATE)


def flac(samples: np.ndarray) -> dict[str, bytes | None]:
    """Return a cell of an audio column."""
    buffer = io.BytesIO()
    soundfile.write(buffer, soxr.resample(samples, RATE, STORED_RATE), STORED_RATE, format="FLAC", subtype="PCM_16")
    return {"bytes": buffer.getvalue(), "path": None}


def _tone(low: float, high: float) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: np.sin(2 * np.pi * rng.uniform(low, high) * _time())


def _sweep(start: float, stop: float) -> Callable[[np.random.Generator], np.ndarray]:
    def make(rng: np.random.Generator) -> np.ndarray:
        pitch = np.linspace(start, stop, len(_time())) * rng.uniform(0.8, 1.25)
        return np.sin(2 * np.pi * np.cumsum(pitch) / RATE)

    return make


def _noise(low: float, high: float) -> Callable[[np.random.Generator], np.ndarray]:
    def make(rng: np.random.Generator) -> np.ndarray:
        spectrum = np.fft.rfft(rng.normal(size=len(_time())))
        pitch = np.fft.rfftfreq(len(_time()), 1 / RATE)
        spectrum[(pitch < low) | (pitch > high)] = 0
        return np.fft.irfft(spectrum, len(_time()))

    return make


def _pulses(low: float, high: float) -> Callable[[np.random.Generator], np.ndarray]:
    def make(rng: np.random.Generator) -> np.ndarray:
        phase = (_time() * rng.uniform(low, high) + rng.uniform()) % 1
        return np.exp(-phase * rng.uniform(10, 30)) * rng.choice([-1, 1])

    return make


def _time() -> np.ndarray:
    return np.arange(int(_SOUND_SECONDS * RATE)) / RATE


KINDS: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (
    *(_tone(low, 1.6 * low) for low in (120, 300, 750, 1_900)),
    *(_sweep(*ends) for ends in ((200, 2_000), (2_000, 200), (1_000, 4_000), (4_000, 1_000))),
    *(_noise(*ends) for ends in ((50, 500), (500, 1_500), (1_500, 4_000), (4_000, 8_000))),
    *(_pulses(low, 1.6 * low) for low in (5, 15, 50, 150)),
)


def synthetic(kind: int, seed: int) -> np.ndarray:
    """Return a sound of a kind as samples (T,) float32 that fade in and out."""
    rng = np.random.default_rng((kind, seed))
    samples = KINDS[kind](rng) * np.hanning(len(_time())) ** rng.uniform(0.1, 0.5)
    return (0.6 * samples / np.abs(samples).max()).astype(np.float32)
