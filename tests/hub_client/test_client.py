"""Requests to the Hub: time-outs, pauses, threads. Faults: tests/hub/test_faults.py."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.hub_client import run
from tests.hub import Hub


def test_requests_have_timeouts(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/best", {"README.md": b"# Best\n"})
    code = """
        from huggingface_hub import get_session
        from hf_emms.hub.client import request
        def call(api):
            return [api.repo_info("org/best").id, get_session().timeout.as_dict()]
        print(json.dumps(request(call, "org/best", "model")))
        """
    limits = {"connect": 10, "read": 60, "write": 60, "pool": 60}
    assert run(code, hub, tmp_path) == ["org/best", limits]


def test_pauses_follow_the_hub_up_to_the_deadline(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/best", {"README.md": b"# Best\n"})
    hub.fail("GET /api/models/org/best", 429, Retry_After="7")
    for status in (408, 500, 502, 503, 504):
        hub.fail("GET /api/models/org/best", status)
    hub.fail("GET /api/models/org/late", 429, None, Retry_After="3600")
    code = """
        import os, time
        pauses, time.sleep = [], lambda seconds: pauses.append(seconds)
        resolve("org/best", "model")
        refused = report(lambda: resolve("org/late", "model"))
        os.environ["HF_EMMS_DEADLINE"] = "soon"
        print(json.dumps([pauses, refused, report(lambda: resolve("org/late", "model"))]))
        """
    pauses, refused, mistyped = run(code, hub, tmp_path)
    assert pauses == [7, 2, 4, 8, 16, 30]
    assert "HF_EMMS_DEADLINE" in refused["hint"]
    assert mistyped["message"] == "HF_EMMS_DEADLINE is 'soon'"


def test_cancelled_download_ends(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/best", {"README.md": b"# Best\n"})
    code = """
        import threading
        from hf_emms.hub import CANCELLED
        repo, cancelled = resolve("org/best", "model"), threading.Event()
        CANCELLED.set(cancelled)
        cancelled.set()
        try:
            print(json.dumps(str(fetch(repo, ["*.md"]))))
        except InterruptedError as error:
            print(json.dumps(str(error)))
        """
    assert run(code, hub, tmp_path) == "the download is no longer needed"


def test_client_errors_become_emms_errors_without_tokens(hub: Hub, tmp_path: Path) -> None:
    token = hub.token(user="ada")
    hub.fail("GET /api/models/org/*", 403, None, body=json.dumps({"error": f"the token {token} may not"}).encode())
    code = """
        import os
        from huggingface_hub.utils import httpx
        from hf_emms.hub import who_am_i
        from hf_emms.hub.client import request
        roots = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)
        kinds = [kind for kind in vars(httpx).values() if isinstance(kind, type) and issubclass(kind, roots)]
        def fail(kind):
            def call(api):
                try:
                    raise kind("to " + os.environ["HF_TOKEN"])
                except TypeError:
                    raise httpx.ConnectError("to " + os.environ["HF_TOKEN"])
            return call
        calls = [*map(fail, kinds), lambda api: api.model_info("org/best")]
        told = [report(lambda: request(call, "org/best", "model", tries=1)) for call in calls]
        told += [report(who_am_i), report(who_am_i)]
        print(json.dumps([len(kinds), [f"{error['message']} {error['hint']}" for error in told]]))
        """
    for status in (401, 403):
        hub.fail("GET /api/whoami-v2", status)
    kinds, messages = run(code, hub, tmp_path, HF_TOKEN=token)
    assert len(messages) == kinds + 3
    assert not any(token in text for text in messages)
    assert all(hub.url in message and message.endswith("hf auth login") for message in messages[-3:])


def test_hardware_prices_are_per_minute(hub: Hub, tmp_path: Path) -> None:
    code = """
        from hf_emms.hub import hardware
        print(json.dumps([[one.name, one.summary, round(one.usd_per_minute, 9)] for one in hardware().values()]))
        """
    assert run(code, hub, tmp_path) == [
        ["cpu-basic", "2 vCPU, 16 GB", 0.000166667],
        ["cpu-upgrade", "8 vCPU, 32 GB", 0.0006],
        ["a10g-small", "4 vCPU, 15 GB, 1 × A10G (24 GB)", 0.016667],
    ]
