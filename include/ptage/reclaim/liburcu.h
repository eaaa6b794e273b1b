// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Userspace RCU (liburcu 0.13, its memb flavour) as a reclaimer. Hosted; link
// with urcu-memb and urcu-common. No umbrella header includes this one.
//
// Contract
//   * Sections are liburcu's read-side sections, grace periods its own, and all
//     objects of this class, and everything else in the process that uses the
//     flavour, share them. Walks and other sections nest freely.
//   * A thread registers itself on its first Begin or Retire, and leaves when
//     it ends. A thread that the program registers by itself says so first
//     (AdoptThread), and leaves by itself.
//   * A walk does not begin in a thread that has already left, that is, in
//     destructors of thread-local objects which run after this one's: it then
//     tests false. Retire still works there.
//   * Signal handlers: a walk may begin in a thread that is registered; the
//     first Begin of a thread takes a lock, and must not be in a handler.
//   * fork: as liburcu says. In the child only walks of the forking thread can
//     go on; a program that retires objects in it calls
//     urcu_memb_call_rcu_before_fork and its counterparts around the fork.
//   * What is held back is bounded by nothing. `free` runs in a thread of
//     liburcu's, outside sections, one object at a time: it must not call
//     Synchronize or WaitForRetired.
//   * Progress: Begin and End wait-free but for a thread's first Begin, which
//     waits for liburcu's lock on its list of threads; Retire likewise, for the
//     locks of malloc once, when the first object starts liburcu's thread;
//     Synchronize waits for every walk that began before it.
//
// Sites: none. liburcu orders sections and frees.

#ifndef PTAGE_RECLAIM_LIBURCU_H_
#define PTAGE_RECLAIM_LIBURCU_H_

#include <urcu/urcu-memb.h>

#include <cstddef>
#include <new>
#include <type_traits>

#include "ptage/config.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/external.h"

namespace ptage {

// liburcu's sections and grace periods, in the terms of external.h.
class LiburcuQuiescence {
 public:
  [[nodiscard]] bool Enter() {
    if (membership_ != Membership::kIn && !TryJoin()) return false;
    urcu_memb_read_lock();
    return true;
  }
  void Exit() { urcu_memb_read_unlock(); }
  void FreeAfterGrace(Retired& node);
  void Synchronize() { urcu_memb_synchronize_rcu(); }

  // Tells that the program itself has registered the calling thread with the
  // flavour, and will unregister it. Before the thread's first walk.
  static void AdoptThread() { membership_ = Membership::kIn; }

 private:
  // Whether the flavour knows the calling thread.
  enum class Membership { kNotYet, kIn, kNoMore };

  // Registers the calling thread until it ends. False if it is ending.
  static bool TryJoin() {
    if (membership_ == Membership::kNoMore) return false;
    struct Member {
      Member() {
        urcu_memb_register_thread();
        membership_ = Membership::kIn;
      }
      ~Member() {
        membership_ = Membership::kNoMore;
        urcu_memb_unregister_thread();
      }
    };
    thread_local const Member member;
    return true;
  }
  static void FreeNow(rcu_head* head);

  static constinit thread_local inline Membership membership_ =
      Membership::kNotYet;
};

// The scheme.
class LiburcuReclaimer : public ExternalReclaimer<LiburcuQuiescence> {
 public:
  LiburcuReclaimer() : ExternalReclaimer(quiescence_) {}
  // Waits until what was retired is freed. Precondition: as Synchronize.
  ~LiburcuReclaimer() { WaitForRetired(); }

  // As LiburcuQuiescence says.
  static void AdoptThread() { LiburcuQuiescence::AdoptThread(); }

  // Returns when what was retired before the call, to any object of this class,
  // is freed; but for what `free` retires. Precondition: the calling thread is
  // not inside a walk.
  void WaitForRetired() { urcu_memb_barrier(); }

 private:
  // Has no state.
  LiburcuQuiescence quiescence_;
};

// ---------------------------------------------------------------------------

// While liburcu has an object, its rcu_head lies where the scheme's own words
// are, `next` and `stamp`: so retiring allocates nothing, and an object's node
// is no larger than for the other schemes.
static_assert(std::is_standard_layout_v<Retired>);
static_assert(std::is_trivially_destructible_v<rcu_head>);
static_assert(offsetof(Retired, next) == 0);
static_assert(sizeof(rcu_head) <= offsetof(Retired, free));
static_assert(alignof(rcu_head) <= alignof(Retired));
static_assert(offsetof(Retired, stamp) < offsetof(Retired, free) &&
              offsetof(Retired, free) < offsetof(Retired, owner));

inline void LiburcuQuiescence::FreeAfterGrace(Retired& node) {
  auto* const head = ::new (static_cast<void*>(&node)) rcu_head;
  // call_rcu begins a section of its own, which only a registered thread can.
  if (membership_ == Membership::kIn || TryJoin()) {
    urcu_memb_call_rcu(head, &FreeNow);
    return;
  }
  urcu_memb_register_thread();
  urcu_memb_call_rcu(head, &FreeNow);
  urcu_memb_unregister_thread();
}

inline void LiburcuQuiescence::FreeNow(rcu_head* head) {
  // liburcu's thread has registered itself, and `free` may retire again.
  AdoptThread();
  auto* const node = std::launder(reinterpret_cast<Retired*>(head));
  // The words are the object's again.
  node->next = nullptr;
  node->stamp = 0;
  node->free(*node, node->owner);
}

}  // namespace ptage

#endif  // PTAGE_RECLAIM_LIBURCU_H_
