# SPDX-License-Identifier: Apache-2.0
"""Mistakes put into the CUDA kernels, one at a time: the tests of this folder must notice each.

    python tests/simt/defects.py [--list] [NAME ...]

The sources are copied to a temporary folder and built there (some minutes, then half a minute a mistake). Exit code 0:
every mistake was noticed; 1: some were not, and they are named.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 600  # that a test may take; one that hangs has noticed


@dataclass(frozen=True)
class Defect:
    """A mistake: in a file, one text for another, and the test that must fail."""

    name: str
    file: str
    right: str
    wrong: str
    test: str


DEFECTS = (
    Defect(
        "encode of the other policy",
        "e4m3.cu",
        "overflow == Overflow::nan ?",
        "overflow != Overflow::nan ?",
        "elementwise",
    ),
    Defect("a tie of logits to the last", "sample.cu", "a.index <= b.index", "a.index > b.index", "llama_ops"),
    Defect(
        "a reduction without one warp",
        "device.h",
        "for (int i = 1; i < warps; ++i)",
        "for (int i = 2; i < warps; ++i)",
        "machine",
    ),
    Defect(
        "amax without the element after the last vector",
        "quantize.cu",
        "i = vectors * kWidth<T> + grid_thread(); i < n",
        "i = vectors * kWidth<T> + grid_thread() + 1; i < n",
        "quantize",
    ),
    Defect(
        "a stage used before it is full",
        "code_tile.h",
        "wait_copies<kAhead - 1>();",
        "wait_copies<kAhead>();",
        "scaled_mm",
    ),
    Defect(
        "a wrong weight of Toom-Cook",
        "toom.h",
        "6 - 3 * x1 - 6 * x2 + 3 * x3",
        "6 - 3 * x1 - 6 * x2 - 3 * x3",
        "scaled_mm",
    ),
    Defect(
        "rows of the expert before",
        "scaled_mm.h",
        "mine >= 0 && mine < tiles",
        "mine > 0 && mine <= tiles",
        "grouped_mm",
    ),
    Defect("12 fraction bits", "chain_step.h", "kFirstLimb = 13;", "kFirstLimb = 12;", "chains"),
    Defect("promotion that starts over", "chain_kernel.h", "add32(before, value)", "add32(0.0f, value)", "chains"),
    Defect(
        "a certificate without its bound",
        "linear.h",
        "if (result.proven)",
        "if (result.proven || true)",
        "linear",
    ),
    Defect(
        "a key too many for a decode step",
        "attention_few.cu",
        "from + key < shared.row_end[r]",
        "from + key <= shared.row_end[r]",
        "attention",
    ),
    Defect(
        "superblocks that are not kept apart",
        "attention_unit.cu",
        "kAttentionSuperblock / kAttentionBlock / p.span",
        "1000",
        "attention_unit",
    ),
    Defect(
        "a special value that stays hidden",
        "attention_unit_run.h",
        "special_ = special_ ||",
        "special_ = false &&",
        "attention_unit",
    ),
    Defect(
        "values before they are there",
        "attention_unit_run.h",
        "wait_copies<1>();",
        "wait_copies<2>();",
        "attention_unit",
    ),
    Defect(
        "a gather of the row before",
        "llama.cu",
        "table[ids[i / cols] * cols",
        "table[ids[i / cols > 0 ? i / cols - 1 : 0] * cols",
        "llama",
    ),
    Defect(
        "the input scale of the expert before",
        "llama.cu",
        "groups.offsets[middle] <= row",
        "groups.offsets[middle] < row",
        "llama",
    ),
    Defect(
        "fused experts as they lie",
        "llama.cu",
        "columns[at % k * stride + at / k]",
        "columns[at / n * stride + at % n]",
        "llama",
    ),
    Defect("experts in each other's place", "llama.cu", "std::exchange(to, to + count)", "to", "llama"),
    Defect(
        "a key too few of a chunk",
        "attention_tile.cu",
        "from + j >= begin[row]",
        "from + j > begin[row]",
        "attention",
    ),
    Defect(
        "keys of a chunk that a warp skips",
        "attention_tile.cu",
        "8 * kKeyTiles <= from_key",
        "8 * kKeyTiles <= from_key + 1",
        "attention",
    ),
    Defect(
        "rows that see the chunk of the row above",
        "attention_few.cu",
        "from + key >= shared.row_first[r] &&",
        "",
        "attention",
    ),
    Defect(
        "keys of the first chunk for all",
        "attention_rows.cu",
        "return args.k + first * stride()",
        "return args.k",
        "attention",
    ),
    Defect(
        "superblocks counted from the chunk",
        "attention_unit.cu",
        "(run / runs_of_superblock + 1) * runs_of_superblock",
        "run + runs_of_superblock",
        "attention_unit",
    ),
    Defect(
        "blocks before the chunk are read",
        "attention_unit_run.h",
        "first_seen > run_begin ? first_seen : run_begin",
        "first_seen < 0 ? first_seen : run_begin",
        "attention_unit",
    ),
    Defect("a rank from behind", "stable_sort.h", "+ peers.before)", "+ peers.count - 1 - peers.before)", "route"),
    Defect(
        "counts that are kept",
        "stable_sort.h",
        "start += shared.count[w][thread];\n      shared.count[w][thread] = 0;",
        "start += shared.count[w][thread];",
        "route",
    ),
    Defect("a block that makes room for itself", "route.cu", "block < blockIdx.x", "block <= blockIdx.x", "route"),
    Defect("a digit too few", "route.cu", "experts <= 1 << 16 ? 2 : 3", "2", "route"),
    Defect("the same expert twice", "route.cu", "rank < limit", "rank <= limit", "route"),
    Defect("offsets of the row after", "route.cu", "a.offsets[e] = row;", "a.offsets[e] = row + 1;", "route"),
    Defect("a last row that leaves no end", "route.cu", "row == a.pairs - 1", "row == a.pairs - 2", "route"),
    Defect("a routed -0 that stays", "route.cu", "add2(two, 0)", "add2(two, 0x80008000)", "route"),
    Defect("a temperature for all tokens", "temperature.cu", "factors[token]", "factors[0]", "llama_ops"),
    Defect(
        "a fused product of interleaved pairs",
        "rope.cu",
        "add32(mul32(a, s.item[j]), mul32(b, c.item[j]))",
        "fma32(a, s.item[j], mul32(b, c.item[j]))",
        "llama_ops",
    ),
    Defect("a gate without its tanh", "residual.cu", "shared = gate_tanh(*gate)", "shared = *gate", "elementwise"),
    Defect("bias of the first expert for all", "wgmma.cu", "all.bias + e * all.n", "all.bias", "wgmma"),
)


def run(*command: str, cwd: Path, seconds: float | None = None) -> bool:
    """Whether a command ended well, in time."""
    try:
        done = subprocess.run(
            command, cwd=cwd, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def fate(defect: Defect, tree: Path, build: Path) -> str:
    """What became of a mistake: ``noticed``, ``missed``, or why it says nothing."""
    path = tree / "cpp" / "cuda" / defect.file
    text = path.read_text(encoding="utf-8")
    if defect.right not in text:
        return "its text is gone"
    path.write_text(text.replace(defect.right, defect.wrong), encoding="utf-8")
    try:
        target = f"simt_{defect.test}"
        if not run("cmake", "--build", str(build), "--target", target, cwd=tree):
            return "it does not compile"
        return "missed" if run(str(build / "tests" / "simt" / target), cwd=tree, seconds=SECONDS) else "noticed"
    finally:
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """The mistakes that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="mistakes to try; all if none is named")
    parser.add_argument("--list", action="store_true", help="name them and do nothing")
    arguments = parser.parse_args()
    chosen = [defect for defect in DEFECTS if not arguments.names or defect.name in arguments.names]
    if arguments.list:
        print(*(defect.name for defect in chosen), sep="\n")
        return 0
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="fp8ref-") as folder:
        tree, build = Path(folder) / "tree", Path(folder) / "build"
        for part in ("cpp", "tests", "spec"):
            shutil.copytree(ROOT / part, tree / part)
        shutil.copy(ROOT / "CMakeLists.txt", tree)
        configure = ["cmake", "-S", str(tree), "-B", str(build), "-DFP8REF_CUDA=OFF", "-DFP8REF_TESTS=ON"]
        if not run(*configure, f"-DPython_EXECUTABLE={sys.executable}", cwd=tree):
            print("cmake failed")
            return 1
        os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
        for defect in chosen:
            result = fate(defect, tree, build)
            unnoticed += result != "noticed"
            print(f"{result:20} {defect.name} ({defect.file}, simt_{defect.test})", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} noticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
