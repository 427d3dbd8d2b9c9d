"""A Ray cluster of two nodes on this machine, small enough to be started in a test."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

MEMORY = 80 * 2**20


@contextmanager
def two_nodes(first_cpus: int = 1) -> Iterator[tuple[Any, Any]]:
    """The cluster, connected, and its second node, which may be removed."""
    ray = pytest.importorskip("ray", reason="needs the extra cluster")
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"object_store_memory": MEMORY, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": first_cpus, **options})
        try:
            second = cluster.add_node(num_cpus=2, object_store_memory=MEMORY)
            ray.init(cluster.address, log_to_driver=False)
            yield cluster, second
        finally:
            ray.shutdown()
            cluster.shutdown()
