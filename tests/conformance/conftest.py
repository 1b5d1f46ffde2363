"""The drivers of this session, and what each of them answered in each scenario."""

from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import pytest

from conformance.languages import LANGUAGES, Languages
from conformance.scenario import play


@pytest.fixture(scope="session")
def languages(tmp_path_factory):
    made = Languages(tmp_path_factory.mktemp("drivers"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def played(request, languages, tmp_path_factory):
    """`played(scenario, language)`: the answers of that driver in that scenario.

    A scenario is played once, by Python and by all languages that are to be tested, at the same time: they mostly wait.
    """
    chosen = {item.callspec.params.get("language") for item in request.session.items if hasattr(item, "callspec")}
    futures, alone = {}, Lock()

    def answers(scenario, language):
        if scenario.alone:
            with alone:
                return answer(scenario, language)
        return answer(scenario, language)

    def answer(scenario, language):
        driver = languages.get(language)
        try:
            return play(scenario, driver, tmp_path_factory.mktemp(language))
        except BaseException as error:
            error.add_note(driver.complaints())
            languages.forget(language)
            raise

    with ThreadPoolExecutor(len(LANGUAGES)) as pool:

        def result(scenario, language):
            key = str(scenario)
            if key not in futures:
                futures[key] = {one: pool.submit(answers, scenario, one) for one in LANGUAGES if one in {"python", *chosen}}
            return futures[key][language].result()

        yield result
