"""Play random sequences of a user's actions on the leaderboard, and compare the page with a fresh load of its address.

    python -m scripts.bench sequences [--count 300] [--seed 0]

Each sequence picks, types, sorts, ticks, follows tabs and links, and goes back, without waiting for answers. It
emulates a network and a processor from a list. At the end, a fresh load of the address must show the same table,
title and controls, and the address must contain the last action.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from scripts.bench.space import fill
from scripts.docs.screenshots import ROOT, opened, served

ACTIONS = 12
_TYPED = ("checkpoint-01", "org | best", "o", "long-1", "")
_PAUSES = (0, 20, 250)  # milliseconds between two actions

_STATE = """() => {
    const text = (selector) => document.querySelector(selector)?.innerText ?? "";
    const query = new URLSearchParams(location.search);
    query.sort();
    return {
        address: query.toString(),
        title: document.title,
        tab: text("nav [aria-current]"),
        // Only a page without scripts sends the hidden fields.
        controls: [...(document.getElementById("emms-form")?.elements ?? [])].map(
            ({ type, name, value, checked }) => [type, name, value, type === "checkbox" && checked],
        ).filter(([type]) => type !== "hidden"),
        answer: text("#emms-answer"),
        view: text("#emms-view").slice(0, 20000),
    };
}"""
_PICK = """([name, share]) => {
    const select = document.querySelector(`#emms-form select[name=${name}]`);
    if (!select) return null;
    select.focus();
    select.selectedIndex = Math.floor(share * select.options.length);
    select.dispatchEvent(new Event("input", { bubbles: true }));
    select.dispatchEvent(new Event("change", { bubbles: true }));
    return select.value;
}"""
_CLICK = """([selector, share]) => {
    const links = [...document.querySelectorAll(selector)];
    const link = links[Math.floor(share * links.length)];
    link?.click();
    return Boolean(link);
}"""
_BACK = """() => new Promise((done) => {
    if (!navigation.canGoBack) return done();
    addEventListener("popstate", done, { once: true });
    history.back();
})"""


class Conditions(NamedTuple):
    """A network and a processor, as Chromium emulates them."""

    name: str
    network: dict[str, Any]
    slowdown: int = 1


def _latency(milliseconds: int) -> dict[str, Any]:
    return {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1, "latency": milliseconds}


# As in Chromium's developer tools: bytes per second, and milliseconds.
SLOW_4G = {"offline": False, "downloadThroughput": 180_000, "uploadThroughput": 84_375, "latency": 562.5}
NETWORKS = {"no delay": _latency(0), "100 ms": _latency(100), "300 ms": _latency(300), "slow 4G": SLOW_4G}
CONDITIONS = tuple(
    Conditions(f"{name}, processor ×{slowdown}", network, slowdown)
    for name, network in NETWORKS.items()
    for slowdown in (1, 6)
)
# An action returns the fields that the address must have, or None if the page does not offer it.
Fields = dict[str, str]
Action = Callable[[Any, random.Random], Fields | None]


def _pick(name: str) -> Action:
    def act(page: Any, rng: random.Random) -> Fields | None:
        value = page.evaluate(_PICK, [name, rng.random()])
        return None if value is None else {name: value}

    return act


def _click(selector: str) -> Action:
    return lambda page, rng: {} if page.evaluate(_CLICK, [selector, rng.random()]) else None


def _type(page: Any, rng: random.Random) -> Fields | None:
    text = rng.choice(_TYPED)
    if not page.evaluate("{const field = document.getElementById('emms-q'); field?.select(); Boolean(field)}"):
        return None
    page.keyboard.press("Delete")
    page.keyboard.type(text, delay=rng.choice((0, 30)))
    # Meanwhile a tab without a search may have arrived.
    return {"q": text} if page.locator("#emms-q").count() else {}


def _back(page: Any, rng: random.Random) -> Fields | None:
    page.evaluate(_BACK)
    return {}


_ACTIONS: dict[str, Action] = {
    "pick a task": _pick("task"),
    "pick a dataset": _pick("ranking"),
    "limit the size": _pick("max"),
    "type": _type,
    "sort": _click("thead a"),
    "follow a tab": _click("nav a"),
    "follow a link": _click("#emms-answer a[href^='?'], tbody a[href^='?'], .compare a"),
    "tick": _click("input[name=tick]"),
    "choose a column": _click("input[name=columns][type=checkbox]"),
    "go back": _back,
}


def sequence(browser: Any, url: str, conditions: Conditions, seed: int) -> list[str]:
    """Play one sequence in its own browser context; return the disagreements at its end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        return _play(context.new_page(), url, conditions, seed)
    finally:
        context.close()


def _play(page: Any, url: str, conditions: Conditions, seed: int) -> list[str]:
    rng = random.Random(seed)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    session = page.context.new_cdp_session(page)
    page.goto(url)
    session.send("Network.emulateNetworkConditions", conditions.network)
    session.send("Emulation.setCPUThrottlingRate", {"rate": conditions.slowdown})
    done: list[str] = []
    expected: Fields = {}
    for _ in range(ACTIONS):
        action = rng.choice(list(_ACTIONS))
        result = _ACTIONS[action](page, rng)
        if result is not None:
            expected = result
            done.append(f"{action} {result or ''}".strip())
        page.wait_for_timeout(rng.choice(_PAUSES))
    page.locator("main:not([aria-busy])").wait_for()
    session.detach()  # ends the emulation
    shown = page.evaluate(_STATE)
    query = parse_qs(urlsplit(page.url).query)
    for name, value in expected.items():
        if query.get(name, [""])[-1] != value:
            problems.append(f"{name} should be {value!r} in the address, but is {query.get(name)}")
    page.reload()
    fresh = page.evaluate(_STATE)
    problems += [f"{name} is {v!r}, but fresh {fresh[name]!r}" for name, v in shown.items() if v != fresh[name]]
    return [f"{problem} (seed {seed}, {conditions.name}: {'; '.join(done)})" for problem in problems]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=300, help="sequences (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the first one (default: 0)")


def run(options: argparse.Namespace) -> None:
    """Print the disagreements; exit with an error if there are any."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        with served(ROOT / "spaces_app" / "app.py", EMMS_RESULTS=folder) as url, opened(url) as page:
            for seed in range(options.seed, options.seed + options.count):
                problems += sequence(page.context.browser, url, CONDITIONS[seed % len(CONDITIONS)], seed)
    print("\n### Sequences on the leaderboard\n")
    print(f"- {options.count} of {ACTIONS} actions each: {len(problems)} disagreements")
    print("\n".join(f"- {problem}" for problem in problems))
    if problems:
        sys.exit(1)
