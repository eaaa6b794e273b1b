// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A value that is replaced whole: whoever reads it keeps the version that he
// found, for as long as he walks.
//
// Contract
//   Read may be called by any thread at any time, inside a LocklessWalk. What
//   it returns does not change, and stays until the walk ends. It is the latest
//   version of some moment of the call, never one before what the thread has
//   seen already.
//   Latest and Replace are for one thread at a time: the caller has a lock.
//
//   A version is retired when it can be found no more. The other way round:
//       writer: retires the version      | reader: begins a walk, finds it
//       writer: publishes the next       |   by then it may be freed
//
//   Progress: Read is wait-free. Replace allocates, and retires.
//
// Sites (order · partner)
//   [published.1] release store in Replace  · [published.2]
//   [published.2] acquire load in Read      · [published.1]

#ifndef PTAGE_PUBLISHED_H_
#define PTAGE_PUBLISHED_H_

#include <utility>

#include "ptage/config.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"

namespace ptage {

template <class T, Reclaimer R>
class Published {
  static_assert(!kTypeStable<R>,
                "Published: a version is freed, not used again, so it needs a "
                "reclaimer that waits for walks; TypeStable does not");

 public:
  // `reclaimer` outlives the value and all its versions.
  explicit Published(R& reclaimer, T first = T())
      : reclaimer_(reclaimer), current_(new Version(std::move(first))) {}
  // Precondition: no other thread uses the value.
  ~Published() { delete ReadOnce(current_, kRelaxed); }
  Published(const Published&) = delete;
  Published& operator=(const Published&) = delete;

  [[nodiscard]] const T& Read(const LocklessWalk<R>& walk) const {
    PTAGE_ASSERT(static_cast<bool>(walk));
    // [published.2] acquire, pairs with [published.1]: the version is visible
    // as it was made.
    return ReadOnce(current_, kAcquire)->value;
  }

  // For who may replace it: stays until he does.
  [[nodiscard]] const T& Latest() const {
    return ReadOnce(current_, kRelaxed)->value;
  }
  void Replace(T next);

 private:
  struct Version : Retired {
    explicit Version(T&& content) : value(std::move(content)) {}
    const T value;
  };

  R& reclaimer_;
  Cell<Version*> current_;
};

// ---------------------------------------------------------------------------

template <class T, Reclaimer R>
void Published<T, R>::Replace(T next) {
  Version* const old = ReadOnce(current_, kRelaxed);
  old->free = [](Retired& self, void*) { delete static_cast<Version*>(&self); };
  // [published.1] release, pairs with [published.2].
  WriteOnce(current_, new Version(std::move(next)), kRelease);
  reclaimer_.Retire(*old);
}

}  // namespace ptage

#endif  // PTAGE_PUBLISHED_H_
