// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What a reclamation scheme must say, and the section in which a thread may
// follow pointers that others unlink.
//
// Contract
//   Inside a LocklessWalk whatever could be reached when the walk began, or
//   became reachable later, stays allocated until the walk ends, even if it is
//   unlinked and retired meanwhile. Any thread may walk: one that the MMU knows
//   or one that it has never seen. Walks nest (each takes its own place).
//
//   A walk may fail to begin, for want of a place to announce itself. Then it
//   tests false, nothing may be followed, and an aging question answers "not
//   complete" rather than wait.

#ifndef PTAGE_RECLAIM_H_
#define PTAGE_RECLAIM_H_

#include <concepts>
#include <cstdint>

#include "ptage/once.h"

namespace ptage {

// Embedded in what is to be freed later, so that retiring never allocates. The
// scheme owns it from Retire until it calls `free`.
struct Retired {
  // For the scheme alone: what it links it to.
  Retired* next = nullptr;
  // For the scheme alone: when the object was retired.
  std::uint64_t stamp = 0;
  // Called once, from any thread, when no walk can hold the object. It must not
  // wait for a walk. Both are the owner's to set before Retire.
  void (*free)(Retired& self, void* owner) = nullptr;
  void* owner = nullptr;
};

// What a scheme with a limit on what it holds says of it. It has taken the
// object either way.
enum class RetireOutcome {
  kTaken,
  // At least as many objects as the limit allows are held, by walks that do not
  // end. The caller should retire no more for now; who is not inside a walk
  // itself may Synchronize.
  kAtLimit,
};

namespace internal {

template <class T>
concept SaysNothingOrOutcome =
    std::same_as<T, void> || std::same_as<T, RetireOutcome>;

}  // namespace internal

// A reclamation scheme.
//   Begin()          enters a section; a section that could not be entered
//                    tests false. Wait-free.
//   End(section)     leaves it. Wait-free.
//   Retire(node)     `node`'s object is no longer reachable for walks that
//                    begin from here on; frees it when the others have ended.
//                    Never allocates, never waits for a walk. Returns nothing,
//                    or a RetireOutcome. What this library itself retires, it
//                    retires inside walks or in destructors, where it cannot
//                    wait: it passes the outcome over, and a caller who has set
//                    a limit asks the scheme between operations.
template <class R>
concept Reclaimer =
    requires(R& reclaimer, typename R::Section section, Retired& node) {
      { reclaimer.Begin() } -> std::same_as<typename R::Section>;
      { static_cast<bool>(section) };
      reclaimer.End(section);
      { reclaimer.Retire(node) } -> internal::SaysNothingOrOutcome;
    };

// A scheme that a writer can wait for.
//   Synchronize()    returns when every walk that began before the call has
//                    ended. Precondition: the caller is not inside one.
template <class R>
concept SynchronizingReclaimer =
    Reclaimer<R> && requires(R& reclaimer) { reclaimer.Synchronize(); };

// Whether `R` is type-stable: it holds nothing back. What is retired may be
// given out again at once, as another object of its type, under walks that
// still hold it (reclaim/type_stable.h). Whoever relies on the first paragraph
// of the contract above does not compile with such a scheme.
template <class R>
inline constexpr bool kTypeStable = requires { requires R::kTypeStable; };

// What a walk does when it finds no place.
enum class WalkEntry {
  kTry,   // tests false; wait-free
  kWait,  // tries until another walk ends
};

// A section as a scope, of the thread that made it. Functions that follow
// shared pointers take one by reference, as a proof that the caller is inside.
// What was retired meanwhile is held back until it ends.
template <Reclaimer R>
class [[nodiscard]] LocklessWalk {
 public:
  explicit LocklessWalk(R& reclaimer, WalkEntry entry = WalkEntry::kTry)
      : reclaimer_(reclaimer), section_(reclaimer.Begin()) {
    while (entry == WalkEntry::kWait && !static_cast<bool>(section_)) {
      SpinPause();
      section_ = reclaimer.Begin();
    }
  }
  ~LocklessWalk() {
    if (static_cast<bool>(section_)) reclaimer_.End(section_);
  }
  LocklessWalk(const LocklessWalk&) = delete;
  LocklessWalk& operator=(const LocklessWalk&) = delete;

  // Whether the walk began.
  explicit operator bool() const { return static_cast<bool>(section_); }

 private:
  R& reclaimer_;
  typename R::Section section_;
};

}  // namespace ptage

#endif  // PTAGE_RECLAIM_H_
