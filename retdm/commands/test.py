"""Evaluate the best checkpoint of a trained run again.

  retdm test run=<folder> [data.root=<folder>] [trainer.devices=<n>] [per_label=true] [retrieval=true]
                 [user_classes=true]

It writes test.json into the run folder, beside metrics.json, what decision rules choose on (validation.npz), and the
worst mistakes into its pictures.
"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.commands.output.tables import print_report
from retdm.data.base_module import Data
from retdm.errors import UserError
from retdm.files import write_json
from retdm.methods.deep import DeepMethod
from retdm.runs import build
from retdm.runs.distributed import together
from retdm.runs.evaluate import evaluate_method, intervals_and_bands, label_counts, write_kept
from retdm.runs.folder.paths import RunFolder, check_split, read_config
from retdm.runs.folder.rows import VALIDATION, read_chosen_on
from retdm.runs.folder.saved import settings_of_run, weights_into, without_places, write_decision
from retdm.runs.images import write_mistakes
from retdm.runs.process import prepare_process
from retdm.runs.retrieval import evaluate_retrieval_of
from retdm.settings.checks import check_command, check_groups
from retdm.settings.devices import device_of
from retdm.settings.run_settings import RunSettings
from retdm.stop import is_leader, listening


def main(config: DictConfig) -> None:
    """Write ``test.json`` from ``best.ckpt``: the criteria of ``metrics.json``, computed again from the data."""
    guarded(lambda: _test(config))


def _test(config: DictConfig) -> None:
    asked: Any = OmegaConf.to_container(config, resolve=True)
    check_command("test", asked)
    prepare_process()
    folder = RunFolder(asked["run"])
    content = read_config(folder)
    settings = settings_of_run(content, content["identity"], folder.config, user_classes=asked["user_classes"])
    if not folder.best.exists():
        raise UserError(
            f"{folder.path} has no best.ckpt", "let the run reach its last stage: repeat its training command"
        )
    data, trainer = (
        {key: value for key, value in asked[group].items() if value is not None} for group in ("data", "trainer")
    )
    if asked["retrieval"] and not issubclass(settings.classes["method"], DeepMethod):
        raise UserError(
            f"retrieval=true: {settings.choices['method']} learns no embedding of images", "methods that do: networks"
        )
    settings = settings.changed(data=without_places(settings.data) | data, trainer=settings.trainer | trainer)
    check_groups(settings.as_dict(), settings.classes, settings.choices)
    with listening() as request, together(settings.trainer, request):
        _evaluate(folder, settings, per_label=asked["per_label"], retrieval=asked["retrieval"])


def _evaluate(folder: RunFolder, settings: RunSettings, *, per_label: bool, retrieval: bool) -> None:
    data: Data = build.build_data(settings)
    check_split(folder, data.manifest)
    method = build.build_method(settings, data.labels, dim=data.dim, load=False)
    content = weights_into(method, folder.best, settings.identity)
    data = build.precompute(settings, data, method)
    method.to(device_of(settings.trainer))
    kept = read_chosen_on(folder)
    chosen_on = None if kept is None or kept.source == VALIDATION else kept  # which these weights cannot compute again
    report = evaluate_method(method, data, content["retdm"].get("validation"), chosen_on)
    rows = report.pop("predictions")
    if not is_leader():
        return
    write_kept(folder, report, data.labels)
    write_decision(folder.best, report)
    write_mistakes(folder, data, rows, report["decision"])
    report["label_counts"] = label_counts(data)
    report |= intervals_and_bands(rows, report["decision"], data.labels, report["label_counts"]["train"])
    if retrieval:
        assert isinstance(method, DeepMethod)
        report["retrieval"] = evaluate_retrieval_of(method, data)
    report["images"] = len(data.source)
    write_json(folder.test, report)
    print_report(
        folder,
        str(folder.path),
        report,
        per_label=per_label,
        last=f"wrote {folder.test}",
    )
