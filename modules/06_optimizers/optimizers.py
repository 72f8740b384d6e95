# ---
# jupyter:
#   jupytext:
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Module 06: Optimizers
#
# You turn gradients into better parameters, and learn what each way of doing so costs.
#
# - **You build** the loop that every optimizer shares, SGD (momentum, Nesterov), RMSprop, Adam and
#   AdamW, saved states, gradient clipping, four learning-rate schedules, and the account of their
#   memory. The numbers agree with PyTorch's to the last digits of float32.
# - **You need** 01 (`Tensor`) and 05 (`backward` fills `.grad`). An optimizer knows neither layers
#   nor losses.
# - **Time**: 4 to 5 hours.
#
# Autograd gave us $g = \nabla L(\theta)$, the direction in which the loss rises fastest. Every
# optimizer here walks the other way; they differ in how far, and in what they remember.

# %%
#| default_exp core.optimizers

# %%
#| export
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinytorch.core.tensor import Tensor
from tinytorch.utils import parameters as given
from tinytorch.utils.parameters import follow, restored
from tinytorch.utils.schedules import CycleScheduler, LRScheduler, at_least_one

Array = np.ndarray
Params = Iterable[Any]  # of tensors, or of groups such as {"params": [...], "lr": 0.1}

# %% [markdown]
# ## Step 1: What every optimizer shares
#
# An optimizer holds its parameters in *groups*, so that the last layer, say, may learn faster than
# the first: `{"params": [...], "lr": 0.1, "momentum": 0.9}`. What a parameter must remember from
# step to step is in `state[parameter]`, a dictionary of its own. `ParameterGroups`, given, makes
# both; without parameters, as in `Adam(lr=0.001)`, it holds one empty group until `bind` fills it.
#
# The loop is always the same: for each group, for each parameter that has a gradient, call
# `update`, which a subclass supplies. A parameter without a gradient took no part in the loss and
# is left alone, and so is its state.
#
# **In place.** `update` changes the parameter's array itself: a new one would be an allocation as
# large as the model, at each step. Storing the array back, `p.data = data`, tells autograd that the
# value changed, so that a graph recorded before cannot silently use the wrong number.


