// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A CPU that keeps what it read of the tables until it is flushed.

#ifndef PTAGE_TEST_RELACY_CPU_H_
#define PTAGE_TEST_RELACY_CPU_H_

#include "ptage/lock.h"
#include "ptage/once.h"
#include "ptage/types.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

class Cpu {
 public:
  // Reads the entry, unless one is still cached, and calls `use(word)` with
  // what is cached, if that is present.
  template <class Use>
  void Walk(const Entry& entry, Use&& use) {
    ScopedLock<BlockingLock> hold(walking_);
    if (!Caches()) {
      const Word seen = ReadOnce(entry, kAcquire);
      if (TinyFormat::IsPresent(seen)) cached_ = seen;
    }
    if (Caches()) use(cached_);
  }
  // The same, marking the entry when it is read, as hardware does.
  template <class Use>
  void WalkAndMark(Entry& entry, Use&& use) {
    ScopedLock<BlockingLock> hold(walking_);
    if (!Caches()) {
      Word seen = ReadOnce(entry, kAcquire);
      while (TinyFormat::IsPresent(seen) &&
             !TryCmpxchg(entry, seen, seen | TinyFormat::kAccessed, kAcquire)) {
        seen = ReadOnce(entry, kAcquire);
      }
      if (TinyFormat::IsPresent(seen)) cached_ = seen;
    }
    if (Caches()) use(cached_);
  }
  // A Flusher. Waits for a walk under way; a later one reads what is there
  // then.
  void Flush(GfnRange) {
    ScopedLock<BlockingLock> hold(walking_);
    cached_ = TinyFormat::kEmpty;
  }
  bool Caches() const { return cached_ != TinyFormat::kEmpty; }

 private:
  BlockingLock walking_;
  Word cached_ = TinyFormat::kEmpty;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_CPU_H_
