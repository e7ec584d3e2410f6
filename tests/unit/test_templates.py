"""Rendering: nothing is left out silently, and a script runs whole or not at all."""

import base64
import gzip
import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulkhead import templates
from bulkhead.templates import TEMPLATES, decode, render, whole
from tests.unit.helpers import sh


def test_a_value_that_nobody_gave_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'socket' is undefined"):
        render("docker/api.sh.j2")


def test_threads_compile_a_template_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_it = templates.environment.compile

    def slowly(source: Any, name: str, *rest: Any, **options: Any) -> Any:
        compiled.append(name)
        time.sleep(0.05)
        return compile_it(source, name, *rest, **options)

    monkeypatch.setattr(templates.environment, "compile", slowly)
    monkeypatch.setattr(templates.environment, "cache", {})
    templates._template.cache_clear()
    together = threading.Barrier(8)

    def rendered(number: int) -> str:
        together.wait()
        return render("gvisor/links.sh.j2", paths=[f"/{number}"])

    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(rendered, range(8)))
    assert compiled == ["gvisor/links.sh.j2"]
    assert [f"for path in /{number}; do" in text for number, text in enumerate(texts)] == [True] * 8


def test_values_for_the_shell_are_quoted() -> None:
    assert "for path in '/a b' '$(touch x)'; do" in render("gvisor/links.sh.j2", paths=["/a b", "$(touch x)"])


def test_toml_is_not_escaped_as_html() -> None:
    text = render("containerd/runsc.toml.j2", name="runsc", binary="/a&b", config={"root": "<x>"})
    assert 'binary_name = "/a&b"\n' in text
    assert 'root = "<x>"\n' in text


@settings(max_examples=15)
@given(st.binary(max_size=5000))
def test_decode_prints_any_bytes(content: bytes) -> None:
    assert subprocess.run(["sh", "-c", decode(content)], capture_output=True, check=True).stdout == content


def test_decode_packs_and_is_always_the_same() -> None:
    content = b"a" * 100_000
    assert len(decode(content)) < 500
    assert decode(content) == decode(content)
    packed = decode(b"x").split()[2]
    assert gzip.decompress(base64.b64decode(packed)) == b"x"


def test_decode_of_a_large_content() -> None:
    content = random.Random(4).randbytes(500_000)
    assert subprocess.run(["sh"], input=decode(content).encode(), capture_output=True, check=True).stdout == content


def test_a_whole_script_reads_nothing_from_its_own_text() -> None:
    assert sh(whole("cat; echo done") + "echo after\n").stdout == "done\nafter\n"


@pytest.mark.parametrize("kept", ["main() {\n", "main() {\necho one\n", "echo two\n}", "\nmai"])
def test_a_script_without_its_end_runs_nothing(kept: str) -> None:
    script = whole("echo one\necho two")
    assert script == "main() {\necho one\necho two\n}\nmain </dev/null\n"
    assert sh(script[: script.rindex(kept) + len(kept)]).stdout == ""


@pytest.mark.parametrize("path", sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.j2")))
def test_every_template_is_valid(path: str) -> None:
    environment = jinja2.Environment()
    environment.filters.update(quote=str, decode=str)
    environment.parse((TEMPLATES / path).read_text())
