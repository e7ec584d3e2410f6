"""Pinning a release: two places must agree, and every other answer is refused by name."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from bulkhead import publish
from bulkhead.errors import BulkheadError
from bulkhead.publish import add, digests, fetch, latest, published
from tests.unit.helpers import Site, broken_off, leading_to, website

RUNSC_X86 = "a1" * 64
SHIM_X86 = "b2" * 64
RUNSC_ARM = "c3" * 64
SHIM_ARM = "d4" * 64
OTHER = "e5" * 64

RELEASE = "20260817.0"
BUCKET = f"/bucket/release/{RELEASE}"
SUMS = f"/github/release-{RELEASE}/SHA512SUMS"


@pytest.fixture
def site() -> Iterator[Site]:
    with website() as site:
        yield site


@pytest.fixture
def loose(site: Site) -> Site:
    """The last layout with loose files: the bucket has a `.sha512` beside each, GitHub one list."""
    site.pages = {
        f"{BUCKET}/x86_64/runsc.sha512": f"{RUNSC_X86}  runsc\n".encode(),
        f"{BUCKET}/x86_64/containerd-shim-runsc-v1.sha512": f"{SHIM_X86}  containerd-shim-runsc-v1\n".encode(),
        f"{BUCKET}/aarch64/runsc.sha512": f"{RUNSC_ARM}  runsc\n".encode(),
        f"{BUCKET}/aarch64/containerd-shim-runsc-v1.sha512": f"{SHIM_ARM}  containerd-shim-runsc-v1\n".encode(),
        SUMS: (
            f"{RUNSC_X86}  runsc-amd64\n{SHIM_X86}  containerd-shim-runsc-v1-amd64\n"
            f"{RUNSC_ARM}  runsc-arm64\n{SHIM_ARM}  containerd-shim-runsc-v1-arm64\n"
        ).encode(),
    }
    return site


@pytest.fixture
def tarballs(site: Site) -> Site:
    """The layout after it: two tarballs, of which GitHub has one."""
    site.pages = {
        f"{BUCKET}/x86_64/gvisor.tar.bz2.sha512": f"{RUNSC_X86}  gvisor.tar.bz2\n".encode(),
        f"{BUCKET}/x86_64/gvisor.tar.zstd.sha512": f"{SHIM_X86}  gvisor.tar.zstd\n".encode(),
        f"{BUCKET}/aarch64/gvisor.tar.bz2.sha512": f"{RUNSC_ARM}  gvisor.tar.bz2\n".encode(),
        SUMS: f"{RUNSC_X86}  gvisor-x86_64.tar.bz2\n{RUNSC_ARM} *./out/gvisor-aarch64.tar.bz2\n".encode(),
    }
    return site


def ask(site: Site, release: str = RELEASE) -> dict[str, dict[str, str]]:
    return published(release, f"{site.url}/bucket", f"{site.url}/github")


def refused(site: Site, release: str = RELEASE) -> BulkheadError:
    with pytest.raises(BulkheadError) as error:
        ask(site, release)
    return error.value


def test_loose_files(loose: Site) -> None:
    assert ask(loose) == {
        "x86_64": {"runsc": RUNSC_X86, "containerd-shim-runsc-v1": SHIM_X86},
        "aarch64": {"runsc": RUNSC_ARM, "containerd-shim-runsc-v1": SHIM_ARM},
    }


def test_tarballs_of_which_one_is_confirmed(tarballs: Site) -> None:
    assert ask(tarballs) == {
        "x86_64": {"gvisor.tar.bz2": RUNSC_X86},
        "aarch64": {"gvisor.tar.bz2": RUNSC_ARM},
    }


@pytest.mark.parametrize(
    "release", ["latest", "nightly", "2026081", "20260817", "20260817.", "20260817.0+ours", "../x", ""]
)
def test_a_release_that_is_not_exact_is_refused_before_asking(site: Site, release: str) -> None:
    error = refused(site, release)
    assert error.message == f"{release!r} is not an exact release"
    assert error.hint == "Name one, such as 20260817.0; 'latest' and a day alone move and can't be pinned."
    assert site.asked == []


def test_a_release_that_github_has_not_got(loose: Site) -> None:
    del loose.pages[SUMS]
    error = refused(loose)
    assert error.message == f"{loose.url}{SUMS}: not found, so nothing confirms the bucket's digests"
    assert "20260817.0" in error.hint


def test_a_release_that_the_bucket_has_not_got(loose: Site) -> None:
    loose.pages = {SUMS: loose.pages[SUMS]}
    assert refused(loose).message == f"{loose.url}{BUCKET}/x86_64: no digest of any artefact there"


def test_an_architecture_that_the_bucket_has_not_got(tarballs: Site) -> None:
    del tarballs.pages[f"{BUCKET}/aarch64/gvisor.tar.bz2.sha512"]
    assert refused(tarballs).message == f"{tarballs.url}{BUCKET}/aarch64: no digest of any artefact there"


def test_two_places_that_disagree(loose: Site) -> None:
    loose.pages[f"{BUCKET}/aarch64/runsc.sha512"] = f"{OTHER}  runsc\n".encode()
    error = refused(loose)
    assert error.message == (
        f"runsc for aarch64: the release bucket says sha512 {OTHER}, {loose.url}{SUMS} says {RUNSC_ARM}"
    )
    assert error.hint == "One of the two was changed. Pin nothing, and tell the gVisor project."


def test_one_artefact_that_disagrees_among_others_that_agree(loose: Site) -> None:
    loose.pages[f"{BUCKET}/x86_64/containerd-shim-runsc-v1.sha512"] = f"{OTHER}  containerd-shim-runsc-v1\n".encode()
    assert refused(loose).message.startswith("containerd-shim-runsc-v1 for x86_64: the release bucket says")


def test_an_architecture_of_which_nothing_is_confirmed(tarballs: Site) -> None:
    tarballs.pages[SUMS] = f"{RUNSC_X86}  gvisor-x86_64.tar.bz2\n".encode()
    error = refused(tarballs)
    assert error.message == f"{RELEASE} on aarch64: none of gvisor.tar.bz2 is in {tarballs.url}{SUMS}"
    assert error.hint == "Without a second source nothing is pinned."


def test_the_other_architecture_s_digest_confirms_nothing(tarballs: Site) -> None:
    tarballs.pages[SUMS] = f"{RUNSC_X86}  gvisor-x86_64.tar.bz2\n{RUNSC_ARM}  gvisor-riscv64.tar.bz2\n".encode()
    assert "on aarch64: none of" in refused(tarballs).message


def test_a_page_of_html_with_status_200(loose: Site) -> None:
    loose.pages[f"{BUCKET}/x86_64/runsc.sha512"] = b"<!DOCTYPE html>\n<html>Sign in</html>"
    assert refused(loose).message == (
        f"{loose.url}{BUCKET}/x86_64/runsc.sha512: not a list of sha512 digests: '<!DOCTYPE html>'"
    )


def test_a_digest_of_another_file(loose: Site) -> None:
    loose.pages[f"{BUCKET}/x86_64/runsc.sha512"] = f"{RUNSC_X86}  runsc-old\n{SHIM_X86}  shim\n".encode()
    assert refused(loose).message == (
        f"{loose.url}{BUCKET}/x86_64/runsc.sha512: does not name runsc, but runsc-old, shim"
    )


def test_an_empty_digest(loose: Site) -> None:
    loose.pages[f"{BUCKET}/x86_64/runsc.sha512"] = b"\n"
    message = refused(loose).message
    assert message == f"{loose.url}{BUCKET}/x86_64/runsc.sha512: does not name runsc, but nothing"


@pytest.mark.parametrize("status", [403, 500, 503])
def test_another_status_than_404_is_no_absence(loose: Site, status: int) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_error(status)

    loose.pages[f"{BUCKET}/x86_64/gvisor.tar.bz2.sha512"] = answer
    error = refused(loose)
    assert error.message.startswith(f"{loose.url}{BUCKET}/x86_64/gvisor.tar.bz2.sha512: answers {status} ")
    assert error.hint == "Try again later."


def test_a_list_that_is_cut_off(loose: Site) -> None:
    whole = loose.pages[SUMS]
    assert isinstance(whole, bytes)
    # Cut between two lines, where what is left looks like a shorter list.
    loose.pages[SUMS] = broken_off(whole[: whole.index(b"\n") + 1], len(whole))
    assert refused(loose).message == f"{loose.url}{SUMS}: the answer is cut off, or no list of digests"


def test_nobody_answers() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        with pytest.raises(BulkheadError) as error:
            fetch(url)
    assert error.value.message == f"{url}: can't be reached: [Errno 111] Connection refused"
    assert error.value.hint == "Is this computer on the internet?"


def test_somebody_else_than_a_web_server_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.example ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(BulkheadError) as error:
            fetch(url)
        thread.join()
    assert error.value.message.startswith(f"{url}: can't be reached: ")


def test_nobody_answers_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(BulkheadError) as error:
            fetch(url)
    assert error.value.message == f"{url}: can't be reached: timed out"


@pytest.mark.parametrize("url", ["releases", "http://exa mple/x", "http://[::1/x"])
def test_something_else_than_an_address(url: str) -> None:
    with pytest.raises(BulkheadError) as error:
        fetch(url)
    assert error.value.message.startswith(f"{url}: can't be reached: ")


def test_lists_of_digests() -> None:
    text = f"{RUNSC_X86}  runsc\n\n  {SHIM_X86} *./dir/shim  \n"
    assert digests(text, "u") == {"runsc": RUNSC_X86, "shim": SHIM_X86}


@pytest.mark.parametrize("line", [RUNSC_X86, f"{RUNSC_X86[1:]}  runsc", f"{RUNSC_X86.upper()}  runsc", "x  runsc"])
def test_a_line_that_is_no_digest(line: str) -> None:
    with pytest.raises(BulkheadError) as error:
        digests(f"{SHIM_X86}  shim\n{line}\n", "https://example/SUMS")
    assert error.value.message == f"https://example/SUMS: not a list of sha512 digests: {line[:60]!r}"


FOUND = {"x86_64": {"runsc": RUNSC_X86}}


def test_a_new_release_is_added_to_the_others() -> None:
    assert add("20260817.0", FOUND, {"20260810.0": {}}) == {"20260810.0": {}, "20260817.0": FOUND}
    assert add("20260817.0", FOUND, {"20260817.0": FOUND}) == {"20260817.0": FOUND}


def test_a_release_that_changed_since_it_was_pinned() -> None:
    with pytest.raises(BulkheadError) as error:
        add("20260817.0", FOUND, {"20260817.0": {"x86_64": {"runsc": OTHER}}})
    assert error.value.message == "20260817.0 is already pinned, with other digests than are published now"
    assert error.value.hint.startswith("A release never changes: find out which of the two is wrong")


# The newest release


@pytest.mark.parametrize(
    ("place", "release"),
    [
        ("/releases/tag/release-20260914.0", "20260914.0"),
        ("/releases/tag/release-20260914.0-rc", None),
        ("/releases", None),
        ("/nowhere/release-20260914.0", None),
    ],
)
def test_the_newest_release_is_where_the_page_leads(site: Site, place: str, release: str | None) -> None:
    site.pages = {"/latest": leading_to(place)}
    site.pages |= {one: b"page" for one in (place, "/releases") if not one.startswith("/nowhere")}
    assert latest(f"{site.url}/latest") == release


def test_a_newest_release_that_can_t_be_asked_for_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert latest("http://127.0.0.1:9/latest") is None
    monkeypatch.setattr(publish, "SHORT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert latest(f"http://127.0.0.1:{silent.getsockname()[1]}/latest") is None
