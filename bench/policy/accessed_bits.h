// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Replacement policies that know of accesses only what accessed bits tell:
//   ClockHand    F. J. Corbató, "A Paging Experiment with the Multics System",
//                MIT Project MAC report MAC-M-384, 1968: pages in a ring; the
//                hand clears bits, and takes the first page without
//   Gclock       A. J. Smith, "Sequentiality and Prefetching in Database
//                Systems", ACM TODS 3(3), 1978: each page has a count; the hand
//                counts down, and takes the first page at 0
//   TwoLists     active and inactive, as in M. Gorman, "Understanding the Linux
//                Virtual Memory Manager", 2004, chapter 10, with the second
//                chance that a page gets on its first reference there
//   Generations  four of them, as Linux's multi-generational LRU has them
//                (Y. Zhao, mm/vmscan.c, 2022), without tiers and look-around:
//                what is found young goes to the youngest, and when the oldest
//                is used up the next one begins
//
// Each is told by Sampled(page) of every page that a sample finds young, and
// asks for the bit of a page that it means to evict, which clears it. A bit in
// a sample counts as one the hand would have found.
//
// Evict returns the page that goes; Insert is told of the page that comes. One
// thread.

#ifndef PTAGE_BENCH_POLICY_ACCESSED_BITS_H_
#define PTAGE_BENCH_POLICY_ACCESSED_BITS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "bench/policy/page_list.h"

namespace ptage::bench {

class ClockHand {
 public:
  ClockHand(std::uint32_t pages, std::uint32_t)
      : lists_(pages, 1), referenced_(pages) {}

  void Insert(Page page) {
    referenced_[page] = false;
    lists_.PushFront(0, page);
  }
  void Sampled(Page page) { referenced_[page] = true; }
  void EndOfSample() {}
  // `take(page)` returns its accessed bit, and clears it.
  template <class Take>
  Page Evict(Take&& take) {
    for (;;) {
      const Page page = lists_.PopBack(0);
      const bool young = take(page);
      if (!young && !referenced_[page]) return page;
      referenced_[page] = false;
      lists_.PushFront(0, page);
    }
  }

 private:
  PageLists lists_;
  std::vector<bool> referenced_;
};

class Gclock {
 public:
  static constexpr std::uint8_t kMost = 3;

  Gclock(std::uint32_t pages, std::uint32_t)
      : lists_(pages, 1), counts_(pages) {}

  void Insert(Page page) {
    counts_[page] = 0;
    lists_.PushFront(0, page);
  }
  void Sampled(Page page) {
    counts_[page] = std::min<std::uint8_t>(counts_[page] + 1, kMost);
  }
  void EndOfSample() {}
  template <class Take>
  Page Evict(Take&& take) {
    for (;;) {
      const Page page = lists_.PopBack(0);
      if (take(page)) Sampled(page);
      if (counts_[page] == 0) return page;
      --counts_[page];
      lists_.PushFront(0, page);
    }
  }

 private:
  PageLists lists_;
  std::vector<std::uint8_t> counts_;
};

class TwoLists {
 public:
  TwoLists(std::uint32_t pages, std::uint32_t)
      : lists_(pages, 2), referenced_(pages) {}

  void Insert(Page page) {
    referenced_[page] = false;
    lists_.PushFront(kInactive, page);
  }
  void Sampled(Page page) {
    if (lists_.ListOf(page) == kActive || !referenced_[page]) {
      referenced_[page] = true;
    } else {
      lists_.MoveToFront(kActive, page);
      referenced_[page] = false;
    }
  }
  void EndOfSample() {}
  template <class Take>
  Page Evict(Take&& take) {
    for (;;) {
      // As many active pages as others at most.
      while (lists_.Size(kActive) > lists_.Size(kInactive)) {
        const Page page = lists_.PopBack(kActive);
        const bool young = take(page);
        const bool again = young || referenced_[page];
        referenced_[page] = false;
        lists_.PushFront(again ? kActive : kInactive, page);
      }
      const Page page = lists_.Back(kInactive);
      if (take(page)) {
        Sampled(page);
        if (lists_.ListOf(page) == kInactive) {
          lists_.MoveToFront(kInactive, page);
        }
      } else if (referenced_[page]) {
        // Referenced once, in a sample: it gets one turn, as if its bit had
        // been found here.
        lists_.MoveToFront(kInactive, page);
        referenced_[page] = false;
      } else {
        lists_.Remove(page);
        return page;
      }
    }
  }

 private:
  enum : unsigned { kInactive, kActive };

  PageLists lists_;
  std::vector<bool> referenced_;
};

class Generations {
 public:
  static constexpr unsigned kCount = 4;

  Generations(std::uint32_t pages, std::uint32_t) : lists_(pages, kCount) {}

  // A fault's page is as young as any.
  void Insert(Page page) { lists_.PushFront(youngest_, page); }
  void Sampled(Page page) { lists_.MoveToFront(youngest_, page); }
  void EndOfSample() {}
  template <class Take>
  Page Evict(Take&& take) {
    for (;;) {
      const unsigned oldest = (youngest_ + 1) % kCount;
      if (lists_.Empty(oldest)) {
        // It is used up, and becomes the youngest.
        youngest_ = oldest;
        continue;
      }
      const Page page = lists_.PopBack(oldest);
      if (!take(page)) return page;
      lists_.PushFront(youngest_, page);
    }
  }

 private:
  PageLists lists_;
  unsigned youngest_ = kCount - 1;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_ACCESSED_BITS_H_
