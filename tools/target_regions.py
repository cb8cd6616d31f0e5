#!/usr/bin/env python3
"""Finds includers whose `target` region lacks an extension that an included header's region names.

GCC inlines a function only into callers that may use all that it may. A header and a source that
name different extensions still compile and pass every test, but every helper of the header becomes
a call, with its vectors in memory.
"""

import re
import sys

from lint_cache import ROOT

REGION = re.compile(
    r'^#pragma GCC target\(\s*(?:\\\n)?\s*((?:"[^"]*"\s*(?:\\\n)?\s*)+)\)', re.MULTILINE
)
INCLUDE = re.compile(r'^#include "(kernels/[^"]+)"', re.MULTILINE)


def extensions(text: str) -> set[str]:
    """Of all regions of a file together."""
    return {name for region in REGION.findall(text) for name in re.findall(r"[\w.]+", region)}


def main() -> int:
    paths = [p for suffix in ("h", "cc") for p in sorted((ROOT / "kernels").rglob(f"*.{suffix}"))]
    texts = {str(p.relative_to(ROOT)): p.read_text(encoding="utf-8") for p in paths}
    named = {path: extensions(text) for path, text in texts.items()}
    found = 0
    for path, text in texts.items():
        for header in INCLUDE.findall(text):
            missing = named.get(header, set()) - named[path]
            if named[path] and missing:
                print(f"{path}: its target region lacks {', '.join(sorted(missing))} of {header}")
                found += 1
    print(f"target regions: {len([n for n in named.values() if n])} files, {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
