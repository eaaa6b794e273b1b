// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The sequences of the model, dealt to threads: a vCPU of L1 and one of each
// nested guest, one that ages and resizes, and one that zaps, changes slots and
// is L1. After a few operations of each all stop, and it is checked that no bit
// was lost on the way, that rmaps and entries are each other's, that nothing
// stale is cached, and that no entry is out of date with L1's tables.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/prune.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/ept_tracked.h"
#include "ptage/spte/riscv64.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/machine.h"
#include "test/model/compare.h"
#include "test/model/coverage.h"
#include "test/model/vm_generator.h"
#include "test/model/vm_model.h"
#include "test/model/vm_operations.h"
#include "test/model/vm_state.h"
#include "test/model/vm_under_test.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::L1Kind;
using test::L1State;
using test::LeafState;
using test::Op;
using test::Operation;
using test::Outcome;
using test::Sequence;
using test::VmState;
using test::VmUnderTest;
using test::ZappedState;

constexpr std::size_t kThreads = 5;
constexpr std::size_t kDirectVcpu = 0;
constexpr std::size_t kCollector = 3;
constexpr std::size_t kZapper = 4;

std::size_t ThreadOf(const Operation& operation) {
  switch (operation.op) {
    case Op::kAccess:
    case Op::kFault:
      return kDirectVcpu;
    case Op::kNestedAccess:
    case Op::kNestedFault:
      return 1 + operation.guest % 2;
    case Op::kAge:
    case Op::kAgeSteps:
    case Op::kAgeSkippingCold:
    case Op::kSplit:
    case Op::kPromote:
    case Op::kClearDirty:
    case Op::kWriteProtect:
    case Op::kLiftProtection:
      return kCollector;
    default:
      return kZapper;
  }
}

// What happened in a round, to be compared with what was told of it.
struct Log {
  // Accesses that walked, and writes: frames of L1 by its own vCPU, host frames
  // by the others'.
  std::vector<std::uint64_t> used, written, nested_used, nested_written;
  std::vector<GfnRange> young, dirty;
  std::vector<ZappedState> zapped;

  void Add(const Operation& operation, const Outcome& outcome) {
    const bool nested = operation.op == Op::kNestedAccess;
    if (nested || operation.op == Op::kAccess) {
      if (!outcome.pfn.has_value()) return AddZapped(outcome);
      const std::uint64_t frame = nested ? *outcome.pfn : operation.frame;
      if (!outcome.hit) (nested ? nested_used : used).push_back(frame);
      if (Allows(operation.rights, Rights::kWrite)) {
        (nested ? nested_written : written).push_back(frame);
      }
    }
    const bool collects =
        operation.op == Op::kClearDirty || operation.op == Op::kWriteProtect;
    std::vector<GfnRange>& told = collects ? dirty : young;
    told.insert(told.end(), outcome.young.begin(), outcome.young.end());
    AddZapped(outcome);
  }
  void AddZapped(const Outcome& outcome) {
    for (const auto* sink : {&outcome.zapped, &outcome.made_room}) {
      zapped.insert(zapped.end(), sink->begin(), sink->end());
    }
  }
};

bool IsIn(const std::vector<GfnRange>& ranges, std::uint64_t frame) {
  return std::any_of(ranges.begin(), ranges.end(), [&](GfnRange range) {
    return range.Contains(Gfn{frame});
  });
}

template <class Real>
class VmModelStressTest : public testing::Test {
 protected:
  using F = typename Real::Format;

  // Frames of the leaf from `first` on.
  bool Covers(std::uint64_t first, int level, std::uint64_t frame) const {
    return first <= frame && frame < first + facts_.FramesAt(Level{level});
  }
  bool WasZapped(const Log& log, std::uint64_t frame, bool by_pfn,
                 bool ZappedState::* bit) const {
    return std::any_of(
        log.zapped.begin(), log.zapped.end(), [&](const ZappedState& leaf) {
          return leaf.*bit &&
                 Covers(by_pfn ? leaf.pfn : leaf.gfn, leaf.level, frame);
        });
  }
  static bool IsDirect(const LeafState& leaf) {
    return leaf.tree == test::kDirectTree;
  }
  bool IsThere(const VmState& state, std::uint64_t frame, bool nested,
               bool LeafState::* bit) const {
    return std::any_of(
        state.leaves.begin(), state.leaves.end(), [&](const LeafState& leaf) {
          return IsDirect(leaf) != nested && leaf.*bit &&
                 Covers(nested ? leaf.pfn : leaf.frame, leaf.level, frame);
        });
  }
  // Whether any slot of the round has the host frame behind a frame that was
  // told of.
  bool HostIsIn(const std::vector<GfnRange>& ranges, std::uint64_t pfn) const {
    return std::any_of(slots_.begin(), slots_.end(), [&](const auto& slot) {
      const auto& [frames, base] = slot;
      return base <= pfn && pfn - base < frames.Frames() &&
             IsIn(ranges, frames.begin.value + (pfn - base));
    });
  }

