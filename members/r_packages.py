"""Members that stand on a package of R: is it there, in which version, and how does one get it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import ClassVar

from celljury.errors import MemberUnavailableError
from celljury.members.environments import R_ENVIRONMENT, why_not_installed
from celljury.members.remote import RemoteMember

LOOK_FOR = 60  # seconds; R's own start takes a fifth of one, a network folder of packages can take many


class RMember(RemoteMember):
    """A member whose library is a package of R, run by R inside a worker of Python (rpy2).

    R's ``quit()``, a stack that overflows or a crash ends the worker and leaves the run alone.
    """

    environment: ClassVar[str] = R_ENVIRONMENT
    install_with: ClassVar[str]  # what to type where the package, `distribution`, is missing

    @classmethod
    def missing(cls) -> tuple[str, ...]:
        """Return the environment and the package of R, as far as they are not installed."""
        if found := super().missing():
            return found
        return () if package_version(cls.distribution) else (f"R package {cls.distribution}",)

    @classmethod
    def require(cls) -> None:
        """Raise MemberUnavailableError where R, the environment or the package is missing, and say how to get it."""
        super().require()
        if package_version(cls.distribution) is None:
            message = f"member {cls.name!r}: R has no package {cls.distribution}. Install: {cls.install_with}"
            raise MemberUnavailableError(message)

    @classmethod
    def library_version(cls) -> str:
        """Version of the package of R, e.g. ``Seurat 4.3.0``."""
        found = package_version(cls.distribution) if why_not_installed(R_ENVIRONMENT) is None else None
        return f"{cls.distribution} {found or 'unknown'}"


@cache
def package_version(package: str) -> str | None:
    """Return the version of an installed package of the R on the PATH; None where it, or R itself, is missing."""
    if not (command := shutil.which("Rscript")):
        return None
    code = "name <- commandArgs(TRUE); if (nzchar(system.file(package = name))) cat(format(packageVersion(name)))"
    try:
        done = subprocess.run(
            [command, "-e", code, package], capture_output=True, text=True, check=False, timeout=LOOK_FOR
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
