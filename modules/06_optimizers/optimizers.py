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
#   AdamW, gradient clipping, four learning-rate schedules, and the account of their memory. The
#   numbers agree with PyTorch's to the last digits of float32.
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
from typing import Any, ClassVar

import numpy as np

from tinytorch.core.tensor import Tensor

Array = np.ndarray
Params = Iterable[Any]  # of tensors, or of groups such as {"params": [...], "lr": 0.1}

# %% [markdown]
# ## Step 1: What every optimizer shares
#
# An optimizer holds its parameters in *groups*, so that the last layer, say, may learn faster than
# the first. A group is a dictionary, `{"params": [...], "lr": 0.1, "momentum": 0.9}`. What a
# parameter must remember from step to step is in `state[parameter]`, a dictionary of its own.
#
# The loop is always the same: for each group, for each parameter that has a gradient, call
# `update`, which a subclass supplies. A parameter without a gradient took no part in the loss; it
# is left alone, and so is its state.
#
# **In place.** `update` changes the parameter's array itself. A new array at each step would be an
# allocation as large as the model, and whoever holds the old one would not see the change. Storing
# the array back, `p.data = data`, tells autograd that the value changed, so that a graph recorded
# before the step cannot silently use the wrong number.
#
# **Bound later.** `Adam(lr=0.001)` made without parameters holds one empty group until `bind` fills
# it: so a trainer can be given a model and an optimizer separately.


# %%
#| export
def checked_parameters(params: Iterable[Tensor]) -> list[Tensor]:
    """List parameters; refuse what cannot be optimised: the result of an operation cannot."""
    if isinstance(params, Tensor):
        raise TypeError("parameters must be an iterable of tensors, got one tensor: write [tensor]")
    if not (listed := list(params)):
        raise ValueError("the list of parameters is empty; pass model.parameters()")
    for p in listed:
        if not isinstance(p, Tensor):
            raise TypeError(f"cannot optimise a {type(p).__name__}; pass tensors")
        if not p.is_leaf:
            raise ValueError(f"cannot optimise a result of shape {p.shape}; pass the parameters")
    return listed


