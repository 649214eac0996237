"""`python -m tests.benchmarks [NAME …] [--dry]`: run benchmarks, print them, keep them in README.md."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def machine() -> str:
    """What the numbers were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({model}), {system}"


def keep(name: str, text: str) -> None:
    """Replace one benchmark's part of README.md."""
    start, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    stamp = f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()} by `python -m tests.benchmarks {name}`."
    part = f"{start}\n{stamp}\n\n{text.strip()}\n{end}\n"
    readme = README.read_text(encoding="utf-8")
    if start in readme:
        head, _, rest = readme.partition(start)
        readme = head + part + rest.partition(f"{end}\n")[2]
    else:
        readme = readme.rstrip() + "\n\n" + part
    README.write_text(readme, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which ones (default: all of {', '.join(names())})")
    parser.add_argument("--dry", action="store_true", help="print only, leave README.md as it is")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.name) - set(names()))
    if unknown:
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(names())}")
    for name in arguments.name or names():
        print(f"== {name}", flush=True)
        text = importlib.import_module(f"tests.benchmarks.bench_{name}").run()
        print(text, flush=True)
        if not arguments.dry:
            keep(name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
