"""What RETDM scores labels by: its classifier, the nearest label sets of the training split, or both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deep_methods import ready

import retdm
from retdm.batch import TrainingLabels
from retdm.commands.train import train
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError
from retdm.methods.components.label_set_scores import best_mixture, label_set_scores
from retdm.methods.networks.retdm import RETDM
from retdm.runs import train_deep
from retdm.runs.build import build_method
from retdm.runs.folder.paths import RunFolder
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]
SCORES = ("classifier", "label_sets", "both")


def made(settings: RunSettings) -> tuple[RETDM, Any]:
    method, batch = ready(settings)
    assert isinstance(method, RETDM)
    return method.eval(), batch  # type: ignore[return-value]


@torch.no_grad()
def test_label_sets_are_those_of_the_training_split_and_both_mixes_them_with_the_classifier(tiny: Tiny) -> None:
    same = ("method.embedding_dim=6", "method.k=3", "method.unit=2.5", "method.temperature=0.7")
    method, batch = made(tiny("method=retdm", *same))
    data: Any = method.trainer.datamodule  # type: ignore[attr-defined]
    sets, counts = np.unique(data.source.targets[data.splits["train"]], axis=0, return_counts=True)
    expected = label_set_scores(
        method.encoder(batch),
        method.label_net(torch.from_numpy(sets).float()),
        torch.from_numpy(sets) > 0,
        torch.from_numpy(counts),
        k=3,
        scale=2.5 * 0.7,
    )
    by_sets, _ = made(tiny("method=retdm", "method.score=label_sets", *same))
    assert torch.allclose(by_sets.scores(batch), expected, atol=1e-6)
    both, _ = made(tiny("method=retdm", "method.score=both", "method.mixture=0.25", *same))
    assert torch.allclose(both.scores(batch), 0.25 * method.scores(batch) + 0.75 * expected, atol=1e-6)


def test_the_mixture_is_that_of_the_lowest_log_loss(tiny: Tiny) -> None:
    method, batch = made(tiny("method=retdm", "method.score=both"))

    @torch.no_grad()
    def predict() -> dict[str, np.ndarray]:
        rows = method.predictions(batch)
        return {name: column.numpy() for name, column in rows._asdict().items()}

    parts = []
    for share in (1.0, 0.0):
        method.share.fill_(share)
        parts.append(predict()["scores"])
    assert method.chooses_on_validation
    method.choose_on_validation(predict)
    expected = best_mixture(*parts, batch.target.numpy(), batch.known.numpy())
    assert method.share.item() == pytest.approx(expected)


def test_training_rows_of_which_none_is_complete_have_no_label_sets_to_score_by(tiny: Tiny) -> None:
    nothing = TrainingLabels(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.bool), torch.zeros(4).long())
    build_method(tiny("method=retdm"), ["a", "b", "c"]).use_training_labels(nothing)  # type: ignore[operator]
    method = build_method(tiny("method=retdm", "method.score=label_sets"), ["a", "b", "c"])
    with pytest.raises(UserError, match="no training image has all its labels known"):
        method.use_training_labels(nothing)  # type: ignore[operator]


def test_a_mixture_without_two_scores_to_mix_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UserError, match=r"method\.mixture=0\.5 has no use with method\.score=classifier"):
        build_method(tiny("method=retdm", "method.mixture=0.5"), ["a", "b"])


def test_a_mixture_cannot_be_chosen_on_a_validation_split_that_is_trained_on(tiny: Tiny) -> None:
    constant = ("method.score=both", "refit=true", "threshold=0.5")
    with pytest.raises(UserError, match=r"refit=true: method\.mixture=null"):
        train(tiny("method=retdm", *constant))


# A trained run


@pytest.mark.parametrize("score", SCORES)
def test_a_loaded_run_scores_as_it_was_evaluated(tiny: Tiny, score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_deep, "FEW", 1)
    folder = RunFolder(train(tiny("method=retdm", f"method.score={score}")))
    rows = np.load(folder.predictions)
    source = Synthetic(60, side=18)
    model = retdm.load(folder.path)
    found = model.predict([source.read(int(i)) for i in rows["index"]])
    assert np.abs(found - rows["scores"]).max() <= 1e-6
    assert ((found > 0) & (found < 1)).all()
    if score == "both":
        assert isinstance(model.method, RETDM)
        assert round(10 * model.method.share.item(), 4) % 1 == 0


def test_a_handful_of_validation_images_chooses_no_mixture(tiny: Tiny) -> None:
    folder = RunFolder(train(tiny("method=retdm", "method.score=both")))
    assert torch.load(folder.best, weights_only=True)["state_dict"]["share"] == 0.5
    assert "images of validation choose nothing" in (folder.path / "log.txt").read_text()


def test_a_run_that_was_killed_before_its_evaluation_chooses_the_same_mixture(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_deep, "FEW", 1)
    settings = tiny("method=retdm", "method.score=both")
    folder = RunFolder(train(settings))
    rows, chosen = dict(np.load(folder.predictions)), torch.load(folder.best, weights_only=True)
    before = {**chosen, "state_dict": chosen["state_dict"] | {"share": torch.tensor(0.5)}}
    torch.save(before, folder.best)
    folder.metrics.unlink()
    assert RunFolder(train(settings)).path == folder.path
    again = torch.load(folder.best, weights_only=True)
    assert again["state_dict"]["share"] == chosen["state_dict"]["share"] != 0.5
    assert all(np.array_equal(rows[name], column) for name, column in np.load(folder.predictions).items())


def test_a_checkpoint_with_another_number_of_label_sets_is_read_and_one_of_other_labels_is_not(
    tiny: Tiny, tmp_path: Path
) -> None:
    method, _ = made(tiny("method=retdm"))
    empty = build_method(tiny("method=retdm"), method.labels)
    assert isinstance(empty, RETDM) and len(empty.train_sets) == 0
    empty.load_state_dict(method.state_dict())
    assert torch.equal(empty.train_sets, method.train_sets) and torch.equal(empty.train_counts, method.train_counts)
    for name in ("train_sets", "train_counts"):
        wrong = method.state_dict()
        wrong[name] = wrong[name][..., :-1]
        with pytest.raises(RuntimeError, match=f"size mismatch for {name}"):
            empty.load_state_dict(wrong)
