"""The metric loss against its definition as loops over floats, then every limit."""

import math

import pytest
import torch

from retdm.losses import nearest_label_sets, two_way_metric, two_way_terms

# ---- the definition, in plain python


def neighbours(own, candidates, k, frequency=None, usable=None):
    """[row of the first carrier of each of the k nearest distinct sets other than own]"""
    found = {}
    for row, candidate in enumerate(candidates):
        if (usable is None or usable[row]) and candidate != own and candidate not in found:
            found[candidate] = row

    def order(candidate):
        differing = sum(a != b for a, b in zip(own, candidate, strict=True))
        return differing, -(frequency[found[candidate]] if frequency else 0), candidate

    return [found[candidate] for candidate in sorted(found, key=order)[:k]]


def row_loss(own, rivals, scale, violation):
    scores = [-d / scale for d in rivals]
    nll = -math.log(math.exp(-own / scale) / (math.exp(-own / scale) + sum(math.exp(s) for s in scores)))
    return nll, nll + violation * sum(max(0.0, s + own / scale) for s in scores) / len(scores)


def definition(image, label, target, k, scale=1.0, violation=1.0, rival_image="first", seed=0, usable=None):
    image, label = image.tolist(), label.tolist()
    sets = [tuple(int(v) for v in row) for row in target.tolist()]
    size = len(sets)
    usable = usable or [True] * size
    uniform = torch.rand(size, min(k, size), generator=torch.Generator().manual_seed(seed)).tolist()
    ways = ([], [])
    for i in range(size):
        near = neighbours(sets[i], sets, k, usable=usable) if usable[i] else []
        if not near:
            continue
        own = math.dist(image[i], label[i])
        ways[0].append(row_loss(own, [math.dist(image[i], label[j]) for j in near], scale, violation))
        pictures = []
        for place, j in enumerate(near):
            carriers = [r for r in range(size) if usable[r] and sets[r] == sets[j]]
            pictures.append(carriers[0 if rival_image == "first" else int(uniform[i][place] * len(carriers))])
        ways[1].append(row_loss(own, [math.dist(image[r], label[i]) for r in pictures], scale, violation))
    means = [[sum(row[part] for row in way) / max(len(way), 1) for way in ways] for part in (0, 1)]
    return {"nll": means[0], "loss": means[1]}


def batch(size=7, labels=4, width=3, seed=0, dtype=torch.float64):
    """Embeddings and targets with repeated label sets and an empty one; equal sets have equal label embeddings."""
    generator = torch.Generator().manual_seed(seed)
    target = (torch.rand(size, labels, generator=generator) > 0.6).to(dtype)
    target[2] = 0
    target[-1] = target[1]
    target[-2] = target[1]
    image = torch.randn(size, width, generator=generator, dtype=dtype)
    label = torch.tanh(target @ torch.randn(labels, width, generator=generator, dtype=dtype)) + 0.3
    return image, label, target


# ---- the value


@pytest.mark.parametrize("rival_image", ["first", "random"])
@pytest.mark.parametrize(("unit", "temperature"), [(1.0, 1.0), (2.5, 0.2)])
@pytest.mark.parametrize("violation", [0.0, 1.0, 0.7])
@pytest.mark.parametrize("k", [1, 2, 5, 9])  # 9 exceeds the batch
def test_equals_the_definition(k, violation, unit, temperature, rival_image):
    image, label, target = batch()
    options = {"k": k, "violation": violation, "rival_image": rival_image, "seed": 5}
    expected = definition(image, label, target, scale=unit * temperature, **options)
    terms = two_way_terms(image, label, target, unit=unit, temperature=temperature, **options)
    assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)
    assert [terms.nll1.item(), terms.nll2.item()] == pytest.approx(expected["nll"], abs=1e-12)
    for mu in (0.0, 1.0, 0.3):
        value = two_way_metric(image, label, target, mu=mu, unit=unit, temperature=temperature, **options)
        assert value.item() == pytest.approx(expected["loss"][0] + mu * expected["loss"][1], abs=1e-12)


R1 = (
    torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]),
    torch.tensor([[1.0, 0.0], [3.0, 1.0], [0.0, 2.0]]),
    torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]),
)


def test_worked_example_of_three_images():
    assert two_way_metric(*R1, k=1, violation=0.0).item() == pytest.approx(0.550172, abs=1e-6)
    terms = two_way_terms(*R1, k=2, violation=0.0)
    assert terms.way1.item() == pytest.approx((0.394028 + 0.365852 + 0.203624) / 3, abs=1e-6)
    assert terms.way2.item() == pytest.approx((0.344936 + 0.143341 + 0.788811) / 3, abs=1e-6)


