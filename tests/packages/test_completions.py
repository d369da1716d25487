"""Every shell offers what the program takes, asked as the shell itself asks."""

import re
import subprocess

import pytest

from programs import PROGRAMS, help_options
from shells import SHELLS


@pytest.fixture(params=SHELLS)
def shell(request, program, tmp_path):
    return SHELLS[request.param](program, tmp_path)


@pytest.fixture(params=PROGRAMS)
def program(request):
    return request.param


def accepted(program, argument):
    """The words that the program's own error about an argument lists, if it lists any."""
    refused = subprocess.run([PROGRAMS[program].binary, argument], stderr=subprocess.PIPE,
                             text=True).stderr
    words = re.search(r'"\?": accepted: ((?:[a-z_]+, )+[a-z_]+)$', refused.strip())
    return set(words.group(1).split(", ")) if words else set()


def test_all_options_are_offered(shell, program):
    assert {offer for offer in shell.offers("--") if offer.startswith("--")} == help_options(program)


def test_words_are_offered(shell, program):
    commands = accepted(program, "?")
    options = {option: words for option in help_options(program)
               if (words := accepted(program, f"{option}=?"))}
    assert commands or options
    assert commands <= shell.offers("")
    for option, words in options.items():
        assert shell.offers(option, "") == words, option


@pytest.mark.parametrize("program", ["fairlead-net"])
def test_network_has_words_of_its_own(shell):
    assert shell.offers("network", "") == {"create", "ls", "inspect", "rm"}


@pytest.mark.parametrize("program", ["fairlead-proxy"])
def test_no_option_is_offered_for_a_number(shell):
    assert {offer for offer in shell.offers("--workers", "") if offer.startswith("-")} == set()
