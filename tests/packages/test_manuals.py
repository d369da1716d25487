"""The manuals say what the programs do: every option, every error that a person can cause."""

import re
import subprocess

import pytest

from programs import PROGRAMS, ROOT, help_options

MANUALS = sorted((ROOT / "packaging/man").iterdir())


def rendered(manual):
    """As a reader sees it, in one line: how it is broken into lines counts for nothing."""
    text = subprocess.run(["mandoc", "-Tutf8", "-Owidth=200", manual], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    text = re.sub(".\b", "", text)
    for curly, plain in (("“", '"'), ("”", '"'), ("‘", "`"), ("’", "'"), ("‐", "-"), ("−", "-")):
        text = text.replace(curly, plain)
    return " ".join(text.split())


def section(text, first, last):
    return text[text.index(f" {first} "):text.index(f" {last} ")]


def error_texts(source):
    """The literal parts of three words or more of what a source file puts into errors."""
    code = re.sub(r'"\s*\n\s*"', "", source.read_text())
    statements = re.findall(
        r'(?:failed\(|\bError\{|errno_error\(|message \+=|case E\w+:\s*return|std::string message =)'
        r'((?:"(?:[^"\\]|\\.)*"|[^";])*);', code)
    for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', " ".join(statements)):
        for part in re.split(r"\{[^}]*\}", re.sub(r"\\(.)", r"\1", literal)):
            text = part.strip(" ():;,\"'`")
            if len(text.split()) >= 3:
                yield text


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: path.name)
def test_markup_is_clean(manual):
    for checker in (["mandoc", "-Tlint", "-Wwarning"], ["man", "--warnings", "--local-file"]):
        checked = subprocess.run([*checker, manual], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        # mandoc -Tlint complains on the standard output, to which man writes the manual.
        complaints = checked.stderr if checker[0] == "man" else checked.stdout
        assert complaints == ""
        assert checked.returncode == 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_manual_has_the_options_of_the_program(program):
    options = section(rendered(PROGRAMS[program].manual), "OPTIONS", PROGRAMS[program].after_options)
    assert set(re.findall(r"--[a-z][a-z-]+", options)) == help_options(program)


@pytest.mark.parametrize("program", PROGRAMS)
def test_manual_has_the_errors_of_the_program(program):
    manual = rendered(PROGRAMS[program].manual)
    texts = {text for source in PROGRAMS[program].sources for text in error_texts(source)}
    assert len(texts) > 5
    assert [text for text in sorted(texts) if " ".join(text.split()) not in manual] == []
