// SPDX-License-Identifier: Apache-2.0
// The scalar semantics without the library.
#include <fp8ref/e4m3.h>

int main() { return fp8ref::encode(448.0f, fp8ref::Overflow::saturate).bits == 0x7E ? 0 : 1; }
