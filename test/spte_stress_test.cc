// SPDX-License-Identifier: MIT OR Apache-2.0
//
// An entry under a page walker, agers, zappers and faults at once. With
// --plant_race the walker reads the entry by a plain load. That changes nothing
// here but what the thread sanitizer must say; see race_canary.sh.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/formats.h"
#include "test/stress.h"

namespace ptage {
namespace {

using test::Access;
using test::RunThreads;
using test::Stress;
using test::Touched;
using test::Truth;

bool plant_race = false;

template <SpteFormat F>
typename F::Word ReadAsHardware(const SpteCell<F>& entry) {
  if (!plant_race) return ReadOnce(entry, kRelaxed);
  return *const_cast<const typename F::Word*>(entry.Raw());
}

template <class F>
class SpteStressTest : public ::testing::Test {};
TYPED_TEST_SUITE(SpteStressTest, test::AllFormats, test::FormatNames);

// Each thread counts for itself.
struct Taken {
  std::uint64_t accessed = 0;
  std::uint64_t dirty = 0;
};

// Every bit that the walker set is taken exactly once: by a clear that
// succeeded, by a zap, or it is still there.
TYPED_TEST(SpteStressTest, EachAccessAndEachWriteIsTakenExactlyOnce) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(T::kCold);
  Taken set;
  Taken zapped[2];
  Taken cleared[2];
  std::uint64_t wrong = 0;
  std::uint64_t turn = 0;

  const auto ager = [&entry](Taken& taken) {
    return [&entry, &taken] {
      const SpteAge age =
          AgeEntry<F>(entry, AgeAction::kTestAndClear, [] { return true; });
      if (age == SpteAge::kYoung) ++taken.accessed;
    };
  };
  const auto zapper = [&](Taken& taken) {
    return [&] {
      const ZapOutcome outcome = Zap<F>(
          entry, [] {},
          [&](typename F::Word word) {
            if ((word & T::kAccessedBit) != 0) ++taken.accessed;
            if ((word & T::kDirtyBit) != 0) ++taken.dirty;
          });
      // Who zapped maps again, so nobody else can.
      if (outcome == ZapOutcome::kZapped && !Install<F>(entry, T::kCold)) {
        ++wrong;
      }
      ager(taken)();
    };
  };
  Stress({[&] {
            const Touched touched = test::TouchAsHardware<F>(
                entry, ++turn % 2 == 0 ? Access::kRead : Access::kWrite,
                ReadAsHardware<F>);
            if (touched.set_accessed) ++set.accessed;
            if (touched.set_dirty) ++set.dirty;
          },
          ager(cleared[0]), zapper(zapped[0]), zapper(zapped[1])});

