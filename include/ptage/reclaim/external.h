// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Sections and grace periods that the caller already has, as a kernel has its
// RCU, as a reclaimer.
//
// Contract
//   Everything is as the caller's quiescence makes it: which threads may walk,
//   whether a walk may sleep, who calls what is to be called, and how much may
//   be held back. The reclaimer adds no state and no order of its own, so what
//   the quiescence must supply is all there is:
//     for each section and each node, either the section's Exit happens before
//     the node is freed, or what the caller of FreeAfterGrace had done before
//     he called happens before what is done in the section.
//   Progress: Begin, End and Retire as Enter, Exit and FreeAfterGrace; the last
//   must not wait for a section, or removing a table inside a walk never ends.

#ifndef PTAGE_RECLAIM_EXTERNAL_H_
#define PTAGE_RECLAIM_EXTERNAL_H_

#include <concepts>

#include "ptage/config.h"
#include "ptage/reclaim.h"

namespace ptage {

// The caller's sections and grace periods.
//   Enter()          begins a section; false if this thread cannot have one
//                    now. Sections nest.
//   Exit()           ends the one begun last. By the thread that began it.
//   FreeAfterGrace(node)
//                    calls `node.free(node, node.owner)` once, from any thread,
//                    when every section that was begun before has ended.
//                    Neither allocates nor waits for a section; may be called
//                    inside one, and from inside `free`. Until then `next` and
//                    `stamp`, the first words of the node, are the callee's:
//                    room for a kernel's own list node.
template <class Q>
concept Quiescence = requires(Q& quiescence, Retired& node) {
  { quiescence.Enter() } -> std::same_as<bool>;
  quiescence.Exit();
  quiescence.FreeAfterGrace(node);
};

// One that can be waited for.
//   Synchronize()    returns when every section that was begun before has
//                    ended.
template <class Q>
concept SynchronizingQuiescence =
    Quiescence<Q> && requires(Q& quiescence) { quiescence.Synchronize(); };

// The scheme. It has no state of its own.
template <Quiescence Q>
class ExternalReclaimer {
 public:
  // An entered section, or none. Of the thread that entered it.
  class Section {
   public:
    explicit operator bool() const { return entered_; }

   private:
    friend class ExternalReclaimer;
    explicit Section(bool entered) : entered_(entered) {}
    bool entered_;
  };

  // `quiescence` outlives the reclaimer and what is retired to it.
  explicit ExternalReclaimer(Q& quiescence) : quiescence_(quiescence) {}
  ExternalReclaimer(const ExternalReclaimer&) = delete;
  ExternalReclaimer& operator=(const ExternalReclaimer&) = delete;

  [[nodiscard]] Section Begin() { return Section(quiescence_.Enter()); }
  void End(Section section) {
    PTAGE_ASSERT(static_cast<bool>(section));
    quiescence_.Exit();
  }
  void Retire(Retired& node) {
    PTAGE_ASSERT(node.free != nullptr);
    quiescence_.FreeAfterGrace(node);
  }

  // Precondition: the calling thread is not inside a walk.
  void Synchronize()
    requires SynchronizingQuiescence<Q>
  {
    quiescence_.Synchronize();
  }

 private:
  Q& quiescence_;
};

}  // namespace ptage

#endif  // PTAGE_RECLAIM_EXTERNAL_H_
