"""A Ray cluster of two worker processes on this machine, which is started once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

# Ray gives its processes seconds to start, which is too few while the machine is busy.
STARTS = 4


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        assert ray.util.get_node_ip_address() == "127.0.0.1"
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")
        options = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_dashboard": False, "log_to_driver": False}
        for _ in range(STARTS - 1):
            with suppress(Exception):
                ray.init(**options)
                break
        else:
            ray.init(**options)
        yield
        ray.shutdown()
