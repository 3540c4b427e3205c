"""Colours of what jobs write: classes, and nothing else of what they send to a terminal."""

from __future__ import annotations

import time

import pytest

from crons.web.ansi import coloured


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain <b>&</b>", "plain &lt;b&gt;&amp;&lt;/b&gt;"),
        ("\x1b[31mred\x1b[0m not", '<span class="ansi-red">red</span> not'),
        ("\x1b[1;32mok\x1b[m!", '<span class="ansi-bold ansi-green">ok</span>!'),
        ("\x1b[1mb\x1b[22mc", '<span class="ansi-bold">b</span>c'),
        ("\x1b[91mbright\x1b[39m.", '<span class="ansi-red">bright</span>.'),
        ("\x1b[38;5;4mfour\x1b[38;5;200m", '<span class="ansi-blue">four</span>'),
        ("\x1b[38;2;1;31;3mtrue", "true"),
        ("\x1b[41;8;5mhidden", "hidden"),
        ("\x1b[48;5;1mback", "back"),
        ("\x9b31mC1", '<span class="ansi-red">C1</span>'),
        ("\x1b]0;title\x07seen", "seen"),
        ("\x1b]52;c;ZXZpbA==\x1b\\seen", "seen"),
        ("\x1b[2Jcleared\x1b[1Ahome", "clearedhome"),
        ("\x1b]0;\x1b[31mtorn\x07", "�]0;" + '<span class="ansi-red">torn�</span>'),
        ("begun \x1b[3", "begun "),
        ("\x1b[" + "9" * 5_000 + "mlong", "long"),
        ('\x1b[31"><script>alert(1)</script>m', "�[31&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;m"),
        ("\u202egnp.exe", "�gnp.exe"),
    ],
)  # fmt: skip
def test_only_colours_and_bold_are_kept(text, html):
    """Backgrounds and hidden text could hide what is written; everything else steers a terminal."""
    assert coloured(text)[0] == html


def test_colour_goes_on_in_the_next_part():
    """A page that follows a job gets its output in parts."""
    _, state = coloured("\x1b[1;31mred")

    assert state == "b1"
    assert coloured("on", state) == ('<span class="ansi-bold ansi-red">on</span>', "b1")


@pytest.mark.parametrize("forged", ['"><script>', "b9", "x", "bb", "1\n"])
def test_forged_state_is_none(forged):
    """It comes from an address."""
    assert coloured("text", forged) == ("text", "")


def test_a_page_of_nothing_but_colours_takes_no_time():
    """A job that is out of hand must not hold a web worker."""
    begun = time.process_time()

    html, _ = coloured("\x1b[31m" * 13_000 + "\x1b[" * 30_000 + "x")

    assert html.count("<span") == 1
    assert time.process_time() - begun < 5
