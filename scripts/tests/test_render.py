"""Badges, timeline, summary and annotations: goldens, escaping, legibility, purity."""

import builtins
import json
import re
import time
import xml.etree.ElementTree as ET
from io import StringIO

import pytest
from golden.regenerate import HERE, golden_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from reports import ANY_TEXT, reports

from tito.render import render_all
from tito.render.annotations import MOST, annotations
from tito.render.badge import badge, badges_of, endpoint
from tito.render.escape import code, command_message, fence, markdown, plain, visible, xml
from tito.render.failure import describe, failure_text, place_text
from tito.render.summary import LIMIT, summary
from tito.render.svg import DARK, INK, PANEL, PAPER, WHITE
from tito.render.text_width import BOLD, NORMAL, clip, text_width
from tito.render.timeline import WIDTH, timeline
from tito.render.words import AMBER, BLUE, BRIGHT, GREEN, GREY, LOOKS, RED
from tito.report import STATUSES, Failure, Report, parse_report

SAMPLES = sorted(path.parent.name for path in HERE.glob("*/sample.json"))
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
SVG = "{http://www.w3.org/2000/svg}"
REGENERATE = "if the change is meant: python scripts/tests/golden/regenerate.py, then look at it"


def sample(name: str) -> Report:
    """A sample report."""
    return parse_report((HERE / name / "sample.json").read_text(encoding="utf-8"))


def canonical(text: str) -> str:
    """XML without the freedom to write the same thing in two ways."""
    out = StringIO()
    ET.canonicalize(text, out=out, strip_text=False)
    return out.getvalue()


def pictures(report: Report) -> dict[str, str]:
    """Every SVG of a report."""
    return {name: text for name, text in render_all(report).items() if name.endswith(".svg")}


@pytest.mark.parametrize("name", SAMPLES)
def test_goldens(name):
    """Every rendering of every sample is as it was when someone last looked at it."""
    files = golden_files(sample(name))
    there = {p.name for p in (HERE / name).iterdir()} - {"sample.json"}
    assert set(files) == there, REGENERATE
    for file, text in files.items():
        golden = (HERE / name / file).read_text(encoding="utf-8")
        if file.endswith(".svg"):
            assert canonical(text) == canonical(golden), f"{name}/{file}: {REGENERATE}"
        else:
            assert text == golden, f"{name}/{file}: {REGENERATE}"


def test_rendering_reads_no_file_and_no_clock(monkeypatch):
    report = sample("partway")
    expected = render_all(report)

    def refuse(*arguments, **keywords):
        raise AssertionError("rendering must be pure")

    for module, function in ((builtins, "open"), (time, "time"), (time, "gmtime")):
        monkeypatch.setattr(module, function, refuse)
    assert render_all(report) == expected


def test_the_files_are_those_the_readme_shows():
    names = set(render_all(sample("empty")))
    badges = ["level", "score", "checkpoint", "stage-foundation", "stage-architecture"]
    badges += ["stage-training", "stage-inference", "stage-language-models"]
    badges += [f"milestone_{number:02}" for number in range(1, 7)]
    expected = {f"badges/{name}.{kind}" for name in badges for kind in ("svg", "json")}
    assert names == expected | {
        "badges/timeline.svg",
        "summary.md",
        "grade.json",
        "classroom.json",
    }


# SVG


@pytest.mark.parametrize("name", SAMPLES)
def test_pictures_are_accessible_and_inert(name):
    """A role, a label, a title first; no script, link, font, image, motion or outside address."""
    for file, text in pictures(sample(name)).items():
        root = ET.fromstring(text)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert root[0].tag == f"{SVG}title"
        assert root[0].text == root.get("aria-label")
        if file.endswith("timeline.svg"):
            assert root[1].tag == f"{SVG}desc"
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        allowed = "svg title desc style rect circle path text g clipPath"
        assert tags <= set(allowed.split()), file
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(ids) == len(set(ids))
        for element in root.iter():
            for attribute, value in element.attrib.items():
                assert not attribute.lower().startswith("on")
                assert "href" not in attribute
                assert "url(" not in value or value.startswith("url(#")


