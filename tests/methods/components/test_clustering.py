from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from retdm.methods.components.clustering import k_means, k_medoids


def test_k_means_adds_up_in_one_thread_and_has_no_more_clusters_than_different_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []
    fit = KMeans.fit

    def watched(self: KMeans, x: Any) -> KMeans:
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
        return fit(self, x)

    monkeypatch.setattr(KMeans, "fit", watched)
    x = np.repeat(np.eye(3), 4, axis=0)
    with threadpool_limits(4, user_api="openmp"):
        means, cluster = k_means(x, 5, seed=0, starts=2)
    assert threads and set(threads) == {1}
    assert len(means) == 3 and np.array_equal(means[cluster], x)


def test_medoids_are_the_middles_of_well_parted_groups() -> None:
    places = np.concatenate([np.array([-1, 0, 1.5]) + 100 * group for group in range(4)])
    distance = np.abs(places[:, None] - places)
    totals = [distance[:, k_medoids(distance, 4, seed)].min(1).sum() for seed in range(20)]
    np.testing.assert_array_equal(k_medoids(distance, 4, int(np.argmin(totals))), [1, 4, 7, 10])
    assert min(totals) == 10
    np.testing.assert_array_equal(k_medoids(distance, 4, 3), k_medoids(distance, 4, 3))


def test_as_many_medoids_as_copies_are_still_different_rows() -> None:
    np.testing.assert_array_equal(k_medoids(np.zeros((6, 6)), 6, 0), np.arange(6))
    assert len(set(k_medoids(np.zeros((6, 6)), 3, 0))) == 3