  void CheckBits(const Log& log, const VmState& state) {
    for (const std::uint64_t gfn : log.used) {
      ASSERT_TRUE(IsIn(log.young, gfn) ||
                  WasZapped(log, gfn, false, &ZappedState::accessed) ||
                  IsThere(state, gfn, false, &LeafState::accessed))
          << "an access of 0x" << std::hex << gfn << " is lost";
    }
    for (const std::uint64_t gfn : log.written) {
      ASSERT_TRUE(IsIn(log.dirty, gfn) ||
                  WasZapped(log, gfn, false, &ZappedState::dirty) ||
                  IsThere(state, gfn, false, &LeafState::dirty))
          << "a write to 0x" << std::hex << gfn << " is lost";
    }
    for (const std::uint64_t pfn : log.nested_used) {
      ASSERT_TRUE(HostIsIn(log.young, pfn) ||
                  WasZapped(log, pfn, true, &ZappedState::accessed) ||
                  IsThere(state, pfn, true, &LeafState::accessed))
          << "a nested access of host frame 0x" << std::hex << pfn
          << " is lost";
    }
    for (const std::uint64_t pfn : log.nested_written) {
      ASSERT_TRUE(WasZapped(log, pfn, true, &ZappedState::dirty) ||
                  IsThere(state, pfn, true, &LeafState::dirty))
          << "a nested write to host frame 0x" << std::hex << pfn << " is lost";
    }
    checked_ += log.used.size() + log.nested_used.size();
  }

  // What is mapped for a nested guest is in L1's tables, behind their bits.
  // Precondition: L1 has told of each change.
  void CheckAgainstL1(Real& real) {
    for (unsigned guest = 0; guest < real.guests(); ++guest) {
      const VmState state = real.State(guest);
      std::map<std::pair<int, std::uint64_t>, L1State> pages;
      for (const L1State& entry : state.l1) {
        if (entry.kind == L1Kind::kPage)
          pages[{entry.level, entry.first}] = entry;
      }
      for (const LeafState& leaf : state.leaves) {
        if (leaf.tree != test::TreeOf(guest)) continue;
        auto page = pages.end();
        for (Level level{leaf.level};
             level <= facts_.largest && page == pages.end();
             level = level.Above()) {
          page = pages.find({level.value, facts_.FirstOf(leaf.frame, level)});
        }
        ASSERT_TRUE(page != pages.end()) << ToText(leaf) << " is not L1's";
        const L1State& l1 = page->second;
        EXPECT_EQ(leaf.gfn, l1.gfn + (leaf.frame - l1.first)) << ToText(leaf);
        EXPECT_TRUE(Allows(l1.rights, leaf.rights)) << ToText(leaf);
        if (!test::MarksBits(guest)) continue;
        EXPECT_TRUE(l1.accessed) << ToText(leaf);
        EXPECT_TRUE(l1.dirty || !Allows(leaf.rights, Rights::kWrite))
            << ToText(leaf);
      }
    }
  }

  // What a vCPU has cached is what an entry says.
  void CheckCaches(Real& real, const Sequence& round) {
    // The last ones first, since the caches are small.
    for (auto at = round.rbegin(); at != round.rend(); ++at) {
      const Operation& operation = *at;
      if (operation.op != Op::kAccess && operation.op != Op::kNestedAccess) {
        continue;
      }
      const Outcome outcome = real.Apply(operation);
      if (!outcome.hit) continue;
      // It has changed nothing.
      const VmState state = real.State(std::nullopt);
      const unsigned tree = operation.op == Op::kAccess
                                ? test::kDirectTree
                                : test::TreeOf(operation.guest % real.guests());
      ++hits_;
      EXPECT_TRUE(std::any_of(
          state.leaves.begin(), state.leaves.end(),
          [&](const LeafState& leaf) {
            return leaf.tree == tree &&
                   Covers(leaf.frame, leaf.level, operation.frame) &&
                   leaf.pfn + (operation.frame - leaf.frame) == *outcome.pfn &&
                   Allows(leaf.rights, operation.rights) &&
                   (leaf.dirty || !Allows(operation.rights, Rights::kWrite));
          }))
          << ToText(operation) << " was answered from a cache";
    }
  }

