// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The library's LRU and its aging client as a policy for a machine.

#ifndef PTAGE_BENCH_POLICY_OURS_H_
#define PTAGE_BENCH_POLICY_OURS_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>

#include "bench/policy/machine.h"
#include "bench/policy/page_list.h"
#include "ptage/lru.h"
#include "ptage/lru/aging.h"
#include "ptage/lru/page_word.h"
#include "ptage/types.h"

namespace ptage::bench {

struct OurOptions {
  // Whether an eviction that finds its page young asks the entries around it.
  bool look_around = false;
  // Whether aging skips tables.
  bool filter = false;
};

class OurPolicy {
 public:
  OurPolicy(Machine& machine, OurOptions options)
      : options_(options),
        lru_(machine.pages()),
        aging_(machine, lru_, GfnRange{Gfn{0}, Gfn{machine.pages()}},
               AgingConfig{.filter = options.filter}) {}

  void Insert(Page page) { (void)lru_.Add(page); }
  void Pass(Machine&) { aging_.Pass(); }
  Page Evict(Machine& machine) {
    for (;;) {
      const std::optional<LruPage> page = lru_.Claim();
      if (!page.has_value()) continue;
      if (!machine.Take(*page)) {
        lru_.Release(*page, EvictionVerdict::kEvicted);
        return *page;
      }
      lru_.Release(*page, EvictionVerdict::kYoung);
      if (options_.look_around) LookAround(machine, *page);
    }
  }

 private:
  static constexpr Page kWindow = 64;
  static constexpr Page kTable = 512;

  // The window lies in one table, since it is aligned.
  void LookAround(Machine& machine, Page page) {
    const Page first = page / kWindow * kWindow;
    const Page count = std::min(kWindow, machine.pages() - first);
    std::uint64_t young = 0;
    const AgeOutput output{.begin = Gfn{first}, .young = Bitmap(&young, count)};
    (void)machine.TestClearYoungFastOnly(
        GfnRange{Gfn{first}, Gfn{first + count}}, output);
    lru_.Promote(first, output.young);
    if (std::popcount(young) >= 8) lru_.filters().Insert(page / kTable);
  }

  const OurOptions options_;
  Lru<> lru_;
  AgingClient<Machine> aging_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_OURS_H_
