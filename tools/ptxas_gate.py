#!/usr/bin/env python3
"""Compiler launcher for nvcc: keeps what ptxas said and fails the build where a kernel went slow.

Called as `ptxas_gate.py nvcc ARGS...`. The compiler's stderr goes to <object>.ptxas beside the
object. The object is deleted and the build fails when ptxas reports a potential performance loss
(C75xx: wgmma serialized, setmaxnreg ignored; these are information only, so -Werror misses them),
and, in a source that carries the line `// ptxas: hot`, when a kernel spills registers or keeps
anything in a stack frame (an array that is indexed at run time).

`ptxas_gate.py --self-test` shows on recorded messages that all are caught;
`ptxas_gate.py --planted FOLDER nvcc ARGS...` compiles each FOLDER/*.cu and fails unless every one
whose first line says so is refused, and no other.
"""

import itertools
import pathlib
import re
import subprocess
import sys
import tempfile

PERFORMANCE_LOSS = "Potential Performance Loss"
HOT_MARKER = re.compile(r"^\s*// ptxas: hot\b", re.MULTILINE)
LOCAL_MEMORY = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)
FUNCTION = re.compile(r"Function properties for (\S+)")


def findings(stderr: str, source_text: str) -> list[str]:
    """The reasons to refuse this object, one line each; empty when it is good."""
    found = [line.strip() for line in stderr.splitlines() if PERFORMANCE_LOSS in line]
    if HOT_MARKER.search(source_text):
        function = "?"
        for line in stderr.splitlines():
            named = FUNCTION.search(line)
            if named:
                function = named.group(1)
            local = LOCAL_MEMORY.search(line)
            if local and any(int(count) for count in local.groups()):
                found.append(f"local memory in a hot kernel: {function}: {line.strip()}")
    return found


def is_chatter(line: str) -> bool:
    """Lines of -Xptxas=-v that say nothing wrong; they stay in the .ptxas file."""
    if PERFORMANCE_LOSS in line:
        return False
    return line.startswith("ptxas info") or "bytes stack frame" in line


def object_of(command: list[str]) -> pathlib.Path | None:
    for flag, value in itertools.pairwise(command):
        if flag == "-o":
            return pathlib.Path(value)
    return None


def source_text_of(command: list[str]) -> str:
    for word in command:
        if word.endswith(".cu") and pathlib.Path(word).is_file():
            return pathlib.Path(word).read_text(encoding="utf-8")
    return ""


def compile_through(command: list[str]) -> tuple[int, list[str]]:
    """Runs the compiler; its exit status, and the reasons to refuse what it made."""
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    out = object_of(command)
    if out is not None and out.suffix == ".o":
        out.with_name(out.name + ".ptxas").write_text(done.stderr, encoding="utf-8")
    for line in done.stderr.splitlines():
        if not is_chatter(line):
            print(line, file=sys.stderr)
    refused = findings(done.stderr, source_text_of(command)) if done.returncode == 0 else []
    for reason in refused:
        print(f"ptxas gate: {reason}", file=sys.stderr)
    if refused and out is not None:
        out.unlink(missing_ok=True)
    return done.returncode, refused


def run(command: list[str]) -> int:
    status, refused = compile_through(command)
    return 1 if refused else status


def self_test() -> int:
    loss = (
        "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are "
        "serialized due to non wgmma instructions in function 'k'"
    )
    clean = (
        "ptxas info    : Function properties for k\n"
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"
    )
    spills = clean.replace("0 bytes spill stores", "8 bytes spill stores")
    frame = clean.replace("0 bytes stack frame", "256 bytes stack frame")
    expectations = [
        ("a performance loss is refused", findings(loss, ""), 1),
        ("a clean kernel passes", findings(clean, "// ptxas: hot"), 0),
        ("spills in a hot source are refused", findings(spills, "\n// ptxas: hot\n"), 1),
        ("a stack frame in a hot source is refused", findings(frame, "\n// ptxas: hot\n"), 1),
        ("spills elsewhere pass", findings(spills, ""), 0),
    ]
    failed = [name for name, found, count in expectations if len(found) != count]
    for name in failed:
        print(f"ptxas gate self-test failed: {name}", file=sys.stderr)
    return 1 if failed else 0


def planted(folder: pathlib.Path, compiler: list[str]) -> int:
    """Compiles kernels that are slow on purpose, and some that are not."""
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for source in sorted(folder.glob("*.cu")):
            must_fail = source.read_text(encoding="utf-8").startswith("// Refused")
            out = pathlib.Path(scratch) / f"{source.stem}.o"
            status, refused = compile_through([*compiler, "-c", str(source), "-o", str(out)])
            if status != 0 or bool(refused) != must_fail or out.exists() == must_fail:
                print(f"ptxas gate: {source.name}: refused: {bool(refused)}", file=sys.stderr)
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if sys.argv[1:2] == ["--planted"]:
        sys.exit(planted(pathlib.Path(sys.argv[2]), sys.argv[3:]))
    sys.exit(run(sys.argv[1:]))
