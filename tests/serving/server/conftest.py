"""One server of the shipped VLM for all tests that need no flags of their own."""

import openai
import pytest

from grip_vlm import pruners, vlms
from grip_vlm.benchmarks.data import load_examples
from served import serving


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """The server's home folder: what it measures for times is stored there."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def served(home):
    with serving("--batch", "4", HOME=str(home)) as server:
        yield server


@pytest.fixture(scope="session")
def client(served):
    return openai.OpenAI(base_url=served.url, api_key="none", max_retries=0)


@pytest.fixture(scope="session")
def offline():
    """(image, question, budget) -> the answer without a server."""
    vlm = vlms.load("tiny-llava", device="cpu")
    grip = pruners.load("grip", scorer="tiny-llava")
    return lambda image, question, budget: vlm.answer(image, question, grip, budget)


@pytest.fixture(scope="session")
def scenes():
    """Two items of each composed benchmark."""
    return load_examples("scenes", "train", 12)
