// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Guests that are aged by accessed bits of inner entries: one whose leaf tables
// are dense and in use all the time, and one of many terabytes that uses a few
// regions.

#ifndef PTAGE_BENCH_INNER_WORLDS_H_
#define PTAGE_BENCH_INNER_WORLDS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "bench/walk_worlds.h"
#include "bench/window.h"
#include "ptage/harvest.h"
#include "ptage/hot_tables.h"
#include "ptage/memory.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/profile.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {

// A tree and a vCPU with a TLB and a paging-structure cache.
class InnerGuest {
 public:
  using Tree = PageTable<Ept, OrderedTables, EpochDomain<>, sim::VcpuSet>;
  using Vcpu = sim::Vcpu<Ept, OrderedTables>;

  InnerGuest(std::size_t tables, std::uint64_t seed)
      : memory_(tables, TableOrder::kInOrder, seed),
        cpus_(1),
        tree_(memory_, domain_, cpus_, TableKind::kDirect),
        vcpu_(cpus_, 0, memory_, *tree_.root()) {}

  [[nodiscard]] Tree& tree() { return tree_; }
  [[nodiscard]] EpochDomain<>& domain() { return domain_; }
  [[nodiscard]] sim::VcpuSet& cpus() { return cpus_; }
  [[nodiscard]] Vcpu& vcpu() { return vcpu_; }

  void Map(Gfn gfn, Level level) {
    const LocklessWalk walk(domain_);
    if (tree_.Map(walk, gfn, level,
                  Ept::MakeLeaf(Pfn{gfn.value}, level, Rights::kAll)) !=
        MapOutcome::kDone) {
      std::abort();
    }
  }
  // The table that the entry for `gfn` at the lowest level lies in, and the
  // entry that points to it.
  [[nodiscard]] ptage::Table<Ept>& LeafTable(Gfn gfn) {
    const LocklessWalk walk(domain_);
    return *memory_.TableOf(*tree_.Lookup(walk, gfn).entry);
  }
  [[nodiscard]] SpteCell<Ept>& ParentOf(ptage::Table<Ept>& table) {
    return *memory_.InfoOf(&table).parent.Get();
  }

 private:
  OrderedTables memory_;
  EpochDomain<> domain_;
  sim::VcpuSet cpus_;
  Tree tree_;
  Vcpu vcpu_;
};

// Leaf tables that are full and hot. A vCPU may run meanwhile.
class DenseWorld {
 public:
  DenseWorld(std::size_t tables, unsigned verify_one_in, std::uint64_t seed)
      : guest_(tables + tables / kEntriesPerTable<Ept> + 4, seed),
        range_{Gfn{0}, Gfn{tables * kEntriesPerTable<Ept>}},
        bytes_(tables),
        hot_(bytes_.data(), range_,
             DensePolicy{.verify_one_in = verify_one_in}),
        young_(range_.Frames() / 64) {
    for (Gfn gfn = range_.begin; gfn < range_.end; gfn = gfn + 1) {
      guest_.Map(gfn, Level{1});
    }
    for (Gfn gfn = range_.begin; gfn < range_.end;
         gfn = gfn + kEntriesPerTable<Ept>) {
      tables_.push_back(&guest_.LeafTable(gfn));
      parents_.push_back(&guest_.ParentOf(*tables_.back()));
    }
  }

  [[nodiscard]] std::size_t tables() const { return tables_.size(); }
  [[nodiscard]] InnerGuest::Vcpu& vcpu() { return guest_.vcpu(); }
  [[nodiscard]] std::uint64_t frames() const { return range_.Frames(); }
  [[nodiscard]] const HotTables<Ept>& hot() const { return hot_; }
  [[nodiscard]] Bitmap young() {
    return Bitmap(young_.data(), range_.Frames());
  }
  void ClearBitmap() { young_.assign(young_.size(), 0); }

  // Every page is accessed. By compare-and-swap: a vCPU may be walking.
  void AccessAll() {
    for (std::size_t t = 0; t < tables_.size(); ++t) {
      Mark(*parents_[t]);
      for (SpteCell<Ept>& entry : tables_[t]->entries) Mark(entry);
    }
  }
  void HarvestAll() {
    const LocklessWalk walk(guest_.domain());
    (void)Harvest(guest_.tree(), walk, range_, AgeAction::kTestAndClear,
                  AgeMode::kFastOnly, Output());
  }
  void AgeAtParents() {
    const LocklessWalk walk(guest_.domain());
    (void)AgeHotTables(guest_.tree(), walk, guest_.cpus(), hot_, Output());
  }

