import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "e2e"))

from conftest_shared import mock, program, real, user  # noqa: E402,F401
