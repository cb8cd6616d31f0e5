"""Counts, in the machine code of CUDA kernels, the instructions that tell how a kernel works.

Whether a kernel uses tensor cores, asynchronous copies or local memory is decided by ptxas, not by
its source. NVIDIA's cuobjdump says what came out: the toolkit's own, or the one that bootstrap.sh
has put under build/cuda-disassembler. Names as in "CUDA Binary Utilities", NVIDIA.
"""

import collections
import os
import pathlib
import re
import shutil
import subprocess

TELLING = {
    *("HMMA", "IMMA", "QMMA", "HGMMA", "IGMMA", "QGMMA"),  # tensor cores: by warp, by warp group
    *("LDSM", "STSM"),  # ldmatrix, stmatrix
    *("LDGSTS", "UTMALDG", "UTMASTG", "UBLKCP"),  # cp.async, tensor copies and bulk copies
    *("SYNCS", "USETMAXREG"),  # mbarrier, setmaxnreg
    *("LDL", "STL"),  # local memory
    *("IDP", "FFMA", "DFMA"),  # products outside the tensor cores
}
FETCHED = pathlib.Path(__file__).resolve().parents[1] / "build" / "cuda-disassembler"

ARCH = re.compile(r"^arch = (\S+)")
FUNCTION = re.compile(r"^\s*Function : (\S+)")
INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+\s+)?([A-Z][A-Z0-9]*)")

Counts = dict[tuple[str, str], collections.Counter]


def disassembler() -> tuple[pathlib.Path | None, str]:
    """cuobjdump, and a PATH on which it finds nvdisasm; None where there is none."""
    toolkit = pathlib.Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"
    fetched = next(FETCHED.glob("nvidia/*/bin"), FETCHED)
    for folder in (os.environ["PATH"], str(toolkit), str(fetched)):
        found = shutil.which("cuobjdump", path=folder)
        if found and shutil.which("nvdisasm", path=folder):
            return pathlib.Path(found), f"{folder}:{os.environ['PATH']}"
    return None, ""


def counts_in(listing: str) -> Counts:
    """(mangled name, architecture) -> how often each telling instruction stands in the kernel."""
    counts: Counts = {}
    arch = ""
    current: collections.Counter = collections.Counter()
    for line in listing.splitlines():
        if named := ARCH.search(line):
            arch = named.group(1)
        elif named := FUNCTION.search(line):
            current = counts.setdefault((named.group(1), arch), collections.Counter())
        elif (instruction := INSTRUCTION.search(line)) and instruction.group(1) in TELLING:
            current[instruction.group(1)] += 1
    return counts


def counts_of(binary: str) -> Counts:
    """Those of an object file; empty without a disassembler, or where it cannot read the file."""
    program, path = disassembler()
    if program is None:
        return {}
    done = subprocess.run(
        [program, "-sass", binary],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    return counts_in(done.stdout) if done.returncode == 0 else {}
