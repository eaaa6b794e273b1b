// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest whose CPUs use pages and change their tables, by trapped writes and,
// where a table is not shadowed, by plain ones, while the host ages, zaps and
// reclaims. No CPU is given what the tables did not say at some moment of its
// access; what was written is told of; what was accessed is reported or handed
// over.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "ptage/guest_walk.h"
#include "ptage/legacy_shadow.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/sim/vcpu.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/legacy_guest.h"
#include "test/machine.h"
#include "test/stress.h"

namespace ptage {
namespace {

constexpr std::size_t kCpus = 3;
constexpr std::uint64_t kFrames = 64;
constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};

// Frames of tables. Both roots lead to kL3, that to kL2, and entries 0 … 2 of
// it to one of the tables in kLeafTables. Entry 3 leads to kDirect, which maps
// page 3 * 512 + f to frame f.
constexpr std::uint64_t kRoots[] = {4, 5};
constexpr std::uint64_t kL3 = 3;
constexpr std::uint64_t kL2 = 2;
constexpr std::uint64_t kDirect = 8;
constexpr std::uint64_t kLeafTables[] = {1, 6, 7};
// Entries of these that are used, and the frames of pages.
constexpr std::uint64_t kEntries = 2;
constexpr std::uint64_t kFirstPage = 16;
constexpr std::uint64_t kPages = 8;

// An entry of the guest's tables, and what it held and when. It is written by
// one thread at a time.
class LoggedEntry {
 public:
  LoggedEntry() : started_(0u), finished_(0u) {}

  void Start(std::uint64_t frame) {
    ASSERT_LT(ReadOnce(started_, kRelaxed) + 1, kMost);
    const std::uint32_t next = ReadOnce(started_, kRelaxed) + 1;
    WriteOnce(frames_[next], frame, kRelaxed);
    WriteOnce(started_, next, kRelease);
  }
  void Finish() {
    WriteOnce(finished_, ReadOnce(started_, kRelaxed), kRelease);
  }
  // Before an access, and after it.
  [[nodiscard]] std::uint32_t Begin() const {
    return ReadOnce(finished_, kAcquire);
  }
  template <class Test>
  [[nodiscard]] bool AnySince(std::uint32_t begin, Test&& test) const {
    const std::uint32_t last = ReadOnce(started_, kAcquire);
    for (std::uint32_t i = begin; i <= last; ++i) {
      if (test(ReadOnce(frames_[i], kRelaxed))) return true;
    }
    return false;
  }

  absl::Mutex writer;

 private:
  static constexpr std::uint32_t kMost = 1024;
  Cell<std::uint64_t> frames_[kMost];
  Cell<std::uint32_t> started_;
  Cell<std::uint32_t> finished_;
};

using FrameSet = std::array<bool, kFrames>;

template <class D>
class Round {
 public:
  using Guest = test::LegacyGuest<D>;
  using Vcpu = typename Guest::Vcpu;

  Round() {
    guest.AddMemory();
    for (const std::uint64_t root : kRoots) Put(root, 0, kL3);
    Put(kL3, 0, kL2);
    Put(kL2, 3, kDirect);
    for (std::uint64_t frame = 0; frame < kFrames; ++frame) {
      Put(kDirect, frame, frame);
    }
    for (std::uint64_t i = 0; i < 3; ++i) {
      Put(kL2, i, kLeafTables[i]);
      inner_[i].Start(kLeafTables[i]);
      inner_[i].Finish();
      for (std::uint64_t k = 0; k < kEntries; ++k) {
        const std::uint64_t frame = kFirstPage + (3 * i + k) % kPages;
        Put(kLeafTables[i], k, frame);
        leaves_[i][k].Start(frame);
        leaves_[i][k].Finish();
      }
    }
  }

  // What a CPU did.
  struct Done {
    FrameSet written = {};
    FrameSet accessed = {};
    std::uint64_t used = 0;
    std::uint64_t trapped = 0;
    std::uint64_t plain = 0;
  };

