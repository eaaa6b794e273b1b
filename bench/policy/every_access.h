// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Replacement policies that are told of every access (no page table tells of
// these), and the bound that no policy passes. Each is as its paper has it:
//   ExactLru  the page whose last access is the longest ago goes
//   Lfu       the page with the fewest accesses since it came goes, of these
//             the least recently used
//   Arc       N. Megiddo, D. S. Modha, "ARC: A Self-Tuning, Low Overhead
//             Replacement Cache", FAST 2003, figure 4
//   S3Fifo    J. Yang and others, "FIFO Queues are All You Need for Cache
//             Eviction", SOSP 2023, algorithm 1: a small queue of a tenth, a
//             ghost queue as long as the main queue, counts up to 3
//   Sieve     Y. Zhang and others, "SIEVE is Simpler than LRU", NSDI 2024,
//             algorithm 1
//   Belady    L. A. Belady, "A study of replacement algorithms for a
//             virtual-storage computer", IBM Systems Journal 5(2), 1966: the
//             page that is needed the latest goes
//
// Access(page) says whether it was in memory; then it is. One thread.

#ifndef PTAGE_BENCH_POLICY_EVERY_ACCESS_H_
#define PTAGE_BENCH_POLICY_EVERY_ACCESS_H_

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "bench/policy/page_list.h"

namespace ptage::bench {

class ExactLru {
 public:
  ExactLru(std::uint32_t pages, std::uint32_t frames)
      : frames_(frames), lists_(pages, 1) {}

  bool Access(Page page) {
    const bool hit = lists_.ListOf(page) == 0;
    if (hit) {
      lists_.Remove(page);
    } else if (lists_.Size(0) == frames_) {
      lists_.PopBack(0);
    }
    lists_.PushFront(0, page);
    return hit;
  }

 private:
  const std::uint32_t frames_;
  PageLists lists_;
};

class Lfu {
 public:
  Lfu(std::uint32_t pages, std::uint32_t frames)
      : frames_(frames), keys_(pages) {}

  bool Access(Page page) {
    Key& key = keys_[page];
    const bool hit = key.count != 0;
    if (!hit && order_.size() == frames_) Evict();
    key = Key{key.count + 1, ++now_, page};
    if (!hit) Push(key);
    return hit;
  }

 private:
  struct Key {
    std::uint64_t count = 0;  // 0: not in memory
    std::uint64_t last = 0;
    Page page = 0;

    auto operator<=>(const Key&) const = default;
  };

  void Push(const Key& key) {
    order_.push_back(key);
    std::push_heap(order_.begin(), order_.end(), std::greater<>());
  }
  Key Pop() {
    std::pop_heap(order_.begin(), order_.end(), std::greater<>());
    const Key key = order_.back();
    order_.pop_back();
    return key;
  }
  void Evict() {
    for (;;) {
      const Key least = Pop();
      Key& key = keys_[least.page];
      if (key == least) {
        key.count = 0;
        return;
      }
      Push(key);
    }
  }

  const std::size_t frames_;
  std::uint64_t now_ = 0;
  std::vector<Key> keys_;
  // A heap, the least first. Keys only grow, so one that is out of date comes
  // up too early and never too late.
  std::vector<Key> order_;
};

class Arc {
 public:
  Arc(std::uint32_t pages, std::uint32_t frames)
      : c_(frames), lists_(pages, 4) {}

  bool Access(Page page) {
    switch (lists_.ListOf(page)) {
      case kT1:
      case kT2:
        lists_.MoveToFront(kT2, page);
        return true;
      case kB1:
        p_ = std::min(c_, p_ + std::max(Over(kB2, kB1), std::uint32_t{1}));
        Replace(false);
        lists_.MoveToFront(kT2, page);
        return false;
      case kB2: {
        const std::uint32_t less = std::max(Over(kB1, kB2), std::uint32_t{1});
        p_ = p_ > less ? p_ - less : 0;
        Replace(true);
        lists_.MoveToFront(kT2, page);
        return false;
      }
      default:
        break;
    }
    const std::uint32_t once = lists_.Size(kT1) + lists_.Size(kB1);
    const std::uint32_t all = once + lists_.Size(kT2) + lists_.Size(kB2);
    if (once == c_) {
      if (lists_.Size(kT1) < c_) {
        lists_.PopBack(kB1);
        Replace(false);
      } else {
        lists_.PopBack(kT1);
      }
    } else if (all >= c_) {
      if (all == 2 * c_) lists_.PopBack(kB2);
      Replace(false);
    }
    lists_.PushFront(kT1, page);
    return false;
  }

 private:
  enum : unsigned { kT1, kT2, kB1, kB2 };

