# SPDX-License-Identifier: Apache-2.0
"""Named arguments for the operations: what the tests of the golden model compare, and what seeded defects must fail."""