def checked_options(given: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Refuse unknown hyperparameters, those below zero, and shares kept of one or more."""
    for name, value in given.items():
        if name not in known:
            raise TypeError(f"unknown option {name!r}; use {', '.join(known)}")
        for number in value if isinstance(value, tuple) else (value,):
            if not number >= 0:
                raise ValueError(f"{name} is {value}; it must be at least 0")
            if name in ("betas", "alpha") and number >= 1:
                raise ValueError(f"{name} is {value}; it must be below 1")
    return given


# %%
#| export
class Optimizer:
    """Hold parameters in groups, and what each of them remembers between steps.

    A subclass supplies `update` and `defaults`: its hyperparameters, in PyTorch's order.

    Args:
        params: Tensors, or groups of them; None to bind them later.
        values, options: Hyperparameters by place or by name, for groups that do not set their own.
    """

    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, params: Params | None = None, *values: Any, **options: Any):
        options |= zip(self.defaults, values, strict=False)
        self.defaults = self.defaults | checked_options(options, self.defaults)
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = [{"params": [], **self.defaults}]
        self._scratch: dict[np.dtype, Array] = {}
        if params is not None:
            self.bind(params)

    @property
    def bound(self) -> bool:
        """Whether there is any parameter to update."""
        return any(group["params"] for group in self.param_groups)

    def bind(self, params: Params) -> "Optimizer":
        """Take charge of parameters, or of groups of them; return the optimizer itself."""
        if self.bound:
            raise RuntimeError("the optimizer has its parameters; add_param_group adds more")
        entries = params if isinstance(params, Tensor) else list(params)
        grouped = isinstance(entries, list) and entries and isinstance(entries[0], dict)
        for group in entries if grouped else [{"params": entries}]:
            self.add_param_group(group)
        return self

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Append a group; what it leaves out it takes from `defaults`.

        The first takes the place of the empty group that an unbound optimizer holds, and takes
        from that one what it leaves out: a schedule may have set its "lr".

        Raises:
            ValueError: If a parameter is in the optimizer already, or twice in the group.
        """
        options = {name: value for name, value in group.items() if name != "params"}
        checked_options(options, self.defaults)
        params = checked_parameters(group["params"])
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
        if not self.bound:
            name = type(self).__name__
            raise RuntimeError(f"{name} has no parameters; call bind(model.parameters()) first")
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

    def scratch(self, like: Array) -> Array:
        """Working memory of an array's shape and dtype, lent to every parameter in turn."""
        flat = self._scratch.get(like.dtype)
        if flat is None or flat.size < like.size:
            flat = self._scratch[like.dtype] = np.empty(like.size, dtype=like.dtype)
        return flat[: like.size].reshape(like.shape)

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on later, tensors replaced by numbers (step 6)."""
        return pack_state(self)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state (step 6)."""
        unpack_state(self, saved)


# %%
class Halving(Optimizer):
    def update(self, data, grad, state, group):
        data *= 0.5  # whatever the gradient says


moved, frozen = Tensor([4.0], requires_grad=True), Tensor([4.0], requires_grad=True)
moved.grad = Tensor([1.0])
Halving([moved, frozen]).step()
print(moved.numpy(), frozen.numpy())
# Expected output:
# [2.] [4.]


# %%
#| test
def test_step_updates_what_has_a_gradient():
    class Subtract(Optimizer):
        defaults = {"lr": 0.5}  # noqa: RUF012

        def update(self, data, grad, state, group):
            data -= group["lr"] * grad

    p, q = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0], requires_grad=True)
    optimizer = Subtract()
    optimizer.bind([{"params": [p]}, {"params": [q], "lr": 10.0}])
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 10.0]
    p.grad = Tensor([2.0, 4.0])
    optimizer.step()
    assert [p.tolist(), q.tolist()] == [[0.0, 0.0], [3.0]]
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
# undamped. Under a constant gradient $v$ tends to $g / (1 - \mu)$: ten times the step for $\mu =
# 0.9$.
#
# *Worked example:* $\theta = 1$, $g = 1$ always, $\eta = 0.1$, $\mu = 0.9$. The velocity is 1, 1.9,
# 2.71, so $\theta$ is 0.9, 0.71, 0.439.
#
# *Nesterov* looks ahead: it steps along $g + \mu v$, with the new $v$. *Weight decay* adds
# $\lambda\theta$ to the gradient, so that every step also shrinks the weights.
#
# **Cost:** 2 passes over the parameters; with momentum 4, and one copy of them. The product $\eta
# v$ needs memory for a moment: `np.multiply(a, b, out=buffer)` writes into memory that exists, and
# `self.scratch(data)` lends it.