  const typename F::Word left = ReadOnce(entry, kRelaxed);
  const Taken taken{.accessed = cleared[0].accessed + zapped[0].accessed +
                                zapped[1].accessed +
                                ((left & T::kAccessedBit) != 0 ? 1u : 0u),
                    .dirty = zapped[0].dirty + zapped[1].dirty +
                             ((left & T::kDirtyBit) != 0 ? 1u : 0u)};
  EXPECT_EQ(taken.accessed, set.accessed);
  EXPECT_EQ(taken.dirty, set.dirty);
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(set.accessed, 0u);
}

// Owners of an entry, one after the other: what each wrote is visible to the
// next, in whichever way it left the entry. `record` is plain, for the thread
// sanitizer.
TYPED_TEST(SpteStressTest, EachOwnerSeesWhatTheOwnerBeforeWrote) {
  using F = TypeParam;
  using T = Truth<F>;
  SpteCell<F> entry(F::kEmpty);
  Plain<std::uint64_t> record(0);
  std::uint64_t owned[3] = {};
  const auto owner = [&](std::uint64_t& mine) {
    return [&] {
      const typename F::Word seen = ReadOnce(entry, kRelaxed);
      if (IsFrozen<F>(seen) || !Freeze<F>(entry, seen)) return;
      record.Set(record.Get() + 1);
      switch (++mine % 3) {
        case 0:
          Restore<F>(entry, seen);
          break;
        case 1:
          Publish<F>(entry, T::kYoung);
          break;
        default:
          Empty<F>(entry);
      }
    };
  };
  Stress({owner(owned[0]), owner(owned[1]), owner(owned[2])});
  EXPECT_EQ(record.Get(), owned[0] + owned[1] + owned[2]);
}

// --- One shot for each entry, many entries at a time, many times.

constexpr std::size_t kEntries = 256;

// Repeats `round` for about as long as the others last.
template <class Round>
void Rounds(Round round) {
  const auto end = std::chrono::steady_clock::now() + test::kStressTime;
  while (std::chrono::steady_clock::now() < end) round();
}

// The owner writes a record and publishes, or a fault writes one and installs;
// an ager reads the record in belongs(). The record is plain, and is there.
TYPED_TEST(SpteStressTest, WhoFindsAnEntryFindsWhatWasWrittenBeforeIt) {
  using F = TypeParam;
  using T = Truth<F>;
  std::uint64_t wrong = 0;
  Rounds([&] {
    // Even ones are owned, odd ones empty.
    std::vector<SpteCell<F>> entries;
    for (std::size_t i = 0; i < kEntries; ++i) {
      entries.emplace_back(i % 2 == 0 ? F::kFrozen : F::kEmpty);
    }
    std::vector<Plain<std::uint64_t>> records(kEntries,
                                              Plain<std::uint64_t>(0));
    RunThreads({[&] {
                  for (std::size_t i = 0; i < kEntries; ++i) {
                    records[i].Set(i + 1);
                    if (i % 2 == 0) {
                      Publish<F>(entries[i], T::kYoung);
                    } else {
                      (void)Install<F>(entries[i], T::kYoung);
                    }
                  }
                },
                [&] {
                  for (std::size_t i = kEntries; i-- > 0;) {
                    (void)AgeEntry<F>(
                        entries[i], AgeAction::kTestAndClear, [&] {
                          const bool mine = records[i].Get() == i + 1;
                          if (!mine) ++wrong;
                          return mine;
                        });
                  }
                }});
  });
  EXPECT_EQ(wrong, 0u);
}

// Another owner takes the entry for a moment, knows nothing of the record, and
// puts the value back.
TYPED_TEST(SpteStressTest, WhoFindsARestoredEntryFindsItsRecord) {
  using F = TypeParam;
  using T = Truth<F>;
  std::uint64_t wrong = 0;
  Rounds([&] {
    std::vector<SpteCell<F>> entries(kEntries, SpteCell<F>(F::kFrozen));
    std::vector<Plain<std::uint64_t>> records(kEntries,
                                              Plain<std::uint64_t>(0));
    RunThreads({[&] {
                  for (std::size_t i = 0; i < kEntries; ++i) {
                    records[i].Set(i + 1);
                    Publish<F>(entries[i], T::kYoung);
                  }
                },
                [&] {
                  for (SpteCell<F>& entry : entries) {
                    for (int tries = 0; tries < 100; ++tries) {
                      const typename F::Word seen = ReadOnce(entry, kRelaxed);
                      if (IsFrozen<F>(seen) || !Freeze<F>(entry, seen)) {
                        continue;
                      }
                      Restore<F>(entry, seen);
                      break;
                    }
                  }
                },
                [&] {
                  for (std::size_t i = 0; i < kEntries; ++i) {
                    (void)AgeEntry<F>(entries[i], AgeAction::kTest, [&] {
                      const bool mine = records[i].Get() == i + 1;
                      if (!mine) ++wrong;
                      return mine;
                    });
                  }
                }});
  });
  EXPECT_EQ(wrong, 0u);
}

// Two zappers of each entry: whoever finds nothing to zap, or reads the entry
// as aging does and finds it absent, sees what was handed over.
TYPED_TEST(SpteStressTest, WhoReadsEmptyFindsTheAccessOnRecord) {
  using F = TypeParam;
  using T = Truth<F>;
  std::uint64_t wrong[3] = {};
  Rounds([&] {
    std::vector<SpteCell<F>> entries(kEntries, SpteCell<F>(T::kYoungDirty));
    std::vector<Plain<std::uint64_t>> handed(kEntries, Plain<std::uint64_t>(0));
    const auto zapper = [&](std::uint64_t& mine) {
      return [&] {
        for (std::size_t i = 0; i < kEntries; ++i) {
          const ZapOutcome outcome = Zap<F>(
              entries[i], [] {},
              [&](typename F::Word word) { handed[i].Set(word); });
          if (outcome == ZapOutcome::kAbsent && handed[i].Get() == 0) ++mine;
        }
      };
    };
    RunThreads({zapper(wrong[0]), zapper(wrong[1]), [&] {
                  for (std::size_t i = 0; i < kEntries; ++i) {
                    const SpteAge age = AgeEntry<F>(
                        entries[i], AgeAction::kTest, [] { return true; });
                    if (age == SpteAge::kAbsent && handed[i].Get() == 0) {
                      ++wrong[2];
                    }
                  }
                }});
  });
  EXPECT_EQ(wrong[0] + wrong[1] + wrong[2], 0u);
}

// Faults on one empty entry: one of them maps it.
TYPED_TEST(SpteStressTest, OneOfTheFaultsOnAnEntryInstalls) {
  using F = TypeParam;
  using T = Truth<F>;
  std::uint64_t installed[2] = {};
  std::uint64_t rounds = 0;
  Rounds([&] {
    ++rounds;
    std::vector<SpteCell<F>> entries(kEntries, SpteCell<F>(F::kEmpty));
    const auto fault = [&](std::uint64_t& mine, typename F::Word word) {
      return [&, word] {
        for (auto& entry : entries) {
          if (Install<F>(entry, word)) ++mine;
        }
      };
    };
    RunThreads(
        {fault(installed[0], T::kCold), fault(installed[1], T::kOtherYoung)});
  });
  EXPECT_EQ(installed[0] + installed[1], rounds * kEntries);
}

}  // namespace
}  // namespace ptage

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--plant_race") != 0) {
      std::fprintf(stderr, "unknown flag: %s\n", argv[i]);
      return 2;
    }
    ptage::plant_race = true;
  }
  return RUN_ALL_TESTS();
}