  void RunCpu(std::size_t cpu, unsigned seed, int steps, Done& done) {
    std::mt19937 random(seed);
    const std::uint64_t frame = kRoots[random() % 2];
    const auto root = guest.mmu->LoadRoot(Gfn{frame});
    if (!root.ok()) return;
    {
      Vcpu vcpu(guest.cpus, cpu, guest.arena, *root->table);
      for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
        const auto what = random() % 8;
        if (what < 5) {
          Use(vcpu, *root, random() % 3, random() % kEntries,
              random() % 2 == 0 ? Rights::kRead : Rights::kReadWrite, done);
        } else if (what < 7) {
          const std::uint64_t table = random() % 3;
          const std::uint64_t entry = random() % kEntries;
          Change(vcpu, *root, leaves_[table][entry], kLeafTables[table], entry,
                 kFirstPage + random() % kPages, done);
        } else {
          const std::uint64_t entry = random() % 3;
          // A page, as a table: the guest knows what it does.
          Change(vcpu, *root, inner_[entry], kL2, entry,
                 kLeafTables[random() % 3], done);
        }
      }
    }
    guest.mmu->UnloadRoot(*root);
  }

  test::LegacyGuest<D> guest{{.frames = kFrames,
                              .cpus = kCpus,
                              .tables = 32,
                              .chunks = 256,
                              .limit = 7}};

 private:
  void Put(std::uint64_t table, std::uint64_t index, std::uint64_t frame) {
    WriteOnce(guest.WordAt(table, index), frame << 12 | 0x7, kRelaxed);
  }
  static std::size_t TableIndex(std::uint64_t frame) {
    return frame == 1 ? 0 : frame == 6 ? 1 : 2;
  }

  // An access to the page of an entry of kL2 and of one below it.
  void Use(Vcpu& vcpu, typename Guest::Root root, std::uint64_t at,
           std::uint64_t entry, Rights access, Done& done) {
    const std::uint32_t inner = inner_[at].Begin();
    std::uint32_t leaf[3];
    for (std::size_t t = 0; t < 3; ++t) leaf[t] = leaves_[t][entry].Begin();
    Pfn pfn{};
    GuestTranslation walked;
    const FaultOutcome outcome =
        guest.Access(vcpu, root, at * 512 + entry, access, pfn, walked);
    if (outcome == FaultOutcome::kNoMemory || outcome == FaultOutcome::kRetry) {
      return;
    }
    ASSERT_EQ(outcome, FaultOutcome::kMapped);
    const std::uint64_t frame = pfn.value - Guest::kBase.value;
    ASSERT_TRUE(inner_[at].AnySince(inner,
                                    [&](std::uint64_t table) {
                                      const std::size_t t = TableIndex(table);
                                      return leaves_[t][entry].AnySince(
                                          leaf[t], [&](std::uint64_t said) {
                                            return said == frame;
                                          });
                                    }))
        << "page " << at * 512 + entry << ", frame " << frame;
    ++done.used;
    done.accessed[frame] = true;
    if (Allows(access, Rights::kWrite)) done.written[frame] = true;
  }

  // The guest changes an entry, by its name in the direct map.
  void Change(Vcpu& vcpu, typename Guest::Root root, LoggedEntry& logged,
              std::uint64_t table, std::uint64_t index, std::uint64_t frame,
              Done& done) {
    const std::uint64_t word = frame << 12 | 0x7;
    absl::MutexLock lock(&logged.writer);
    for (int tries = 0; tries < 64; ++tries) {
      {
        const sim::Running<Vcpu> running(vcpu);
        if (vcpu.Translate(Gfn{3 * 512 + table}, Rights::kReadWrite)) {
          // Nothing is built from the table, or this would be trapped; and
          // nothing is before this CPU has paused.
          logged.Start(frame);
          WriteOnce(guest.WordAt(table, index), word, kRelease);
          done.written[table] = true;
          done.accessed[table] = true;
          ++done.plain;
          logged.Finish();
          return;
        }
      }
      GuestTranslation walked;
      const FaultOutcome outcome = guest.mmu->Fault(root, Gfn{3 * 512 + table},
                                                    Rights::kReadWrite, walked);
      if (outcome == FaultOutcome::kGuestTable) {
        ASSERT_EQ(walked.gfn, Gfn{table});
        logged.Start(frame);
        guest.Write(table, index, word);
        logged.Finish();
        ++done.trapped;
        return;
      }
      ASSERT_NE(outcome, FaultOutcome::kReflected);
    }
  }

