"""The fixtures of the end-to-end and fault tests."""

import itertools

import pytest
from harness import Program
from mock_upstream import MockUpstream

numbers = itertools.count(1)


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
def user(program):
    """A fresh member."""
    return program.sign_up(f"user{next(numbers)}")