# %%
#| export
class Optimizer(given.ParameterGroups):
    """Update parameters, kept in groups, from their gradients.

    Args:
        params: Tensors, or groups of them; None to bind them later.
        defaults: Hyperparameters of the groups that do not set their own.
    """

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Append a group; what it leaves out it takes from `defaults`.

        The first takes the place of the empty group that an unbound optimizer holds, and takes
        from that one what it leaves out: a schedule may have set its "lr". A parameter that is in
        the optimizer already, or twice in the group, is a ValueError.
        """
        options, params = given.new_parameters(group, self.defaults)
        ### BEGIN SOLUTION
        held = {id(p) for other in self.param_groups for p in other["params"]}
        if len(held | {id(p) for p in params}) < len(held) + len(params):
            raise ValueError("a parameter is in two groups, or twice in one; list it once")
        inherited = self.defaults if self.bound else self.param_groups.pop()
        self.param_groups.append({**inherited, **options, "params": params})
        ### END SOLUTION

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, since `backward` adds to them; or fill them with zeros."""
        ### BEGIN SOLUTION
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else Tensor(np.zeros_like(p.grad.data))
        ### END SOLUTION

    def step(self) -> None:
        """Call `update` for every parameter that has a gradient, and store its array back."""
        self.require_bound()
        ### BEGIN SOLUTION
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    data = p.data
                    self.update(data, p.grad.data, self.state.setdefault(p, {}), group)
                    p.data = data
        ### END SOLUTION

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Change `data` in place; read `grad`, never change it; keep memories in `state`."""
        raise TypeError(f"{type(self).__name__} has no update(); use SGD, Adam, AdamW or RMSprop")

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on later, tensors replaced by numbers (step 6)."""
        return pack_state(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state (step 6)."""
        unpack_state(self, saved)


# %%
#| test
def test_step_updates_what_has_a_gradient():
    class Subtract(Optimizer):
        def update(self, data, grad, state, group):
            data -= group["lr"] * grad

    p, q = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0], requires_grad=True)
    optimizer = Subtract([{"params": [p]}, {"params": [q], "lr": 10.0}], {"lr": 0.5})
    assert follow(optimizer, [2.0, 4.0]).tolist() == [[0.0, 0.0]]
    assert q.tolist() == [3.0]
    optimizer.zero_grad()
    assert p.grad is None


if __name__ == "__main__":
    test_step_updates_what_has_a_gradient()

# %% [markdown]
# ## Step 2: Gradient descent with momentum
#
# Plain descent is $\theta \leftarrow \theta - \eta g$. In a ravine, steep across and shallow along,
# the rate that is safe for the steep direction is tiny for the shallow one. *Momentum* (Polyak
# 1964) keeps a velocity: steps that agree add up, steps that alternate cancel.
#
# $$v \leftarrow \mu v + (1 - \tau)\, g, \qquad \theta \leftarrow \theta - \eta v$$
#
# Dampening $\tau$ is 0 by default, and as in PyTorch the first velocity is the first gradient,
# undamped. *Nesterov* looks ahead: it steps along $g + \mu v$, with the new $v$. *Weight decay*
# adds $\lambda\theta$ to the gradient, so that every step also shrinks the weights.
#
# *Worked example:* $\theta = 1$, $g = 1$ always, $\eta = 0.1$, $\mu = 0.9$. The velocity is 1, 1.9,
# 2.71, …, towards $g/(1 - \mu) = 10$; $\theta$ is 0.9, 0.71, 0.439.
#
# **Cost:** 2 passes over the parameters; with momentum 4, and one copy of them. `np.multiply(a, b,
# out=buffer)` writes a product into memory that exists; `self.scratch(data)` lends such memory.


# %%
#| export
class SGD(Optimizer):
    """Descend along the gradient (Sutskever et al. 2013).

    Args:
        params: As for `Optimizer`.
        lr: Learning rate, the length of a step per unit of gradient.
        momentum: Share of the velocity that is kept, 0 for none.
        dampening: Share of each gradient that the velocity leaves out.
        weight_decay: Coefficient of the L2 penalty.
        nesterov: Look ahead along the velocity; needs momentum, and no dampening.
    """

    def __init__(self, params: Params | None = None, lr: float = 1e-3, momentum: float = 0.0,
                 dampening: float = 0.0, weight_decay: float = 0.0,
                 nesterov: bool = False):  # fmt: skip
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "nesterov": nesterov}
        super().__init__(params, options | {"weight_decay": weight_decay})
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(f"nesterov needs momentum > 0 and dampening 0, got {options}")

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Take one step; the velocity is `state["momentum_buffer"]`, unless momentum is 0."""
        ### BEGIN SOLUTION
        scratch = self.scratch(data)
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * data
        if group["momentum"]:
            if "momentum_buffer" in state:
                velocity = state["momentum_buffer"]
                velocity *= group["momentum"]
                share = 1 - group["dampening"]
                velocity += grad if share == 1 else np.multiply(grad, share, out=scratch)
            else:
                velocity = state["momentum_buffer"] = np.array(grad)
            grad = grad + group["momentum"] * velocity if group["nesterov"] else velocity
        data -= np.multiply(grad, group["lr"], out=scratch)
        ### END SOLUTION


# %%
theta = Tensor([1.0], requires_grad=True)
print(follow(SGD([theta], lr=0.1, momentum=0.9), [1.0], [1.0], [1.0]).round(3).tolist())
# Expected output:
# [[0.9], [0.71], [0.439]]


# %%
#| test
def test_sgd_with_momentum_nesterov_and_decay():
    def after_two_steps(**options):
        p = Tensor([2.0], requires_grad=True)
        return follow(SGD([p], lr=0.1, **options), [1.0], [1.0])[-1]

    np.testing.assert_allclose(after_two_steps(momentum=0.9), [1.71], rtol=1e-6)
    np.testing.assert_allclose(after_two_steps(momentum=0.9, nesterov=True), [1.539], rtol=1e-6)
    np.testing.assert_allclose(after_two_steps(weight_decay=0.5), [1.61], rtol=1e-6)


if __name__ == "__main__":
    test_sgd_with_momentum_nesterov_and_decay()

# %% [markdown]
# ## Step 3: A rate for each coordinate
#
# One $\eta$ for all coordinates is wrong for most of them: the gradient of a rare word's embedding
# is seldom and small, that of a bias frequent and large. RMSprop divides each coordinate by the
# root of a running mean of its square, so that every step has a length near $\eta$:
#
# $$s \leftarrow \alpha s + (1 - \alpha)\, g^2, \qquad
# \theta \leftarrow \theta - \eta\, \frac{g}{\sqrt{s} + \epsilon}$$
#
# *Worked example:* $g = 2$, $\alpha = 0.99$, $\eta = 0.01$. First $s = 0.01 \cdot 4 = 0.04$ and
# $\sqrt s = 0.2$, so the step is $0.01 \cdot 2 / 0.2 = 0.1$: ten times $\eta$, because $s$ began at
# zero and is still far too small. Step 4 mends that.
#
# The $\epsilon = 10^{-8}$ stands outside the root; inside, it would count as $10^{-4}$. With
# momentum, a velocity collects the scaled gradients: $b \leftarrow \mu b + g/(\sqrt s + \epsilon)$,
# $\theta \leftarrow \theta - \eta b$. **Cost:** 9 passes; one copy of the parameters, or two.


# %%
#| export
class RMSprop(Optimizer):
    """Divide each coordinate of the gradient by its own recent size (Tieleman and Hinton 2012).

    Args:
        params, lr, weight_decay, momentum: As for `SGD`.
        alpha: Share of the mean square that is kept.
        eps: Added to the root, against division by zero.
    """

    def __init__(self, params: Params | None = None, lr: float = 1e-2, alpha: float = 0.99,
                 eps: float = 1e-8, weight_decay: float = 0.0, momentum: float = 0.0):  # fmt: skip
        options = {"lr": lr, "alpha": alpha, "eps": eps}
        super().__init__(params, options | {"weight_decay": weight_decay, "momentum": momentum})

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Take one step; `state` holds "square_avg" and, with momentum, "momentum_buffer"."""
        ### BEGIN SOLUTION
        if not state:
            state["square_avg"] = np.zeros_like(data)
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * data
        square, step = state["square_avg"], self.scratch(data)
        np.multiply(grad, grad, out=step)
        step *= 1 - group["alpha"]
        square *= group["alpha"]
        square += step
        np.sqrt(square, out=step)
        step += group["eps"]
        np.divide(grad, step, out=step)
        if group["momentum"]:
            velocity = state.setdefault("momentum_buffer", np.zeros_like(data))
            velocity *= group["momentum"]
            velocity += step
            np.copyto(step, velocity)
        step *= group["lr"]
        data -= step
        ### END SOLUTION


# %%
#| test
def test_rmsprop_scales_each_coordinate():
    p = Tensor([1.0, 1.0], requires_grad=True)
    path = follow(RMSprop([p], lr=0.01), [2.0, -0.002])
    np.testing.assert_allclose(path, [[0.9, 1.1]], rtol=1e-5)


if __name__ == "__main__":
    test_rmsprop_scales_each_coordinate()

# %% [markdown]
# ## Step 4: Adam
#
# Adam is momentum and RMSprop at once: a running mean of gradients over the root of a running mean
# of their squares.
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)g^2$$
#
# Both start at zero and lean towards it: after $t$ steps of a constant gradient $m = (1 -
# \beta_1^t)\, g$. Hence the **bias correction** $\hat m = m / (1 - \beta_1^t)$, $\hat v = v / (1 -
# \beta_2^t)$, and
#
# $$\theta \leftarrow \theta - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}$$
#
# *Worked example:* the first step, any $g$ much larger than $\epsilon$. $m = 0.1 g$ and $\hat m =
# g$; $v = 0.001 g^2$ and $\hat v = g^2$; the step is $\eta\, g/|g|$: exactly $\eta$, whatever the
# size of $g$. Without the correction it would be $\eta \cdot 0.1/\sqrt{0.001} = 3.16\,\eta$.
#
# The count $t$ belongs to the parameter: one that gets its first gradient in step 1,000 is new.
# **Cost:** 13 passes and two copies of the parameters.


# %%
#| export
class Adam(Optimizer):
    """Divide the mean gradient by the root of its mean square (Kingma and Ba 2015, algorithm 1).

    Args:
        params, weight_decay: As for `SGD`.
        lr: Learning rate, about the length of a step in each coordinate.
        betas: Shares of the mean and of the mean square that are kept.
        eps: Added to the root, against division by zero.
    """

    def __init__(self, params: Params | None = None, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0):  # fmt: skip
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, options)

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Take one step; `state` holds "step" (a count), "exp_avg" and "exp_avg_sq"."""
        ### BEGIN SOLUTION
        if not state:
            state |= {"step": 0, "exp_avg": np.zeros_like(data), "exp_avg_sq": np.zeros_like(data)}
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * data
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean, square, step = state["exp_avg"], state["exp_avg_sq"], self.scratch(data)
        mean *= beta1
        mean += np.multiply(grad, 1 - beta1, out=step)
        np.multiply(grad, grad, out=step)
        step *= 1 - beta2
        square *= beta2
        square += step
        np.sqrt(square, out=step)
        step /= math.sqrt(1 - beta2 ** state["step"])
        step += group["eps"]
        np.divide(mean, step, out=step)
        step *= group["lr"] / (1 - beta1 ** state["step"])
        data -= step
        ### END SOLUTION


# %%
for kind in (RMSprop, Adam):
    theta = Tensor([1.0, 1.0], requires_grad=True)
    path = follow(kind([theta], lr=0.01), [5.0, -0.001], [5.0, 0.001])
    print(kind.__name__, path.round(4).tolist())
# Expected output:
# RMSprop [[0.9, 1.1], [0.8291, 1.0291]]
# Adam [[0.99, 1.01], [0.98, 1.0095]]


# %%
#| test
def test_first_adam_step_has_length_lr_for_each_parameter():
    early, late = Tensor([1.0, 1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    optimizer = Adam([early, late], lr=0.01)
    np.testing.assert_allclose(follow(optimizer, [300.0, -0.2]), [[0.99, 1.01]], rtol=1e-5)
    late.grad = Tensor([0.001])
    optimizer.step()
    np.testing.assert_allclose(late.numpy(), [0.99], rtol=1e-5)


if __name__ == "__main__":
    test_first_adam_step_has_length_lr_for_each_parameter()

# %% [markdown]
# ## Step 5: AdamW, or where the decay belongs
#
# Weight decay is meant to shrink every weight by the same share. In Adam $\lambda\theta$ becomes
# part of the gradient and is divided by $\sqrt{\hat v}$ like the rest, so weights with large
# gradients are hardly decayed at all. AdamW takes it out of the gradient and shrinks the weights
# *before* Adam's step: $\theta \leftarrow (1 - \eta\lambda)\,\theta$, then Adam without decay.
#
# *Worked example:* $\theta = 2$, $g = 0$, $\eta = 0.1$, $\lambda = 0.5$. AdamW gives $2 \cdot 0.95
# = 1.9$. Adam sees the gradient $0.5 \cdot 2 = 1$ and takes a step of $\eta$ whatever $\lambda$ is:
# also 1.9, and again 1.9 with $\lambda = 0.005$, where AdamW gives 1.999.


# %%
#| export
class AdamW(Adam):
    """Adam whose decay shrinks the weights themselves (Loshchilov and Hutter 2019, algorithm 2).

    Args:
        params, lr, betas, eps: As for `Adam`.
        weight_decay: Each step multiplies the weights by 1 - lr * weight_decay.
    """

    def __init__(self, params: Params | None = None, lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2):  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay)

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Shrink the weights, then step as Adam does without decay."""
        ### BEGIN SOLUTION
        data *= 1 - group["lr"] * group["weight_decay"]
        super().update(data, grad, state, {**group, "weight_decay": 0.0})
        ### END SOLUTION


# %%
#| test
def test_adamw_decays_apart_from_the_gradient():
    for kind, wanted in ((Adam, 1.9), (AdamW, 1.999)):
        p = Tensor([2.0], requires_grad=True)
        path = follow(kind([p], lr=0.1, weight_decay=0.005), [0.0])
        np.testing.assert_allclose(path, [[wanted]], rtol=1e-6)


if __name__ == "__main__":
    test_adamw_decays_apart_from_the_gradient()

# %% [markdown]
# ## Step 6: Save and go on
#
# Going on with the weights alone is not going on: the velocity starts at zero and Adam's count at
# one, and the loss jumps. The state must travel too; but it is keyed by tensors, and a tensor of
# the next process is another object. So, as in PyTorch, number the parameters in the order of the
# groups, and write numbers for tensors:
#
#     {"state": {0: {"momentum_buffer": array}, 1: {...}},
#      "param_groups": [{"lr": 0.1, "momentum": 0.9, ..., "params": [0, 1]}]}
#
# The arrays are copies: a saved state must not change as training goes on. Loading checks groups
# and shapes *before* it changes anything; the given `restored(name, value, p)` copies a value that
# fits its parameter and refuses another.


# %%
#| export
def pack_state(optimizer: Optimizer) -> dict[str, Any]:
    """Return groups and state with numbers in place of tensors, as shown above.

    Arrays are copied; only parameters that have a state are listed under "state".
    """
    ### BEGIN SOLUTION
    params = [p for group in optimizer.param_groups for p in group["params"]]
    number = {id(p): i for i, p in enumerate(params)}
    state = {
        number[id(p)]: {k: v.copy() if isinstance(v, Array) else v for k, v in kept.items()}
        for p, kept in optimizer.state.items()
    }
    groups = [
        {**group, "params": [number[id(p)] for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    return {"state": state, "param_groups": groups}
    ### END SOLUTION


def unpack_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Replace an optimizer's hyperparameters and state by saved ones; its tensors stay.

    If the sizes of the groups, or a shape, differ, it is a ValueError and nothing has changed.
    """
    given.same_groups(optimizer.param_groups, saved["param_groups"])
    ### BEGIN SOLUTION
    state = {}
    for group, other in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        for p, number in zip(group["params"], other["params"], strict=True):
            if number in saved["state"]:
                kept = saved["state"][number].items()
                state[p] = {k: restored(k, v, p) for k, v in kept if v is not None}
    optimizer.state = state
    for group, other in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        group.update({k: v for k, v in other.items() if k != "params"})
    ### END SOLUTION


# %%
theta = Tensor([1.0], requires_grad=True)
first, second = SGD([theta], lr=0.1, momentum=0.9), SGD([theta], lr=0.5)
follow(first, [1.0])
second.load_state_dict(first.state_dict())
print(follow(second, [1.0]).round(2), second.state_dict()["param_groups"][0]["params"])
# Expected output:
# [[0.71]] [0]


# %%
#| test
def test_saved_state_is_a_copy():
    p = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = Adam([p], lr=0.1)
    follow(optimizer, [1.0, -1.0])
    saved = optimizer.state_dict()
    follow(optimizer, [1.0, -1.0])
    np.testing.assert_allclose(saved["state"][0]["exp_avg"], [0.1, -0.1], rtol=1e-6)


if __name__ == "__main__":
    test_saved_state_is_a_copy()

# %% [markdown]
# ## Step 7: Clip the gradient's norm
#
# Now and then a batch gives a gradient a thousand times too long, and one step throws the weights
# away. Clipping limits the length and keeps the direction: it takes **all** gradients as one long
# vector of norm $\lVert g \rVert = \sqrt{\sum_i \lVert g_i \rVert^2}$ and, if that is above the
# limit $c$, multiplies every one by the same $c / (\lVert g \rVert + 10^{-6})$.
#
# *Worked example:* gradients $[3]$ and $[4]$ have norm 5. With $c = 1$ they become $[0.6]$ and
# $[0.8]$; with $c = 10$ nothing happens. The function returns 5 both times: the norm *before*
# clipping is what you want in your log.


# %%
#| export
def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:  # fmt: skip
    """Scale all gradients together so that their common norm is at most `max_norm`.

    Args:
        parameters, max_norm: Tensors, of which those without a gradient are passed over; the limit.
        norm_type: 2 for the Euclidean length, math.inf for the largest absolute value.
        error_if_nonfinite: Refuse a norm that is infinite or NaN.

    Returns:
        The norm before clipping, a 0-d tensor.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm is {max_norm}; it must be at least 0")
    listed = [parameters] if isinstance(parameters, Tensor) else parameters
    grads = [p.grad for p in listed if p.grad is not None]
    ### BEGIN SOLUTION
    norms = np.array([np.linalg.norm(grad.data.ravel(), norm_type) for grad in grads] or [0.0])
    total = float(np.linalg.norm(norms, norm_type))
    if error_if_nonfinite and not math.isfinite(total):
        raise ValueError(f"the gradient's norm is {total}; lower the learning rate, check the data")
    scale = max_norm / (total + 1e-6)
    if not scale >= 1:
        for grad in {id(grad): grad for grad in grads}.values():
            grad.data = grad.data * scale
    return Tensor(total)
    ### END SOLUTION


# %%
#| test
def test_clipping_keeps_the_direction():
    a, b = Tensor([0.0, 0.0], requires_grad=True), Tensor([0.0], requires_grad=True)
    a.grad, b.grad = Tensor([2.0, 3.0]), Tensor([6.0])
    assert abs(float(clip_grad_norm_([a, b], 3.5)) - 7.0) < 1e-6
    np.testing.assert_allclose(a.grad.numpy(), [1.0, 1.5], rtol=1e-5)
    np.testing.assert_allclose(b.grad.numpy(), [3.0], rtol=1e-5)


if __name__ == "__main__":
    test_clipping_keeps_the_direction()

# %% [markdown]
# ## Step 8: Schedules
#
# A large rate gets close quickly and then bounces; a small one settles but takes forever. A
# schedule has both. It is a function of the number $t$ of calls of `scheduler.step()` so far, and
# of the group's first rate $\eta_0$:
#
# | schedule | rate at $t$ | why |
# |---|---|---|
# | `StepLR` | $\eta_0\,\gamma^{\lfloor t/s \rfloor}$ | drop when progress stalls |
# | `CosineAnnealingLR` | $\eta_m + \frac12(\eta_0 - \eta_m)(1 + \cos \pi t/T)$ | a smooth end |
# | `LinearWarmup` | $\eta_0\,(f + (1 - f)\min(1, t/w))$ | Adam's first averages are noise |
# | `OneCycleLR` | up half a cosine, then down | a high rate, but only for a while |
#
# *Worked example:* `CosineAnnealingLR(T_max=4)` from 1 gives 1, 0.854, 0.5, 0.146, 0.
#
# `OneCycleLR` over $N$ steps rises from `max_lr / div_factor` at $t = 0$ to `max_lr` at $u = pN -
# 1$ ($p$ is `pct_start`), then falls until $N - 1$ to the first rate divided by `final_div_factor`.
# Each part goes from $a$ to $b$ as $b + \frac12 (a - b)(1 + \cos \pi x)$, with $x$ from 0 to 1.
# Momentum runs against it: lowest where the rate is highest.
#
# `LRScheduler`, given, counts calls of `step` and writes `lr_at(base, t)` into every group. Call
# `optimizer.step()` first, then `scheduler.step()`: once an epoch or once a batch, whichever unit
# you gave `step_size`, `T_max`, `warmup_steps` or `total_steps` in.


# %%
#| export
class StepLR(LRScheduler):
    """Multiply the rate by `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size, self.gamma = at_least_one("step_size", step_size), gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        """Return the rate after `t` steps."""
        ### BEGIN SOLUTION
        return base * self.gamma ** (t // self.step_size)
        ### END SOLUTION


class CosineAnnealingLR(LRScheduler):
    """Follow half a cosine from the first rate down to `eta_min` in `T_max` steps."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max, self.eta_min = at_least_one("T_max", T_max), eta_min
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        """Return the rate after `t` steps."""
        ### BEGIN SOLUTION
        wave = (1 + math.cos(math.pi * t / self.T_max)) / 2
        return self.eta_min + (base - self.eta_min) * wave
        ### END SOLUTION


class LinearWarmup(LRScheduler):
    """Rise from `start_factor` times the rate to all of it in `warmup_steps` steps, then stay."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int, start_factor: float = 0.0):
        self.warmup_steps = at_least_one("warmup_steps", warmup_steps)
        self.start_factor = start_factor
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        """Return the rate after `t` steps."""
        ### BEGIN SOLUTION
        done = min(1.0, t / self.warmup_steps)
        return base * (self.start_factor + (1 - self.start_factor) * done)
        ### END SOLUTION


class OneCycleLR(CycleScheduler):
    """Rise to `max_lr` and fall far below the start (Smith and Topin 2018)."""

    def curve(self, t: int, first: float, top: float, last: float) -> float:
        """Go from `first` to `top` in the rising part, then to `last`, each by half a cosine.

        The parts are measured by `self.total_steps` and `self.pct_start`.
        """
        ### BEGIN SOLUTION
        peak, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if t <= peak:
            start, stop, part = first, top, t / peak if peak else 1.0
        else:
            start, stop, part = top, last, (t - peak) / (end - peak)
        return stop + (start - stop) * (1 + math.cos(math.pi * part)) / 2
        ### END SOLUTION


# %%
def rates(schedule: type[LRScheduler], count: int, **options: Any) -> list[float]:
    """The first `count` rates of a schedule that starts from 1."""
    scheduler = schedule(SGD([Tensor([0.0], requires_grad=True)], lr=1.0), **options)
    first = scheduler.get_last_lr()
    return first + [scheduler.get_last_lr()[0] for _ in range(1, count) if not scheduler.step()]


print(np.round(rates(StepLR, 7, step_size=3), 3).tolist())
print(np.round(rates(CosineAnnealingLR, 5, T_max=4), 3).tolist())
print(np.round(rates(LinearWarmup, 6, warmup_steps=4), 3).tolist())
print(np.round(rates(OneCycleLR, 10, max_lr=1.0, total_steps=10), 3).tolist())
# Expected output:
# [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01]
# [1.0, 0.854, 0.5, 0.146, 0.0]
# [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
# [0.04, 0.52, 1.0, 0.95, 0.812, 0.611, 0.389, 0.188, 0.05, 0.0]


# %%
#| test
def test_schedules_follow_their_formulas():
    for schedule, options, wanted in (
        (StepLR, {"step_size": 2, "gamma": 0.5}, [2, 1, 1, 0.5]),
        (CosineAnnealingLR, {"T_max": 4, "eta_min": 1.0}, [1.853553, 1.5, 1.146447, 1]),
        (LinearWarmup, {"warmup_steps": 2}, [1, 2, 2, 2]),
        (OneCycleLR, {"max_lr": 3.0, "total_steps": 5, "pct_start": 0.6}, [1.56, 3, 1.500006, 0]),
    ):
        scheduler = schedule(SGD([Tensor([0.0], requires_grad=True)], lr=2.0), **options)
        seen = [scheduler.get_last_lr()[0] for _ in range(4) if scheduler.step() is None]
        np.testing.assert_allclose(seen, wanted, atol=2e-5)


if __name__ == "__main__":
    test_schedules_follow_their_formulas()

# %% [markdown]
# ## Step 9: What it costs in memory
#
# Training a model of $P$ parameters needs the parameters, their gradients and the optimizer's
# state:
#
# | | state | with the parameters | and the gradients |
# |---|---|---|---|
# | SGD | 0 | $1\times$ | $2\times$ |
# | SGD with momentum, RMSprop | $P$ | $2\times$ | $3\times$ |
# | Adam, AdamW | $2P$ | $3\times$ | $4\times$ |
#
# *Worked example:* a model of 7 billion parameters is 28 GB in float32. Adam wants another 56 GB
# and the gradients 28: 112 GB before a single activation is stored.


# %%
#| export
def state_nbytes(optimizer: Optimizer) -> int:
    """Count the bytes of all arrays an optimizer remembers; a count of steps is free.

    Zero before the first step: state is made when it is first needed.
    """
    ### BEGIN SOLUTION
    values = [value for kept in optimizer.state.values() for value in kept.values()]
    return sum(value.nbytes for value in values if isinstance(value, Array))
    ### END SOLUTION


# %%
#| test
def test_adam_holds_two_copies():
    optimizer = Adam([p := Tensor([1.0, 2.0, 3.0], requires_grad=True)])
    assert state_nbytes(optimizer) == 0
    follow(optimizer, [1.0, 1.0, 1.0])
    assert state_nbytes(optimizer) == 2 * p.nbytes


if __name__ == "__main__":
    test_adam_holds_two_copies()

# %% [markdown]
# ## Systems: what the memory buys, and what a step costs
#
# How many steps down a ravine, $L = \frac12(x^2 + 50y^2)$ from $(10, 1)$, until the loss is below
# $10^{-3}$, and for how many copies of the parameters? Plain descent diverges above $\eta = 2/50$,
# Nesterov with momentum 0.8 above 0.0276; each has a rate that suits it.


# %%
def descend(kind: type[Optimizer], **options: Any) -> tuple[int, float]:
    """Steps until the loss of the ravine is below 0.001, and copies of the parameters held."""
    point, curvature = Tensor([10.0, 1.0], requires_grad=True), Tensor([1.0, 50.0])
    optimizer, steps = kind([point], **options), 0
    while (loss := (curvature * point * point).sum() / 2).item() >= 1e-3 and steps < 1000:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    return steps, 1 + state_nbytes(optimizer) / point.nbytes


print("plain", *descend(SGD, lr=0.038))
print("momentum", *descend(SGD, lr=0.038, momentum=0.7))
print("nesterov", *descend(SGD, lr=0.022, momentum=0.8, nesterov=True))
print("adam", *descend(Adam, lr=0.5))
# Expected output:
# plain 140 1.0
# momentum 21 2.0
# nesterov 23 2.0
# adam 80 3.0

# %% [markdown]
# One copy of the parameters bought a factor of seven. Adam, with two, is not the fastest here: the
# axes of this ravine need only two rates, and a person chose them well. Now the time: a step costs
# what it takes to move arrays through memory. Compare Adam as the formula reads, a new array for
# every operation, with Adam in place, on a million parameters.


# %%
from timeit import repeat

weight = Tensor(np.ones((1000, 1000), dtype=np.float32), requires_grad=True)
weight.grad = Tensor(np.ones((1000, 1000), dtype=np.float32))
adam, g, m, v = Adam([weight]), weight.grad.data, weight.grad.data, weight.grad.data


def as_the_formula_reads():
    new_m, new_v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return weight.data - 0.001 * (new_m / 0.1) / (np.sqrt(new_v / 0.001) + 1e-8)


for name, work in (("new arrays", as_the_formula_reads), ("in place", adam.step)):
    print(f"{name} {min(repeat(work, number=1, repeat=10)) * 1e3:.1f} ms")
# Expected output:
# new arrays ... ms
# in place ... ms

# %% [markdown]
# The multiplications are the same. But fresh arrays of 4 MB must be requested from the operating
# system, zeroed and mapped, and they push one another out of the cache.
#
# ## Pitfalls
#
# - **No `zero_grad`.** Gradients add up over batches: the loss falls at first, then explodes.
# - **Weight decay added to `p.grad` itself.** The gradient is not yours to change: accumulate over
#   two batches and the decay counts twice.
# - **`scheduler.step()` before `optimizer.step()`.** The first rate of the schedule is never used.
# - **`model.parameters()` listed before a layer was replaced.** The optimizer goes on updating a
#   tensor that nothing uses.
# - **Biases and norms decayed like weights.** Give them a group with `weight_decay=0`.
#
# ## What PyTorch does differently, and why
#
# - State lives on the parameter's device, and counts are tensors, so that a compiled or fused step
#   need not return to Python. Ours are integers.
# - `foreach` and `fused` update all parameters in one kernel: a launch on a GPU costs microseconds,
#   and a large model has hundreds of parameters.
# - `state_dict()` there refers to the live arrays: unless copied, a snapshot changes as training
#   goes on.
# - Its schedules are recursive, each rate from the last, so that several can be chained. Ours are
#   closed formulas: the last one to speak wins.
# - AMSGrad, centred RMSprop, `maximize` and closures are left out here.
#
# ## Sources
#
# Polyak 1964 · Sutskever, Martens, Dahl and Hinton 2013, "On the importance of initialization and
# momentum" · Tieleman and Hinton 2012, lecture 6e · Kingma and Ba 2015, "Adam" · Loshchilov and
# Hutter 2017, "SGDR", and 2019, "Decoupled weight decay regularization" · Smith and Topin 2018,
# "Super-convergence" · Pascanu, Mikolov and Bengio 2013 (clipping) · Goodfellow, Bengio and
# Courville 2016, chapter 8.
#
# ## Reflection
#
# A model fits your machine with SGD and runs out of memory with Adam. Write 150–300 words in
# `reflection.md`: which arrays live at the same moment in the two cases, and how large is each?
# Name two ways to keep most of Adam's benefit in less memory (state of lower precision, a factored
# second moment, fewer trained parameters, …), what each loses, and how you would measure whether
# that matters.
#
# ## Checkpoint
#
#     tito checkpoint run 06