def test_worked_example_of_a_violated_row():
    image, label, target = torch.tensor([[0.0]]), torch.tensor([[2.0]]), torch.tensor([[1.0, 0.0]])
    sets, embedding = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0], [3.0]])
    terms = two_way_terms(image, label, target, sets=sets, set_embedding=embedding)
    assert terms.nll1.item() == pytest.approx(1.407606, abs=1e-6)
    assert terms.way1.item() == pytest.approx(1.407606 + 0.5, abs=1e-6)
    assert terms.way2.item() == 0  # the only image has no other to be compared with


def test_diagnostics_are_the_own_distance_and_the_value_of_chance():
    terms = two_way_terms(*R1, k=2, unit=torch.tensor(4.0))
    assert terms.own_distance.item() == pytest.approx((1 + 1 + 2) / 3 / 4)
    assert terms.chance1.item() == terms.chance2.item() == pytest.approx(math.log(3))
    zero = torch.zeros(3, 2)
    collapsed = two_way_terms(zero, zero, R1[2], k=2)
    assert collapsed.nll1.item() == pytest.approx(collapsed.chance1.item())
    assert collapsed.nll2.item() == pytest.approx(collapsed.chance2.item())


def test_chance_counts_the_rivals_each_anchor_has():
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    terms = two_way_terms(torch.randn(3, 2), torch.randn(3, 2), target, k=10)
    assert terms.chance1.item() == pytest.approx(math.log(2))


# ---- the gradient


@pytest.mark.parametrize("rival_image", ["first", "random"])
def test_gradient_in_float64(rival_image):
    image, label, target = batch()

    def loss(image, label):
        return two_way_metric(image, label, target, k=3, mu=0.7, unit=1.3, temperature=0.5, rival_image=rival_image)

    assert torch.autograd.gradcheck(loss, (image.requires_grad_(), label.requires_grad_()))


def test_gradient_of_the_train_pool_in_float64():
    image, label, target = batch()
    sets, embedding = batch(size=9, seed=3)[2], batch(size=9, seed=4)[0]

    def loss(image, label, embedding):
        return two_way_metric(image, label, target, k=3, sets=sets, set_embedding=embedding)

    assert torch.autograd.gradcheck(loss, [x.requires_grad_() for x in (image, label, embedding)])


def test_the_unit_is_never_differentiated():
    image, label, target = batch()
    unit = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    loss = two_way_metric(image.requires_grad_(), label, target, unit=unit)
    loss.backward()
    assert unit.grad is None
    assert loss.item() == two_way_metric(image, label, target, unit=2.0).item()


def test_coinciding_embeddings_have_finite_gradients():
    target = torch.eye(4)
    image, label = torch.ones(4, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    loss = two_way_metric(image, label, target, k=2)
    loss.backward()
    assert loss.item() == pytest.approx(2 * math.log(3))
    assert image.grad.isfinite().all() and label.grad.isfinite().all()


def test_nearly_coinciding_embeddings_far_from_the_origin_keep_their_distances():
    image, label = 1000 + torch.rand(2, 40, 8, generator=torch.Generator().manual_seed(0))
    expected = sum(math.dist(f, g) for f, g in zip(image.tolist(), label.tolist(), strict=True)) / 40
    assert two_way_terms(image, label, torch.eye(40), k=1).own_distance.item() == pytest.approx(expected, rel=1e-6)


# ---- who is a rival


def test_equal_label_sets_are_never_rivals():
    target = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    assert nearest_label_sets(target, 3).tolist() == [[3, -1, -1]] * 3 + [[0, -1, -1]]


def test_identical_label_sets_everywhere_give_zero_with_a_graph():
    assert_zero_with_a_graph(torch.ones(5, 3))


def test_a_single_row_gives_zero_with_a_graph():
    assert_zero_with_a_graph(torch.ones(1, 3))


def assert_zero_with_a_graph(target, **options):
    image = torch.randn(len(target), 2, requires_grad=True)
    label = torch.randn(len(target), 2, requires_grad=True)
    terms = two_way_terms(image, label, target, **options)
    (terms.way1 + terms.way2).backward()
    assert terms.way1.item() == terms.way2.item() == 0
    assert (image.grad == 0).all() and (label.grad == 0).all()
    assert [float(value) for value in terms[3:]] == [0, 0, 0, 0]


def test_rows_without_a_rival_leave_the_mean():
    """In the train pool a row can be alone: rivals are the pool's, and the pool holds one set."""
    image, label = torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [7.0]])
    terms = two_way_terms(
        image, label, torch.eye(2), sets=torch.tensor([[1.0, 0.0]]), set_embedding=torch.tensor([[1.0]]), violation=0
    )
    assert terms.way1.item() == pytest.approx(math.log(1 + math.exp(2.0 - 4.0)))


