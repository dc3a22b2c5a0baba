"""A stand-in for the Hub: an HTTP server on loopback for huggingface_hub and datasets.

In a test::

    with running_hub(tmp_path) as hub:
        hub.store.put_files("org/model", {"config.json": b"{}"})
        token = hub.token(user="ada", role="write", orgs=["org"])
        hub.fail("GET */config.json", 503, times=2)
        HfApi(endpoint=hub.url, token=token).model_info("org/model")
        assert [entry.status for entry in hub.requests] == [200]
"""

from .server import Hub, running_hub

__all__ = ["Hub", "running_hub"]
