import numpy as np
import torch

from retdm.methods.components.neighbours import nearest


def test_the_nearest_rows_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    rows, queries = torch.from_numpy(rng.normal(size=(30, 4))), torch.from_numpy(rng.normal(size=(7, 4)))

    def loops(from_: torch.Tensor, own: bool) -> list[list[int]]:
        found = []
        for i, query in enumerate(from_):
            distance = [float(((query - row) ** 2).sum()) for row in rows]
            order = sorted(range(len(rows)), key=distance.__getitem__)
            found.append([j for j in order if not (own and j == i)][:5])
        return found

    assert nearest(queries, rows, 5, chunk=3).tolist() == loops(queries, False)
    assert nearest(rows, rows, 5, chunk=7).tolist() == loops(rows, True)
