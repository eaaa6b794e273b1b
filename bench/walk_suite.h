// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The group `walk`, as far as it is about reading whole tables: a harvest
// against streaming the same bytes, a clearing one against bare locked
// operations, both against loops over single entries, by one thread and by two.
//
// A harvest tests every entry into a bitmap of a bit a frame, whose writing is
// part of its time. What is cleared is made young again outside of it.

#ifndef PTAGE_BENCH_WALK_SUITE_H_
#define PTAGE_BENCH_WALK_SUITE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/clock.h"
#include "bench/huge_array.h"
#include "bench/measurements.h"
#include "bench/metrics.h"
#include "bench/report.h"
#include "bench/round_table.h"
#include "bench/rounds.h"
#include "bench/streams.h"
#include "bench/team.h"
#include "bench/walk_worlds.h"
#include "ptage/foreign.h"
#include "ptage/harvest/split.h"
#include "ptage/once.h"
#include "ptage/once/block.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"

namespace ptage::bench {

struct WalkPlan {
  // Leaf tables of what does not fit into the caches; the third level of them
  // holds 2,048, the second 64.
  std::size_t tables = std::size_t{1} << 15;
  // GiB of the largest space that is profiled.
  std::uint64_t widest = 16'384;
  std::uint64_t rounds = 15;
  std::uint64_t seed = 1;
  // Whether the metric is asked for.
  std::function<bool(const std::string& id)> wanted;
  // False: stop.
  std::function<bool()> go_on;
  // Told what comes next; empty: nobody is.
  std::function<void(const std::string&)> doing = {};
};

class WalkSuite {
 public:
  // All outlive the suite. The calling thread and the members of `team` are
  // pinned, to different CPUs.
  WalkSuite(const WalkPlan& plan, const TickRate& rate, Team& team)
      : plan_(plan), rate_(rate), team_(team) {}
  WalkSuite(const WalkSuite&) = delete;
  WalkSuite& operator=(const WalkSuite&) = delete;

  // Adds `walk/…`, and to the table what everything took.
  void Run(Figures& figures);

  [[nodiscard]] std::string Table() const { return table_.ToString(); }
  // The same figures.
  [[nodiscard]] const std::vector<Measurement>& measurements() const {
    return table_.measurements();
  }

 private:
  static constexpr std::size_t kInL2 = 64;
  static constexpr std::size_t kInL3 = 2048;
  static constexpr std::size_t kTableBytes = sizeof(ptage::Table<Ept>);
  // Of a million entries.
  static constexpr std::uint64_t kOnePercent = 10'000;
  static constexpr std::uint64_t kTenPercent = 100'000;

  [[nodiscard]] bool Wants(std::initializer_list<const char*> ids) const {
    return plan_.go_on() && std::any_of(ids.begin(), ids.end(), plan_.wanted);
  }

  // Nanoseconds that `work()` takes, ÷ `items`, after `before()`. So often that
  // the clock can see it.
  template <class Before, class Work>
  double Time(double items, std::size_t repeats, Before&& before,
              Work&& work) const {
    std::uint64_t ticks = 0;
    for (std::size_t i = 0; i < repeats; ++i) {
      before();
      const std::uint64_t begin = Ticks();
      work();
      ticks += Ticks() - begin;
    }
    return rate_.Seconds(ticks) * 1e9 / (items * static_cast<double>(repeats));
  }
  static std::size_t RepeatsFor(std::size_t tables) {
    return std::max<std::size_t>(1, 4096 / tables);
  }

  // Nanoseconds a table, of these:
  Measured Stream(WalkWorld& world) const;
  Measured AddedUp(WalkWorld& world) const;
  Measured StreamByTwo(WalkWorld& world) const;
  template <Loads kLoads = Loads::kWidest>
  Measured Harvested(const std::string& name, WalkWorld& world,
                     AgeAction action) const;
  Measured HarvestedByTwo(WalkWorld& world) const;
  using Way = void (WalkWorld::*)(AgeAction);
  Measured Other(const std::string& name, WalkWorld& world, AgeAction action,
                 Way way) const;
  // The calling thread does the first half, another the second.
  template <class Work>
  void ByTwo(Work&& work) const;

