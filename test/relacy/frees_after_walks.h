// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A reclaimer that keeps its word, and no more: what was retired is freed as
// soon as the walks that began before have ended.

#ifndef PTAGE_TEST_RELACY_FREES_AFTER_WALKS_H_
#define PTAGE_TEST_RELACY_FREES_AFTER_WALKS_H_

#include <algorithm>
#include <cstdint>

#include "ptage/once.h"
#include "ptage/reclaim.h"

namespace ptage::relacy {

class FreesAfterWalks {
 public:
  struct Section {
    explicit operator bool() const { return true; }
    unsigned place = 0;
  };
  FreesAfterWalks() : turns_(0) { std::fill_n(walks_, kPlaces, kNone); }

  Section Begin() {
    TakeTurn();
    const auto place = std::find(walks_, walks_ + kPlaces, kNone);
    *place = ++begun_;
    return Section{static_cast<unsigned>(place - walks_)};
  }
  void End(Section section) {
    TakeTurn();
    walks_[section.place] = kNone;
    FreeEnded();
  }
  void Retire(Retired& node) {
    TakeTurn();
    node.stamp = begun_;
    node.next = retired_;
    retired_ = &node;
  }
  void Synchronize() {
    TakeTurn();
    const std::uint64_t before = begun_;
    // Who is just freeing is waited for, too. A domain leaves that to those who
    // try again, as a fault does that finds no memory.
    while (Oldest() <= before || freeing_ != 0) {
      SpinPause();
      TakeTurn();
    }
    FreeEnded();
  }
  // At the end, when no walk is left.
  void FreeAll() { FreeEnded(); }

 private:
  static constexpr unsigned kPlaces = 6;
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  // What a thread did before its turn is seen by who has a later one. Until it
  // comes to the next shared word, it runs alone.
  void TakeTurn() { FetchAdd(turns_, 1, kAcqRel); }
  std::uint64_t Oldest() const {
    return *std::min_element(walks_, walks_ + kPlaces);
  }
  void FreeEnded() {
    for (Retired** at = &retired_; *at != nullptr;) {
      Retired& node = **at;
      if (node.stamp >= Oldest()) {
        at = &node.next;
        continue;
      }
      *at = node.next;
      // Others may come in.
      ++freeing_;
      node.free(node, node.owner);
      TakeTurn();
      --freeing_;
      at = &retired_;
    }
  }

  Cell<std::uint32_t> turns_;
  // The numbers of walks that have not ended, and how many began.
  std::uint64_t walks_[kPlaces];
  std::uint64_t begun_ = 0;
  unsigned freeing_ = 0;
  Retired* retired_ = nullptr;
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_FREES_AFTER_WALKS_H_