def test_badges_on_one_page_do_not_share_ids():
    texts = [text for n in SAMPLES for text in pictures(sample(n)).values()]
    ids = re.findall(r'id="([^"]+)"', "".join(set(texts)))
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", SAMPLES)
def test_no_text_leaves_its_picture(name):
    for text in pictures(sample(name)).values():
        root = ET.fromstring(text)
        width = float(root.get("width"))
        for element in root.iter(f"{SVG}text"):
            x, length = float(element.get("x")), float(element.get("textLength"))
            anchor = element.get("text-anchor", "middle" if width < 700 else "start")
            left = x - {"start": 0, "middle": length / 2, "end": length}[anchor]
            assert left >= 0, ET.tostring(element)
            assert left + length <= width, ET.tostring(element)


def overlap(a: tuple, b: tuple) -> bool:
    """Whether two boxes (left, top, right, bottom) share more than half a pixel."""
    return min(a[2], b[2]) - max(a[0], b[0]) > 0.5 and min(a[3], b[3]) - max(a[1], b[1]) > 0.5


@pytest.mark.parametrize("name", SAMPLES)
def test_no_two_texts_of_the_timeline_overlap(name):
    boxes = []
    for element in ET.fromstring(timeline(sample(name))).iter(f"{SVG}text"):
        x, y, length = (float(element.get(k)) for k in ("x", "y", "textLength"))
        size = float(element.get("font-size"))
        shift = {"middle": length / 2, "end": length}.get(element.get("text-anchor"), 0)
        box = (x - shift, y - 0.75 * size, x - shift + length, y + 0.2 * size)
        for other, words in boxes:
            assert not overlap(box, other), (element.text, words)
        boxes.append((box, element.text))


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """The contrast ratio of two colours."""
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [INK, GREEN, RED, BLUE, AMBER, GREY])
@pytest.mark.parametrize("ground", [PAPER, PANEL])
def test_text_is_legible_in_light_and_dark(colour, ground):
    assert contrast(colour, ground) >= 4.5
    assert contrast(DARK[colour], DARK[ground]) >= 4.5


@pytest.mark.parametrize("ground", [GREEN, RED, BLUE, AMBER, GREY, "#555"])
def test_white_text_is_legible_on_every_fill(ground):
    assert contrast(WHITE, ground) >= 4.5


def test_every_colour_of_a_timeline_has_a_dark_twin_or_is_white_on_a_fill():
    for name in SAMPLES:
        for element in ET.fromstring(timeline(sample(name))).iter(f"{SVG}text"):
            classes = element.get("class", "")
            assert classes.startswith("tt-f-") or element.get("fill") == WHITE
    assert set(BRIGHT) == {GREEN, RED, BLUE, AMBER, GREY}


def test_every_status_has_a_word_of_its_own():
    assert set(LOOKS) == set(STATUSES)
    assert len({look.word for look in LOOKS.values()}) == len(LOOKS)
    for name in SAMPLES:
        report = sample(name)
        shown = [e.text for e in ET.fromstring(timeline(report)).iter(f"{SVG}text")]
        for checkpoint in report.checkpoints:
            assert checkpoint.id in shown
            assert checkpoint.module in shown


@given(ANY_TEXT, ANY_TEXT)
def test_a_badge_says_any_text_and_stays_xml(label, message):
    text = badge(label, message, GREEN)
    root = ET.fromstring(text)
    assert len(list(root.iter(f"{SVG}text"))) == 2
    assert text.count("<text") == 2
    assert root.get("height") == "20"
    assert text == badge(label, message, GREEN)


def test_a_badge_as_wide_as_its_words():
    root = ET.fromstring(badge("level", "7 of 20", GREEN))
    words = text_width("level", 11) + text_width("7 of 20", 11)
    assert float(root.get("width")) == pytest.approx(words + 24, abs=1.5)
    assert float(ET.fromstring(badge("x" * 500, "y" * 500, RED)).get("width")) < 560


def test_endpoint_is_what_shields_asks_for():
    for shown in badges_of(sample("hostile")).values():
        data = json.loads(endpoint(shown))
        assert list(data) == ["schemaVersion", "label", "message", "color"]
        assert data["schemaVersion"] == 1
        assert all(value.isprintable() for key, value in data.items() if key != "schemaVersion")


def test_what_the_badges_say():
    said = {name: (b.label, b.message) for name, b in badges_of(sample("partway")).items()}
    assert said["level"] == ("level", "4 of 20")
    assert said["score"] == ("score", "31 of 100")
    assert said["checkpoint"] == ("checkpoint", "05 differentiation · 8 of 12")
    assert said["stage-foundation"] == ("Foundation", "100% · 3 of 3")
    assert badges_of(sample("empty"))["level"].message == "none yet"
    assert badges_of(sample("passed"))["checkpoint"].message == "all passed"


