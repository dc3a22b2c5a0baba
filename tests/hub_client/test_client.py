"""Requests to the Hub, whatever they ask for: time-outs, waits, threads. Faults: tests/hub/test_faults.py."""

from __future__ import annotations

from pathlib import Path

from tests.hub import Hub
from tests.hub.fixtures import run_client


def test_every_request_has_timeouts(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/best", {"README.md": b"# Best\n"})
    code = """
        import json
        from huggingface_hub import close_session, get_session
        from hf_emms.hub.client import request
        seen = []
        def call(api):
            close_session()  # as after an error of TLS
            session = get_session()
            hooks = session.event_hooks
            session.event_hooks = {**hooks, "request": [*hooks["request"], lambda one: seen.append(one.extensions)]}
            return api.model_info("org/best").id  # without a timeout of its own
        print(json.dumps([request(call, "org/best", "model"), sorted(seen[0]["timeout"].items())]))
        """
    id, timeouts = run_client(hub, code, tmp_path)
    assert id == "org/best"
    assert timeouts == [["connect", 10], ["pool", 60], ["read", 60], ["write", 60]]


def test_pauses_are_as_long_as_the_hub_asks_and_the_client_is_told_no_hours(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/best", {"README.md": b"# Best\n"})
    hub.fail("GET /api/models/org/best", 429, 1, retry_after=7)
    hub.fail("GET /api/models/org/best", 503, 1)
    hub.fail("GET /api/models/org/best/tree/*", 429, None, retry_after=3600)
    code = """
        import json, time
        from hf_emms.errors import EmmsError
        from hf_emms.hub import Repo, listing, resolve
        pauses, time.sleep = [], lambda seconds: pauses.append(seconds)
        repo = resolve("org/best", "model")
        try:
            listing(repo)
        except EmmsError as error:
            print(json.dumps([pauses, error.message, error.hint]))
        """
    pauses, message, hint = run_client(hub, code, tmp_path)
    assert pauses == [7, 2]
    assert "asks to wait 3,600 s (429), longer than 420 s" in message
    assert "HF_EMMS_DEADLINE" in hint


def test_a_search_starts_no_thread_for_what_it_lists(hub: Hub, tmp_path: Path) -> None:
    card = b"---\npipeline_tag: image-classification\n---\n"
    hub.page_size = 10
    for number in range(30):
        hub.store.put_files(f"org/model-{number}", {"README.md": card})
    code = """
        import json, threading
        from hf_emms.hub import find_models
        started, start = [], threading.Thread.start
        threading.Thread.start = lambda thread: (started.append(thread.name), start(thread))
        listed = list(find_models(pipeline_tags=["image-classification"]))
        print(json.dumps([len(listed), started]))
        """
    assert run_client(hub, code, tmp_path) == [30, []]


def test_no_error_of_the_client_is_left_raw_and_none_shows_a_token(hub: Hub, tmp_path: Path) -> None:
    token = hub.token(user="ada")
    hub.fail("GET /api/models/org/*", 403, None, message=f"the token {token} may not")
    code = """
        import json, os
        from huggingface_hub.utils import httpx
        from hf_emms.errors import EmmsError
        from hf_emms.hub import resolve
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
        messages = []
        for call in [*map(fail, kinds), lambda api: api.model_info("org/best")]:
            try:
                request(call, "org/best", "model", tries=1)
            except EmmsError as error:
                messages.append(str(error))
        print(json.dumps([len(kinds) + 1 - len(messages), any(os.environ["HF_TOKEN"] in text for text in messages)]))
        """
    assert run_client(hub, code, tmp_path, HF_TOKEN=token) == [0, False]


def test_an_address_that_has_expired_is_asked_for_again_whatever_the_storage_says(hub: Hub, tmp_path: Path) -> None:
    codes = (400, 401, 403, 404, 410)
    for code in codes:
        hub.store.put_files(f"org/model-{code}", {"model.safetensors": b"weights"})
        hub.fail(f"GET /cdn/*model-{code}/*", code, 1)
    hub.store.put_files("org/gone", {"model.safetensors": b"weights"})
    hub.fail("GET /cdn/*gone/*", 405, 1)
    code = f"""
        import json, time
        from hf_emms.errors import EmmsError
        from hf_emms.hub import fetch, resolve
        time.sleep = lambda seconds: None
        def content(name):
            try:
                return (fetch(resolve(name, "model"), ["*.safetensors"]) / "model.safetensors").read_text()
            except EmmsError as error:
                return error.message
        print(json.dumps([content(f"org/{{name}}") for name in [*map("model-{{}}".format, {codes}), "gone"]]))
        """
    *contents, other = run_client(hub, code, tmp_path)
    assert contents == ["weights"] * len(codes)
    assert "(405: " in other
