// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Tables of others: images written out by hand, random ones against a reference
// (foreign_images.h), and an owner who scribbles while they are walked.

#include "ptage/foreign.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/harvest.h"
#include "ptage/memory/foreign_ram.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/spte/riscv64.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "ptage/walk.h"
#include "test/foreign_images.h"

namespace ptage {
namespace {

using test::CheckImage;
using test::GuardedPages;
using test::Image;
using test::ImageQuestion;
using test::RandomImage;
using test::Runs;
using test::Words;
using test::YoungRuns;

constexpr GfnRange kAll{Gfn{0}, Gfn{std::uint64_t{1} << 36}};

// The image at address 0, with pages that fault around it.
template <class F, ForeignLeaves kLeaves = ForeignLeaves::kChecked>
class Foreign {
 public:
  explicit Foreign(const Image& image, ForeignLimits limits = {})
      : pages_(image.size()),
        block_{0, image.size() * sizeof(Words), pages_.begin()},
        ram_(&block_, 1),
        tree((std::memcpy(pages_.begin(), image.data(),
                          image.size() * sizeof(Words)),
              ram_),
             Pfn{0}, limits) {}

  Runs Leaves() {
    Runs runs;
    WalkAll(tree, {}, kAll, [&](const VisitedEntry<F>& visited) {
      test::AddRun(runs, visited.covers.begin.value, visited.covers.Frames());
    });
    return runs;
  }
  Runs Young(AgeAction action) {
    YoungRuns young;
    Harvest(tree, {}, kAll, action, AgeMode::kFastOnly, young);
    examined = young.counts.examined;
    return young.runs;
  }
  std::uint64_t WordAt(std::size_t page, unsigned index) {
    std::uint64_t word;
    std::memcpy(&word, pages_.begin() + page * sizeof(Words) + index * 8, 8);
    return word;
  }

 private:
  GuardedPages pages_;
  RamBlock block_;
  ForeignRam ram_;

