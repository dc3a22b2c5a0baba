"""A Ray cluster of two worker processes on this machine, started once per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    import ray

    from hf_emms.run.engines.ray import start_local

    with pytest.MonkeyPatch.context() as patch:
        assert ray.util.get_node_ip_address() == "127.0.0.1"
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")
        start_local(num_cpus=2, object_store_memory=80 << 20)
        yield
        ray.shutdown()
