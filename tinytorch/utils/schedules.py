"""What every learning-rate schedule shares: it counts steps and writes a rate into each group."""

from typing import Any


class LRScheduler:
    """Set every group's learning rate from a formula in the number of steps taken."""

    def __init__(self, optimizer: Any):
        self.optimizer = optimizer
        self.last_epoch = 0
        self.apply()

    def lr_at(self, base: float, t: int) -> float:
        """Return the rate after `t` steps of a group that began with `base`."""
        return base

    def apply(self) -> None:
        """Write the rate of this moment into every group."""
        for group in self.optimizer.param_groups:
            base = group.setdefault("initial_lr", group["lr"])
            group["lr"] = float(self.lr_at(base, self.last_epoch))

    def step(self) -> None:
        """Go one step further."""
        self.last_epoch += 1
        self.apply()

    def get_last_lr(self) -> list[float]:
        """Return the rate of each group at this moment."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where another schedule of the same kind stood."""
        if set(saved) != set(self.state_dict()):
            raise ValueError(f"not a state of {type(self).__name__}: it holds {sorted(saved)}")
        vars(self).update(saved)
        self.apply()


def at_least_one(name: str, value: int) -> int:
    """Return a number of steps, or refuse it by name."""
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1 step")
    return value


class CycleScheduler(LRScheduler):
    """Let rate and momentum follow `curve`, which a subclass supplies.

    Args:
        optimizer: Its rates are replaced.
        max_lr: The highest rate.
        total_steps: Length of the cycle; or give `epochs` and `steps_per_epoch`.
        pct_start: Share of the cycle that rises.
        cycle_momentum: Move `momentum`, or the first of `betas`, between the two given values.
        div_factor, final_div_factor: max_lr over the first rate; the first over the last.
    """

    def __init__(self, optimizer: Any, max_lr: float, total_steps: int | None = None,
                 epochs: int = 0, steps_per_epoch: int = 0, pct_start: float = 0.3,
                 cycle_momentum: bool = True, base_momentum: float = 0.85,
                 max_momentum: float = 0.95, div_factor: float = 25.0,
                 final_div_factor: float = 1e4):  # fmt: skip
        steps = epochs * steps_per_epoch if total_steps is None else total_steps
        self.total_steps, self.max_lr = at_least_one("total_steps", steps), max_lr
        self.pct_start, self.cycle_momentum = pct_start, cycle_momentum
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        super().__init__(optimizer)

    def curve(self, t: int, first: float, top: float, last: float) -> float:
        """Return the value after `t` steps of a way from `first` over `top` to `last`."""
        raise TypeError(f"{type(self).__name__} has no curve(); use OneCycleLR")

    def lr_at(self, base: float, t: int) -> float:
        """Return the rate after `t` steps; the group's own first rate plays no part."""
        if t > self.total_steps:
            raise ValueError(f"step {t} of a cycle of {self.total_steps}; make total_steps larger")
        first = self.max_lr / self.div_factor
        return self.curve(t, first, self.max_lr, first / self.final_div_factor)

    def apply(self) -> None:
        """Write rate and momentum into every group."""
        super().apply()
        if self.cycle_momentum:
            low, high = self.base_momentum, self.max_momentum
            momentum = self.curve(self.last_epoch, high, low, high)
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (momentum, *group["betas"][1:])
                else:
                    group["momentum"] = momentum
