"""Every scenario with every language: each as the scenario expects, and all alike."""

from itertools import zip_longest

import pytest

from conformance.languages import LANGUAGES
from conformance.scenario import load


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scenario", load(), ids=str)
def test_scenario(scenario, language, played):
    answers = played(scenario, language)
    if language != "python":
        for answer, wanted in zip_longest(answers, played(scenario, "python")):
            assert answer == wanted, f"{language} is not as Python"
