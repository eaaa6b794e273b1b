// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The reclaimer that a test binary's trees and machines use: the default one,
// unless it is built for another.

#ifndef PTAGE_TEST_SCHEME_H_
#define PTAGE_TEST_SCHEME_H_

#if defined(PTAGE_TEST_LIBURCU)
#include "ptage/reclaim/liburcu.h"
#elif defined(PTAGE_TEST_EXTERNAL)
#include "test/quiescence.h"
#else
#include "ptage/reclaim/epoch.h"
#endif

namespace ptage::test {

#if defined(PTAGE_TEST_LIBURCU)
using Scheme = LiburcuReclaimer;
#elif defined(PTAGE_TEST_EXTERNAL)
using Scheme = OwnExternalReclaimer;
#else
using Scheme = EpochDomain<>;
#endif

// Whether what no walk holds up is free after a few calls of a pool's.
#if defined(PTAGE_TEST_LIBURCU)
inline constexpr bool kGoesOnWhenAsked = false;
#else
inline constexpr bool kGoesOnWhenAsked = true;
#endif

// Outside walks: returns when what was retired is freed.
template <class R>
void FreeAll(R& reclaimer) {
  if constexpr (requires { reclaimer.WaitForRetired(); }) {
    reclaimer.WaitForRetired();
  } else {
    reclaimer.Synchronize();
  }
}

}  // namespace ptage::test

#endif  // PTAGE_TEST_SCHEME_H_
