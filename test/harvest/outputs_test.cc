// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/harvest/outputs.h"

#include <cstdint>
#include <ostream>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/page_table.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/tree.h"

namespace ptage {
namespace {

struct Run {
  std::uint64_t begin;
  std::uint64_t end;
  RunKind kind = RunKind::kYoung;

  friend bool operator==(const Run&, const Run&) = default;
  friend void PrintTo(const Run& run, std::ostream* out) {
    *out << run.begin << "…" << run.end
         << (run.kind == RunKind::kYoung ? "" : " unknown");
  }
};
using Runs = std::vector<Run>;

auto Into(Runs& runs) {
  return RunsOutput([&runs](GfnRange range, RunKind kind) {
    runs.push_back(Run{range.begin.value, range.end.value, kind});
  });
}

TEST(RunsOutputTest, NeighboursBecomeOneRun) {
  Runs runs;
  auto output = Into(runs);
  output.SetYoung(Gfn{64}, 0b0110'0001);
  output.SetYoung(Gfn{128}, 0b1);
  output.SetYoung(GfnRange{Gfn{129}, Gfn{640}});
  output.SetYoung(Gfn{640}, ~std::uint64_t{0});
  EXPECT_EQ(runs, (Runs{{64, 65}, {69, 71}}));
  output.Finish();
  EXPECT_EQ(runs, (Runs{{64, 65}, {69, 71}, {128, 704}}));
}

TEST(RunsOutputTest, ARunMayBeginWithFrameZero) {
  Runs runs;
  Into(runs).SetYoung(Gfn{0}, 0b11);
  EXPECT_EQ(runs, (Runs{{0, 2}}));
}

TEST(RunsOutputTest, AllLanesAreARun) {
  Runs runs;
  Into(runs).SetYoung(Gfn{512}, ~std::uint64_t{0});
  EXPECT_EQ(runs, (Runs{{512, 576}}));
}

TEST(RunsOutputTest, UnknownRunsAreApart) {
  Runs runs;
  auto output = Into(runs);
  output.SetYoung(Gfn{0}, 0b0011);
  output.SetUnknown(Gfn{0}, 0b1100);
  output.SetUnknown(GfnRange{Gfn{4}, Gfn{8}});
  output.Finish();
  EXPECT_EQ(runs, (Runs{{0, 2}, {2, 8, RunKind::kUnknown}}));
}

TEST(RunsOutputTest, FinishedTwiceReportsOnce) {
  Runs runs;
  {
    auto output = Into(runs);
    output.SetYoung(Gfn{3}, 0b1);
    output.Finish();
    output.Finish();
  }
  EXPECT_EQ(runs, (Runs{{3, 4}}));
}

TEST(RunsOutputTest, AHarvestThatIsResumedInTheMiddleOfARunTellsItOnce) {
  test::TestTree<Ept> owner;
  for (std::uint64_t gfn = 100; gfn < 300; ++gfn) {
    owner.MustMap(
        Gfn{gfn}, Level{1},
        test::TestTree<Ept>::Young(test::TestTree<Ept>::Leaf(Gfn{gfn})));
  }
  Runs runs;
  auto output = Into(runs);
  WalkCursor cursor(GfnRange{Gfn{0}, Gfn{1024}});
  int stops = 0;
  for (; !cursor.Done(); ++stops) {
    (void)HarvestSome(owner.tree(), LocklessWalk(owner.domain()), cursor, 50,
                      AgeAction::kTestAndClear, AgeMode::kFastOnly, output);
  }
  EXPECT_GT(stops, 5);
  output.Finish();
  EXPECT_EQ(runs, (Runs{{100, 300}}));
  EXPECT_EQ(output.counts().young, 200u);
}

TEST(RegionsOutputTest, FramesAreCountedInTheirRegions) {
  RegionCount regions[4];
  RegionsOutput output(Gfn{1000}, 16, regions, 4);
  output.SetYoung(Gfn{1000}, 0b11);
  output.SetYoung(Gfn{1015}, 0b111);                // one, and two of the next
  output.SetYoung(GfnRange{Gfn{1020}, Gfn{1050}});  // 12, 16 and 2
  output.SetUnknown(Gfn{1063}, 0b1);
  EXPECT_EQ(regions[0], (RegionCount{.young = 3}));
  EXPECT_EQ(regions[1], (RegionCount{.young = 14}));
  EXPECT_EQ(regions[2], (RegionCount{.young = 16}));
  EXPECT_EQ(regions[3], (RegionCount{.young = 2, .unknown = 1}));
}

TEST(RegionsOutputTest, LanesAreCountedOneByOneWhateverTheRegionsSize) {
  std::mt19937_64 random(3);
  for (const std::uint64_t frames : {1u, 2u, 32u, 64u, 128u, 512u}) {
    std::vector<RegionCount> regions(1024 / frames + 1);
    std::vector<RegionCount> expected = regions;
    RegionsOutput output(Gfn{5}, frames, regions.data(), regions.size());
    for (int turn = 0; turn < 100; ++turn) {
      const std::uint64_t first = random() % (1024 - 64);
      const std::uint64_t lanes = random() & random();
      output.SetYoung(Gfn{5 + first}, lanes);
      for (unsigned i = 0; i < 64; ++i) {
        if ((lanes >> i & 1) != 0) ++expected[(first + i) / frames].young;
      }
    }
    EXPECT_EQ(regions, expected) << frames;
  }
}

TEST(RegionsOutputDeathTest, ARegionThatIsNotThereIsRefused) {
  RegionCount regions[1];
  RegionsOutput output(Gfn{0}, 16, regions, 1);
  EXPECT_DEATH(output.SetYoung(Gfn{16}, 0b1), "");
}

}  // namespace
}  // namespace ptage
