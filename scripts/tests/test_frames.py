"""Where an exception came through, also when a clearer one was raised in its place."""

import pytest

from tito.isolation.frames import frames_of


def inner(x):
    return x["nothing"]


def translates(x):
    try:
        return inner(x)
    except KeyError as error:
        raise ValueError("a clearer word") from error


def hides(x):
    try:
        return inner(x)
    except KeyError:
        raise ValueError("a clearer word") from None


def refuses(x):
    try:
        return x["nothing"]
    except KeyError:
        raise ValueError("there is no nothing") from None


def catches_elsewhere(x):
    try:
        hides(x)
    except ValueError:
        refuses(x)


def functions(function, ours=lambda file: file == __file__):
    """The names of the functions that the exception of a call passed through."""
    try:
        function({})
    except ValueError as error:
        return [name for _, _, name in frames_of(error, ours)][1:]
    raise AssertionError("it must raise")


def test_the_way_goes_down_to_where_it_went_wrong():
    assert functions(translates) == ["translates", "inner"]
    assert functions(hides) == ["hides", "inner"]


def test_what_a_function_says_itself_is_its_own_line():
    assert functions(refuses) == ["refuses"]


def test_an_error_that_was_settled_before_is_no_cause():
    assert functions(catches_elsewhere) == ["catches_elsewhere", "refuses"]


def test_files_of_others_are_left_out():
    assert functions(hides, ours=lambda file: False) == []


def test_errors_that_name_each_other_come_to_an_end():
    with pytest.raises(ValueError, match="a clearer word") as caught:
        hides({})
    caught.value.__context__.__context__ = caught.value
    assert frames_of(caught.value, lambda file: file == __file__)
