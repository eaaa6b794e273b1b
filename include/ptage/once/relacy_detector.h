// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Brings in the Relacy race detector without the macros by which it replaces
// words of the language. Included by config.h under PTAGE_RELACY only.

#ifndef PTAGE_ONCE_RELACY_DETECTOR_H_
#define PTAGE_ONCE_RELACY_DETECTOR_H_

#pragma GCC system_header

#pragma push_macro("assert")
#pragma push_macro("errno")
#include <relacy/relacy.hpp>
#pragma pop_macro("errno")
#pragma pop_macro("assert")

#undef calloc
#undef delete
#undef free
#undef malloc
#undef memory_order_acq_rel
#undef memory_order_acquire
#undef memory_order_consume
#undef memory_order_relaxed
#undef memory_order_release
#undef memory_order_seq_cst
#undef new
#undef realloc

#endif  // PTAGE_ONCE_RELACY_DETECTOR_H_
