"""The given parts of modules 06 and 07 that no checkpoint can see: pictures, lines, callbacks."""

import numpy as np
import pytest

from tinytorch.utils.history import History, Watch
from tinytorch.utils.metrics import averaged, table_size
from tinytorch.utils.parameters import checked_options, restored
from tinytorch.utils.progress import Progress, Reporter
from tinytorch.utils.schedules import CycleScheduler, LRScheduler


class Holder:
    """As much of an optimizer as a schedule needs."""

    def __init__(self):
        self.param_groups = [{"lr": 2.0}]


def test_a_history_is_drawn_to_a_file(tmp_path):
    """A panel for each figure, written without a display."""
    pytest.importorskip("matplotlib")
    from tinytorch.utils.plotting import draw_history

    path = tmp_path / "curve.png"
    draw_history({"loss": [2.0, 1.0], "val_loss": [2.0, 1.5], "accuracy": [0.5, 0.7]}, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_line_for_each_epoch_and_no_control_characters(capsys):
    """Without a terminal nothing is drawn while the epoch runs."""
    line = Progress("epoch 1/2", 4)
    line.step(2, 0.5)
    line.close({"loss": 0.25, "samples": 8})
    printed = capsys.readouterr().out
    assert printed.startswith("epoch 1/2  loss 0.2500  ")
    assert printed.count("\n") == 1
    assert "\r" not in printed


def test_callbacks_hear_what_they_have_methods_for():
    """Objects by method, functions after each epoch."""
    heard = []

    class Steps:
        def on_step_end(self, trainer, loss):
            heard.append(loss)

    trainer = type("Trainer", (), {"epoch": 0})()
    report = Reporter(trainer, [Steps(), lambda trainer, logs: heard.append(logs)], False)
    report.notify("on_train_begin")
    report.begin_epoch([1, 2], 3)
    report.after_step(1, 0.5)
    report.notify("on_epoch_end", {"loss": 0.5})
    assert heard == [0.5, {"loss": 0.5}]


def test_the_last_epoch_is_best_only_if_it_beats_all():
    """NaN is never the best, and never in the way."""
    assert History({"loss": [np.nan, 2.0, 1.0]}).last_is_best("loss")
    assert not History({"loss": [1.0, np.nan]}).last_is_best("loss")
    assert not History({"accuracy": [0.5, 0.5]}).last_is_best("accuracy")
    assert History({"loss": [1.0]})["train_loss"] == [1.0]
    with pytest.raises(KeyError, match="'val_loss' in the history; it has loss"):
        History({"loss": [1.0]})["val_loss"]


@pytest.mark.parametrize("options", [{"patience": 0}, {"mode": "up"}])
def test_early_stopping_refuses_what_cannot_be_meant(options):
    """Patience below 1, and modes that do not exist."""
    with pytest.raises(ValueError, match="use 1 or more; auto, min or max"):
        Watch(**options)


def test_tables_have_room_for_every_class():
    """A table too small, and negative classes."""
    for truth, predicted, size in (([0, 2], [0, 1], 2), ([0, -1], [0, 1], None)):
        with pytest.raises(ValueError, match="give num_classes="):
            table_size(np.array(truth), np.array(predicted), size)
    assert averaged(np.array([1.0, 0.5, 0.0]), np.diag([2, 2, 0]), "auto") == 0.75


def test_options_are_refused_by_name():
    """Unknown, negative, and shares of one or more."""
    with pytest.raises(TypeError, match="unknown option 'rate'; use lr, betas"):
        checked_options({"rate": 1}, ("lr", "betas"))
    with pytest.raises(ValueError, match="lr is nan; it must be at least 0"):
        checked_options({"lr": float("nan")}, ("lr",))
    with pytest.raises(ValueError, match="must be below 1"):
        checked_options({"betas": (0.9, 1.0)}, ("betas",))


def test_saved_values_must_fit():
    """A state of another shape is refused, one of another dtype is converted."""
    p = np.zeros(3, dtype=np.float32)
    assert restored("exp_avg", np.ones(3), p).dtype == np.float32
    with pytest.raises(ValueError, match=r"exp_avg has shape \(2,\), its parameter \(3,\)"):
        restored("exp_avg", np.ones(2), p)


def test_schedules_refuse_foreign_states_and_empty_cycles():
    """A state of another kind of schedule; a cycle of no steps."""
    scheduler = LRScheduler(Holder())
    with pytest.raises(ValueError, match="not a state of LRScheduler"):
        scheduler.load_state_dict({"gamma": 0.1})
    with pytest.raises(ValueError, match="total_steps is 0"):
        CycleScheduler(Holder(), max_lr=1.0)
