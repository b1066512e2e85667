"""CNN-RNN: an LSTM tells an image's labels as a sequence. Notation: B images, L labels, T steps, W paths an image."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retdm.backbones.base import Backbone
from retdm.batch import Batch, TrainingLabels
from retdm.losses import sequence_cross_entropy
from retdm.methods.components.heads import check_pooled
from retdm.methods.deep import DeepMethod
from retdm.ranges import AtLeast

PADDING = -1
AHEAD = 100.0  # puts log-probabilities before all others that matter

# (last label (n,), labels told (n, L), state) -> log-probabilities of what follows (n, L + 1), the end last; state
Step = Callable[[Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]


class CNNRNN(DeepMethod):
    """The image net and an LSTM that tells an image's labels one by one and then ends (Wang et al., CVPR 2016).

    It learns to tell the labels that are frequent in the training part first, each time given the true labels before
    (teacher forcing); the order is in the checkpoint. A label is told at most once, in training as in prediction.

    Scores are not the paper's, which gives the labels of the most probable path alone and so has nothing to rank by: a
    label's score is the probability that it is told, by :func:`told_probability`, whose error depends on ``beams``.

    Args:
        label_dim: width of a label's embedding.
        hidden_dim: width of the LSTM's state.
        length: labels that are told of an image at most.
        beams: W, paths that are followed; as many as labels, where that is not too slow.
        training: see :class:`retdm.methods.deep.DeepMethod`; ``head`` is ``average`` or ``max``.
    """

    loss_names = ("sequence",)
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
        **training: Any,
    ) -> None:
        check_pooled(training.get("head", "average"))
        super().__init__(backbone, labels, **training)
        self.classifier = nn.Identity()  # the LSTM gives the scores
        self.length, self.beams = min(length, len(labels)), beams
        self.rnn = LabelRNN(self.encoder.width, len(labels), label_dim, hidden_dim)
        self.register_buffer("order", torch.arange(len(labels)))

    @property
    def components(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "rnn": self.rnn}

    def use_training_labels(self, labels: TrainingLabels) -> None:
        positives = labels.target.long().sum(0)  # an unknown label counts 0
        self.order = positives.argsort(descending=True, stable=True).to(self.order.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        sequence = label_sequence(batch.target, batch.known, self.order, self.length)
        logits = self.rnn(self.encoder(batch), sequence, batch.known)
        return {"sequence": sequence_cross_entropy(logits, sequence)}

    def scores(self, batch: Batch) -> Tensor:
        seen = self.rnn.projected(self.encoder(batch))
        return told_probability(self.rnn.step, self.rnn.start(seen), len(self.labels), self.length, self.beams)


class LabelRNN(nn.Module):
    """What follows a sequence of labels for an image: (label embedding) · tanh(projected state + projected image).

    Labels are read and told by one matrix of embeddings. Its row L stands for the end when told, for the start when
    read.

    Args:
        dim: of the image's embedding.
        labels: L.
        label_dim: of a label's embedding.
        hidden_dim: of the LSTM's state.
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
        """Logits (B, T, L + 1) of each step of a sequence (B, T) when the steps before it were told.

        Labels told before, and unknown ones, have -inf. What stands in a step of padding means nothing.
        """
        following = sequence.clamp(min=0)
        before = F.pad(following[:, :-1], (1, 0), value=self.labels)
        state, _ = self.lstm(self.embedding(before))
        one_hot = F.one_hot(following, self.labels + 1)
        barred = (one_hot.cumsum(1) - one_hot).bool() | F.pad(~known, (0, 1))[:, None]
        return self._logits(state, self.projected(image)[:, None]).masked_fill(barred, -torch.inf)

    def start(self, seen: Tensor) -> Sequence[Tensor]:
        """What :meth:`step` begins with, from ``projected``: the image, and the LSTM's two states, a row an image."""
        nothing = seen.new_zeros(seen.shape[0], self.lstm.hidden_size)
        return seen, nothing, nothing

    def step(self, last: Tensor, told: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """A :data:`Step`."""
        seen, hidden, cell = state
        output, (hidden, cell) = self.lstm(self.embedding(last)[:, None], (hidden[None], cell[None]))
        logits = self._logits(output[:, 0], seen).masked_fill(F.pad(told, (0, 1)), -torch.inf)
        return logits.log_softmax(1), (seen, hidden[0], cell[0])

    def _logits(self, state: Tensor, seen: Tensor) -> Tensor:
        return F.linear((self.from_state(state) + seen).tanh(), self.embedding.weight)


def label_sequence(target: Tensor, known: Tensor, order: Tensor, length: int) -> Tensor:
    """The labels of each image in ``order``, then L for the end, then -1; without the end where ``length`` is reached.

    An image none of whose labels is known has padding alone.

    Args:
        target: (B, L) of 0 and 1.
        known: (B, L) bool.
        order: (L,) int64, the labels as they are told.
        length: T, at most L.

    Returns:
        (B, T) int64.
    """
    absent = ~((target > 0.5) & known)[:, order]
    labels = order[absent.byte().argsort(dim=1, stable=True)[:, :length]]
    step, count = torch.arange(length, device=target.device), (~absent).sum(1, keepdim=True)
    ended = labels.masked_fill(step == count, target.shape[1])
    return ended.masked_fill((step > count) | ~known.any(1, keepdim=True), PADDING)


def told_probability(step: Step, state: Sequence[Tensor], labels: int, length: int, beams: int) -> Tensor:
    """The probability that a label is told, summed over paths that are found for all images at once.

    A label is told by one of the ways "this path, and then the label", which exclude each other. Of the paths of each
    length ``beams`` are followed: first the most probable one that ends in each label, then the most probable of the
    rest. What is not followed is not lost: the probability of paths that end in the same label goes to the followed
    one, which speaks for them from there on. So the sum is exact where all paths are followed, and where what follows
    depends on the last label alone and there are as many beams as labels. Otherwise it errs, to less rather than to
    more, the more the more labels an image has; it is never 0 for a label that some path could tell. Time is linear
    in beams, labels and length.

    Args:
        step: what follows a path; labels already told have probability 0.
        state: of the paths of no label, tensors (B, …); rows of what ``step`` returns are paths, image by image.
        labels: L, which is also the ``last`` label of the paths of no label.
        length: labels of a path at most.
        beams: W.

    Returns:
        (B, L) in [0, 1].
    """
    images, device = state[0].shape[0], state[0].device  # not len, which an export would take as a constant
    path = state[0].new_zeros(images, 1)  # log-probability
    last = torch.full((images, 1), labels, device=device)
    told = torch.zeros(images, 1, labels, dtype=torch.bool, device=device)
    first = torch.arange(images, device=device)[:, None]
    found = state[0].new_full((images, labels), -torch.inf)
    for _ in range(length):
        following, state = step(last.flatten(), told.flatten(0, 1), state)
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
        told = (told.flatten(0, 1)[rows] | ends.flatten(0, 1).bool()).view(images, -1, labels)
    return found.exp().clamp(max=1)
