// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/port/port.h"

#include <atomic>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "examples/port/hosted_kernel.h"
#include "gtest/gtest.h"
#include "ptage/core.h"
#include "ptage/sim/vcpu.h"
#include "ptage/sim/vcpu_set.h"

namespace {

using port::Space;
using ptage::Gfn;
using ptage::GfnRange;
using ptage::Rights;
using Cpu = ptage::sim::Vcpu<port::Format, port::Tables>;

constexpr std::uint64_t kLeafTable = 512;

// One access, whatever faults it takes. False: there was no memory.
bool Access(Space& space, Cpu& cpu, Gfn page, Rights access) {
  while (!cpu.Translate(page, access)) {
    cpu.Pause();
    const bool done = space.Fault(page, access);
    cpu.Resume();
    if (!done) return false;
  }
  return true;
}

std::vector<bool> Age(Space& space, GfnRange range) {
  std::vector<std::uint64_t> words((range.Frames() + 63) / 64);
  const ptage::Bitmap bits(words.data(), range.Frames());
  const ptage::AgeResult result = space.Age(range, bits);
  std::vector<bool> young;
  bool any = false;
  for (std::uint64_t i = 0; i < range.Frames(); ++i) {
    young.push_back(bits.Test(i));
    any |= bits.Test(i);
  }
  EXPECT_EQ(result.young, any);
  return young;
}

class PortTest : public testing::Test {
 protected:
  static constexpr std::size_t kCpus = 3;

  void StartMachine(std::size_t pages, std::uint64_t ns_per_look = 1000) {
    hosted::Start(pages, cpus_, ns_per_look);
  }

  ptage::sim::VcpuSet cpus_{kCpus};
};

TEST_F(PortTest, PagesThatWereUsedAreYoungOnce) {
  StartMachine(3000);
  {
    Space space;
    ASSERT_TRUE(space.valid());
    Cpu cpu(cpus_, 0, space.tables(), space.root());
    constexpr GfnRange kRange{Gfn{100}, Gfn{1300}};
    std::vector<bool> used(kRange.Frames());
    std::mt19937_64 random(1);
    for (int round = 0; round < 20; ++round) {
      used.assign(kRange.Frames(), false);
      cpu.Resume();
      for (int i = 0; i < 200; ++i) {
        const std::uint64_t page = random() % kRange.Frames();
        used[page] = true;
        ASSERT_TRUE(Access(space, cpu, kRange.begin + page, Rights::kRead));
      }
      cpu.Pause();
      EXPECT_EQ(Age(space, kRange), used);
      EXPECT_EQ(Age(space, kRange), std::vector<bool>(kRange.Frames()));
      port::Tlb().Flush(kRange);
    }
  }
  EXPECT_EQ(hosted::Stop(), 0u);
}

TEST_F(PortTest, ZapTellsWhatWasWrittenAndGivesTheMemoryBack) {
  StartMachine(2000);
  Space space;
  Cpu cpu(cpus_, 0, space.tables(), space.root());
  const std::uint64_t empty = hosted::CountsNow().pages;
  cpu.Resume();
  for (std::uint64_t page = 0; page < 1000; ++page) {
    ASSERT_TRUE(Access(space, cpu, Gfn{page},
                       page % 10 == 0 ? Rights::kWrite : Rights::kRead));
  }
  cpu.Pause();
  // A part of a table, and whole ones.
  EXPECT_EQ(space.Zap({Gfn{0}, Gfn{100}}), 10u);
  EXPECT_EQ(space.Zap({Gfn{0}, Gfn{2 * kLeafTable}}), 90u);
  const hosted::Counts counts = hosted::CountsNow();
  // The tables above the leaves' stay.
  EXPECT_EQ(counts.pages, empty + 2);
  EXPECT_EQ(counts.calls, 2u);
  EXPECT_EQ(counts.called, 2u);
  EXPECT_GT(counts.flushes, 0u);
}

TEST_F(PortTest, AFaultWithoutMemorySaysSo) {
  // The root, three tables, and two pages.
  StartMachine(6);
  {
    Space space;
    EXPECT_TRUE(space.Fault(Gfn{1}, Rights::kRead));
    EXPECT_TRUE(space.Fault(Gfn{2}, Rights::kRead));
    EXPECT_FALSE(space.Fault(Gfn{3}, Rights::kRead));
    // There already.
    space.Zap({Gfn{2}, Gfn{3}});
    EXPECT_TRUE(space.Fault(Gfn{1}, Rights::kRead));
    EXPECT_TRUE(space.Fault(Gfn{3}, Rights::kRead));
    EXPECT_EQ(hosted::CountsNow().pages, 6u);
  }
  EXPECT_EQ(hosted::Stop(), 0u);
}

TEST_F(PortTest, NoSectionOfAgingIsLongAndBetweenTwoItYields) {
  // A look at the clock takes as long as a section may: it has one step of two
  // thousand entries.
  StartMachine(64, /*ns_per_look=*/50'000);
  {
    Space space;
    ASSERT_TRUE(space.Fault(Gfn{0}, Rights::kRead));
    const std::vector<bool> young =
        Age(space, {Gfn{0}, Gfn{4 * kLeafTable * kLeafTable}});
    EXPECT_TRUE(young[0]);
    for (std::uint64_t i = 1; i < 16; ++i) {
      ASSERT_TRUE(space.Fault(Gfn{i * kLeafTable}, Rights::kRead));
    }
    const std::uint64_t before = hosted::CountsNow().yields;
    Age(space, {Gfn{0}, Gfn{16 * kLeafTable}});
    const hosted::Counts counts = hosted::CountsNow();
    // 16 tables of 512 entries, by 2,048: at least four sections.
    EXPECT_GE(counts.yields, before + 4);
    EXPECT_EQ(counts.wrong_yields, 0u);
    EXPECT_LE(counts.longest_section_ns, 2 * 50'000u);
  }
  EXPECT_EQ(hosted::Stop(), 0u);
}

TEST_F(PortTest, CpusFaultWhileOthersAgeAndZap) {
  StartMachine(4000);
  {
    Space space;
    constexpr GfnRange kRange{Gfn{0}, Gfn{4 * kLeafTable}};
    std::atomic<int> running{kCpus};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < kCpus; ++i) {
      threads.emplace_back([&, i] {
        Cpu cpu(cpus_, i, space.tables(), space.root());
        std::mt19937_64 random(i);
        cpu.Resume();
        for (int j = 0; j < 20'000; ++j) {
          EXPECT_TRUE(Access(space, cpu, Gfn{random() % kRange.Frames()},
                             j % 3 == 0 ? Rights::kWrite : Rights::kRead));
        }
        cpu.Pause();
        --running;
      });
    }
    threads.emplace_back([&] {
      while (running != 0) Age(space, kRange);
    });
    std::mt19937_64 random(99);
    while (running != 0) {
      const std::uint64_t table = random() % 4 * kLeafTable;
      // A whole table, or some of its pages.
      const std::uint64_t pages = random() % 8 == 0 ? kLeafTable : 32;
      space.Zap({Gfn{table}, Gfn{table + pages}});
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(hosted::CountsNow().wrong_yields, 0u);
  }
  EXPECT_EQ(hosted::Stop(), 0u);
}

}  // namespace