def test_widths():
    assert len(NORMAL) == len(BOLD) == 95
    assert text_width("WWW", 10) == pytest.approx(29.67)
    assert text_width("é", 10) == text_width("e", 10)
    assert text_width("e\N{COMBINING ACUTE ACCENT}", 10) == text_width("e", 10)
    assert text_width("字", 10) == 10
    assert clip("short", 100, 11) == "short"


@given(ANY_TEXT, st.floats(12, 300))
def test_clipped_text_fits(text, width):
    assert text_width(clip(text, width, 11), 11) <= width


# The whole, on random reports


@SLOW
@given(reports())
def test_any_report_renders_to_well_formed_files(report):
    files = render_all(report)
    assert files == render_all(parse_report(json.dumps(report.to_json())))
    for name, text in files.items():
        text.encode()
        assert re.fullmatch(r"(badges/)?[a-z0-9_-]+\.(svg|json|md)", name)
        if name.endswith(".svg"):
            root = ET.fromstring(text)
            assert float(root.get("width")) <= WIDTH
        if name.endswith(".json"):
            json.loads(text)


# Markdown

PARSER = MarkdownIt("commonmark", {"linkify": False}).enable(["table", "strikethrough"])


def kinds(text: str) -> list[str]:
    """The kinds of tokens in a Markdown text, inline ones included."""
    found = []
    for token in PARSER.parse(text):
        found.append(token.type)
        found += [child.type for child in token.children or ()]
    return found


@given(ANY_TEXT | st.text("`*_[]()<>&|#+-=.:~$!@w\\ 0129\n", max_size=40))
def test_markdown_text_is_only_text(text):
    """In a paragraph, a heading and a table cell, nothing of it becomes markup."""
    for before, after in (("", ""), ("- ", ""), ("# ", ""), ("word ", " word")):
        found = set(kinds(before + markdown(text) + after))
        assert not found & {"link_open", "image", "html_inline", "html_block", "code_inline"}
        assert not found & {"strong_open", "em_open", "s_open", "softbreak", "hardbreak", "hr"}
        assert before == "# " or "heading_open" not in found
        assert before == "- " or "bullet_list_open" not in found
        assert not found & {"ordered_list_open", "fence", "code_block", "blockquote_open"}
    escaped = markdown(text)
    assert not re.search(r"@\w|://|www\.", escaped)
    table = f"| a | b |\n|---|---|\n| {escaped} | c |"
    assert kinds(table).count("td_open") == 2


@given(ANY_TEXT | st.text("`a \n", max_size=20))
def test_code_and_fences_hold_their_text(text):
    inline = kinds(f"x {code(text)} y")
    assert inline.count("code_inline") == 1
    assert "html_inline" not in inline
    assert kinds(fence(text)) == ["fence"]


@pytest.mark.parametrize("name", SAMPLES)
def test_summary_holds_no_markup_but_its_own(name):
    text = summary(sample(name))
    own = re.compile(
        r"^<details>\n<summary>Reflections: [^<>]*</summary>$|^</details>$", re.MULTILINE
    )
    found = set(kinds(own.sub("", text)))
    assert not found & {"link_open", "image", "html_inline", "html_block", "em_open", "s_open"}
    headings = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(headings) == 1


def test_summary_says_what_an_instructor_needs():
    text = summary(sample("partway"))
    first, *_ = text.splitlines()
    assert first == "# 31 of 100 points · level 4 of 20"
    for stage in sample("partway").stages:
        assert f"### {stage.name}: " in text
    assert "Complete: “I can build mathematical operations and ML primitives”" in text
    failure = sample("partway").by_id["05"].tests[0].failure
    assert describe(failure) in text
    assert "node 3 of 9" in text
    assert "About this run" not in text
    assert text.count("```text") == 4, "the first failure of each of four failing checkpoints"
    assert "| C1 | centred\\_rows, the student’s own | ✓ passed | 2 of 2 |" in text


def test_summary_tells_what_is_off():
    text = summary(sample("hostile"))
    assert "**Isolation:** network not active" in text
    assert "**Integrity:** course files missing: `checkpoints/feedback.py`" in text
    assert "## Files that cannot be used" in text