  // Runs them in turn, and puts a line of each into the table.
  RoundFigures InTurn(const std::string& heading,
                      const std::vector<Measured>& all) {
    if (plan_.doing) plan_.doing(heading);
    return table_.RunWarm(heading, all, plan_.rounds, plan_.seed, plan_.go_on);
  }
  // The one that is further from its goal, where less is better.
  static Figure Worse(const Figure& a, const Figure& b);

  void RunLinear(Figures& figures);
  void RunShuffled(Figures& figures);
  void RunL2(Figures& figures);
  void RunDense(Figures& figures);
  void RunSparse(Figures& figures);
  void RunPerEntry(Figures& figures);
  void RunParallel(Figures& figures);
  void RunSkipCold(Figures& figures);
  void RunForeign(Figures& figures);
  void RunDensities();

  const WalkPlan& plan_;
  const TickRate& rate_;
  Team& team_;
  RoundTable table_{"walk", "walks", "ns per table"};
};

// ---------------------------------------------------------------------------

inline Measured WalkSuite::Stream(WalkWorld& world) const {
  return {"read as a stream", [this, &world] {
            return Time(
                static_cast<double>(world.tables()), RepeatsFor(world.tables()),
                [] {},
                [&] {
                  ReadStreams<1>({world.begin()}, world.tables() * kTableBytes);
                });
          }};
}

inline Measured WalkSuite::AddedUp(WalkWorld& world) const {
  return {
      "added up by vectors", [this, &world] {
        return Time(
            static_cast<double>(world.tables()), RepeatsFor(world.tables()),
            [] {},
            [&] { SumStream(world.begin(), world.tables() * kTableBytes); });
      }};
}

inline Measured WalkSuite::StreamByTwo(WalkWorld& world) const {
  return {"read as streams, by two threads", [this, &world] {
            const std::size_t half = world.tables() / 2 * kTableBytes;
            return Time(
                static_cast<double>(world.tables()), RepeatsFor(world.tables()),
                [] {},
                [&] {
                  ByTwo([&](std::size_t part) {
                    ReadStreams<1>(
                        {static_cast<const char*>(world.begin()) + part * half},
                        half);
                  });
                });
          }};
}

template <Loads kLoads>
Measured WalkSuite::Harvested(const std::string& name, WalkWorld& world,
                              AgeAction action) const {
  return {name, [this, &world, action] {
            const bool clears = action == AgeAction::kTestAndClear;
            return Time(
                static_cast<double>(world.tables()), RepeatsFor(world.tables()),
                [&] {
                  if (clears) world.Rearm();
                },
                [&] { world.HarvestPiece<kLoads>(world.range(), action); });
          }};
}

inline Measured WalkSuite::HarvestedByTwo(WalkWorld& world) const {
  return {"harvested by two threads", [this, &world] {
            GfnRange halves[2];
            const LocklessWalk walk(world.domain());
            const unsigned count =
                SplitByTables(world.tree(), walk, world.range(), halves, 2);
            PTAGE_ASSERT(count == 2);
            return Time(
                static_cast<double>(world.tables()), RepeatsFor(world.tables()),
                [] {},
                [&] {
                  ByTwo([&](std::size_t part) {
                    world.HarvestPiece(halves[part], AgeAction::kTest);
                  });
                });
          }};
}

inline Measured WalkSuite::Other(const std::string& name, WalkWorld& world,
                                 AgeAction action, Way way) const {
  return {name, [this, &world, action, way] {
            const bool clears = action == AgeAction::kTestAndClear;
            return Time(
                static_cast<double>(world.tables()), RepeatsFor(world.tables()),
                [&] {
                  if (clears) world.Rearm();
                },
                [&] { (world.*way)(action); });
          }};
}

template <class Work>
void WalkSuite::ByTwo(Work&& work) const {
  team_.Start([&work](std::size_t member) {
    if (member == 0) work(std::size_t{1});
  });
  work(std::size_t{0});
  team_.Join();
}

inline Figure WalkSuite::Worse(const Figure& a, const Figure& b) {
  if (!a.missing.empty() || !b.missing.empty())
    return a.missing.empty() ? b : a;
  return a.summary.median > b.summary.median ? a : b;
}

inline void WalkSuite::RunLinear(Figures& figures) {
  if (!Wants({"walk/linear/test/1", "walk/linear/test/2",
              "walk/linear/test_portable/1"})) {
    return;
  }
  WalkWorld world(plan_.tables, TableOrder::kInOrder, kTenPercent, plan_.seed);
  std::vector<Measured> sides = {
      Stream(world), Harvested("harvested", world, AgeAction::kTest),
      Harvested<Loads::kWordByWord>("harvested word by word", world,
                                    AgeAction::kTest)};
  const bool two = team_.size() > 0;
  if (two) {
    sides.push_back(StreamByTwo(world));
    sides.push_back(HarvestedByTwo(world));
  }
  const RoundFigures times = InTurn("tables in order, 10 % young", sides);
  figures["walk/linear/test/1"] = RatioOf(times, 0, 1);
  figures["walk/linear/test_portable/1"] = RatioOf(times, 0, 2);
  if (two) figures["walk/linear/test/2"] = RatioOf(times, 3, 4);
}

inline void WalkSuite::RunShuffled(Figures& figures) {
  if (!Wants({"walk/shuffled/test/1", "walk/shuffled/test/2"})) return;
  WalkWorld world(plan_.tables, TableOrder::kShuffled, kTenPercent, plan_.seed);
  std::vector<Measured> sides = {
      Stream(world), Harvested("harvested", world, AgeAction::kTest),
      Harvested<Loads::kWordByWord>("harvested word by word", world,
                                    AgeAction::kTest)};
  const bool two = team_.size() > 0;
  if (two) {
    sides.push_back(StreamByTwo(world));
    sides.push_back(HarvestedByTwo(world));
  }
  const RoundFigures times = InTurn("tables shuffled, 10 % young", sides);
  figures["walk/shuffled/test/1"] = RatioOf(times, 0, 1);
  if (two) figures["walk/shuffled/test/2"] = RatioOf(times, 3, 4);
}

inline void WalkSuite::RunL2(Figures& figures) {
  if (!Wants({"walk/l2/test/1"})) return;
  WalkWorld world(kInL2, TableOrder::kInOrder, kTenPercent, plan_.seed);
  const RoundFigures times =
      InTurn("tables in the second-level cache, 10 % young",
             {AddedUp(world), Harvested("harvested", world, AgeAction::kTest),
              Harvested<Loads::kWordByWord>("harvested word by word", world,
                                            AgeAction::kTest)});
  figures["walk/l2/test/1"] = RatioOf(times, 0, 1);
}

// Nanoseconds a young entry.
inline void WalkSuite::RunDense(Figures& figures) {
  if (!Wants({"walk/dense/clear"})) return;
  WalkWorld half(kInL2, TableOrder::kInOrder, 500'000, plan_.seed);
  WalkWorld all(kInL2, TableOrder::kInOrder, 1'000'000, plan_.seed);
  constexpr std::size_t kCells = kInL2 * kEntriesPerTable<Ept>;
  HugeArray<SpteCell<Ept>> cells(kCells);
  constexpr Ept::Word kOld = Ept::MakeLeaf(Pfn{1}, Level{1}, Rights::kAll);
  constexpr Ept::Word kYoung = kOld | Ept::kAccessed;
  const Measured bare{"a locked operation alone, of an entry", [&] {
                        return Time(
                            kCells, RepeatsFor(kInL2),
                            [&] {
                              for (std::size_t i = 0; i < kCells; ++i) {
                                WriteOnce(cells[i], kYoung, kRelaxed);
                              }
                            },
                            [&] {
                              for (std::size_t i = 0; i < kCells; ++i) {
                                (void)TryCmpxchg(cells[i], kYoung, kOld,
                                                 kRelaxed);
                              }
                            });
                      }};
  const auto per_young = [this](const char* name, WalkWorld& world) {
    const Measured table = Harvested(name, world, AgeAction::kTestAndClear);
    return Measured{absl::StrCat(name, ", of a young entry"), [&world, table] {
                      return table.once() *
                             static_cast<double>(world.tables()) /
                             static_cast<double>(world.young());
                    }};
  };
  const RoundFigures times = InTurn(
      "cleared in the second-level cache",
      {bare, per_young("50 % young", half), per_young("100 % young", all)});
  figures["walk/dense/clear"] =
      Worse(RatioOf(times, 1, 0), RatioOf(times, 2, 0));
}

inline void WalkSuite::RunSparse(Figures& figures) {
  if (!Wants({"walk/sparse/clear"})) return;
  const auto run = [&](const char* name, std::uint64_t young) {
    WalkWorld world(plan_.tables, TableOrder::kInOrder, young, plan_.seed);
    const RoundFigures times = InTurn(
        absl::StrCat("tables in order, ", name),
        {Harvested("tested", world, AgeAction::kTest),
         Harvested("tested and cleared", world, AgeAction::kTestAndClear)});
    return RatioOf(times, 1, 0);
  };
  const Figure one = run("1 % young", kOnePercent);
  figures["walk/sparse/clear"] = Worse(one, run("10 % young", kTenPercent));
}

inline void WalkSuite::RunPerEntry(Figures& figures) {
  if (!Wants({"walk/vs_per_entry"})) return;
  constexpr AgeAction kClear = AgeAction::kTestAndClear;
  WalkWorld world(plan_.tables, TableOrder::kInOrder, kTenPercent, plan_.seed);
  const RoundFigures times =
      InTurn("cleared, tables in order, 10 % young",
             {Harvested("harvested", world, kClear),
              Other("each entry", world, kClear, &WalkWorld::EachEntry),
              Other("each entry, a lock for each table", world, kClear,
                    &WalkWorld::EachEntryLocked),
              Other("called back for each leaf", world, kClear,
                    &WalkWorld::EachLeafCalledBack)});
  figures["walk/vs_per_entry"] = RatioOf(times, 1, 0);
}

inline void WalkSuite::RunParallel(Figures& figures) {
  if (!Wants({"walk/parallel/2"}) || team_.size() == 0) return;
  // A thread's part stays in its own cache. Enough passes that the start of the
  // other thread does not count.
  constexpr std::size_t kPasses = 256;
  WalkWorld world(2 * kInL2, TableOrder::kInOrder, kTenPercent, plan_.seed);
  GfnRange halves[2];
  {
    const LocklessWalk walk(world.domain());
    const unsigned count =
        SplitByTables(world.tree(), walk, world.range(), halves, 2);
    PTAGE_ASSERT(count == 2);
  }
  const auto passes = [&](std::size_t part) {
    for (std::size_t i = 0; i < kPasses; ++i) {
      world.HarvestPiece(halves[part], AgeAction::kTest);
    }
  };
  const RoundFigures times = InTurn(
      "256 KiB of tables a thread",
      {{"one thread",
        [&] { return Time(kInL2 * kPasses, 1, [] {}, [&] { passes(0); }); }},
       {"two threads", [&] {
          return Time(2 * kInL2 * kPasses, 1, [] {}, [&] { ByTwo(passes); });
        }}});
  figures["walk/parallel/2"] = RatioOf(times, 0, 1);
}

// Hot tables have 1 % of their entries young, the others none, and both passes
// clear.
inline void WalkSuite::RunSkipCold(Figures& figures) {
  if (!Wants({"walk/skip_cold/0.1", "walk/skip_cold/100"})) return;
  constexpr AgeAction kClear = AgeAction::kTestAndClear;
  for (const auto& [id, name, distance] :
       {std::tuple{"walk/skip_cold/0.1", "one table in 1,000 hot", 1000},
        std::tuple{"walk/skip_cold/100", "all tables hot", 1}}) {
    WalkWorld world(plan_.tables, TableOrder::kInOrder, kOnePercent,
                    plan_.seed);
    world.HeatEvery(static_cast<std::size_t>(distance));
    const RoundFigures times = InTurn(
        absl::StrCat("tables in order, ", name),
        {Harvested("all read", world, kClear),
         Other("cold ones skipped", world, kClear, &WalkWorld::SkipCold)});
    figures[id] = RatioOf(times, 0, 1);
  }
}

// What there is no goal for.
inline void WalkSuite::RunDensities() {
  if (!Wants({"walk/densities"})) return;
  for (const auto& [place, tables] : {std::pair{"second-level cache", kInL2},
                                      std::pair{"third-level cache", kInL3},
                                      std::pair{"memory", plan_.tables}}) {
    for (const std::uint64_t young :
         {0u, 1'000u, 10'000u, 100'000u, 500'000u, 1'000'000u}) {
      if (!plan_.go_on()) return;
      WalkWorld world(tables, TableOrder::kInOrder, young, plan_.seed);
      constexpr AgeAction kClear = AgeAction::kTestAndClear;
      (void)InTurn(
          absl::StrFormat("%s, %g %% young", place,
                          static_cast<double>(young) / 10'000),
          {tables == kInL2 ? AddedUp(world) : Stream(world),
           Harvested("tested", world, AgeAction::kTest),
           Harvested("tested and cleared", world, kClear),
           Other("each entry, tested", world, AgeAction::kTest,
                 &WalkWorld::EachEntry),
           Other("each entry, cleared", world, kClear, &WalkWorld::EachEntry),
           Other("each entry, a lock for each table, cleared", world, kClear,
                 &WalkWorld::EachEntryLocked),
           Other("called back for each leaf, cleared", world, kClear,
                 &WalkWorld::EachLeafCalledBack)});
    }
  }
}

// In memory the worse of tables in order and shuffled.
inline void WalkSuite::RunForeign(Figures& figures) {
  const auto foreign = [&]<ForeignLeaves kLeaves>(const char* name,
                                                  WalkWorld& world) {
    return Measured{name, [&] {
                      return Time(
                          static_cast<double>(world.tables()),
                          RepeatsFor(world.tables()), [] {},
                          [&] { world.HarvestForeign<kLeaves>(); });
                    }};
  };
  if (Wants({"walk/foreign/memory"})) {
    const auto run = [&](const char* heading, TableOrder order) {
      WalkWorld world(plan_.tables, order, kTenPercent, plan_.seed);
      const RoundFigures times = InTurn(
          heading, {Harvested("harvested", world, AgeAction::kTest),
                    foreign.operator()<ForeignLeaves::kChecked>(
                        "as somebody else's, leaves checked", world),
                    foreign.operator()<ForeignLeaves::kUnchecked>(
                        "as somebody else's, leaves not checked", world)});
      return RatioOf(times, 1, 0);
    };
    const Figure in_order =
        run("foreign tables in order, 10 % young", TableOrder::kInOrder);
    figures["walk/foreign/memory"] = Worse(
        in_order,
        run("foreign tables shuffled, 10 % young", TableOrder::kShuffled));
  }
  if (Wants({"walk/foreign/l2"})) {
    WalkWorld world(kInL2, TableOrder::kInOrder, kTenPercent, plan_.seed);
    const RoundFigures times =
        InTurn("foreign tables in the second-level cache, 10 % young",
               {Harvested("harvested", world, AgeAction::kTest),
                foreign.operator()<ForeignLeaves::kUnchecked>(
                    "as somebody else's, leaves not checked", world),
                foreign.operator()<ForeignLeaves::kChecked>(
                    "as somebody else's, leaves checked", world)});
    figures["walk/foreign/l2"] = RatioOf(times, 1, 0);
  }
}

inline void WalkSuite::Run(Figures& figures) {
  RunLinear(figures);
  RunShuffled(figures);
  RunL2(figures);
  RunDense(figures);
  RunSparse(figures);
  RunPerEntry(figures);
  RunParallel(figures);
  RunSkipCold(figures);
  RunForeign(figures);
  RunDensities();
}

}  // namespace ptage::bench

#endif  // PTAGE_BENCH_WALK_SUITE_H_
