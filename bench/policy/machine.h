// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Memory of so many frames behind a real page table (x86-64), whose accessed
// bits the references set as hardware does, and which a policy is asked to
// make room in. One thread.

#ifndef PTAGE_BENCH_POLICY_MACHINE_H_
#define PTAGE_BENCH_POLICY_MACHINE_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench/clock.h"
#include "bench/policy/page_list.h"
#include "ptage/config.h"
#include "ptage/harvest.h"
#include "ptage/memory.h"
#include "ptage/memory/arena.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"

namespace ptage::bench {

// When accessed bits are sampled: after so many references, or as many misses
// as a share of the frames; whichever is first. 0: not by this.
struct Sampling {
  const char* name;
  std::uint64_t references;
  std::uint32_t frames_share;
};

inline constexpr Sampling kSamplings[] = {{"none", 0, 0},
                                          {"default", 16'384, 4},
                                          {"frequent", 1'024, 16},
                                          {"continuous", 128, 64}};
inline constexpr Sampling kDefaultSampling = kSamplings[1];

// When the next sample of so many frames is due.
class SampleClock {
 public:
  SampleClock(Sampling sampling, std::uint32_t frames)
      : every_(sampling.references == 0 ? ~std::uint64_t{0}
                                        : sampling.references),
        share_(
            sampling.frames_share == 0
                ? ~std::uint64_t{0}
                : std::max(frames / sampling.frames_share, std::uint32_t{1})) {}

  // Since the last one there were so many references, and misses.
  [[nodiscard]] bool Due(std::uint64_t references, std::uint64_t misses) const {
    return references >= every_ || misses >= share_;
  }

 private:
  const std::uint64_t every_;
  const std::uint64_t share_;
};

struct PolicyCost {
  std::uint64_t misses = 0;
  std::uint64_t evictions = 0;
  std::uint64_t asked = 0;     // entries asked one by one
  std::uint64_t sampled = 0;   // entries read by samples and look-around
  std::uint64_t cmpxchgs = 0;  // of entries that were young
  std::uint64_t ticks = 0;     // of the policy's own time
};

class Machine {
  using F = X86_64;
  struct NoFlush {
    void Flush(GfnRange) {}
  };
  using Arena = TableArena<F>;
  using Domain = EpochDomain<4>;
  using Tree = PageTable<F, Arena, Domain, NoFlush>;
  using Walk = Tree::Walk;

 public:
  // Precondition: 1 GiB of pages at most.
  Machine(std::uint32_t pages, std::uint32_t frames)
      : frames_(frames),
        pages_(pages),
        tables_(pages / kEntriesPerTable<F> + 8),
        infos_(tables_.size()),
        arena_(tables_.data(), infos_.data(), nullptr, tables_.size(),
               Pfn{0x100'0000}),
        tree_(arena_, domain_, no_flush_, TableKind::kDirect),
        entries_(pages) {
    PTAGE_ASSERT(tree_.valid() && frames != 0);
  }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  [[nodiscard]] std::uint32_t pages() const { return pages_; }

  // For policies. Whether it was accessed; forgets it.
  [[nodiscard]] bool Take(Page page) {
    ++cost_.asked;
    const SpteAge age = AgeEntry<F>(*entries_[page], AgeAction::kTestAndClear,
                                    [] { return true; });
    const bool young = ToResult(age, AgeMode::kFastOnly).young;
    cost_.cmpxchgs += young ? 1u : 0u;
    return young;
  }
  // The same of a range, as the aging client asks.
  AgeResult TestClearYoungFastOnly(GfnRange range, const AgeOutput& output) {
    AgeCounts counts;
    AgeOutput counted = output;
    counted.counts = &counts;
    const Walk walk(domain_);
    const AgeResult result =
        Harvest(tree_, walk, range, AgeAction::kTestAndClear,
                AgeMode::kFastOnly, counted);
    cost_.sampled += counts.examined;
    cost_.cmpxchgs += counts.young;
    output.Count(counts);
    return result;
  }
  // Calls `visit(page)` for every page that was accessed.
  template <class Visit>
  void Sample(Visit&& visit) {
    bits_.assign((pages_ + 63) / 64, 0);
    const GfnRange all{Gfn{0}, Gfn{pages_}};
    (void)TestClearYoungFastOnly(
        all, AgeOutput{.begin = {}, .young = Bitmap(bits_.data(), pages_)});
    for (std::size_t word = 0; word < bits_.size(); ++word) {
      for (std::uint64_t rest = bits_[word]; rest != 0; rest &= rest - 1) {
        visit(static_cast<Page>(64 * word +
                                static_cast<unsigned>(std::countr_zero(rest))));
      }
    }
  }

  // Replays. `policy` has Insert(page), Pass(machine) for a sample, and
  // Evict(machine), which returns the page that goes.
  template <class Policy>
  PolicyCost Run(Policy& policy, const std::vector<Page>& references,
                 Sampling sampling) {
    const SampleClock clock(sampling, frames_);
    std::uint64_t since = 0;
    std::uint64_t missed = 0;
    std::uint32_t used = 0;
    for (const Page page : references) {
      if (!Access(page)) {
        ++cost_.misses;
        ++missed;
        const std::uint64_t begin = Ticks();
        if (used == frames_) {
          const Page victim = policy.Evict(*this);
          Count(begin);
          Unmap(victim);
        } else {
          ++used;
        }
        MapAccessed(page);
        const std::uint64_t mapped = Ticks();
        policy.Insert(page);
        Count(mapped);
      }
      if (clock.Due(++since, missed)) {
        since = 0;
        missed = 0;
        const std::uint64_t begin = Ticks();
        policy.Pass(*this);
        Count(begin);
      }
    }
    return cost_;
  }

 private:
  using Word = F::Word;

  // As a page walker: false is a fault.
  [[nodiscard]] bool Access(Page page) {
    SpteCell<F>* const entry = entries_[page];
    if (entry == nullptr) return false;
    const Word seen = ReadOnce(*entry, kRelaxed);
    if (!F::IsPresent(seen)) return false;
    if ((seen & F::kAccessed) == 0) {
      (void)TryCmpxchg(*entry, seen, seen | F::kAccessed, kRelaxed);
    }
    return true;
  }
  // A fault, and the access that it was for.
  void MapAccessed(Page page) {
    const Walk walk(domain_);
    const Word leaf = F::MakeLeaf(Pfn{page}, Level{1}, Rights::kAll);
    const MapOutcome mapped =
        tree_.Map(walk, Gfn{page}, Level{1}, leaf | F::kAccessed);
    PTAGE_ASSERT(mapped == MapOutcome::kDone);
    (void)mapped;
    // Tables stay where they are.
    if (entries_[page] == nullptr) {
      entries_[page] = tree_.Lookup(walk, Gfn{page}).entry;
    }
  }
  void Unmap(Page page) {
    ++cost_.evictions;
    (void)Zap<F>(*entries_[page], [] {}, [](Word) {});
  }

  // What passed since `begin`, but for the time that it takes to tell.
  void Count(std::uint64_t begin) {
    const std::uint64_t passed = Ticks() - begin;
    cost_.ticks += passed - std::min(passed, telling_);
  }
  [[nodiscard]] static std::uint64_t TimeToTell() {
    std::uint64_t least = ~std::uint64_t{0};
    for (int i = 0; i < 1000; ++i) {
      const std::uint64_t begin = Ticks();
      least = std::min(least, Ticks() - begin);
    }
    return least;
  }

  const std::uint32_t frames_;
  const std::uint32_t pages_;
  const std::uint64_t telling_ = TimeToTell();
  std::vector<Table<F>> tables_;
  std::vector<TableInfo<F>> infos_;
  Arena arena_;
  Domain domain_;
  NoFlush no_flush_;
  Tree tree_;
  std::vector<SpteCell<F>*> entries_;
  std::vector<std::uint64_t> bits_;
  PolicyCost cost_;
};

// A policy of accessed_bits.h, for a machine.
template <class Bits>
class BitsPolicy {
 public:
  BitsPolicy(Machine& machine, std::uint32_t frames)
      : bits_(machine.pages(), frames) {}

  void Insert(Page page) { bits_.Insert(page); }
  void Pass(Machine& machine) {
    machine.Sample([&](Page page) { bits_.Sampled(page); });
    bits_.EndOfSample();
  }
  Page Evict(Machine& machine) {
    return bits_.Evict([&](Page page) { return machine.Take(page); });
  }

 private:
  Bits bits_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_POLICY_MACHINE_H_
