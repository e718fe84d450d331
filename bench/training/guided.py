"""A side task in training: the network also tells where the picture counts for the task model."""

from torch import Tensor, nn
from torch.nn import functional

from bench.preprocessors.npp import NPP


class Guided(nn.Module):
    """A network in training that also guesses, from its coarsest maps, where a detector finds
    something, or what a classifier's answer depends on: bits alone teach a network little about
    that. Only `network` is kept."""

    def __init__(self, network: NPP) -> None:
        super().__init__()
        self.network = network
        self.guess = nn.Conv2d(2 * network.stem.out_channels, 1, 1)  # they are twice as wide

    def forward(self, x: Tensor, qp: Tensor) -> Tensor:
        out: Tensor = self.network(x, qp)
        return out

    def both(self, x: Tensor, qp: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The filtered picture, and the guess's cross-entropy in nats, (), with where the picture
        counts, (N, 1, h / 8, w / 8) in [0, 1]."""
        encoded = self.network.encoded(x, qp)
        guess = self.guess(encoded[-1]).float()
        missed = functional.binary_cross_entropy_with_logits(guess, wanted)
        return self.network.filtered(x, qp, encoded), missed
