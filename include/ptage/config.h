// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The only macros of ptage, all prefixed.
//
//   PTAGE_VERSION_MAJOR, _MINOR, _PATCH   semantic version of these headers.
//   PTAGE_HARDENED      1: preconditions of hot-path calls are checked (the
//                       default); 0: they are assumed.
//   PTAGE_ASSERT(cond)  such a check. A failed one traps, since the core has no
//                       one to report to; a user who has defines PTAGE_ASSERT
//                       before including any header.
//   PTAGE_RELACY        defined by tests alone: shared words become the objects
//                       of the Relacy race detector, so that the shipped code
//                       itself is searched.

#ifndef PTAGE_CONFIG_H_
#define PTAGE_CONFIG_H_

// Semantic version of these headers: what breaks their users,
#define PTAGE_VERSION_MAJOR 0
// what adds to them,
#define PTAGE_VERSION_MINOR 1
// and what does neither.
#define PTAGE_VERSION_PATCH 0

#ifndef PTAGE_HARDENED
// Whether preconditions of hot-path calls are checked; 0 assumes them.
#define PTAGE_HARDENED 1
#endif

#ifndef PTAGE_ASSERT
#if defined(PTAGE_RELACY)
#include "ptage/once/relacy_detector.h"
#define PTAGE_ASSERT(cond) RL_ASSERT(cond)
#elif PTAGE_HARDENED
// Traps if `cond` does not hold.
#define PTAGE_ASSERT(cond) \
  (static_cast<bool>(cond) ? (void)0 : __builtin_trap())
#else
#define PTAGE_ASSERT(cond) ((void)sizeof(static_cast<bool>(cond)))
#endif
#endif

#endif  // PTAGE_CONFIG_H_
