"""Clusters of rows, by their means or by their medoids. Notation: n rows, F features, k clusters."""

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from retdm.methods.components.labels import Array

ROUNDS = 100  # of k-medoids, at most


def k_means(x: Array, k: int, seed: int, starts: int = 1) -> tuple[Array, NDArray[np.int32]]:
    """k-means from random starts, of which the one with the least squared distances counts.

    Args:
        x: (n, F).
        k: clusters; at most as many as there are different rows.
        seed: of the starts.
        starts: how many.

    Returns:
        The means (k, F), and the cluster of each row (n,).
    """
    k = min(k, len(np.unique(x, axis=0)))
    with threadpool_limits(1, user_api="openmp"):  # several threads add up in an order that changes from run to run
        found = KMeans(k, n_init=starts, random_state=seed).fit(x)
    return found.cluster_centers_, found.labels_


def k_medoids(distances: Array, k: int, seed: int) -> NDArray[np.int64]:
    """k of n rows such that every row lies near one of them, from a random start.

    As in the code of MIMLSVM's authors, rows are first dealt to random medoids at random; then each cluster's medoid
    becomes the row with the least summed distance to the others (at a tie the first), and each row goes to its nearest
    medoid, a medoid to itself; until nothing changes.

    Args:
        distances: (n, n).
        k: at most n.
        seed: of the start.

    Returns:
        The medoids' numbers (k,), all different, in ascending order.
    """
    rng = np.random.default_rng(seed)
    medoids = rng.choice(len(distances), k, replace=False)
    cluster = rng.integers(k, size=len(distances))
    cluster[medoids] = np.arange(k)
    for _ in range(ROUNDS):
        members = [np.flatnonzero(cluster == j) for j in range(k)]
        moved = np.array([rows[distances[np.ix_(rows, rows)].sum(0).argmin()] for rows in members])
        if (moved == medoids).all():
            break
        medoids = moved
        cluster = distances[:, medoids].argmin(1)
        cluster[medoids] = np.arange(k)
    return np.sort(medoids)
