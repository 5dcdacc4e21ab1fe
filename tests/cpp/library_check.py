# SPDX-License-Identifier: Apache-2.0
"""libfp8ref through ``fp8ref check --library``: every op and policy, and every argument that golden refuses.

Usage: library_check.py LIBRARY. Exit code 77 where Python lacks what fp8ref needs. [ABI-FUNCTIONS] [ABI-CHECKS]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
try:
    from fp8ref.backends import backend
    from fp8ref.conformance import EVERY, Case, LibraryTarget, cases_of, check
    from fp8ref.table import ops
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def refusals(target: LibraryTarget) -> list[str]:
    """Calls that golden refuses and the library does not, or not by name; what the C ABI cannot say is left out."""
    wrong, count = [], 0
    for op in ops():
        for case in cases_of(op.stem, "quick") if op.functions else ():
            if not isinstance(case, Case) or not case.name.startswith("error/"):
                continue
            got = target.call(case.function, case.arguments)
            count += not got.unsupported
            if not got.unsupported and (got.error != "OpError" or not got.message.startswith(f"{case.function}: ")):
                wrong.append(f"{op.stem}/{case.name}: {got.error} {got.message}")
    print(f"{count} calls that golden refuses")
    return wrong if count > 30 else [f"only {count} calls that golden refuses"]


def main(path: str) -> int:
    """All of it, with a line for each op."""
    assert backend("golden").name == "golden"
    with LibraryTarget.load(path) as target:
        report = check(target, claim=EVERY)
        for result in report.results:
            print(f"{result.op}: {result.cases} cases, {result.elements} elements, {result.differing} differ")
        wrong = [f"{r.op}: {m}" for r in report.results for m in r.mismatches]
        wrong += [f"{r.op}: {count} cases: {text}" for r in report.results for text, count in r.unsupported.items()]
        wrong += [f"missing: {f}" for op in ops() for f in op.functions if f not in target.functions()]
        wrong += refusals(target)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