# %%
#| export
class SGD(Optimizer):
    """Descend along the gradient, with momentum, Nesterov's correction and weight decay.

    Args:
        params: As for `Optimizer`.
        lr: Learning rate, the length of a step per unit of gradient.
        momentum: Share of the velocity that is kept, 0 for none.
        dampening: Share of each gradient that the velocity leaves out.
        weight_decay: Coefficient of the L2 penalty.
        nesterov: Look ahead along the velocity; needs momentum, and no dampening.

    State: momentum_buffer, unless momentum is 0.
    Source: Sutskever et al. 2013.
    """

    defaults: ClassVar = {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0}
    defaults |= {"nesterov": False}

    def __init__(self, params: Params | None = None, *values: Any, **options: Any):
        super().__init__(params, *values, **options)
        undamped = self.defaults["momentum"] > 0 and self.defaults["dampening"] == 0
        if self.defaults["nesterov"] and not undamped:
            raise ValueError(f"nesterov needs momentum > 0 and dampening 0, got {self.defaults}")

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Take one step; the velocity is `state["momentum_buffer"]`."""
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
heavy_ball = SGD([theta], lr=0.1, momentum=0.9)
for _ in range(3):
    theta.grad = Tensor([1.0])
    heavy_ball.step()
    print(f"{theta.item():.3f}", end=" ")
# Expected output:
# 0.900 0.710 0.439


# %%
#| test
def test_sgd_with_momentum_nesterov_and_decay():
    def after(steps, gradient, **options):
        p = Tensor([2.0], requires_grad=True)
        optimizer = SGD([p], lr=0.1, **options)
        for _ in range(steps):
            p.grad = Tensor([gradient])
            optimizer.step()
        assert p.grad.tolist() == [gradient]
        return p.item()

    assert abs(after(3, 1.0, momentum=0.9) - 1.439) < 1e-6
    assert abs(after(1, 1.0, momentum=0.9, nesterov=True) - 1.81) < 1e-6
    assert abs(after(1, 0.0, weight_decay=0.5) - 1.9) < 1e-6


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
# then $\theta \leftarrow \theta - \eta b$. **Cost:** 9 passes, and one copy of the parameters (two
# with momentum).


# %%
#| export
class RMSprop(Optimizer):
    """Divide each coordinate of the gradient by its own recent size.

    Args:
        params, lr, weight_decay, momentum: As for `SGD`.
        alpha: Share of the mean square that is kept.
        eps: Added to the root, against division by zero.

    State: square_avg, and momentum_buffer unless momentum is 0.
    Source: Tieleman and Hinton 2012, lecture 6e.
    """

    defaults: ClassVar = {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0}
    defaults |= {"momentum": 0.0}

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Take one step; the mean square is `state["square_avg"]`."""
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
theta = Tensor([1.0, 1.0], requires_grad=True)
theta.grad = Tensor([2.0, -0.002])
RMSprop([theta], lr=0.01).step()
print(theta.numpy().round(3))
# Expected output:
# [0.9 1.1]


