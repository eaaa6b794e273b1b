// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a lock must supply, and the smallest one that does: for writers, which
// are rare, in a core that has no operating system to sleep in. Readers of the
// library's structures never take one. Hosted callers pass absl::Mutex.
//
// Contract of SpinLock
//   Any threads may Lock and Unlock. What one holder wrote is visible to the
//   next. Lock waits (unfairly) for the holder; Unlock is wait-free.
//
// Sites (order · partner)
//   [lock.1] acquire compare-and-swap in Lock  · [lock.2]
//   [lock.2] release store in Unlock           · [lock.1]

#ifndef PTAGE_LOCK_H_
#define PTAGE_LOCK_H_

#include <cstdint>

#include "ptage/once.h"

namespace ptage {

// Mutual exclusion in the spelling of absl::Mutex. Not recursive.
template <class L>
concept BasicLock = requires(L& lock) {
  lock.Lock();
  lock.Unlock();
};

class SpinLock {
 public:
  SpinLock() : held_(0) {}
  SpinLock(const SpinLock&) = delete;
  SpinLock& operator=(const SpinLock&) = delete;

  void Lock();
  void Unlock();

 private:
  Cell<std::uint32_t> held_;
};

// Holds `lock` from construction to destruction.
template <BasicLock L>
class [[nodiscard]] ScopedLock {
 public:
  explicit ScopedLock(L& lock) : lock_(lock) { lock_.Lock(); }
  ~ScopedLock() { lock_.Unlock(); }
  ScopedLock(const ScopedLock&) = delete;
  ScopedLock& operator=(const ScopedLock&) = delete;

 private:
  L& lock_;
};

// ---------------------------------------------------------------------------

inline void SpinLock::Lock() {
  // [lock.1] acquire, pairs with [lock.2]: what the holder before wrote is
  // seen.
  while (ReadOnce(held_, kRelaxed) != 0 ||
         !TryCmpxchg(held_, 0u, 1u, kAcquire)) {
    SpinPause();
  }
}

inline void SpinLock::Unlock() {
  // [lock.2] release, pairs with [lock.1].
  WriteOnce(held_, 0u, kRelease);
}

}  // namespace ptage

#endif  // PTAGE_LOCK_H_
