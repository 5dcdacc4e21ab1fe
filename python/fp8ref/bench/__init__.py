# SPDX-License-Identifier: Apache-2.0
"""How fast a backend is, beside what the machine could do in the same minute.

Each figure has its limit: a decoded token must read every weight once, so memory bandwidth bounds tokens per second; a
prefilled token and a matrix product must do every multiply-add. The machine's own numbers come from numpy in the same
run, in turns with what is measured, so ratios mean something where absolute times drift.
"""

from .measure import Figure, cores
from .model import model_figures
from .ops import op_figures

__all__ = ["Figure", "cores", "model_figures", "op_figures"]