# %%
#| test
def test_rmsprop_scales_each_coordinate():
    p = Tensor([1.0, 1.0], requires_grad=True)
    p.grad = Tensor([4.0, 0.25])
    RMSprop([p], lr=0.1, alpha=0.75).step()
    np.testing.assert_allclose(p.numpy(), [0.8, 0.8], rtol=1e-6)


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
    """Divide the mean of recent gradients by the root of the mean of their squares.

    Args:
        params, weight_decay: As for `SGD`.
        lr: Learning rate, about the length of a step in each coordinate.
        betas: Shares of the mean and of the mean square that are kept.
        eps: Added to the root, against division by zero.

    State: step (a count), exp_avg and exp_avg_sq.
    Source: Kingma and Ba 2015, algorithm 1.
    """

    defaults: ClassVar = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Take one step; the means are `state["exp_avg"]` and `state["exp_avg_sq"]`."""
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
theta = Tensor([1.0, 1.0], requires_grad=True)
adam = Adam([theta], lr=0.01)
for gradient in ([5.0, -0.001], [5.0, 0.001], [5.0, -0.001]):
    theta.grad = Tensor(gradient)
    adam.step()
    print(theta.numpy().round(4))
# Expected output:
# [0.99 1.01]
# [0.98   1.0095]
# [0.97   1.0128]


# %%
#| test
def test_first_adam_step_has_length_lr_for_each_parameter():
    early, late = Tensor([1.0, 1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    optimizer = Adam([early, late], lr=0.01)
    early.grad = Tensor([300.0, -0.2])
    optimizer.step()
    np.testing.assert_allclose(early.numpy(), [0.99, 1.01], rtol=1e-5)
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
    """Adam whose weight decay shrinks the weights themselves, apart from the gradient.

    Args:
        params, lr, betas, eps: As for `Adam`.
        weight_decay: Each step multiplies the weights by 1 - lr * weight_decay.

    Source: Loshchilov and Hutter 2019, algorithm 2.
    """

    defaults: ClassVar = Adam.defaults | {"weight_decay": 1e-2}

    def update(self, data: Array, grad: Array, state: dict[str, Any], group: dict) -> None:
        """Shrink the weights, then step as Adam does without decay."""
        ### BEGIN SOLUTION
        data *= 1 - group["lr"] * group["weight_decay"]
        super().update(data, grad, state, {**group, "weight_decay": 0.0})
        ### END SOLUTION


# %%
for kind in (Adam, AdamW):
    theta = Tensor([2.0], requires_grad=True)
    theta.grad = Tensor([0.0])
    kind([theta], lr=0.1, weight_decay=0.005).step()
    print(f"{kind.__name__:<5} {theta.item():.4f}")
# Expected output:
# Adam  1.9000
# AdamW 1.9990


# %%
#| test
def test_adamw_decays_apart_from_the_gradient():
    p = Tensor([2.0, -4.0], requires_grad=True)
    p.grad = Tensor([0.0, 0.0])
    AdamW([p], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(p.numpy(), [1.9, -3.8], rtol=1e-6)


if __name__ == "__main__":
    test_adamw_decays_apart_from_the_gradient()

# %% [markdown]
# ## Step 6: Save and go on
#
# Going on with the weights alone is not going on: the velocity starts at zero and Adam's count at
# one, and the loss jumps. The state must travel too. But it is keyed by tensors, and a tensor of
# the next process is another object. PyTorch's answer is ours: number the parameters in the order
# of the groups, and write numbers for tensors.
#
#     {"state": {0: {"momentum_buffer": array}, 1: {...}},
#      "param_groups": [{"lr": 0.1, "momentum": 0.9, ..., "params": [0, 1]}]}
#
# The arrays are copies: a saved state must not change as training goes on. Loading checks that
# groups, parameters and shapes agree *before* it changes anything.


# %%
#| export
def pack_state(optimizer: Optimizer) -> dict[str, Any]:
    """Write an optimizer's groups and state with numbers in place of tensors.

    Returns:
        {"state": {number: {name: value}}, "param_groups": [{..., "params": [numbers]}]};
        arrays are copied, and only parameters that have a state are listed under "state".
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


def restored(name: str, value: Any, p: Tensor) -> Any:
    """Copy a saved value (array or tensor) into the form it has here; a count is an int."""
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    if name == "step":
        return int(array)
    if array.shape != p.shape:
        raise ValueError(f"saved {name} has shape {array.shape}, its parameter {p.shape}")
    return np.array(array, dtype=p.dtype)


