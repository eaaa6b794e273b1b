// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The invalidate sequence protocol: how a fault that resolves a frame without a
// lock learns that the frame was taken away meanwhile.
//
// Contract
//   An invalidation is the time between Begin and End of the same range;
//   several may be open. A fault takes a Snapshot, resolves its frame, takes
//   the lock (shared is enough), and installs only if MustRetry says no; it
//   then holds the lock until the entry is installed. So when Begin returns,
//   every entry for the range that a fault could install is there to be zapped,
//   and none is added until End.
//
//   The bad interleaving, were the sequence not compared:
//     fault: resolves the frame   | invalidation: begins, zaps, ends
//     fault: sees none open, and maps a frame that was freed.
//
// Sites (order · partner)
//   [invalidate.1] acquire load in Snapshot  · [invalidate.2]
//   [invalidate.2] release store in End      · [invalidate.1]

#ifndef PTAGE_INVALIDATE_H_
#define PTAGE_INVALIDATE_H_

#include <algorithm>
#include <cstdint>

#include "ptage/config.h"
#include "ptage/fault_lock.h"
#include "ptage/once.h"
#include "ptage/types.h"

namespace ptage {

// The invalidations of one VM, by frames. Any threads.
class InvalidateSequence {
 public:
  // `lock` is the one that faults hold while they install.
  explicit InvalidateSequence(FaultLock& lock) : lock_(lock), sequence_(0) {}

  // Taken before the frame is resolved: what an ended invalidation did to the
  // frame is then seen, or MustRetry says so. Wait-free.
  [[nodiscard]] std::uint64_t Snapshot() const {
    // [invalidate.1] acquire, pairs with [invalidate.2]: what the invalidations
    // that are counted did to the frame is seen.
    return ReadOnce(sequence_, kAcquire);
  }

  // Opens an invalidation of the range, and closes it. Both wait for the lock,
  // exclusively. Precondition of End: one of the same range is open.
  void Begin(GfnRange range);
  void End(GfnRange range);

  // Whether an invalidation of any of these frames is open, or any ended since
  // `snapshot`. `held` is the lock's.
  //
  // All frames that the fault would map, not the one that faulted alone:
  //   invalidation: begins, for one frame of a large page, and zaps
  //   fault of another frame: finds it not concerned, maps the large page
  // and the frame that is taken away is mapped again.
  [[nodiscard]] bool MustRetry(const FaultLock::Held& held,
                               std::uint64_t snapshot, GfnRange frames) const;

  // Whether another one is open besides the caller's own. Waits for the lock,
  // shared. If not, what ended before is visible.
  [[nodiscard]] bool OthersOpen() const {
    const FaultLock::Shared hold(lock_);
    PTAGE_ASSERT(open_ != 0);
    return open_ != 1;
  }

 private:
  FaultLock& lock_;
  // All are written under the lock, exclusively held. Invalidations that have
  // ended.
  Cell<std::uint64_t> sequence_;
  std::uint64_t open_ = 0;
  // Covers all open ones; it shrinks when none is left.
  GfnRange range_;
};

// An open invalidation as a scope.
class [[nodiscard]] ScopedInvalidation {
 public:
  ScopedInvalidation(InvalidateSequence& sequence, GfnRange range)
      : sequence_(sequence), range_(range) {
    sequence_.Begin(range_);
  }
  ~ScopedInvalidation() { sequence_.End(range_); }
  ScopedInvalidation(const ScopedInvalidation&) = delete;
  ScopedInvalidation& operator=(const ScopedInvalidation&) = delete;

 private:
  InvalidateSequence& sequence_;
  const GfnRange range_;
};

// ---------------------------------------------------------------------------

inline void InvalidateSequence::Begin(GfnRange range) {
  const FaultLock::Exclusive hold(lock_);
  if (open_++ == 0) {
    range_ = range;
  } else {
    range_.begin = std::min(range_.begin, range.begin);
    range_.end = std::max(range_.end, range.end);
  }
}

inline void InvalidateSequence::End(GfnRange range) {
  const FaultLock::Exclusive hold(lock_);
  PTAGE_ASSERT(open_ != 0 && range_.Contains(range));
  // [invalidate.2] release, pairs with [invalidate.1].
  WriteOnce(sequence_, ReadOnce(sequence_, kRelaxed) + 1, kRelease);
  --open_;
}

inline bool InvalidateSequence::MustRetry(const FaultLock::Held& held,
                                          std::uint64_t snapshot,
                                          GfnRange frames) const {
  PTAGE_ASSERT(held.Of(lock_));
  return (open_ != 0 && range_.Overlaps(frames)) ||
         ReadOnce(sequence_, kRelaxed) != snapshot;
}

}  // namespace ptage

#endif  // PTAGE_INVALIDATE_H_