 private:
  static void Mark(SpteCell<Ept>& entry) {
    Ept::Word seen = ReadOnce(entry, kRelaxed);
    while ((seen & Ept::kAccessed) == 0 &&
           !TryCmpxchg(entry, seen, seen | Ept::kAccessed, kRelaxed)) {
      seen = ReadOnce(entry, kRelaxed);
    }
  }
  [[nodiscard]] AgeOutput Output() {
    return AgeOutput{.begin = range_.begin, .young = young()};
  }

  InnerGuest guest_;
  const GfnRange range_;
  std::vector<std::uint8_t> bytes_;
  HotTables<Ept> hot_;
  std::vector<std::uint64_t> young_;
  std::vector<ptage::Table<Ept>*> tables_;
  std::vector<SpteCell<Ept>*> parents_;
};

// A guest of `gibibytes`, of pages of 2 MiB, that uses a few regions of about
// `granules` pages each, of which one moves in every fourth round.
class WideWorld {
 public:
  static constexpr std::uint64_t kRegions = 8;
  static constexpr std::uint64_t kGranule = Profile<Ept>::kGranule;

  WideWorld(std::uint64_t gibibytes, std::uint64_t granules, std::uint64_t seed)
      : guest_(gibibytes + gibibytes / kEntriesPerTable<Ept> + 4, seed),
        range_{Gfn{0}, Gfn{gibibytes << 18}},
        granules_(granules),
        profile_(memory_, kCapacity, range_),
        random_(seed),
        used_(range_.Frames() / kGranule) {
    for (Gfn gfn = range_.begin; gfn < range_.end; gfn = gfn + kGranule) {
      guest_.Map(gfn, Level{2});
    }
    for (GfnRange& region : regions_) Move(region);
    // Inner entries are born accessed.
    for (int i = 0; i < 3; ++i) {
      Use();
      Round();
    }
  }

  // The vCPU accesses every granule in use, in any order, some of them often.
  void Use() {
    if (++rounds_ % 4 == 0) Move(regions_[random_.Below(kRegions)]);
    used_.assign(used_.size(), false);
    order_.clear();
    for (const GfnRange& region : regions_) {
      for (Gfn gfn = region.begin; gfn < region.end; gfn = gfn + kGranule) {
        used_[gfn.value / kGranule] = true;
        order_.push_back(gfn);
      }
    }
    const sim::Running<InnerGuest::Vcpu> running(guest_.vcpu());
    for (std::size_t i = 0; i < 2 * order_.size(); ++i) {
      const std::size_t at =
          i < order_.size() ? i : random_.Below(order_.size());
      const Gfn gfn = order_[at] + random_.Below(kGranule);
      if (!guest_.vcpu().Translate(gfn, Rights::kRead)) std::abort();
    }
  }
  void Round() {
    const LocklessWalk walk(guest_.domain());
    (void)profile_.Round(guest_.tree(), walk, guest_.cpus());
  }

  // Of what was called used in the last round, and of what was.
  struct Shares {
    double precision = 0;
    double recall = 0;
  };
  [[nodiscard]] Shares Judge() const {
    std::uint64_t right = 0;
    for (const ProfileRegion& region : profile_) {
      for (Gfn gfn = region.range.begin; gfn < region.range.end;
           gfn = gfn + kGranule) {
        right += used_[gfn.value / kGranule] ? 1 : 0;
      }
    }
    std::uint64_t used = 0;
    for (const bool is_used : used_) used += is_used ? 1 : 0;
    const auto all = static_cast<double>(profile_.Frames() / kGranule);
    const auto hits = static_cast<double>(right);
    return Shares{.precision = all == 0 ? 0 : hits / all,
                  .recall = hits / static_cast<double>(used)};
  }

 private:
  static constexpr std::uint64_t kCapacity = 256;

  // To somewhere where no other is.
  void Move(GfnRange& region) {
    const std::uint64_t granules = range_.Frames() / kGranule;
    const std::uint64_t count =
        granules_ - granules_ / 8 + random_.Below(granules_ / 4);
    region = GfnRange{};
    for (;;) {
      const Gfn begin{random_.Below(granules - count) * kGranule};
      const GfnRange place{begin, begin + count * kGranule};
      bool free = true;
      for (const GfnRange& other : regions_) free &= !other.Overlaps(place);
      if (!free) continue;
      region = place;
      return;
    }
  }

  InnerGuest guest_;
  const GfnRange range_;
  const std::uint64_t granules_;
  ProfileRegion memory_[2 * kCapacity];
  Profile<Ept> profile_;
  internal::SplitMix random_;
  GfnRange regions_[kRegions];
  std::uint64_t rounds_ = 0;
  std::vector<bool> used_;  // by granule, in the last round
  std::vector<Gfn> order_;
};

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_INNER_WORLDS_H_
