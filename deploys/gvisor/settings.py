"""The inventory's `gvisor` settings."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from bulkhead import pins, runtime
from bulkhead.errors import BulkheadError
from bulkhead.inventory import InventoryHost, Settings, engines, once, read
from bulkhead.pins import ARCHITECTURES, LOOSE, OFFICIAL_SITE, TARBALLS
from deploys.gvisor import flags

KEY = "gvisor"
NAME = "runsc"
"""The handler of gVisor with the host's own flags; profiles have theirs."""

_RELEASE = re.compile(r"\d{8}\.\d+(\+[A-Za-z0-9][A-Za-z0-9.]*)?")


def _flag_value(value: object) -> object:
    if not isinstance(value, bool | int | str):
        raise ValueError(f"expected true or false, a number or a text, found {value!r}")
    return value


FlagValue = Annotated[bool | int | str, BeforeValidator(_flag_value)]


class ProfileSettings(Settings):
    """A further handler of the same runsc, with flags of its own on top of the host's."""

    flags: dict[str, FlagValue] = Field(default_factory=dict)
    """Flags that differ from those of the handler `runsc`."""

    allow_flags: dict[str, str] = Field(default_factory=dict)
    """Deprecated or dangerous flags that this profile sets all the same, each with the reason."""


class GvisorSettings(Settings):
    """Which gVisor a host runs, from where, and with which flags."""

    state: Literal["present", "absent"] = "present"
    """`absent` takes it away again: first out of the engines, then its files."""

    source: Literal["release", "distribution"] = "release"
    """`release`: pinned files from `base_url`. `distribution`: the package `runsc` of the host's own distribution."""

    release: str | None = None
    """The exact release, such as `20260817.0`; a build of one's own carries a label, such as `20260817.0+ours`."""

    base_url: str = OFFICIAL_SITE
    """Where `release/<release>/<architecture>/` lies: the official site, or a mirror with the same layout."""

    sha512: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Architecture → artefact → digest, for releases that `bulkhead/pins.json` doesn't hold."""

    flags: dict[str, FlagValue] = Field(default_factory=dict)
    """runsc's flags that differ from Bulkhead's defaults for untrusted tenants."""

    allow_flags: dict[str, str] = Field(default_factory=dict)
    """Deprecated or dangerous flags that this host sets all the same, each with the reason."""

    profiles: dict[str, ProfileSettings] = Field(default_factory=dict)
    """Handler → profile, such as `runsc-strict`."""

    @field_validator("profiles")
    @classmethod
    def _names(cls, profiles: dict[str, ProfileSettings]) -> dict[str, ProfileSettings]:
        for name in profiles:
            if not runtime.NAME.fullmatch(name) or name in (NAME, runtime.RUNC, "config"):
                raise ValueError(f"{name!r} can't be a handler's name: lower case letters, digits and -, and not taken")
        return profiles

    @field_validator("release")
    @classmethod
    def _exact(cls, release: str | None) -> str | None:
        if release is not None and not _RELEASE.fullmatch(release):
            raise ValueError(
                f"{release!r} is not an exact release such as 20260817.0; "
                "names that move, such as latest, nightly or a day alone, can't be pinned"
            )
        return release

    @field_validator("base_url")
    @classmethod
    def _url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s'\"]+", url):
            raise ValueError(f"{url!r} is not an http or https address")
        if "@" in url.split("/")[2]:
            # It would show in the process list of the host, and in messages.
            raise ValueError("the address holds a user name or a password: let the mirror serve these files to anyone")
        return url.rstrip("/")

    @field_validator("sha512")
    @classmethod
    def _digests(cls, sha512: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for architecture, artefacts in sha512.items():
            if architecture not in ARCHITECTURES:
                raise ValueError(f"{architecture!r} is none of {', '.join(ARCHITECTURES)}")
            for artefact, digest in artefacts.items():
                if artefact not in LOOSE + TARBALLS:
                    raise ValueError(f"{artefact!r} is none of {', '.join(LOOSE + TARBALLS)}")
                if not pins.SHA512.fullmatch(digest):
                    raise ValueError(f"{architecture}.{artefact} is not a sha512 digest (128 hexadecimal digits)")
        return sha512

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.state == "present" and self.source == "release" and self.release is None:
            raise ValueError(f"release is missing; pinned are {', '.join(pins.load())}")
        if self.source == "distribution" and (self.release or self.sha512):
            raise ValueError("release and sha512 have no meaning with source = 'distribution'")
        for architecture, artefacts in self.sha512.items():
            pinned = pins.load().get(self.release or "", {}).get(architecture, {})
            if any(pinned.get(artefact, digest) != digest for artefact, digest in artefacts.items()):
                raise ValueError(
                    f"sha512.{architecture} differs from the pins of {self.release} in bulkhead/pins.json; "
                    f"a build of one's own is named with a label, such as {self.release}+ours"
                )
        return self

    @property
    def runsc(self) -> str:
        """Where engines find runsc."""
        return "/usr/local/bin/runsc" if self.source == "release" else "/usr/bin/runsc"

    def digests(self, architecture: str) -> dict[str, str]:
        """Artefact → sha512 for `architecture`: the inventory's own, else those pinned in the repository.

        Raises BulkheadError when there are none, or not for both programs.
        """
        assert self.release is not None
        found = self.sha512.get(architecture) or pins.load().get(self.release, {}).get(architecture, {})
        if not found:
            raise BulkheadError(
                f"gvisor.release: no sha512 is pinned for {self.release} on {architecture}",
                hint=f"Run 'bulkhead pin {self.release}', or set gvisor.sha512 for a build of your own.",
            )
        if not set(LOOSE) <= set(found) and not set(TARBALLS) & set(found):
            raise BulkheadError(
                f"gvisor.sha512: {self.release} on {architecture} has digests for {', '.join(found)} only",
                hint=f"Give digests for {' and '.join(LOOSE)}, or for one of {', '.join(TARBALLS)}.",
            )
        return found

    def runsc_flags(self, release: str | None = None) -> dict[str, str]:
        """The flags for runsc; `release` is the installed one where the distribution decides."""
        return flags.resolve(self.flags, self.allow_flags, release or self.release or "99999999")

    def profile_flags(self, release: str | None = None) -> dict[str, dict[str, str]]:
        """Handler → flags, of `runsc` and of every profile.

        Raises BulkheadError naming the profile, besides what `flags.resolve` names.
        """
        found = {NAME: self.runsc_flags(release)}
        for name, profile in self.profiles.items():
            given = {**self.flags, **profile.flags}
            allowed = {**self.allow_flags, **profile.allow_flags}
            try:
                found[name] = flags.resolve(given, allowed, release or self.release or "99999999")
            except BulkheadError as error:
                lines = "\n".join(f"profiles.{name}.{line}" for line in error.message.splitlines())
                raise BulkheadError(lines, hint=error.hint) from error
        return found


@once
def of(host: InventoryHost) -> GvisorSettings:
    """The gVisor settings of a host.

    Raises BulkheadError naming the host, the key and the reason for everything that is wrong.
    """
    settings = read(GvisorSettings, host, KEY)
    if settings.source == "distribution" and "containerd" in engines(host):
        raise BulkheadError(
            f"{host.name}: {KEY}.source: Debian's and Ubuntu's package runsc holds no containerd-shim-runsc-v1, "
            "so containerd cannot run it",
            hint="Set gvisor.source = 'release', or leave containerd out of engines.",
        )
    try:
        settings.profile_flags()
        if settings.state == "present" and settings.source == "release" and not settings.sha512:
            for architecture in ARCHITECTURES:
                settings.digests(architecture)
    except BulkheadError as error:
        lines = (line.removeprefix(f"{KEY}.") for line in error.message.splitlines())
        raise BulkheadError("\n".join(f"{host.name}: {KEY}.{line}" for line in lines), hint=error.hint) from error
    return settings
