"""CNN-RNN: an LSTM predicts an image's labels in sequence. Notation: B images, L labels, T steps, W paths an image."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, TrainingLabels
from retdm.losses import sequence_cross_entropy
from retdm.methods.deep import DeepMethod
from retdm.ranges import AtLeast

PADDING = -1
AHEAD = 100.0  # added to a log-probability, it ranks before all that have none added

# (last label (n,), labels so far (n, L), state) -> log-probabilities of the next label (n, L + 1), the end last; state
Step = Callable[[Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]


class CNNRNN(DeepMethod):
    """An encoder and an LSTM that predicts an image's labels one by one, then the end (Wang et al., CVPR 2016).

    It is trained on the labels in the order of their frequency in the training split, each step given the true labels
    before it (teacher forcing); the order is in the checkpoint. A label is predicted at most once, in training as in
    scoring.

    Scores are not the paper's, which predicts the labels of the most probable path alone and so has nothing to rank by:
    a label's score is the probability that it is predicted, by :func:`label_probability`, whose error depends on
    ``beams``.

    Args:
        label_dim: width of a label's embedding.
        hidden_dim: width of the LSTM's state.
        length: the most labels of an image.
        beams: W, paths that are followed; best as many as labels, where that is not too slow.
        head: how an image's regions are pooled.
        training: see :class:`retdm.methods.deep.DeepMethod`.
    """

    loss_names = ("sequence",)
    classifier: "LabelRNN"
    order: Tensor

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        label_dim: Annotated[int, AtLeast(1)] = 64,
        hidden_dim: Annotated[int, AtLeast(1)] = 512,
        length: Annotated[int, AtLeast(1)] = 20,
        beams: Annotated[int, AtLeast(1)] = 16,
        head: Literal["average", "max"] = "average",
        **training: Any,
    ) -> None:
        self.length, self.beams = min(length, len(labels)), beams
        self.label_dim, self.hidden_dim = label_dim, hidden_dim
        super().__init__(backbone, labels, head=head, **training)
        self.register_buffer("order", torch.arange(len(labels)))

    def make_head(self) -> "LabelRNN":
        return LabelRNN(self.encoder.width, len(self.labels), self.label_dim, self.hidden_dim)

    @property
    def components(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "rnn": self.classifier}

    def use_training_labels(self, labels: TrainingLabels) -> None:
        positives = labels.target.long().sum(0)  # an unknown label counts 0
        self.order = positives.argsort(descending=True, stable=True).to(self.order.device)

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        sequence = label_sequence(batch.target, batch.known, self.order, self.length)
        logits = self.classifier(self.encoder(batch), sequence, batch.known)
        return {"sequence": sequence_cross_entropy(logits, sequence)}

    def scores(self, batch: AnyBatch) -> Tensor:
        rnn = self.classifier
        start = rnn.start(rnn.projected(self.encoder(batch)))
        return label_probability(rnn.step, start, len(self.labels), self.length, self.beams)


class LabelRNN(nn.Module):
    """Logits of the next label of an image: (label embedding) · tanh(projected state + projected image).

    One matrix holds the embeddings of labels, read and predicted. Its row L is the end where it is predicted, the start
    where it is read.

    Args:
        dim: width of the image's embedding.
        labels: L.
        label_dim: width of a label's embedding.
        hidden_dim: width of the LSTM's state.
    """

    def __init__(self, dim: int, labels: int, label_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.labels = labels
        self.embedding = nn.Embedding(labels + 1, label_dim)
        nn.init.normal_(self.embedding.weight, std=label_dim**-0.5)  # logits of about 1, not 8
        self.lstm = nn.LSTM(label_dim, hidden_dim, batch_first=True)
        self.from_state = nn.Linear(hidden_dim, label_dim)
        self.from_image = nn.Linear(dim, label_dim, bias=False)

    def projected(self, image: Tensor) -> Tensor:
        """(B, D) -> (B, label_dim)"""
        found: Tensor = self.from_image(image)
        return found

    def forward(self, image: Tensor, sequence: Tensor, known: Tensor) -> Tensor:
        """Logits (B, T, L + 1) of each step of a sequence (B, T), given the steps before it.

        Labels of earlier steps, and unknown ones, have -inf. Logits of a step of padding mean nothing.
        """
        following = sequence.clamp(min=0)
        before = F.pad(following[:, :-1], (1, 0), value=self.labels)
        state, _ = self.lstm(self.embedding(before))
        one_hot = F.one_hot(following, self.labels + 1)
        barred = (one_hot.cumsum(1) - one_hot).bool() | F.pad(~known, (0, 1))[:, None]
        return self._logits(state, self.projected(image)[:, None]).masked_fill(barred, -torch.inf)

    def start(self, image: Tensor) -> Sequence[Tensor]:
        """The first state for :meth:`step`: the projected image (B, label_dim), and the LSTM's two states."""
        zeros = image.new_zeros(image.shape[0], self.lstm.hidden_size)
        return image, zeros, zeros

    def step(self, last: Tensor, used: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """A :data:`Step`."""
        image, hidden, cell = state
        output, (hidden, cell) = self.lstm(self.embedding(last)[:, None], (hidden[None], cell[None]))
        logits = self._logits(output[:, 0], image).masked_fill(F.pad(used, (0, 1)), -torch.inf)
        return logits.log_softmax(1), (image, hidden[0], cell[0])

    def _logits(self, state: Tensor, image: Tensor) -> Tensor:
        return F.linear((self.from_state(state) + image).tanh(), self.embedding.weight)


def label_sequence(target: Tensor, known: Tensor, order: Tensor, length: int) -> Tensor:
    """The labels of each image in ``order``, then L for the end, then -1; without the end where ``length`` is reached.

    An image without a known label has padding alone.

    Args:
        target: (B, L) of 0 and 1.
        known: (B, L) bool.
        order: (L,) int64, the labels in the order of prediction.
        length: T, at most L.

    Returns:
        (B, T) int64.
    """
    absent = ~((target > 0.5) & known)[:, order]
    labels = order[absent.byte().argsort(dim=1, stable=True)[:, :length]]
    step, count = torch.arange(length, device=target.device), (~absent).sum(1, keepdim=True)
    ended = labels.masked_fill(step == count, target.shape[1])
    return ended.masked_fill((step > count) | ~known.any(1, keepdim=True), PADDING)


def label_probability(step: Step, state: Sequence[Tensor], labels: int, length: int, beams: int) -> Tensor:
    """The probability that a label is predicted, summed over paths, by a beam search for all images at once.

    A label is predicted at the end of one of many paths, which exclude each other. Of the paths of each length
    ``beams`` are followed: first the most probable one that ends in each label, then the most probable of the rest. The
    probability of a path that is not followed goes to the most probable one that ends in the same label, if that is
    followed, which stands for both from there on. So the sum is exact where all paths are followed, and where the next
    label depends on the last one alone and there are as many beams as labels. Elsewhere it tends to be too low, the
    more so the more labels an image has; it is never 0 for a label that some path can reach. Time is linear in beams,
    labels and length.

    Args:
        step: gives the next label's probabilities; those of a path's own labels are 0.
        state: the first state, tensors (B, …); rows of the states that ``step`` returns are paths, image by image.
        labels: L, which also stands for the ``last`` label of an empty path.
        length: the most labels of a path.
        beams: W.

    Returns:
        (B, L) in [0, 1].
    """
    images, device = state[0].shape[0], state[0].device  # not len, which an export would take as a constant
    path = state[0].new_zeros(images, 1)  # log-probability
    last = torch.full((images, 1), labels, device=device)
    used = torch.zeros(images, 1, labels, dtype=torch.bool, device=device)
    first = torch.arange(images, device=device)[:, None]
    found = state[0].new_full((images, labels), -torch.inf)
    for _ in range(length):
        following, state = step(last.flatten(), used.flatten(0, 1), state)
        longer = path[:, :, None] + following.view(images, -1, labels + 1)[:, :, :labels]
        ending = longer.logsumexp(1)  # (B, L) of all paths that end in a label
        found = found.logaddexp(ending)
        paths = path.shape[1]
        best = F.one_hot(longer.argmax(1), paths).transpose(1, 2)  # (B, paths, L) of those that end in a label
        chosen = (longer + AHEAD * best).flatten(1).topk(min(beams, paths * labels), dim=1).indices
        path, leads = longer.flatten(1).gather(1, chosen), best.flatten(1).gather(1, chosen)
        parent, last = chosen // labels, chosen % labels
        ends = F.one_hot(last, labels)
        left = (ending.exp() - (path.exp()[:, :, None] * ends).sum(1)).clamp(min=0)
        path = path.logaddexp((left.gather(1, last) * leads).log())
        rows = (first * paths + parent).flatten()
        state = [part[rows] for part in state]
        used = (used.flatten(0, 1)[rows] | ends.flatten(0, 1).bool()).view(images, -1, labels)
    return found.exp().clamp(max=1)