def unpack_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Replace an optimizer's hyperparameters and state by saved ones; its tensors stay.

    Raises:
        ValueError: If the sizes of the groups, or a shape, differ; then nothing has changed.
    """
    ours = [len(group["params"]) for group in optimizer.param_groups]
    theirs = [len(group["params"]) for group in saved["param_groups"]]
    if ours != theirs:
        raise ValueError(f"saved groups have {theirs} parameters, the optimizer's {ours}")
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
first = SGD([theta], lr=0.1, momentum=0.9)
theta.grad = Tensor([1.0])
first.step()
second = SGD([theta], lr=0.5)
second.load_state_dict(first.state_dict())
second.step()
print(f"{theta.item():.2f}", second.state_dict()["param_groups"][0]["params"])
# Expected output:
# 0.71 [0]


# %%
#| test
def test_saved_state_is_a_copy_and_restores():
    p = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = Adam([p], lr=0.1)
    p.grad = Tensor([1.0, -1.0])
    optimizer.step()
    saved = optimizer.state_dict()
    optimizer.step()
    np.testing.assert_allclose(saved["state"][0]["exp_avg"], [0.1, -0.1], rtol=1e-6)
    other = Adam([p], lr=0.3)
    other.load_state_dict(saved)
    assert other.state_dict()["state"][0]["step"] == 1
    assert other.param_groups[0]["lr"] == 0.1


if __name__ == "__main__":
    test_saved_state_is_a_copy_and_restores()

# %% [markdown]
# ## Step 7: Clip the gradient's norm
#
# Now and then a batch gives a gradient a thousand times too long, and one step throws the weights
# away. Clipping limits the length and keeps the direction. It takes **all** gradients as one long
# vector of norm $\lVert g \rVert = \sqrt{\sum_i \lVert g_i \rVert^2}$ and, if that is above the
# limit $c$, multiplies every one by the same $c / (\lVert g \rVert + 10^{-6})$, PyTorch's guard
# against zero included. Scaling each parameter by its own norm would turn the direction.
#
# *Worked example:* gradients $[3]$ and $[4]$ have norm 5. With $c = 1$ they become $[0.6]$ and
# $[0.8]$; with $c = 10$ nothing happens. The function returns 5 both times: the norm *before*
# clipping is what you want in your log.


# %%
#| export
def clip_grad_norm_(
    parameters: Iterable[Tensor] | Tensor,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together so that their common norm is at most `max_norm`.

    Args:
        parameters: Tensors; those without a gradient are passed over.
        max_norm: The limit.
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
a, b = Tensor([0.0], requires_grad=True), Tensor([0.0], requires_grad=True)
a.grad, b.grad = Tensor([3.0]), Tensor([4.0])
print(clip_grad_norm_([a, b], max_norm=1.0).item(), a.grad.numpy(), b.grad.numpy())
# Expected output:
# 5.0 [0.5999999] [0.79999983]


# %%
#| test
def test_clipping_keeps_the_direction():
    a, b = Tensor([0.0, 0.0], requires_grad=True), Tensor([0.0], requires_grad=True)
    a.grad, b.grad = Tensor([2.0, 3.0]), Tensor([6.0])
    assert abs(float(clip_grad_norm_([a, b], 10.0)) - 7.0) < 1e-6
    np.testing.assert_allclose(a.grad.numpy(), [2.0, 3.0])
    clip_grad_norm_([a, b], 3.5)
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
# *Worked example:* `StepLR(step_size=3)` from 1: 1, 1, 1, 0.1, 0.1, 0.1, 0.01.
# `CosineAnnealingLR(T_max=4)` from 1: 1, 0.854, 0.5, 0.146, 0.
#
# `OneCycleLR` over $N$ steps rises from `max_lr / div_factor` at $t = 0$ to `max_lr` at $u = pN -
# 1$ ($p$ is `pct_start`), then falls until $N - 1$ to the first rate divided by `final_div_factor`.
# Each part goes from $a$ to $b$ as $b + \frac12 (a - b)(1 + \cos \pi x)$, with $x$ from 0 to 1.
# Momentum runs against it: lowest where the rate is highest.
#
# Call `optimizer.step()` first, then `scheduler.step()`: once an epoch or once a batch, whichever
# unit you gave `step_size`, `T_max`, `warmup_steps` or `total_steps` in.


# %%
#| export
class LRScheduler:
    """Set every group's learning rate from a formula in the number of steps taken."""

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        self.last_epoch = 0
        self.apply()

    def lr_at(self, base: float, t: int) -> float:
        """The rate after `t` steps of a group that began with `base`."""
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
        """The rate of each group at this moment."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where another schedule of the same kind stood."""
        if set(saved) != set(self.state_dict()):
            raise ValueError(f"not a state of {type(self).__name__}: it holds {sorted(saved)}")
        vars(self).update(saved)
        self.apply()


def at_least_one(name: str, value: int) -> int:
    """Check a number of steps."""
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1 step")
    return value


