"""A side task in training: the network also tells where the detector finds something."""

from torch import Tensor, nn
from torch.nn import functional

from bench.preprocessors.npp import NPP
from bench.tasks.records import Arrays
from bench.training.task_loss import attention


class Guided(nn.Module):
    """A network in training that also guesses, from its coarsest maps, where the detector finds
    something: bits alone teach a network little about what is an object. Only `network` is kept."""

    def __init__(self, network: NPP) -> None:
        super().__init__()
        self.network = network
        self.guess = nn.Conv2d(2 * network.stem.out_channels, 1, 1)  # they are twice as wide

    def forward(self, x: Tensor, qp: Tensor) -> Tensor:
        out: Tensor = self.network(x, qp)
        return out

    def both(self, x: Tensor, qp: Tensor, known: list[Arrays]) -> tuple[Tensor, Tensor]:
        """The filtered picture, and the guess's cross-entropy with `attention` in nats, ()."""
        encoded = self.network.encoded(x, qp)
        wanted = attention(known, x.shape[-1]).to(x)
        guess = self.guess(encoded[-1]).float()
        missed = functional.binary_cross_entropy_with_logits(guess, wanted)
        return self.network.filtered(x, qp, encoded), missed
