"""kill -9 while documents come in: what was acknowledged is indexed in the end, once."""

import http.client
import os
import subprocess

import samples
from harness import BINARY, Program, wait_for
from mock_upstream import MockUpstream

FILES = 24


def upload(client, name, content):
    return client.raw("POST", f"/api/v1/documents?source_name={name}&uri=test:{name}", content, {"Content-Type": "application/octet-stream"})


def test_uploads_survive_a_killed_server():
    with MockUpstream() as mock, Program(upstream=mock.url) as p:
        admin = p.setup()
        acknowledged = set()
        for i in range(FILES):
            content = samples.report_pdf() if i % 3 == 0 else samples.docx(title=f"Plan {i}") if i % 3 == 1 else f"# Note {i}\n\nText.".encode()
            if i in (7, 15):
                p.kill("server")
                wait_for(lambda: p.status("/readyz") == 200, "the server's return")
            try:
                if upload(admin, f"f{i}{('.pdf', '.docx', '.md')[i % 3]}", content)[0] == 201:
                    acknowledged.add(i)
            except (OSError, http.client.HTTPException):
                pass  # not acknowledged
        p.kill("server")
        wait_for(lambda: p.status("/readyz") == 200, "the server's return")

        def done():
            docs = admin.get("/api/v1/documents?limit=200")["data"]
            return docs if all(d["status"] != "pending" for d in docs) else None

        docs = wait_for(done, "the index")
        names = [d["source_name"] for d in docs]
        assert len(names) == len(set(names)), "a document came twice"
        assert {int(n[1:].split(".")[0]) for n in names} >= acknowledged
        assert all(d["status"] == "indexed" and d["chunk_count"] >= 1 for d in docs)


def test_a_killed_ingest_goes_on(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(200):
        (folder / f"n{i}.md").write_text(f"# Note {i}\n\nSome text of number {i}.")
    data = str(tmp_path / "data")
    subprocess.run([BINARY, "user", "add", "ada", "--email", "ada@example.org", "--admin", "--data-dir", data], input=b"a long password\n",
                   stdout=subprocess.DEVNULL, check=True)
    argv = [BINARY, "ingest", "--no-wait", "--data-dir", data, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wal = os.path.join(data, "parley.db-wal")
        wait_for(lambda: first.poll() is not None or (os.path.exists(wal) and os.path.getsize(wal) > 200000), "some files")
        first.kill()
    again = subprocess.run(argv, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    new, unchanged = (int(x.split()[0]) for x in again.stdout.split(", ")[:2])
    assert new + unchanged == 200
    third = subprocess.run(argv, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    assert third.stdout.startswith("0 new or changed, 200 unchanged")