 public:
  ForeignTree<F, ForeignRam, kLeaves> tree;
  std::uint64_t examined = 0;
};

// As Linux has it for a process: present, writable, user, accessed 0x27, and
// dirty 0x67; 0x80 maps a large page; bit 63 forbids to execute.
Image SmallProcess() {
  Image image(5, Words{});
  image[0][0] = 0x1067;
  image[1][0] = 0x2067;
  image[1][3] = 0xC000'0000 | 0xE7;  // 1 GiB
  image[2][1] = 0x3067;
  image[2][2] = 0x8000'0000'0040'00C7;  // 2 MiB would be at 0x400000: cold
  image[2][2] = 0x8000'0000'0040'0087 | 0x40;
  image[3][0] = 0x10'0067;
  image[3][7] = 0x10'7005;
  image[3][8] = 0x8000'0000'0010'8025;
  return image;
}

TEST(ForeignTest, TheTablesOfAProcessAreReadAsItsProcessorDoes) {
  Foreign<X86_64> process(SmallProcess());
  ASSERT_TRUE(process.tree.valid());
  // 2 MiB further, the page table's entries 0, 7 and 8; then a large page that
  // begins at frame 1024, and a huge one at 3 GiB.
  EXPECT_EQ(process.Leaves(),
            (Runs{{512, 1}, {519, 2}, {1024, 512}, {0xC0000, 0x40000}}));
  EXPECT_EQ(process.Young(AgeAction::kTest),
            (Runs{{512, 1}, {520, 1}, {0xC0000, 0x40000}}));
  EXPECT_FALSE(process.tree.report().any);
}

TEST(ForeignTest, ClearingTakesTheAccessedBitOfLeavesAndNothingElse) {
  Foreign<X86_64> process(SmallProcess());
  EXPECT_EQ(process.Young(AgeAction::kTestAndClear),
            (Runs{{512, 1}, {520, 1}, {0xC0000, 0x40000}}));
  EXPECT_EQ(process.Young(AgeAction::kTest), Runs{});
  Image left = SmallProcess();
  left[3][0] = 0x10'0047;
  left[3][8] = 0x8000'0000'0010'8005;
  left[1][3] = 0xC000'0000 | 0xC7;
  for (std::size_t page = 0; page < left.size(); ++page) {
    for (unsigned i = 0; i < 512; ++i) {
      EXPECT_EQ(process.WordAt(page, i), left[page][i]) << page << " " << i;
    }
  }
}

TEST(ForeignTest, AFullTableIsReadInBlocks) {
  Image image = SmallProcess();
  Runs young;
  for (std::uint64_t i = 0; i < 512; ++i) {
    image[3][i] = (0x900 + i) << 12 | (i % 3 == 0 ? 0x27 : 0x07);
    if (i % 3 == 0) young.emplace_back(512 + i, 1);
  }
  young.emplace_back(0xC0000, 0x40000);
  Foreign<X86_64> process(image);
  EXPECT_EQ(process.Young(AgeAction::kTest), young);
  EXPECT_EQ(process.Young(AgeAction::kTestAndClear), young);
  EXPECT_EQ(process.Young(AgeAction::kTest), (Runs{}));
  EXPECT_EQ(process.examined, 514u);
}

struct Broken {
  const char* name;
  std::size_t page;
  unsigned index;
  std::uint64_t word;
  ForeignError error;
  std::uint64_t gfn;
  int level;
};

class ForeignFindingTest : public testing::TestWithParam<Broken> {};

TEST_P(ForeignFindingTest, IsNamedAndPassedOver) {
  const Broken& broken = GetParam();
  Image image = SmallProcess();
  image[broken.page][broken.index] = broken.word;
  for (const bool harvest : {false, true}) {
    Foreign<X86_64> process(image, {.physical_bits = 40});
    if (harvest) {
      EXPECT_EQ(process.Young(AgeAction::kTestAndClear),
                (Runs{{512, 1}, {520, 1}, {0xC0000, 0x40000}}));
      EXPECT_EQ(process.WordAt(broken.page, broken.index), broken.word);
    } else {
      EXPECT_EQ(process.Leaves(),
                (Runs{{512, 1}, {519, 2}, {1024, 512}, {0xC0000, 0x40000}}));
    }
    const ForeignReport& report = process.tree.report();
    ASSERT_TRUE(report.any);
    EXPECT_EQ(report.Of(broken.error), 1u);
    EXPECT_EQ(report.first.error, broken.error);
    EXPECT_EQ(report.first.gfn, Gfn{broken.gfn});
    EXPECT_EQ(report.first.level, Level{broken.level});
    EXPECT_EQ(report.first.word, broken.word);
  }
}

constexpr std::uint64_t kGiB = 0x40000;  // frames
INSTANTIATE_TEST_SUITE_P(
    Entries, ForeignFindingTest,
    testing::Values(Broken{"ATableBehindTheEnd", 2, 9, 0x5067,
                           ForeignError::kOutside, 9 * 512, 2},
                    Broken{"ATableFarOutside", 0, 1, 0xFF'FFFF'F067,
                           ForeignError::kOutside, 512 * kGiB, 4},
                    Broken{"AFrameBeyondTheProcessor", 3, 9, 0x100'0000'0027,
                           ForeignError::kReserved, 521, 1},
                    Broken{"ATableBeyondTheProcessor", 1, 9, 0x100'0000'3067,
                           ForeignError::kReserved, 9 * kGiB, 3},
                    Broken{"ALargePageAtTheRoot", 0, 1, 0xE7,
                           ForeignError::kReserved, 512 * kGiB, 4},
                    Broken{"AHugePageThatIsNotAligned", 1, 4, 0x20'00E7,
                           ForeignError::kReserved, 4 * kGiB, 3},
                    Broken{"ALargePageThatIsNotAligned", 2, 5, 0x10'00E7,
                           ForeignError::kReserved, 5 * 512, 2},
                    Broken{"ATableThatIsItsOwnParent", 2, 5, 0x2067,
                           ForeignError::kCycle, 5 * 512, 2},
                    Broken{"ARootThatMapsItself", 0, 0x1ED, 0x67,
                           ForeignError::kCycle, 0x1ED * 512 * kGiB, 4}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(ForeignTest, AMalformedEntryOfAFullTableIsPassedOver) {
  Image image = SmallProcess();
  for (std::uint64_t i = 0; i < 512; ++i) {
    image[3][i] = (0x900 + i) << 12 | 0x27;
  }
  image[3][100] |= std::uint64_t{1} << 45;
  Foreign<X86_64> process(image, {.physical_bits = 40});
  const Runs others = {{512, 100}, {613, 411}, {0xC0000, 0x40000}};
  EXPECT_EQ(process.Young(AgeAction::kTest), others);
  EXPECT_EQ(process.Young(AgeAction::kTestAndClear), others);
  EXPECT_EQ(process.examined, 513u);
  EXPECT_EQ(process.WordAt(3, 100), image[3][100]);
  EXPECT_EQ(process.tree.report().first.gfn, Gfn{612});
}

TEST(ForeignTest, LeavesCanBeTakenAsTheyAreAndLargeOnesAreCheckedAllTheSame) {
  Image image = SmallProcess();
  image[2][2] |= 0x2000;                  // reserved in a page of 2 MiB
  image[3][7] |= std::uint64_t{1} << 45;  // in one of 4 KiB
  image[3][8] |= std::uint64_t{1} << 45;
  const ForeignLimits limits{.physical_bits = 40};
  Foreign<X86_64> checked(image, limits);
  EXPECT_EQ(checked.Leaves(), (Runs{{512, 1}, {0xC0000, 0x40000}}));
  EXPECT_EQ(checked.tree.report().Of(ForeignError::kReserved), 3u);
  Foreign<X86_64, ForeignLeaves::kUnchecked> unchecked(image, limits);
  EXPECT_EQ(unchecked.Leaves(), (Runs{{512, 1}, {519, 2}, {0xC0000, 0x40000}}));
  EXPECT_EQ(unchecked.Young(AgeAction::kTestAndClear),
            (Runs{{512, 1}, {520, 1}, {0xC0000, 0x40000}}));
  EXPECT_EQ(unchecked.WordAt(3, 8), image[3][8] & ~std::uint64_t{0x20});
  EXPECT_EQ(unchecked.tree.report().Of(ForeignError::kReserved), 2u);
}

TEST(ForeignTest, ThePatBitOfALargePageIsNotReserved) {
  Image image = SmallProcess();
  image[2][2] |= 0x1000;
  Foreign<X86_64> process(image);
  EXPECT_EQ(process.Leaves(),
            (Runs{{512, 1}, {519, 2}, {1024, 512}, {0xC0000, 0x40000}}));
}

TEST(ForeignTest, TheSentinelOfAFrozenEntryMeansNothing) {
  Image image = SmallProcess();
  image[3][1] = std::uint64_t{1} << 58;
  image[2][7] = std::uint64_t{1} << 58;
  Foreign<X86_64> process(image);
  YoungRuns young;
  const AgeResult answer = Harvest(process.tree, {}, kAll, AgeAction::kTest,
                                   AgeMode::kFastOnly, young);
  EXPECT_TRUE(answer.complete);
  EXPECT_EQ(young.unknown, 0u);
  EXPECT_EQ(process.Leaves(),
            (Runs{{512, 1}, {519, 2}, {1024, 512}, {0xC0000, 0x40000}}));
}

TEST(ForeignTest, SharedTablesDoNotMakeAWalkEndless) {
  // 2^27 paths to the last page, of 2^36 leaves.
  Image image(4, Words{});
  for (std::size_t page = 0; page < 4; ++page) {
    image[page].fill((page + 1) << 12 | 0x27);
  }
  Foreign<X86_64> process(image, {.most_tables = 1000});
  EXPECT_LE(test::Runs(process.Leaves()).size(), 1000u);
  EXPECT_EQ(process.tree.report().tables, 1001u);
  EXPECT_GT(process.tree.report().Of(ForeignError::kTooMany), 0u);
  // The root's other 511 entries, and those of the table below it that it was
  // in, were refused, not followed.
  EXPECT_LE(process.tree.report().Of(ForeignError::kTooMany), 3u * 512);
}

TEST(ForeignTest, ARootOutsideIsNotValid) {
  const ForeignRam none(nullptr, 0);
  EXPECT_FALSE((ForeignTree<X86_64, ForeignRam>(none, Pfn{0}, {}).valid()));
}

TEST(ForeignTest, ReservedBitsAreTheManuals) {
  using enum EntryKind;
  // x86-64, processor with 46 bits.
  EXPECT_EQ(X86_64::ReservedBits(Level{4}, kTable, 46), 0x000F'C000'0000'0080u);
  EXPECT_EQ(X86_64::ReservedBits(Level{3}, kTable, 46), 0x000F'C000'0000'0000u);
  EXPECT_EQ(X86_64::ReservedBits(Level{3}, kLeaf, 46), 0x000F'C000'3FFF'E000u);
  EXPECT_EQ(X86_64::ReservedBits(Level{2}, kLeaf, 46), 0x000F'C000'001F'E000u);
  EXPECT_EQ(X86_64::ReservedBits(Level{1}, kLeaf, 46), 0x000F'C000'0000'0000u);
  // Bit 7 maps no page above the PDPTE, in a PML5E neither.
  EXPECT_EQ(X86_64La57::ReservedBits(Level{5}, kTable, 46),
            0x000F'C000'0000'0080u);
  EXPECT_EQ(X86_64La57::ReservedBits(Level{5}, kLeaf, 46),
            0x000F'C000'0000'0080u);
  EXPECT_EQ(X86_64La57::ReservedBits(Level{4}, kTable, 46),
            0x000F'C000'0000'0080u);
  EXPECT_EQ(X86_64La57::ReservedBits(Level{3}, kLeaf, 46),
            0x000F'C000'3FFF'E000u);
  // EPT, 48 bits; 7:3 of a PML5E.
  EXPECT_EQ(Ept5Level::ReservedBits(Level{5}, kTable, 48),
            0x000F'0000'0000'00F8u);
  EXPECT_EQ(Ept5Level::ReservedBits(Level{5}, kLeaf, 48),
            0x000F'0000'0000'00F8u);
  EXPECT_EQ(Ept::ReservedBits(Level{4}, kLeaf, 48), 0x000F'0000'0000'00F8u);
  EXPECT_EQ(Ept::ReservedBits(Level{2}, kTable, 48), 0x000F'0000'0000'00F8u);
  EXPECT_EQ(Ept::ReservedBits(Level{3}, kLeaf, 48), 0x000F'0000'3FFF'F000u);
  EXPECT_EQ(Ept::ReservedBits(Level{2}, kLeaf, 48), 0x000F'0000'001F'F000u);
  EXPECT_EQ(Ept::ReservedBits(Level{1}, kLeaf, 48), 0x000F'0000'0000'0000u);
  // RISC-V, 56 bits.
  EXPECT_EQ(RiscvSv39::ReservedBits(Level{2}, kTable, 56),
            0xFFC0'0000'0000'00D0u);
  EXPECT_EQ(RiscvSv39::ReservedBits(Level{2}, kLeaf, 56),
            0x1FC0'0000'0007'FC00u);
  EXPECT_EQ(RiscvSv39::ReservedBits(Level{1}, kLeaf, 56),
            0x1FC0'0000'0000'0000u);
}

TEST(ForeignTest, TablesOfOtherFormatsAreReadToo) {
  // EPT: read, write, execute 7; accessed 0x100; write-back 0x30.
  Image ept(4, Words{});
  ept[0][0] = 0x1107;
  ept[1][0] = 0x2107;
  ept[2][0] = 0x3107;
  ept[2][1] = 0x20'01B7;
  ept[3][5] = 0x5137;
  ept[3][6] = 0x6037;
  Foreign<Ept> guest(ept);
  EXPECT_EQ(guest.Leaves(), (Runs{{5, 2}, {512, 512}}));
  EXPECT_EQ(guest.Young(AgeAction::kTest), (Runs{{5, 1}, {512, 512}}));
  EXPECT_FALSE(guest.tree.report().any);

  // RISC-V: valid 1, read 2, write 4, accessed 0x40; frames from bit 10 on.
  Image riscv(3, Words{});
  riscv[0][0] = 1 << 10 | 1;
  riscv[1][0] = 2 << 10 | 1;
  riscv[2][3] = 9 << 10 | 0x47;
  riscv[2][4] = 9 << 10 | 0x07;
  riscv[1][2] = 1 << 10 | 0x47;  // a large page that is not aligned
  Foreign<RiscvSv39> harts(riscv);
  EXPECT_EQ(harts.Leaves(), (Runs{{3, 2}}));
  EXPECT_EQ(harts.Young(AgeAction::kTest), (Runs{{3, 1}}));
  EXPECT_EQ(harts.tree.report().Of(ForeignError::kReserved), 2u);
}

TEST(ForeignTest, TablesOfFiveLevelsAreRead) {
  Image process = SmallProcess();
  process.insert(process.begin(), Words{});
  // What pointed to frame n points to n + 1.
  process[0][0] = 0x1067;
  process[0][511] = 0x1067;
  process[1][0] = 0x2067;
  process[2][0] = 0x3067;
  process[3][1] = 0x4067;
  process[0][1] = 0x1067 | 0x80;  // reserved in a PML5E
  Foreign<X86_64La57> tree(process);
  Runs runs;
  WalkAll(tree.tree, {}, GfnRange{Gfn{0}, Gfn{std::uint64_t{1} << 45}},
          [&](const VisitedEntry<X86_64La57>& visited) {
            test::AddRun(runs, visited.covers.begin.value,
                         visited.covers.Frames());
          });
  constexpr std::uint64_t kLast = std::uint64_t{511} << 36;
  EXPECT_EQ(runs, (Runs{{512, 1},
                        {519, 2},
                        {1024, 512},
                        {0xC0000, 0x40000},
                        {kLast + 512, 1},
                        {kLast + 519, 2},
                        {kLast + 1024, 512},
                        {kLast + 0xC0000, 0x40000}}));
  EXPECT_EQ(tree.tree.report().Of(ForeignError::kReserved), 1u);
  EXPECT_EQ(tree.tree.report().first.level, Level{5});
  EXPECT_EQ(tree.tree.report().first.gfn, Gfn{std::uint64_t{1} << 36});
}

// A guest hypervisor's tables for its own guest: four pages at the root.
Image WideRoot() {
  Image image(7, Words{});
  image[0][511] = 4 << 10 | 1;
  image[1][0] = 5 << 10 | 1;
  image[3][511] = 5 << 10 | 1;
  image[4][511] = 6 << 10 | 1;
  image[5][0] = 6 << 10 | 1;
  image[5][511] = 6 << 10 | 1;
  image[6][0] = 9 << 10 | 0x57;
  image[6][511] = 9 << 10 | 0x17;
  return image;
}

TEST(ForeignTest, ARootOfFourPagesIsRead) {
  Foreign<RiscvSv39x4> harts(WideRoot());
  ASSERT_TRUE(harts.tree.valid());
  constexpr std::uint64_t kBorder = std::uint64_t{1} << 27;
  constexpr std::uint64_t kLast = 4 * kBorder - kGiB;
  EXPECT_EQ(harts.Leaves(), (Runs{{kBorder - 512, 1},
                                  {kBorder - 1, 2},
                                  {kBorder + 511, 1},
                                  {kBorder + kGiB - 512, 1},
                                  {kBorder + kGiB - 1, 1},
                                  {kLast, 1},
                                  {kLast + 511, 1},
                                  {kLast + kGiB - 512, 1},
                                  {kLast + kGiB - 1, 1}}));
  // One entry of one table, met five times: who clears it finds it once.
  EXPECT_EQ(harts.Young(AgeAction::kTestAndClear), (Runs{{kBorder - 512, 1}}));
  EXPECT_FALSE(harts.tree.report().any);
}

TEST(ForeignTest, AnEntryThatLeadsToAnyPageOfTheRootIsACycle) {
  for (std::uint64_t page = 0; page < 4; ++page) {
    Image image = WideRoot();
    image[4][7] = page << 10 | 1;
    Foreign<RiscvSv39x4> harts(image);
    (void)harts.Leaves();
    EXPECT_EQ(harts.tree.report().Of(ForeignError::kCycle), 1u);
    EXPECT_EQ(harts.tree.report().first.gfn,
              Gfn{(std::uint64_t{1} << 27) - kGiB + 7 * 512});
  }
}

// hgatp has no room for the lowest two bits of its frame.
TEST(ForeignTest, ARootOfFourPagesIsAlignedAndWhollyInside) {
  GuardedPages pages(8);
  const RamBlock block{0, 7 * 4096, pages.begin()};
  const ForeignRam ram(&block, 1);
  using Tree = ForeignTree<RiscvSv39x4, ForeignRam>;
  EXPECT_TRUE(Tree(ram, Pfn{0}, {}).valid());
  for (const std::uint64_t frame : {1u, 2u, 3u, 4u, 8u}) {
    EXPECT_FALSE(Tree(ram, Pfn{frame}, {}).valid()) << frame;
  }
}

TEST(ForeignTest, ARootMayLieInSeveralBlocks) {
  Image image = WideRoot();
  GuardedPages low(2);
  GuardedPages high(5);
  std::memcpy(low.begin(), image.data(), 2 * sizeof(Words));
  std::memcpy(high.begin(), image.data() + 2, 5 * sizeof(Words));
  const RamBlock blocks[] = {{0, 2 * 4096, low.begin()},
                             {2 * 4096, 5 * 4096, high.begin()}};
  const ForeignRam ram(blocks, 2);
  const ForeignTree<RiscvSv39x4, ForeignRam> tree(ram, Pfn{0}, {});
  ASSERT_TRUE(tree.valid());
  unsigned leaves = 0;
  WalkAll(tree, {}, kAll, [&](const VisitedEntry<RiscvSv39x4>&) { ++leaves; });
  EXPECT_EQ(leaves, 10u);
  EXPECT_FALSE(tree.report().any);
}

TEST(ForeignTest, RandomImagesAreWalkedAsTheReferenceWalksThem) {
  std::mt19937_64 random(7);
  std::uint64_t with_young = 0;
  std::array<std::uint64_t, kForeignErrors> errors{};
  for (int turn = 0; turn < 2000; ++turn) {
    SCOPED_TRACE(turn);
    const std::size_t pages = random() % 12;
    const Image image =
        pages == 0
            ? Image{}
            : RandomImage(random, pages, static_cast<unsigned>(random() % 200));
    std::uint8_t bytes[6];
    for (std::uint8_t& byte : bytes) {
      byte = random() % 3 == 0 ? 0 : static_cast<std::uint8_t>(random());
    }
    if (turn % 4 != 0) bytes[0] = 0;
    const ImageQuestion question =
        test::QuestionOf(bytes, sizeof bytes, image.size());
    ASSERT_EQ(CheckImage(image, question), "");
    const test::Reference truth(image, question);
    with_young += truth.young.empty() ? 0 : 1;
    for (unsigned e = 0; e < kForeignErrors; ++e) errors[e] += truth.errors[e];
  }
  // Else the images test nothing.
  EXPECT_GT(with_young, 500u);
  for (const std::uint64_t count : errors) EXPECT_GT(count, 100u);
}

TEST(ForeignTest, AnOwnerWhoScribblesLeadsNowhereElse) {
  constexpr std::size_t kPages = 8;
  GuardedPages pages(kPages);
  std::mt19937_64 random(3);
  const Image image = RandomImage(random, kPages, 400);
  std::memcpy(pages.begin(), image.data(), kPages * sizeof(Words));
  const RamBlock block{0, kPages * sizeof(Words), pages.begin()};
  const ForeignRam ram(&block, 1);
  auto* const cells = reinterpret_cast<Cell<std::uint64_t>*>(pages.begin());
  std::atomic<bool> done{false};
  std::atomic<std::uint64_t> scribbled{0};
  std::thread owner([&] {
    std::mt19937_64 his(4);
    while (!done.load()) {
      const std::size_t page = his() % kPages;
      const std::uint64_t word = page < 3 && his() % 4 != 0
                                     ? (page + 1) << 12 | 0x27
                                     : test::LikelyEntry(his, kPages);
      WriteOnce(cells[page * 512 + his() % 512], word, kRelaxed);
      scribbled.fetch_add(1, std::memory_order_relaxed);
    }
  });
  std::uint64_t young = 0;
  for (int turn = 0; turn < 200 || scribbled.load() < 10'000; ++turn) {
    const ForeignTree<X86_64, ForeignRam> tree(
        ram, Pfn{0}, {.physical_bits = 40, .most_tables = 64});
    YoungRuns output;
    const AgeResult answer = Harvest(tree, {}, kAll, AgeAction::kTestAndClear,
                                     AgeMode::kFastOnly, output);
    EXPECT_TRUE(answer.complete);
    EXPECT_LE(tree.report().tables, 65u);
    young += output.counts.young;
  }
  done.store(true);
  owner.join();
  EXPECT_GT(young, 0u);
}

}  // namespace
}  // namespace ptage