@pytest.mark.parametrize(("rival_image", "seeds"), [("first", 1), ("random", 8)])
def test_incomplete_rows_are_neither_anchors_nor_rivals(rival_image, seeds):
    image, label, target = batch()
    image.requires_grad_()
    complete = torch.tensor([True, False, True, True, False, True, True])
    gaps = target.clone()
    gaps[1], gaps[4] = torch.nan, target[5]  # what stands in an unknown cell is not read, be it another row's set
    for seed in range(seeds):
        options = {"k": 5, "rival_image": rival_image, "seed": seed}
        expected = definition(image, label, target, usable=complete.tolist(), **options)
        terms = two_way_terms(image, label, gaps, complete=complete, **options)
        assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)
        (gradient,) = torch.autograd.grad(terms.way1 + terms.way2, image)
        assert (gradient[~complete] == 0).all() and gradient[complete].abs().sum(1).min() > 0
    own = [math.dist(f, g) for f, g, c in zip(image.tolist(), label.tolist(), complete, strict=True) if c]
    assert terms.own_distance.item() == pytest.approx(sum(own) / 5)


def test_no_complete_row_gives_zero_with_a_graph():
    assert_zero_with_a_graph(torch.eye(3), complete=torch.zeros(3, dtype=torch.bool))


def test_incomplete_rows_are_no_anchors_in_the_train_pool():
    image, label, target = batch()
    complete = torch.arange(7) != 0
    pool = {"k": 2, "sets": target, "set_embedding": label}
    terms = two_way_terms(image, label, target, complete=complete, **pool)
    expected = two_way_terms(image[1:], label[1:], target[1:], **pool)
    assert terms.way1.item() == pytest.approx(expected.way1.item(), abs=1e-12)


def test_one_label_makes_two_sets_that_rival_each_other():
    image, label, target = batch(labels=1)
    expected = definition(image, label, target, 10)
    terms = two_way_terms(image, label, target, rival_image="first")
    assert terms.way1.item() > 0
    assert [terms.way1.item(), terms.way2.item()] == pytest.approx(expected["loss"], abs=1e-12)


def test_an_empty_label_set_is_a_set_like_any_other():
    target = torch.tensor([[0.0, 0], [0, 1], [1, 1]])
    assert nearest_label_sets(target, 2).tolist() == [[1, 2], [0, 2], [1, 0]]


# ---- what changes nothing


def test_the_order_of_rows_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    target = torch.tensor([[(number >> bit) & 1 for bit in range(5)] for number in range(0, 27, 3)]).double()
    image, label = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    order = torch.randperm(9, generator=generator)
    options = {"k": 3, "rival_image": "first", "mu": 0.6}
    shuffled = two_way_metric(image[order], label[order], target[order], **options)
    assert shuffled.item() == pytest.approx(two_way_metric(image, label, target, **options).item(), abs=1e-12)


def test_a_shift_and_a_turn_of_the_space_change_nothing():
    image, label, target = batch()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    shift = torch.tensor([1.0, -20.0, 3.0], dtype=torch.float64)
    moved = two_way_metric(image @ turn + shift, label @ turn + shift, target, k=3)
    assert moved.item() == pytest.approx(two_way_metric(image, label, target, k=3).item(), abs=1e-12)


def test_the_unit_undoes_a_scaling_of_the_space():
    image, label, target = batch()
    scaled = two_way_metric(8 * image, 8 * label, target, k=3, unit=8.0)
    assert scaled.item() == pytest.approx(two_way_metric(image, label, target, k=3).item(), abs=1e-12)


def test_a_train_pool_of_the_batch_equals_the_batch():
    image, label, target = batch()
    frequency = torch.tensor([3, 1, 4, 1, 5, 1, 1])
    expected = two_way_terms(image, label, target, k=3, frequency=frequency)
    terms = two_way_terms(
        image, label, target, k=3, frequency=frequency, sets=target, set_embedding=label, set_frequency=frequency
    )
    assert torch.stack(terms).tolist() == torch.stack(expected).tolist()


