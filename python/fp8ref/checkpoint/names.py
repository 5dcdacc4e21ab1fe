# SPDX-License-Identifier: Apache-2.0
"""The spellings of a name: with and without the prefixes of multimodal models, old and new. [CKPT-PREFIX]"""

from __future__ import annotations

# What a name begins with in each spelling; the first is the plain one.
SPELLINGS = (
    ("model.", "language_model.model.", "model.language_model."),
    ("lm_head", "language_model.lm_head", "model.lm_head"),
)

# What turns images into vision states.
VISION = tuple(f"{prefix}{part}." for part in ("vision_model", "multi_modal_projector") for prefix in ("", "model."))


def plain(name: str) -> str:
    """A name in its plain spelling.

    Example:
        >>> plain("model.language_model.norm.weight"), plain("language_model.lm_head.weight")
        ('model.norm.weight', 'lm_head.weight')
    """
    for first, *others in SPELLINGS:
        for other in others:
            rest = name.removeprefix(other)
            if rest != name and (other.endswith(".") or rest[:1] in ("", ".")):
                return first + rest
    return name


def spellings(name: str) -> tuple[str, ...]:
    """All spellings of a plain name, itself first.

    Example:
        >>> spellings("model.norm")
        ('model.norm', 'language_model.model.norm', 'model.language_model.norm')
    """
    for first, *others in SPELLINGS:
        if name.startswith(first):
            rest = name.removeprefix(first)
            return (name, *(other + rest for other in others))
    return (name,)


def is_vision(name: str) -> bool:
    """Whether a tensor belongs to the vision side, which is not read."""
    return name.startswith(VISION)
