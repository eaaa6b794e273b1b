// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The locks of the designs that the library rejects, so that they can be
// measured beside it. Nothing outside bench/ uses them. They are fair: under an
// unfair lock an ager that never rests starves all others, and to beat that
// would prove little.
//
// Contract
//   Any threads may call any function. What a holder wrote is visible to who
//   holds the lock after it, unless both hold it shared. Waiting spins, so
//   there must be no more threads than CPUs. Lock and LockShared are first
//   come, first served; unlocking and TryLock are wait-free.
//
// Sites (order · partner)
//   [locks.1] acquire load in TicketLock::Lock    · [locks.2]
//   [locks.2] release store in Unlock             · [locks.1]
//   [locks.3] acquire load in LockShared          · [locks.4], [locks.5]
//   [locks.4] release store in LockShared         · [locks.3]
//   [locks.5] release store in Unlock             · [locks.3]
//   [locks.6] acquire load in Lock, TryLock       · [locks.7]
//   [locks.7] release addition in Unlock and      · [locks.6]
//             UnlockShared

#ifndef PTAGE_BENCH_LOCKS_H_
#define PTAGE_BENCH_LOCKS_H_

#include <cstdint>

#include "ptage/once.h"

namespace ptage::bench {

// Mutual exclusion in the order of arrival.
class TicketLock {
 public:
  TicketLock() : next_(0), serving_(0) {}
  TicketLock(const TicketLock&) = delete;
  TicketLock& operator=(const TicketLock&) = delete;

  void Lock();
  void Unlock();

 private:
  Cell<std::uint32_t> next_;
  Cell<std::uint32_t> serving_;
};

// Readers and writers in the order of arrival; neighbouring readers share
// (Mellor-Crummey and Scott 1991, with tickets).
class FairSharedLock {
 public:
  FairSharedLock() : next_(0), readers_(0), writers_(0) {}
  FairSharedLock(const FairSharedLock&) = delete;
  FairSharedLock& operator=(const FairSharedLock&) = delete;

  void Lock();
  // Takes the lock for writing if nobody holds it or waits for it.
  [[nodiscard]] bool TryLock();
  void Unlock();
  void LockShared();
  void UnlockShared();

 private:
  Cell<std::uint32_t> next_;
  // The ticket that may enter as a reader, and as a writer. The second counts
  // those that have left.
  Cell<std::uint32_t> readers_;
  Cell<std::uint32_t> writers_;
};

// ---------------------------------------------------------------------------

inline void TicketLock::Lock() {
  const std::uint32_t mine = FetchAdd(next_, 1u, kRelaxed);
  // [locks.1] acquire, pairs with [locks.2].
  while (ReadOnce(serving_, kAcquire) != mine) SpinPause();
}

inline void TicketLock::Unlock() {
  // [locks.2] release, pairs with [locks.1].
  WriteOnce(serving_, ReadOnce(serving_, kRelaxed) + 1, kRelease);
}

inline void FairSharedLock::LockShared() {
  const std::uint32_t mine = FetchAdd(next_, 1u, kRelaxed);
  // [locks.3] acquire, pairs with [locks.4] and [locks.5].
  while (ReadOnce(readers_, kAcquire) != mine) SpinPause();
  // [locks.4] release, pairs with [locks.3]: the next reader too comes after
  // the writer before.
  WriteOnce(readers_, mine + 1, kRelease);
}

inline void FairSharedLock::UnlockShared() {
  // [locks.7] release, pairs with [locks.6].
  FetchAdd(writers_, 1u, kRelease);
}

inline void FairSharedLock::Lock() {
  const std::uint32_t mine = FetchAdd(next_, 1u, kRelaxed);
  // [locks.6] acquire, pairs with [locks.7]: an addition continues the release
  // sequences of those before it, so the writer comes after every reader.
  while (ReadOnce(writers_, kAcquire) != mine) SpinPause();
}

inline bool FairSharedLock::TryLock() {
  // [locks.6] acquire, pairs with [locks.7].
  const std::uint32_t left = ReadOnce(writers_, kAcquire);
  // If the next ticket is the one that may write, nobody holds an earlier one.
  return TryCmpxchg(next_, left, left + 1, kRelaxed);
}

inline void FairSharedLock::Unlock() {
  // [locks.5] release, pairs with [locks.3]. Nobody else writes the word while
  // a writer holds the lock.
  WriteOnce(readers_, ReadOnce(writers_, kRelaxed) + 1, kRelease);
  // [locks.7] release, pairs with [locks.6].
  FetchAdd(writers_, 1u, kRelease);
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_LOCKS_H_
