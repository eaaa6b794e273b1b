// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Bit 1 of a head as a spin lock: how writers of one rmap exclude each other
// where nothing else does.
//
// Contract
//   Any threads may lock and unlock heads. What one holder wrote is visible to
//   the next. Lock waits (unfairly) for the holder; Unlock is wait-free, and
//   publishes the word that it is given. A reader that masks the bit sees the
//   word of the unlock before, and what was written before that: Lock's
//   compare-and-swap continues the release sequence of that store.
//
// Sites (order · partner)
//   [head.1] acquire compare-and-swap in LockHead · [head.2], [lockless.3]
//   [head.2] release store in UnlockHead          · [head.1], [bit.1],
//                                                   [lockless.1]

#ifndef PTAGE_RMAP_HEAD_LOCK_H_
#define PTAGE_RMAP_HEAD_LOCK_H_

#include <cstdint>

#include "ptage/once.h"
#include "ptage/rmap.h"

namespace ptage::internal {

// Returns the word without the bit.
inline std::uintptr_t LockHead(RmapHead& head) {
  for (;;) {
    const std::uintptr_t word = ReadOnce(head.word, kRelaxed);
    // [head.1] acquire, pairs with [head.2] and [lockless.3]: what the writer
    // before did to the list is seen.
    if ((word & RmapWord::kLocked) == 0 &&
        TryCmpxchg(head.word, word, word | RmapWord::kLocked, kAcquire)) {
      return word;
    }
    SpinPause();
  }
}

// Publishes `word`, which has no lock bit.
inline void UnlockHead(RmapHead& head, std::uintptr_t word) {
  // [head.2] release, pairs with [head.1], [bit.1] and [lockless.1]: the chunks
  // that the word leads to are visible to who follows it.
  WriteOnce(head.word, word, kRelease);
}

}  // namespace ptage::internal

#endif  // PTAGE_RMAP_HEAD_LOCK_H_