# %%
#| export
class StepLR(LRScheduler):
    """Multiply the rate by `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size, self.gamma = at_least_one("step_size", step_size), gamma
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        """The rate after `t` steps."""
        ### BEGIN SOLUTION
        return base * self.gamma ** (t // self.step_size)
        ### END SOLUTION


class CosineAnnealingLR(LRScheduler):
    """Follow half a cosine from the first rate down to `eta_min` in `T_max` steps."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max, self.eta_min = at_least_one("T_max", T_max), eta_min
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        """The rate after `t` steps."""
        ### BEGIN SOLUTION
        wave = (1 + math.cos(math.pi * t / self.T_max)) / 2
        return self.eta_min + (base - self.eta_min) * wave
        ### END SOLUTION


class LinearWarmup(LRScheduler):
    """Rise from `start_factor` times the rate to all of it in `warmup_steps` steps, then stay.

    With a `start_factor` of 0 the first step of Adam only fills its averages.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, start_factor: float = 0.0):
        self.warmup_steps = at_least_one("warmup_steps", warmup_steps)
        self.start_factor = start_factor
        super().__init__(optimizer)

    def lr_at(self, base: float, t: int) -> float:
        """The rate after `t` steps."""
        ### BEGIN SOLUTION
        done = min(1.0, t / self.warmup_steps)
        return base * (self.start_factor + (1 - self.start_factor) * done)
        ### END SOLUTION


# %%
#| export
class OneCycleLR(LRScheduler):
    """Rise to `max_lr` and fall far below the start, momentum running the other way.

    Args:
        optimizer: Its rates are replaced.
        max_lr: The highest rate.
        total_steps: Length of the cycle; or give `epochs` and `steps_per_epoch`.
        pct_start: Share of the cycle that rises.
        cycle_momentum: Move `momentum`, or the first of `betas`, between the two given values.
        div_factor, final_div_factor: max_lr over the first rate; the first over the last.

    Source: Smith and Topin 2018.
    """

    def __init__(self, optimizer: Optimizer, max_lr: float, total_steps: int | None = None,
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
        """Go from `first` to `top` in the rising part, then to `last`, each by half a cosine."""
        ### BEGIN SOLUTION
        peak, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if t <= peak:
            start, stop, part = first, top, t / peak if peak else 1.0
        else:
            start, stop, part = top, last, (t - peak) / (end - peak)
        return stop + (start - stop) * (1 + math.cos(math.pi * part)) / 2
        ### END SOLUTION

    def lr_at(self, base: float, t: int) -> float:
        """The rate after `t` steps; the group's own first rate plays no part."""
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


# %%
def rates(schedule: type[LRScheduler], count: int, **options: Any) -> list[float]:
    """The first `count` rates of a schedule that starts from 1."""
    scheduler = schedule(SGD([Tensor([0.0], requires_grad=True)], lr=1.0), **options)
    seen = []
    for _ in range(count):
        seen.append(round(scheduler.get_last_lr()[0], 3))
        scheduler.step()
    return seen


print(rates(StepLR, 7, step_size=3))
print(rates(CosineAnnealingLR, 5, T_max=4))
print(rates(LinearWarmup, 6, warmup_steps=4))
print(rates(OneCycleLR, 10, max_lr=1.0, total_steps=10))
# Expected output:
# [1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01]
# [1.0, 0.854, 0.5, 0.146, 0.0]
# [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
# [0.04, 0.52, 1.0, 0.95, 0.812, 0.611, 0.389, 0.188, 0.05, 0.0]


