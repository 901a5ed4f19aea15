"""The page in a real browser: the stories of tests/e2e/browser drive Chromium against the whole program."""

import os
import subprocess

from harness import Program
from mock_upstream import MockUpstream, embed_words

HERE = os.path.dirname(os.path.abspath(__file__))


def browse(program, story="page", **env):
    env = {**os.environ, "PARLEY_URL": program.url, "PARLEY_SETUP_TOKEN": program.setup_token(),
           "PARLEY_SUPERVISOR_PID": str(program.child.pid), **env}
    done = subprocess.run(["node", "--test", os.path.join(HERE, "browser", story + ".test.mjs")], env=env, capture_output=True,
                          text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_page_with_the_scripted_model(tmp_path):
    log = str(tmp_path / "upstream.jsonl")
    mock = MockUpstream(log)
    try:
        with Program(upstream=mock.url) as p:
            browse(p, PARLEY_UPSTREAM_LOG=log)
    finally:
        mock.close()


def test_page_with_the_real_model():
    with Program() as p:
        browse(p)


def test_documents_on_the_page():
    with MockUpstream() as mock, Program(upstream=mock.url) as p:
        mock.embed = embed_words
        browse(p, "documents")