  // |above| ÷ |below|, rounded down.
  [[nodiscard]] std::uint32_t Over(unsigned above, unsigned below) const {
    return lists_.Size(above) / lists_.Size(below);
  }
  void Replace(bool in_b2) {
    const std::uint32_t t1 = lists_.Size(kT1);
    if (t1 != 0 && (t1 > p_ || (in_b2 && t1 == p_))) {
      lists_.PushFront(kB1, lists_.PopBack(kT1));
    } else if (lists_.Size(kT2) != 0) {
      lists_.PushFront(kB2, lists_.PopBack(kT2));
    }
  }

  const std::uint32_t c_;
  std::uint32_t p_ = 0;
  PageLists lists_;
};

class S3Fifo {
 public:
  S3Fifo(std::uint32_t pages, std::uint32_t frames)
      : frames_(frames),
        small_(std::max(frames / 10, std::uint32_t{1})),
        lists_(pages, 3),
        counts_(pages) {}

  bool Access(Page page) {
    const unsigned list = lists_.ListOf(page);
    if (list == kSmall || list == kMain) {
      counts_[page] = std::min<std::uint8_t>(counts_[page] + 1, 3);
      return true;
    }
    // Of a page that is being remembered, before its place is taken away.
    const bool remembered = list == kGhost;
    if (remembered) lists_.Remove(page);
    while (lists_.Size(kSmall) + lists_.Size(kMain) >= frames_) {
      if (lists_.Size(kSmall) >= small_ || lists_.Empty(kMain)) {
        EvictFromSmall();
      } else {
        EvictFromMain();
      }
    }
    lists_.PushFront(remembered ? kMain : kSmall, page);
    counts_[page] = 0;
    return false;
  }

 private:
  enum : unsigned { kSmall, kMain, kGhost };

  void EvictFromSmall() {
    while (!lists_.Empty(kSmall)) {
      const Page page = lists_.PopBack(kSmall);
      if (counts_[page] > 1) {
        lists_.PushFront(kMain, page);
        counts_[page] = 0;
        if (lists_.Size(kMain) > frames_ - small_) EvictFromMain();
      } else {
        if (lists_.Size(kGhost) >= frames_ - small_ && !lists_.Empty(kGhost)) {
          lists_.PopBack(kGhost);
        }
        if (frames_ > small_) lists_.PushFront(kGhost, page);
        return;
      }
    }
  }
  void EvictFromMain() {
    for (;;) {
      const Page page = lists_.PopBack(kMain);
      if (counts_[page] == 0) return;
      --counts_[page];
      lists_.PushFront(kMain, page);
    }
  }

  const std::uint32_t frames_;
  const std::uint32_t small_;
  PageLists lists_;
  std::vector<std::uint8_t> counts_;
};

class Sieve {
 public:
  Sieve(std::uint32_t pages, std::uint32_t frames)
      : frames_(frames), lists_(pages, 1), visited_(pages) {}

  bool Access(Page page) {
    if (lists_.ListOf(page) == 0) {
      visited_[page] = true;
      return true;
    }
    if (lists_.Size(0) == frames_) Evict();
    lists_.PushFront(0, page);
    visited_[page] = false;
    return false;
  }

 private:
  void Evict() {
    Page page = hand_ == PageLists::kNone ? lists_.Back(0) : hand_;
    while (visited_[page]) {
      visited_[page] = false;
      page = lists_.TowardsFront(page);
      if (page == PageLists::kNone) page = lists_.Back(0);
    }
    hand_ = lists_.TowardsFront(page);
    lists_.Remove(page);
  }

  const std::uint32_t frames_;
  PageLists lists_;
  std::vector<bool> visited_;
  Page hand_ = PageLists::kNone;
};

// It knows what is to come: `references` is the whole of it.
class Belady {
 public:
  Belady(std::uint32_t pages, std::uint32_t frames,
         const std::vector<Page>& references)
      : frames_(frames), next_(references.size()), due_(pages, kOut) {
    std::vector<std::uint32_t> next(pages, kNever);
    for (std::size_t i = references.size(); i-- != 0;) {
      next_[i] =
          std::exchange(next[references[i]], static_cast<std::uint32_t>(i));
    }
  }

  bool Access(Page page) {
    const bool hit = due_[page] != kOut;
    if (!hit) {
      if (in_.size() == frames_) Evict();
      in_.push_back(page);
    }
    due_[page] = next_[now_++];
    return hit;
  }

 private:
  static constexpr std::uint32_t kNever = ~std::uint32_t{0};
  static constexpr std::uint32_t kOut = 0;  // no page is next needed at 0

  void Evict() {
    const auto latest =
        std::max_element(in_.begin(), in_.end(),
                         [&](Page a, Page b) { return due_[a] < due_[b]; });
    due_[*latest] = kOut;
    *latest = in_.back();
    in_.pop_back();
  }

  const std::size_t frames_;
  std::size_t now_ = 0;
  std::vector<std::uint32_t> next_;  // by reference: when its page is next
  std::vector<std::uint32_t> due_;   // by page, of those in memory
  std::vector<Page> in_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_EVERY_ACCESS_H_