# %%
#| test
def test_schedules_follow_their_formulas():
    def first_rates(schedule, count, **options):
        scheduler = schedule(SGD([Tensor([0.0], requires_grad=True)], lr=2.0), **options)
        return [scheduler.get_last_lr()[0] for _ in range(count) if scheduler.step() is None]

    np.testing.assert_allclose(first_rates(StepLR, 4, step_size=2, gamma=0.5), [2, 1, 1, 0.5])
    np.testing.assert_allclose(first_rates(CosineAnnealingLR, 2, T_max=2, eta_min=1.0), [1.5, 1])
    np.testing.assert_allclose(first_rates(LinearWarmup, 3, warmup_steps=2), [1, 2, 2])
    cycle = first_rates(OneCycleLR, 4, max_lr=3.0, total_steps=5, pct_start=0.6)
    np.testing.assert_allclose(cycle[1::2], [3.0, 0.12 / 1e4], rtol=1e-6)


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
for kind, options in ((SGD, {}), (SGD, {"momentum": 0.9}), (RMSprop, {}), (Adam, {})):
    weight = Tensor(np.zeros((100, 50), dtype=np.float32), requires_grad=True)
    weight.grad = Tensor(np.ones((100, 50), dtype=np.float32))
    optimizer = kind([weight], **options)
    optimizer.step()
    total = weight.nbytes + state_nbytes(optimizer)
    print(f"{kind.__name__:<7} {options.get('momentum', '   ')} {total / weight.nbytes:.0f}x")
# Expected output:
# SGD         1x
# SGD     0.9 2x
# RMSprop     2x
# Adam        3x


# %%
#| test
def test_adam_holds_two_copies():
    p = Tensor(np.zeros((3, 4), dtype=np.float32), requires_grad=True)
    optimizer = Adam([p])
    assert state_nbytes(optimizer) == 0
    p.grad = Tensor(np.ones((3, 4), dtype=np.float32))
    optimizer.step()
    assert state_nbytes(optimizer) == 2 * p.nbytes


if __name__ == "__main__":
    test_adam_holds_two_copies()

# %% [markdown]
# ## Systems: what the memory buys, and what a step costs
#
# How many steps down a ravine, $L = \frac12(x^2 + 50y^2)$ from $(10, 1)$, until the loss is below
# $10^{-3}$? Plain descent diverges above $\eta = 2/50$, Nesterov with momentum 0.8 above 0.0276;
# each has a rate that suits it.


# %%
def steps_to_floor(kind: type[Optimizer], **options: Any) -> int:
    """Steps until the loss of the ravine is below 0.001."""
    point, curvature = Tensor([10.0, 1.0], requires_grad=True), Tensor([1.0, 50.0])
    optimizer = kind([point], **options)
    for count in range(1000):
        optimizer.zero_grad()
        loss = (curvature * point * point).sum() / 2
        if loss.item() < 1e-3:
            return count
        loss.backward()
        optimizer.step()
    return 1000


print("plain   ", steps_to_floor(SGD, lr=0.038))
print("momentum", steps_to_floor(SGD, lr=0.038, momentum=0.7))
print("nesterov", steps_to_floor(SGD, lr=0.022, momentum=0.8, nesterov=True))
print("adam    ", steps_to_floor(Adam, lr=0.5))
# Expected output:
# plain    140
# momentum 21
# nesterov 23
# adam     80

# %% [markdown]
# One copy of the parameters bought a factor of seven. Adam, with two, is not the fastest here: the
# axes of this ravine need only two rates, and a person chose them well. Now the time: the
# arithmetic is trivial, so a step costs what it takes to move arrays through memory. Compare Adam
# as the formula reads, a new array for every operation, with Adam in place, on a million
# parameters.


# %%
import time


def best_ms(work) -> float:
    """The fastest of ten runs, in milliseconds."""
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


weight = Tensor(np.ones((1000, 1000), dtype=np.float32), requires_grad=True)
weight.grad = Tensor(np.ones((1000, 1000), dtype=np.float32))
adam, g, m, v = Adam([weight]), weight.grad.data, weight.grad.data, weight.grad.data


def as_the_formula_reads():
    new_m, new_v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return weight.data - 0.001 * (new_m / 0.1) / (np.sqrt(new_v / 0.001) + 1e-8)


print(f"new arrays {best_ms(as_the_formula_reads):.1f} ms, in place {best_ms(adam.step):.1f} ms")
# Expected output:
# new arrays ... ms, in place ... ms

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
