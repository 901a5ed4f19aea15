"""/openapi.json is valid, names every route, and what runs keeps its word (schemathesis throws generated requests at it)."""

import json
import re
import subprocess
import sys

import openapi_spec_validator


def test_document_is_valid_openapi(program):
    document = json.loads(program.admin.raw("GET", "/openapi.json")[2])
    assert document["openapi"].startswith("3.1")
    openapi_spec_validator.validate(document)
    for path in ("/api/v1/conversations/{conversation_id}/messages", "/v1/chat/completions", "/api/v1/roles/{role_id}", "/healthz"):
        assert path in document["paths"], path


def test_every_operation_has_its_schemas(program):
    document = json.loads(program.admin.raw("GET", "/openapi.json")[2])
    schemas, ids = document["components"]["schemas"], set()
    for path, operations in document["paths"].items():
        for method, o in operations.items():
            where = f"{method} {path}"
            assert o["summary"] and o["operationId"] not in ids, where
            ids.add(o["operationId"])
            good = {status: r for status, r in o["responses"].items() if status.startswith("2")}
            assert good and "default" in o["responses"], where
            for status, r in good.items():
                assert ("content" in r) != (status == "204"), where
            if method in ("post", "put", "patch"):
                assert "requestBody" in o or path.startswith("/api/v1/store/") or path.endswith("/cancel"), where
            named = [p["name"] for p in o["parameters"] if p["in"] == "path"]
            assert all("{" + n + "}" in path for n in named) and len(named) == path.count("{"), where
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert schemas[name]["type"] == "object", name


def test_generated_requests_never_break_the_server(program, tmp_path):
    key = program.admin.post("/api/v1/keys", {"name": "schemathesis"})["key"]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", program.url + "/openapi.json", "-H", f"Authorization: Bearer {key}",
         "--checks", "not_a_server_error,response_schema_conformance,content_type_conformance", "--max-examples", "8", "--seed", "1", "--exclude-path-regex", "users/me|sessions|/events|/keys/",
         "--request-timeout", "30", "--no-color", "--phases", "examples,fuzzing"], capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert program.status("/healthz") == 200
