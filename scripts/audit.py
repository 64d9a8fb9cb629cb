"""Looks for known vulnerabilities in the locked dependencies and for secrets in the repository."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Locks are hashes by design; a scanner takes each for a key.
NOT_SCANNED = r"(^|/)(requirements(-dev)?\.lock|\.venv/|var/|dist/)"


def main() -> int:
    """Run both searches; return 0 only if both were made and found nothing."""
    found = [check_dependencies(), check_secrets()]
    return max(found)


def check_dependencies() -> int:
    """
    Ask the vulnerability service about the lock, which names everything that is installed.

    A package that the service does not know, for instance behind a mirror, was not checked;
    "nothing found" is only said when everything was looked at.
    """
    result = _run(
        "pip_audit", "--requirement", "requirements-dev.lock", "--disable-pip", "--format", "json"
    )
    try:
        packages = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = result.stderr.strip().splitlines() or ["no answer"]
        return _not_checked(f"the vulnerability service cannot be reached: {lines[-1].strip()}")
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no fix yet"
            print(f"dependencies: {package['name']} {package['version']}: {found['id']} ({fixed})")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if vulnerable:
        return 1
    if skipped:
        return _not_checked(
            f"{len(skipped)} of {len(packages)} packages are unknown to the vulnerability service"
        )
    print(f"dependencies: no known vulnerability in {len(packages)} packages")
    return 0


def _not_checked(reason: str) -> int:
    print(f"dependencies: NOT CHECKED, {reason}")
    if os.environ.get("AUDIT_OFFLINE") == "1":
        print("  accepted, because AUDIT_OFFLINE=1")
        return 0
    print("  set AUDIT_OFFLINE=1 to accept this")
    return 1


def check_secrets() -> int:
    """Search every tracked or new file for what looks like a key or a password."""
    listed = subprocess.run(
        [  # noqa: S607  # git is wherever the developer has it
            "git",
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    result = _run("detect_secrets", "scan", "--exclude-files", NOT_SCANNED, *files)
    if result.returncode != 0:
        print(f"secrets: NOT CHECKED\n{result.stderr}")
        return 1
    findings = json.loads(result.stdout)["results"]
    for name, secrets in findings.items():
        for secret in secrets:
            print(f"secrets: {name}:{secret['line_number']}: {secret['type']}")
    if not findings:
        print(f"secrets: none in {len(files)} files")
    return 1 if findings else 0


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # the arguments are literals of this file
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