def test_a_larger_train_pool_brings_nearer_rivals_to_way_one_only():
    image, label, target = torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [9.0]]), torch.tensor([[1.0, 0], [0, 1]])
    sets, embedding = torch.tensor([[0.0, 1], [0, 0]]), torch.tensor([[9.0], [2.0]])
    terms = two_way_terms(image, label, target, k=1, violation=0, sets=sets, set_embedding=embedding)
    rows = [math.log(1 + math.exp(1.0 - 2.0)), math.log(1 + math.exp(0.0 - 7.0))]  # both nearest to the empty set
    assert terms.way1.item() == pytest.approx(sum(rows) / 2)
    assert terms.way2.item() == pytest.approx(two_way_terms(image, label, target, k=1, violation=0).way2.item())


def test_the_frequency_of_a_pool_set_decides_its_ties():
    image, label, target = torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.tensor([[1.0, 0.0]])
    pool = {"sets": torch.tensor([[0.0, 0.0], [1.0, 1.0]]), "set_embedding": torch.tensor([[2.0], [4.0]])}
    for frequency, rival in (([2, 1], 2.0), ([1, 2], 4.0)):
        terms = two_way_terms(image, label, target, k=1, set_frequency=torch.tensor(frequency), **pool)
        assert terms.nll1.item() == pytest.approx(math.log(1 + math.exp(1.0 - rival)))


# ---- the draw of rival images


def drawn_values(seeds):
    """Way 2 of one pair of sets, three images carrying the second: every draw has its own value."""
    image = torch.tensor([[0.0], [1.0], [2.0], [4.0]], dtype=torch.float64)
    label = torch.tensor([[0.5], [3.0], [3.0], [3.0]], dtype=torch.float64)
    target = torch.tensor([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    return [round(two_way_terms(image, label, target, k=1, violation=0, seed=s).way2.item(), 9) for s in seeds]


def test_random_rivals_are_a_function_of_the_seed():
    assert drawn_values([3, 3, 11]) == drawn_values([3, 3, 11])
    assert len(set(drawn_values(range(20)))) > 1


def test_every_image_of_a_rival_set_is_drawn_about_equally_often():
    # The rival of rows 1-3 is image 0 alone; that of row 0 one of images 1-3, at 0.5, 1.5 and 3.5 from its label set.
    fixed = [(2.0, 3.0), (1.0, 3.0), (1.0, 3.0)]
    possible = []
    for rival in (0.5, 1.5, 3.5):
        rows = [*fixed, (0.5, rival)]
        possible.append(round(sum(math.log(1 + math.exp(own - other)) for own, other in rows) / 4, 9))
    values = drawn_values(range(300))
    assert set(values) == set(possible)
    assert all(60 < values.count(value) < 140 for value in possible)


def test_anchors_draw_apart():
    """Rows 0 and 1 share their only rival set, of two images: both draw one, both the other, or one each."""
    target = torch.tensor([[1.0, 0], [1, 0], [1, 1], [1, 1]])
    image, label = torch.tensor([[0.0], [0.0], [1.0], [2.0]]), torch.tensor([[-1.0], [-1.0], [9.0], [9.0]])
    values = [two_way_terms(image, label, target, k=1, violation=0, seed=seed).way2.item() for seed in range(40)]
    assert len({round(value, 5) for value in values}) == 3


def test_the_first_image_of_a_rival_set_is_the_first_row():
    image, label, target = batch()
    expected = definition(image, label, target, 4, rival_image="first")["loss"][1]
    for seed in (0, 1):
        terms = two_way_terms(image, label, target, k=4, rival_image="first", seed=seed)
        assert terms.way2.item() == pytest.approx(expected, abs=1e-12)


# ---- neighbours and their ties


def test_ties_go_by_frequency_then_by_the_text_of_the_set():
    own = torch.tensor([[1.0, 1, 0]])
    candidates = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert nearest_label_sets(own, 9, candidates=candidates).tolist() == [[3, 2, 1, 0, 5, -1]]
    frequency = torch.tensor([0, 7, 1, 1, 99, 50])
    assert nearest_label_sets(own, 9, candidates=candidates, frequency=frequency).tolist() == [[1, 3, 2, 0, 5, -1]]


def test_the_first_valid_row_stands_for_its_set():
    own, candidates = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 1], [1, 1], [0, 1], [0, 1], [1, 0]])
    valid = torch.tensor([False, True, True, True, False])
    assert nearest_label_sets(own, 5, candidates=candidates, valid=valid).tolist() == [[2, 1, -1, -1, -1]]
    frequency = torch.tensor([9, 0, 0, 9, 9])  # of equal rows the first valid one's frequency counts
    found = nearest_label_sets(own, 2, candidates=candidates[[1, 2, 3, 4]], frequency=frequency[1:])
    assert found.tolist() == [[3, 1]]


