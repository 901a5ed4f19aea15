import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from harness import Program  # noqa: E402
from mock_upstream import MockUpstream  # noqa: E402


@pytest.fixture(scope="module")
def mock():
    m = MockUpstream()
    yield m
    m.close()


@pytest.fixture(scope="module")
def program(mock):
    """The whole program with the scripted model server behind it."""
    with Program(upstream=mock.url) as p:
        p.admin = p.setup()
        yield p


@pytest.fixture(scope="module")
def real():
    """The whole program with its own engine and the small model."""
    with Program() as p:
        p.admin = p.setup()
        yield p


@pytest.fixture
def user(program, request):
    """A fresh member, named after the test."""
    name = request.node.name.replace("[", "-").replace("]", "")[:50]
    return program.sign_up(name)