  LoggedEntry inner_[3];
  LoggedEntry leaves_[3][kEntries];
};

template <class D>
class LegacyShadowStressTest : public testing::Test {};

using Disciplines =
    testing::Types<test::BitRmaps<X86_64>, test::LocklessRmapsInOrder<X86_64>>;
TYPED_TEST_SUITE(LegacyShadowStressTest, Disciplines);

TYPED_TEST(LegacyShadowStressTest, NoTableIsOutOfDateAndNoWriteIsLost) {
  const auto end = std::chrono::steady_clock::now() + 5 * test::kStressTime;
  unsigned rounds = 0;
  std::uint64_t used = 0;
  std::uint64_t trapped = 0;
  std::uint64_t plain = 0;
  while (std::chrono::steady_clock::now() < end && !this->HasFailure()) {
    const auto round = std::make_unique<Round<TypeParam>>();
    auto& guest = round->guest;
    std::array<typename Round<TypeParam>::Done, kCpus> done;
    test::Answer young(Gfn{0}, kFrames);
    std::vector<std::function<void()>> bodies;
    for (std::size_t cpu = 0; cpu < kCpus; ++cpu) {
      bodies.emplace_back([&, cpu] {
        round->RunCpu(cpu, rounds * 8 + static_cast<unsigned>(cpu), 60,
                      done[cpu]);
      });
    }
    bodies.emplace_back([&] {
      for (int i = 0; i < 6; ++i) {
        (void)guest.mmu->TestClearYoungFastOnly(kAll, young.output());
      }
    });
    bodies.emplace_back([&] {
      std::mt19937 random(rounds * 8 + 7);
      for (int i = 0; i < 6; ++i) {
        const Gfn gfn{random() % 24};
        if (random() % 2 == 0) {
          guest.mmu->ZapFrames({gfn, gfn + 1 + random() % 2}, guest.sink());
        } else {
          guest.mmu->Reclaim(1 + random() % 2, guest.sink());
        }
      }
    });
    test::RunThreads(bodies);
    for (std::uint64_t frame = 0; frame < kFrames; ++frame) {
      if (!guest.mmu->IsTable(Gfn{frame})) continue;
      ASSERT_EQ(guest.WritableLeaves(frame), 0) << "round " << rounds;
    }
    (void)guest.mmu->TestClearYoung(kAll, young.output());
    guest.mmu->ZapFrames(kAll, guest.sink());
    FrameSet told = {};
    FrameSet handed_over = {};
    for (const ZappedLeaf& leaf : guest.zapped) {
      told[leaf.gfn.value] |= leaf.dirty;
      handed_over[leaf.gfn.value] |= leaf.accessed;
    }
    for (const auto& cpu : done) {
      for (std::uint64_t frame = 0; frame < kFrames; ++frame) {
        if (cpu.written[frame]) {
          ASSERT_TRUE(told[frame]) << "round " << rounds << ", " << frame;
        }
        if (cpu.accessed[frame]) {
          ASSERT_TRUE(young.Young(Gfn{frame}) || handed_over[frame])
              << "round " << rounds << ", " << frame;
        }
      }
      used += cpu.used;
      trapped += cpu.trapped;
      plain += cpu.plain;
    }
    ++rounds;
  }
  EXPECT_GT(used, rounds);
  EXPECT_GT(trapped, 0u);
  EXPECT_GT(plain, 0u);
}

}  // namespace
}  // namespace ptage