def test_summary_stays_below_what_actions_accepts():
    data = json.loads((HERE / "timeouts" / "sample.json").read_text(encoding="utf-8"))
    model = next(c for c in data["checkpoints"] if c["id"] == "05")
    failing = next(t for t in model["tests"] if t["failure"])
    for name in ("expected", "got", "detail"):
        failing["failure"][name] = "字" * 1000
    failing["failure"]["output"] = "字" * 4000
    failing |= {"points": 0, "max_points": 0}
    checkpoints = []
    for i in range(100):
        tests = [failing | {"name": f"{j}" + "字" * 100} for j in range(30)]
        own = {"id": f"{i:02}", "needs": [], "blocked_by": [], "max_points": 0, "points": 0}
        checkpoints.append(model | own | {"status": "failed", "tests": tests})
    data |= {"checkpoints": checkpoints, "score": {"points": 0, "max": 0}, "level": None}
    data["next"] = None
    text = summary(Report.from_json(data))
    assert 100_000 < len(text.encode()) <= LIMIT
    assert "more failing checkpoints are in report.json" in text


# Terminals and Actions logs


def commands_in(log: str) -> list[str]:
    """The lines that the Actions runner would take for commands."""
    lines = re.split(r"\r\n|\r|\n", log)
    return [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


@given(ANY_TEXT | st.text(" :#[]ab\n\r\t\v\f\x1c\x85\xa0\u2028\u3000", max_size=30))
def test_plain_text_neither_commands_nor_controls(text):
    shown = plain(text)
    assert not commands_in(shown)
    assert not commands_in("  " + shown)
    assert shown.replace("\n", "").isprintable()
    assert plain(shown) == shown
    assert "\n" not in xml(text)


def test_what_is_harmless_stays_as_it_is():
    text = "shape (2,) → x[::2] @ y  # 50%\n  second line"
    assert visible(text) == plain(text) == text


@SLOW
@given(reports())
def test_annotations_are_at_most_ten_whole_commands(report):
    found = annotations(report)
    assert len(found) <= MOST
    for line in found:
        assert "\n" not in line
        assert "\r" not in line
        match = re.fullmatch(r"::(?:error|warning) (.*?)::(.*)", line)
        assert match
        properties = [pair.split("=", 1)[0] for pair in match[1].split(",")]
        assert properties in (["file", "line", "title"], ["title"])
        assert re.fullmatch(r"(?:%25|%0A|[^%])*", match[2])


def test_annotations_take_the_first_failure_of_each_checkpoint_first():
    titles = [re.search("title=(.*?)::", line)[1] for line in annotations(sample("partway"))]
    assert titles[0] == "05 differentiation%3A test_differentiation_1"
    assert titles[1].startswith("10 text")
    assert titles[2].startswith("06 optimization"), "blocked ones come last of the ladder's"
    assert titles[3].startswith("C2 batches_of_one"), "and after them the custom ones"
    assert titles[4] == "05 differentiation%3A test_differentiation_5"
    assert annotations(sample("empty")) == []
    assert annotations(sample("passed")) == []


def test_a_checkpoint_that_could_not_run_is_annotated_on_its_source():
    lines = annotations(sample("timeouts"))
    assert any("file=modules/04_losses/losses.py,line=1" in line for line in lines)
    assert command_message("100% :: a\nb") == "100%25 :: a%0Ab"


# The failure block


def test_the_failure_block_is_that_of_the_design():
    failure = Failure(
        headline="Tensor.sum(axis=1): expected shape (2,), got (2, 1)",
        asked="sum each row of a (2, 3) tensor, keepdims=False",
        expected="[6. 15.]",
        got="[[ 6.] [15.]]",
        hint="the summed axis disappears unless keepdims is True",
        file="modules/01_tensor/tensor.py",
        line=212,
        step=4,
        command="tito checkpoint run 01",
    )
    assert describe(failure) == "\n".join(
        [
            "Tensor.sum(axis=1): expected shape (2,), got (2, 1)",
            "  asked     sum each row of a (2, 3) tensor, keepdims=False",
            "  expected  [6. 15.]",
            "  got       [[ 6.] [15.]]",
            "  hint      the summed axis disappears unless keepdims is True",
            "  look at   modules/01_tensor/tensor.py:212 (step 4), then: tito checkpoint run 01",
        ]
    )


def test_places():
    assert place_text(None, None, None, "") == ""
    assert place_text(None, 3, 2, "tito checkpoint run 01") == "run: tito checkpoint run 01"
    assert place_text("a.py", None, None, "") == "a.py"
    assert failure_text("x", [("got", "1\n2"), ("hint", "")]) == "x\n  got       1\n            2"