@pytest.mark.parametrize("labels", [1, 3, 62, 63, 64, 80, 130])
def test_neighbours_equal_a_python_sort(labels):
    generator = torch.Generator().manual_seed(labels)
    # sets near each other, differing at either end, so that ties abound and every packed word decides some
    base = torch.rand(1, labels, generator=generator) > 0.5
    sets = base ^ (torch.rand(30, labels, generator=generator) < 2 / labels)
    sets[20:] = sets[:10]
    frequency, valid = torch.randint(3, (30,), generator=generator), torch.rand(30, generator=generator) > 0.2
    rows = [tuple(row) for row in sets.int().tolist()]
    for f, v in ((None, None), (frequency, valid)):
        found = nearest_label_sets(sets.float(), 12, frequency=f, valid=v)
        for row, own in enumerate(rows):
            near = neighbours(
                own, rows, 12, None if f is None else frequency.tolist(), None if v is None else valid.tolist()
            )
            assert found[row].tolist() == near + [-1] * (12 - len(near))


def test_distances_of_many_labels_are_exact_under_autocast():
    sets = torch.zeros(3, 600)
    sets[1, :514] = 1
    sets[2, :513] = 1
    with torch.autocast("cpu", dtype=torch.bfloat16):  # counts above 256 would round
        assert nearest_label_sets(sets, 1).tolist() == [[2], [2], [1]]


# ---- precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    image, label, target = batch()
    image, label = image.to(dtype).requires_grad_(), label.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = two_way_metric(image, label, target, k=3)
    loss.backward()
    assert loss.dtype == torch.float32 and image.grad.dtype == dtype
    assert loss.item() == pytest.approx(two_way_metric(image.float(), label.float(), target, k=3).item(), rel=1e-6)


def test_float64_stays_float64():
    assert two_way_metric(*batch()).dtype == torch.float64


def test_large_distances_neither_overflow_nor_vanish():
    image = torch.tensor([[0.0], [1e4]], requires_grad=True)
    loss = two_way_metric(image, torch.tensor([[1e4], [0.0]]), torch.eye(2), k=1, violation=0)
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert image.grad.flatten().tolist() == pytest.approx([-1.0, 1.0])


# ---- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be above 0, got nan"),
        ({"unit": 0.0}, "unit must be above 0"),
        ({"unit": torch.ones(2)}, r"a \(\) tensor"),
        ({"violation": -1.0}, "violation must be at least 0, got -1.0"),
        ({"rival_image": "last"}, "'random' or 'first', got 'last'"),
        ({"complete": torch.ones(3, dtype=torch.bool)}, r"complete must be bool \(7,\)"),
        ({"complete": torch.ones(7)}, "complete must be bool"),
        ({"frequency": torch.ones(3)}, r"frequency must be \(7,\), one for each candidate, got \(3,\)"),
        ({"sets": torch.ones(2, 4)}, "go together"),
        (
            {"sets": torch.ones(2, 4), "set_embedding": torch.ones(3, 3)},
            r"\(S, L\), \(S, D\), got \[\(2, 4\), \(3, 3\)",
        ),
    ],
)
def test_a_wrong_argument_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        two_way_terms(*batch(), **options)


def test_shapes_that_do_not_agree_are_named():
    image, label, target = batch()
    with pytest.raises(ValueError, match=r"one shape \(B, D\), B > 0, got \[\(7, 3\), \(6, 3\)\]"):
        two_way_terms(image, label[1:], target)
    with pytest.raises(ValueError, match=r"target must be \(7, L\), got \[\(6, 4\)\]"):
        two_way_terms(image, label, target[1:])
    with pytest.raises(ValueError, match="B > 0"):
        two_way_terms(image[:0], label[:0], target[:0])
    with pytest.raises(ValueError, match=r"sets must be \(R, L\) and candidates \(S, L\), got \[\(7, 4\), \(7, 3\)\]"):
        nearest_label_sets(target, 2, candidates=target[:, 1:])
    with pytest.raises(ValueError, match="k must be at least 1, got -1"):
        nearest_label_sets(target, -1)
