// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Where retired objects wait for the walks that may hold them; shared by the
// epoch domains, which differ in how walks are announced.
//
// Contract
//   * A Limbo belongs to the holder of its domain's lock.
//   * What was retired fills one batch. When no other is waiting, the batch is
//     closed: it gets the number of the epoch, and the next epoch begins. It is
//     ripe when no walk is under way that announced its epoch or an earlier
//     one.
//   * So one look at all walks serves every object that was retired before it,
//     and while a batch waits for a long walk, nothing is spent on new ones.
//   * Batches are lists through the objects' own words; nothing is allocated,
//     and joining two takes the same time however long they are.
//
// Sites: none. docs/reclamation.md says why it is enough.

#ifndef PTAGE_RECLAIM_LIMBO_H_
#define PTAGE_RECLAIM_LIMBO_H_

#include <cstdint>

#include "ptage/reclaim.h"

namespace ptage {

// What a domain has done and holds, in objects, not bytes. A copy: what was so
// a moment ago.
struct EpochStats {
  std::uint64_t retired = 0;  // since the domain was made
  std::uint64_t freed = 0;    // or about to be, by who found them ripe
  // Retired and not freed.
  [[nodiscard]] std::uint64_t Held() const { return retired - freed; }

  // The epoch: a number that grows by one with each batch that is closed.
  std::uint64_t epoch = 0;
  // That of the oldest walk seen by the last look at all walks; `epoch` if
  // there was none older.
  std::uint64_t oldest_walk = 0;
  // How many looks in a row, the last included, found the batch that waits
  // held back by a walk; 0 if none waits.
  std::uint64_t held_back = 0;
  // Walks that ended only because their threads did.
  std::uint64_t ended_by_exit = 0;
};

// Retired objects, linked.
class RetiredList {
 public:
  // Whether there are any; how many.
  [[nodiscard]] bool Empty() const { return first_ == nullptr; }
  [[nodiscard]] std::uint64_t Count() const { return count_; }

  // Adds one.
  void Push(Retired& node) {
    node.next = first_;
    if (first_ == nullptr) last_ = &node;
    first_ = &node;
    ++count_;
  }
  // Takes all of `others`.
  void Take(RetiredList& others) {
    if (others.Empty()) return;
    others.last_->next = first_;
    if (first_ == nullptr) last_ = others.last_;
    first_ = others.first_;
    count_ += others.count_;
    others = RetiredList();
  }
  // Calls `free` of each, outside of any lock: it may retire again.
  void FreeAll() {
    Retired* node = first_;
    *this = RetiredList();
    while (node != nullptr) {
      Retired* const next = node->next;
      node->free(*node, node->owner);
      node = next;
    }
  }

 private:
  Retired* first_ = nullptr;
  Retired* last_ = nullptr;
  std::uint64_t count_ = 0;
};

class Limbo {
 public:
  // Adds to the batch that fills. Precondition: no walk that begins from here
  // on can reach these objects.
  void Add(RetiredList& list) { filling_.Take(list); }

  // Whether every walk that announced `epoch` or an earlier one has ended.
  [[nodiscard]] bool HasEnded(std::uint64_t epoch) const {
    return ended_ >= epoch;
  }

  // Looks whether the batch that waits is ripe; then closes the next, if it
  // holds anything, or if epoch `wanted` has not ended. Returns what is ripe.
  //   next_epoch()   begins the next epoch and returns the one that it ends;
  //                  walks that begin after it see what was unlinked before it
  //   oldest_walk()  the smallest epoch that a walk has announced which was
  //                  under way when the last epoch began and still is, or a
  //                  smaller number than any other walk's; the current epoch if
  //                  there is none
  template <class NextEpoch, class OldestWalk>
  RetiredList Advance(std::uint64_t wanted, NextEpoch next_epoch,
                      OldestWalk oldest_walk) {
    RetiredList ripe;
    if (closed_ != 0) Look(oldest_walk(), ripe);
    if (closed_ == 0 && (!filling_.Empty() || !HasEnded(wanted))) {
      waiting_.Take(filling_);
      closed_ = next_epoch();
      Look(oldest_walk(), ripe);
    }
    return ripe;
  }
  // Everything. Precondition: no walk is under way.
  RetiredList TakeAll() {
    RetiredList all;
    all.Take(waiting_);
    all.Take(filling_);
    closed_ = 0;
    stats_.held_back = 0;
    stats_.freed += all.Count();
    return all;
  }

  // `freed`, `oldest_walk` and `held_back`.
  [[nodiscard]] EpochStats stats() const { return stats_; }

 private:
  void Look(std::uint64_t oldest_walk, RetiredList& ripe) {
    stats_.oldest_walk = oldest_walk;
    ++stats_.held_back;
    if (oldest_walk <= closed_) return;
    stats_.held_back = 0;
    stats_.freed += waiting_.Count();
    ended_ = closed_;
    closed_ = 0;
    ripe.Take(waiting_);
  }

  RetiredList filling_;
  RetiredList waiting_;
  std::uint64_t closed_ = 0;  // the epoch of what waits; 0 if nothing does
  std::uint64_t ended_ = 0;
  EpochStats stats_;
};

}  // namespace ptage

#endif  // PTAGE_RECLAIM_LIMBO_H_