  // `exact`: there was no best effort of which a CPU could have hidden
  // something.
  void Round(Real& real, const Sequence& round, bool exact) {
    Sequence dealt[kThreads];
    for (const Operation& operation : round) {
      dealt[ThreadOf(operation)].push_back(operation);
      if (operation.op == Op::kAddSlot) {
        slots_.emplace_back(operation.Range(), operation.to);
      } else if (operation.op == Op::kMoveSlot) {
        // Whichever it is that is moved.
        for (std::size_t i = 0, count = slots_.size(); i < count; ++i) {
          if (slots_[i].first != operation.Range()) continue;
          const Gfn to{operation.to};
          slots_.emplace_back(GfnRange{to, to + operation.frames},
                              slots_[i].second);
        }
      }
    }
    Log logs[kThreads];
    std::vector<std::function<void()>> bodies;
    for (std::size_t i = 0; i < kThreads; ++i) {
      bodies.emplace_back([&, i] {
        for (const Operation& operation : dealt[i]) {
          logs[i].Add(operation, real.Apply(operation));
        }
      });
    }
    test::RunThreads(bodies);
    VmState state = real.State(std::nullopt);
    for (const std::string& error : state.errors) ADD_FAILURE() << error;
    Log all;
    for (const Log& log : logs) {
      const auto add = [](auto& to, const auto& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      add(all.used, log.used);
      add(all.written, log.written);
      add(all.nested_used, log.nested_used);
      add(all.nested_written, log.nested_written);
      add(all.young, log.young);
      add(all.dirty, log.dirty);
      add(all.zapped, log.zapped);
    }
    if (exact) {
      // What would not be looked at is lost.
      for (LeafState& leaf : state.leaves) {
        if (std::binary_search(real.hidden().begin(), real.hidden().end(),
                               leaf)) {
          leaf.accessed = false;
        }
      }
    }
    CheckBits(all, state);
  }

  const test::FormatFacts facts_ = Real::Facts();
  // Frames and host frames.
  std::vector<std::pair<GfnRange, std::uint64_t>> slots_;
  std::uint64_t checked_ = 0;
  std::uint64_t hits_ = 0;
};

using Reals =
    testing::Types<VmUnderTest<Ept, test::LocklessRmaps>,
                   VmUnderTest<Ept, test::SingleRmaps>,
                   VmUnderTest<RiscvSv39x4, test::BitRmaps>,
                   VmUnderTest<EptTracked, test::LocklessRmaps>,
                   VmUnderTest<test::TinyFormat, test::LocklessRmapsUnderLock>>;
TYPED_TEST_SUITE(VmModelStressTest, Reals);

TYPED_TEST(VmModelStressTest, NothingIsLostAndNothingIsStale) {
  constexpr std::size_t kRounds = 24;
  constexpr std::size_t kOperations = 96;
  const auto end = std::chrono::steady_clock::now() + 6 * test::kStressTime;
  for (std::uint64_t seed = 1; std::chrono::steady_clock::now() < end; ++seed) {
    SCOPED_TRACE(seed);
    auto real = std::make_unique<TypeParam>();
    // Which operations it is, the model decides as if they came one by one.
    test::VmModel model(test::OptionsOf<TypeParam>());
    test::VmCoverage coverage(this->facts_);
    test::VmGenerator generator(seed, model, this->facts_, /*crowded=*/false);
    const bool told = seed % 2 == 0;
    const bool exact = seed % 4 < 2;
    this->slots_.clear();
    for (std::size_t i = 0; i < kRounds; ++i) {
      Sequence round;
      unsigned passed_over = 0;
      while (round.size() < kOperations) {
        Operation operation = generator.Next(coverage, coverage);
        // A look at all rmaps of the largest page takes long.
        if (operation.frames > this->facts_.FramesAt(Level{2}) * 4 &&
            operation.op != Op::kAddSlot && ++passed_over % 16 != 0) {
          continue;
        }
        if (told && test::IsEdit(operation.op)) {
          operation.told = std::max(operation.level, this->facts_.largest);
        }
        if (exact) operation.pruning = Pruning::kExact;
        coverage.Count(operation, model);
        (void)model.Apply(operation, Outcome{});
        if (operation.op == Op::kAddGuest) {
          // There is no vCPU yet, and other threads would look for it.
          (void)real->Apply(operation);
        } else {
          round.push_back(operation);
        }
        for (int more = 0; more < 3; ++more) {
          round.push_back(generator.Touch());
        }
      }
      this->Round(*real, round, exact);
      if (told) {
        this->CheckAgainstL1(*real);
      } else {
        // L1 gets back the pages of its tables that nobody walks any more.
        for (unsigned guest = 0; guest < real->guests(); ++guest) {
          (void)real->State(guest);
        }
      }
      this->CheckCaches(*real, round);
      if (this->HasFailure()) {
        FAIL() << "round " << i << ":\n" << ToText(round);
      }
    }
    ASSERT_TRUE(real->RmapsAreExact());
  }
  EXPECT_GT(this->checked_, 100u);
  EXPECT_GT(this->hits_, 0u);
  std::cout << this->checked_ << " accesses, " << this->hits_
            << " cached translations\n";
}

}  // namespace
}  // namespace ptage
