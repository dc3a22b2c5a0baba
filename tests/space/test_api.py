"""The Space for programs: gradio_client, an MCP client, many clients at once."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers.rankings import example

ENDPOINTS = {
    "list_rankings",
    "get_ranking",
    "compare_datasets",
    "validate_ranking",
}


@pytest.fixture(scope="module")
def client(space):
    gradio_client = pytest.importorskip("gradio_client")
    connected = gradio_client.Client(space.url, verbose=False, analytics_enabled=False)
    yield connected
    connected.close()


def test_only_the_named_endpoints_are_public_and_each_is_described(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {f"/{name}" for name in ENDPOINTS}
    described = endpoints["/compare_datasets"]
    assert [one["parameter_name"] for one in described["parameters"]] == ["task", "limit", "offset"]


def test_gradio_describes_the_endpoints_at_the_addresses_of_the_page(space, pages):
    page = pages.get("/?tab=api").text
    for path in ("/gradio_api/info", "/gradio_api/openapi.json"):
        assert f"ADDRESS{path}" in page
        with urllib.request.urlopen(space.url + path, timeout=100) as answer:
            assert b"get_ranking" in answer.read()


def test_rankings_are_listed_and_given(client):
    listed = client.predict(task="image-classification", api_name="/list_rankings")
    assert {one["id"] for one in listed} >= {"image/beans", "image/food"}
    asked = {"ranking": "image/beans", "limit": 1, "api_name": "/get_ranking"}
    best = client.predict(**asked, search="", max_parameters=100e6, license="", library="", sort="-emms")
    assert best["matching"] == 2
    assert (best["verdict"]["certainty"], best["verdict"]["first"]) == ("best estimate", ["org/best"])
    assert (best["measure"]["title"], best["measure"]["higher_is_better"]) == ("explained", True)
    assert best["answer"].startswith("Fine-tune org/best ")
    second = client.predict(**asked, offset=1)
    assert [row["checkpoint"] for row in second["rows"]] == ["org/close"]
    assert len(client.predict(limit=1, offset=1, api_name="/list_rankings")) == 1
    assert [row["checkpoint"] for row in best["rows"]] == ["org/best"]
    assert best["rows"][0]["emms"] == example().row("org/best").scores["emms"].value


def test_checkpoints_are_compared_over_the_datasets_of_a_task(client):
    asked = {"task": "image-classification", "api_name": "/compare_datasets"}
    found = client.predict(**asked)
    assert found["matching"] == len(found["checkpoints"])
    assert {"org/best", "org/close", "org/worse"} <= {one["checkpoint"] for one in found["checkpoints"]}
    wins = [one["wins"] for one in found["checkpoints"]]
    assert wins == sorted(wins, reverse=True)
    second = client.predict(**asked, limit=1, offset=1)
    assert (second["matching"], second["checkpoints"]) == (found["matching"], found["checkpoints"][1:2])
    with pytest.raises(Exception, match="image-classification"):
        client.predict(**asked | {"task": "x"})


def test_a_file_is_checked(client):
    good = client.predict(ranking_json=example().to_json(), api_name="/validate_ranking")
    bad = client.predict(ranking_json="{}", api_name="/validate_ranking")
    assert (good["valid"], bad["valid"]) == (True, False)
    assert "missing required field `dataset`" in bad["problem"]


def test_an_agent_asks_over_mcp(space):
    pytest.importorskip("mcp", reason="gradio's MCP server needs mcp: pip install 'gradio[mcp]'")
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    async def ask():
        async with (
            streamable_http_client(f"{space.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            server = await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            name = next(name for name in tools if name.endswith("get_ranking"))
            arguments = {"ranking": "image/beans", "max_parameters": 100e6}
            return server, tools, name, await session.call_tool(name, arguments)

    with ThreadPoolExecutor(1) as thread:  # in this one the browser's event loop may be running
        server, tools, name, answer = thread.submit(asyncio.run, ask()).result(100)
    assert {tool.rpartition("app_")[2] for tool in tools} == ENDPOINTS
    assert server.serverInfo.name == "EMMS leaderboard"
    assert ENDPOINTS & set(re.findall(r"\w+", server.instructions)) >= {"list_rankings", "get_ranking"}
    assert all(tool.annotations.readOnlyHint for tool in tools.values())
    assert "Tied checkpoints differ by less than the noise" in tools[name].description
    assert "100000000" in json.dumps(tools[name].inputSchema)
    assert not answer.isError
    found = json.loads(answer.content[0].text)  # not Python's repr
    assert [row["checkpoint"] for row in found["rows"]] == ["org/best", "org/worse"]


def test_the_endpoints_answer_in_plain_json(pages):
    found = pages.get("/api/get_ranking?ranking=image/beans&limit=1&max_parameters=1e8").json()
    assert ([row["checkpoint"] for row in found["rows"]], found["matching"]) == (["org/best"], 2)
    asked = {"task": "image-classification", "limit": 2}
    found = pages.get("/api/compare_datasets", params=asked).json()
    assert pages.post("/api/compare_datasets", json=asked).json() == found
    assert pages.post("/api/validate_ranking", json={"ranking_json": example().to_json()}).json()["valid"]
    assert pages.get("/api/list_rankings").json() == pages.post("/api/list_rankings", json={}).json()
    for status, query in (
        (404, "nothing"),
        (400, "get_ranking"),
        (400, "list_rankings?limit=x"),
        (400, "get_ranking?ranking=x"),
    ):
        answer = pages.get(f"/api/{query}")
        assert (answer.status_code, [*answer.json()]) == (status, ["error"])


def test_no_file_can_be_put_on_the_server_or_had_from_it(space):
    body = b"--b\r\nContent-Disposition: form-data; name=files; filename=x.html\r\n\r\nx\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b"}
    files = [f"{space.url}/gradio_api/file={path}" for path in ("/etc/passwd", f"{space.results}/broken.json")]
    for asked in (urllib.request.Request(f"{space.url}/gradio_api/upload", body, headers), *files):
        with pytest.raises(urllib.error.HTTPError, match=r"40[34]"):
            urllib.request.urlopen(asked, timeout=100)
