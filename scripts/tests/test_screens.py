"""The screens that the README shows are those that the commands draw now."""

import re
import xml.etree.ElementTree as ET

import pytest
import screenshots


@pytest.fixture(scope="module")
def drawn():
    """Every screen, drawn now."""
    return screenshots.draw()


@pytest.mark.parametrize("name", screenshots.COMMANDS)
def test_the_committed_screen_is_the_drawn_one(drawn, root, name):
    """A change of a command shows in its screen."""
    path = root / screenshots.SCREENS / f"{name}.svg"
    again = "draw it again with: python scripts/screenshots.py"
    assert path.is_file(), again
    assert path.read_text(encoding="utf-8") == drawn[name], again


@pytest.mark.parametrize("name", screenshots.COMMANDS)
def test_a_screen_stands_alone(drawn, name):
    """No script, no web font, nothing from elsewhere; a title for who cannot see it."""
    tree = ET.fromstring(drawn[name])
    space = "{http://www.w3.org/2000/svg}"
    assert tree.get("role") == "img"
    assert tree[0].tag == f"{space}title"
    assert "tito" in tree[0].text
    assert not list(tree.iter(f"{space}script"))
    links = drawn[name].replace("http://www.w3.org/2000/svg", "")
    assert "http" not in links
    assert "@font-face" not in links


def test_the_same_bytes_every_time(drawn):
    """No clock, no path of this machine, no random identifier."""
    assert screenshots.draw() == drawn


@pytest.mark.parametrize("name", screenshots.COMMANDS)
def test_the_readme_shows_every_screen(root, name):
    """With a text for whoever cannot see it."""
    readme = (root / "README.md").read_text(encoding="utf-8")
    shown = re.findall(rf"!\[([^]]+)\]\({screenshots.SCREENS.as_posix()}/{name}\.svg\)", readme)
    assert len(shown) == 1
    assert shown[0].startswith("tito")
