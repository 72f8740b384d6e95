"""1957: a machine learns from its mistakes. Rosenblatt's perceptron, untrained and trained.

    python milestones/01_1957_perceptron/perceptron.py --quick     one machine, about a second
    python milestones/01_1957_perceptron/perceptron.py             ten machines, under a minute

Expected: about half of the cards right before training, all of them after.

In 1958 an IBM 704 was shown punched cards marked on the left or on the right. After fifty of them
it told one kind from the other, though nobody had programmed what "left" is. Here are such cards,
as a retina of 20 x 20 photocells sees them, and the machine: one weighted sum and a threshold.

Rosenblatt's rule: leave the weights alone when the answer is right; when it is wrong, add the card
to the weights if it was a "right" card, else subtract it. That is gradient descent, one card at a
time, on the loss max(0, -t s) for a sum s and a truth t of -1 or +1.

Source: Rosenblatt 1958, The perceptron, Psychological Review 65. Novikoff 1962 proves that the rule
makes only finitely many mistakes whenever some weights separate the cards.
"""

import numpy as np

from tinytorch.core.activations import relu
from tinytorch.core.layers import Linear
from tinytorch.core.optimizers import SGD
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.utils.milestone import Run

SIDE = 20  # photocells: the Mark I had a retina of 20 x 20
CARDS = 200  # to learn from; fewer than the 400 weights, so unseen cards are a real question
UNSEEN = 1000  # to test on: an error of one card is 0.1%
SQUARE = 5  # photocells, the side of the mark on a card
NOISE = 0.05  # share of photocells that see the opposite, as worn cards make them
LEARNING_RATE = 1.0  # far above the first weights, which then hardly matter; so no other is better
EPOCHS = 50  # at most; the rule stops by itself once a whole epoch has no mistake
MACHINES = 10  # of the full run: one success might be luck

Cards = tuple[np.ndarray, np.ndarray]


def make_cards(count: int, rng: np.random.Generator) -> Cards:
    """Draw cards: (count, 400) photocells of 0 or 1, and -1 for a left mark, +1 for a right one."""
    sides = rng.choice([-1, 1], size=count)
    cells = np.zeros((count, SIDE, SIDE), np.float32)
    for card, side in zip(cells, sides, strict=True):
        row = rng.integers(0, SIDE - SQUARE + 1)
        column = rng.integers(0, SIDE // 2 - SQUARE + 1) + (SIDE // 2 if side > 0 else 0)
        card[row : row + SQUARE, column : column + SQUARE] = 1
    worn = rng.random(cells.shape) < NOISE
    return np.where(worn, 1 - cells, cells).reshape(count, -1).astype(np.float32), sides


def accuracy(machine: Linear, cards: Cards) -> float:
    """The share of cards on whose side the sum lies."""
    sums = machine(Tensor(cards[0])).numpy()[:, 0]
    return float((np.sign(sums) == cards[1]).mean())


def show_all(machine: Linear, optimizer: SGD, cards: Cards, order: np.ndarray) -> list[bool]:
    """Show every card once, learning from each mistake; say which were mistakes."""
    mistakes = []
    for i in order:
        truth = float(cards[1][i])
        weighted_sum = machine(Tensor(cards[0][i : i + 1]))  # (1, 1)
        loss = relu(-truth * weighted_sum).sum()
        mistakes.append(loss.item() > 0)
        if mistakes[-1]:
            optimizer.zero_grad()
            loss.backward()  # the gradient of the weights is -truth * card
            optimizer.step()
    return mistakes


def main() -> None:
    """Train one machine or ten, and report the worst of them."""
    run = Run(__file__, 1957, __doc__)
    untrained, trained, unseen = [], [], []
    for number in range(1 if run.quick else MACHINES):
        rng = np.random.default_rng((run.seed, number))
        manual_seed(run.seed + number)
        cards, others = make_cards(CARDS, rng), make_cards(UNSEEN, rng)
        machine = Linear(SIDE * SIDE, 1)
        optimizer = SGD(machine.parameters(), lr=LEARNING_RATE)
        untrained.append(accuracy(machine, cards))
        progress = run.progress(f"machine {number + 1}", EPOCHS)
        history: list[bool] = []
        for epoch in range(EPOCHS):
            mistakes = show_all(machine, optimizer, cards, rng.permutation(CARDS))
            progress.step(epoch + 1, sum(mistakes))
            history += mistakes
            if not any(mistakes):
                break
        trained.append(accuracy(machine, cards))
        unseen.append(accuracy(machine, others))
        figures = {"untrained": untrained[-1], "trained": trained[-1], "unseen": unseen[-1]}
        progress.close({**figures, "epochs": float(epoch + 1)})
        if number == 0:
            for shown, so_far in enumerate(np.cumsum(history), start=1):
                run.note("mistakes by cards shown", shown, so_far)
            print("\nwhat the first machine learned ('+' speaks for right, '-' for left)")
            print(drawn(machine.weight.numpy().reshape(SIDE, SIDE)), end="\n\n")
    run.finish(
        "accuracy",
        min(trained),
        target=1.0,
        holds=max(untrained) < 1,
        untrained=float(np.mean(untrained)),
        unseen=float(np.mean(unseen)),
    )


def drawn(weights: np.ndarray) -> str:
    """The weights as characters: their signs where they are large."""
    large = np.abs(weights) > np.abs(weights).mean()
    signs = np.where(large, np.where(weights > 0, "+", "-"), " ")
    return "\n".join(" ".join(row).rstrip() for row in signs)


if __name__ == "__main__":
    main()
