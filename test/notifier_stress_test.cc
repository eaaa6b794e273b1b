// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Questions and invalidations through a chain of two virtual machines, side by
// side, while guests fault and touch pages and a third notifier comes and goes.
// Each call writes down when it began and ended, and what came of it; then the
// record is held against what the chain promises.
//
// The clock is advanced by relaxed additions: stronger ones would order all
// threads, and hide races from a sanitizer. On the machines that run this an
// addition is not overtaken either way.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gtest/gtest.h"
#include "ptage/memory.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/epoch.h"
#include "ptage/spte.h"
#include "ptage/spte/ept.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/stress.h"

namespace ptage {
namespace {

using F = Ept;
using Fast = test::Machine<F, test::LocklessRmapsUnderLock<F>>;
using Slow = test::Machine<F, test::BitRmaps<F>>;

// Pages of the first guest alone, of the second alone, and of both.
constexpr std::uint64_t kPages = 12;
constexpr GfnRange kAll{Gfn{0}, Gfn{kPages}};
constexpr std::uint64_t kFastBase = 512;
constexpr std::uint64_t kSlowBase = 1024;
constexpr std::uint64_t kGuestBase = 4096;  // the third's frames, by its number
constexpr int kTurns = 150;

using Time = std::uint64_t;

struct Span {
  Time begin = 0;
  Time end = 0;
};

// Of one page, by one machine: it was accessed at some time in the span; or, if
// it is not sure, perhaps.
struct Access {
  Span span;
  std::uint64_t page;
  bool sure;
};

struct Question {
  Span span;
  AgeMode mode;
  AgeResult result = {};
  std::array<bool, kPages> young{};
  std::array<bool, kPages> unknown{};
};

struct Invalidation {
  Span span;
  GfnRange range;
  // When the last of the two machines had been told.
  Time told = 0;
  // When a sink was first given an access of the page.
  std::array<Time, kPages> handed{};
  // Third notifiers that were told, and when.
  std::map<std::uint64_t, Time> others = {};
};

struct Registration {
  std::uint64_t number;
  Span in = {};
  Span out = {};
};

// Passes all on, and notes when an invalidation is done. Where another thread
// ought to be kept waiting, or to find something unfinished, the processor is
// given away.
class Witness final : public Notifier {
 public:
  Witness(Notifier& inner, Cell<std::uint64_t>& clock)
      : inner_(inner), clock_(clock) {}
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output) override {
    return inner_.Age(range, action, mode, output);
  }
  std::uint64_t Invalidate(GfnRange range, ZapSink sink) override {
    const std::uint64_t zapped = inner_.Invalidate(range, sink);
    std::this_thread::yield();
    last = FetchAdd(clock_, std::uint64_t{1}, kRelaxed);
    return zapped;
  }
  [[nodiscard]] bool fast() const override { return inner_.fast(); }

  // Of this thread's last invalidation.
  static thread_local Time last;

 private:
  Notifier& inner_;
  Cell<std::uint64_t>& clock_;
};
thread_local Time Witness::last = 0;

// Has no pages; says that it was told.
class Guest final : public Notifier {
 public:
  explicit Guest(std::uint64_t number) : number_(number) {}
  AgeResult Age(GfnRange, AgeAction, AgeMode, const AgeOutput&) override {
    return AgeResult{};
  }
  std::uint64_t Invalidate(GfnRange range, ZapSink sink) override {
    const Pfn pfn{kGuestBase + number_};
    std::this_thread::yield();
    sink(ZappedLeaf{range.begin, Level{1}, pfn, false, false});
    return 0;
  }
  [[nodiscard]] bool fast() const override { return true; }

 private:
  const std::uint64_t number_;
};

class Round {
 public:
  Round() : clock_(std::uint64_t{1}) {
    EXPECT_TRUE(fast_.vm->AddMemslot(kAll, Pfn{kFastBase}, Rights::kAll).ok());
    EXPECT_TRUE(slow_.vm->AddMemslot(kAll, Pfn{kSlowBase}, Rights::kAll).ok());
    // While a table is put in, a slow question takes all pages under it for
    // young; so they are there before anybody asks.
    BuildTables(*fast_.vm);
    BuildTables(*slow_.vm);
    EXPECT_TRUE(chain_.Register(fast_member_).ok());
    EXPECT_TRUE(chain_.Register(witness_).ok());
  }

  void Run(unsigned seed) {
    std::vector<Access> accesses[3];
    std::vector<Question> questions[3];
    test::RunThreads(
        {[&] { Use(*fast_.vm, fast_.domain, 0, seed, accesses[0]); },
         [&] { Use(*slow_.vm, slow_.domain, 4, seed + 1, accesses[1]); },
         [&] { Use(*fast_.vm, fast_.domain, 0, seed + 2, accesses[2]); },
         [&] { Ask(AgeMode::kFastOnly, questions[0]); },
         [&] { Ask(AgeMode::kSlow, questions[1]); },
         [&] { TakeAway(seed + 3); }, [&] { ComeAndGo(); }});
    Ask(AgeMode::kSlow, questions[2], 1);
    for (const auto& part : accesses) {
      accesses_.insert(accesses_.end(), part.begin(), part.end());
    }
    for (const auto& part : questions) {
      questions_.insert(questions_.end(), part.begin(), part.end());
    }
  }

  // An access that was made before a question that finds the page cold is in
  // another's hand, or was given to a sink, by the end of that.
  void ExpectNoAccessLost() const {
    for (const Question& question : questions_) {
      for (std::uint64_t page = 0; page < kPages; ++page) {
        if (question.young[page] || question.unknown[page]) continue;
        Time last_access = 0;
        for (const Access& access : accesses_) {
          if (access.sure && access.page == page &&
              access.span.end < question.span.begin) {
            last_access = std::max(last_access, access.span.begin);
          }
        }
        Time told = 0;
        for (const Question& other : questions_) {
          if (other.young[page] && other.span.begin < question.span.end) {
            told = std::max(told, other.span.end);
          }
        }
        for (const Invalidation& other : invalidations_) {
          if (other.handed[page] != 0 &&
              other.handed[page] < question.span.end) {
            told = std::max(told, other.span.end);
          }
        }
        ASSERT_TRUE(last_access == 0 || told > last_access)
            << "page " << page << ", asked from " << question.span.begin;
      }
    }
  }
  // What is told of was accessed after the last invalidation that had ended
  // when the question began.
  void ExpectNothingOld() const {
    for (const Question& question : questions_) {
      for (std::uint64_t page = 0; page < kPages; ++page) {
        if (!question.young[page]) continue;
        Time access = 0;
        for (const Access& other : accesses_) {
          if (other.page == page && other.span.begin < question.span.end) {
            access = std::max(access, other.span.end);
          }
        }
        Time taken_away = 0;
        for (const Invalidation& other : invalidations_) {
          if (other.range.Contains(GfnRange{Gfn{page}, Gfn{page + 1}}) &&
              other.span.end < question.span.begin) {
            taken_away = std::max(taken_away, other.span.begin);
          }
        }
        ASSERT_GT(access, taken_away)
            << "page " << page << ", asked from " << question.span.begin;
      }
    }
  }
  void ExpectAnswersThatAgree() const {
    for (const Question& question : questions_) {
      const bool young = std::find(question.young.begin(), question.young.end(),
                                   true) != question.young.end();
      const bool unknown =
          std::find(question.unknown.begin(), question.unknown.end(), true) !=
          question.unknown.end();
      ASSERT_EQ(question.result.young, young);
      ASSERT_EQ(question.result.complete, !unknown);
      ASSERT_TRUE(young || !question.result.was_fast);
      ASSERT_TRUE(question.mode == AgeMode::kFastOnly || !unknown);
    }
  }
  // Each time that an entry became young it was cleared once, or handed over.
  void ExpectABalance() const {
    ASSERT_EQ(
        counts_.young - counts_.lost_races + ReadOnce(handed_over_, kRelaxed),
        ReadOnce(became_young_, kRelaxed));
  }
  // An invalidation tells who is registered during all of it, nobody who is not
  // at any time of it; and who was being registered meanwhile, and was not
  // told, was so only when it was over.
  void ExpectThatWhoIsThereIsTold() const {
    for (const Registration& guest : registrations_) {
      for (const Invalidation& call : invalidations_) {
        const auto found = call.others.find(guest.number);
        const bool told = found != call.others.end();
        if (call.span.begin > guest.in.end && call.span.end < guest.out.begin) {
          ASSERT_TRUE(told);
        }
        if (told) {
          ASSERT_TRUE(found->second > guest.in.begin &&
                      found->second < guest.out.end);
        }
        if (!told && call.span.end < guest.out.begin) {
          ASSERT_LT(call.told, guest.in.end);
        }
      }
    }
  }

 private:
  Time Now() { return FetchAdd(clock_, std::uint64_t{1}, kRelaxed); }

  template <class V>
  static void BuildTables(V& vm) {
    EXPECT_EQ(vm.Fault(Gfn{0}, Rights::kRead), FaultOutcome::kMapped);
    EXPECT_EQ(vm.NestedFault(NestedGfn{0}, Rights::kRead, AsL1Does),
              FaultOutcome::kMapped);
    vm.Invalidate(kAll, [](const ZappedLeaf&) {});
  }
  static std::optional<NestedMapping> AsL1Does(NestedGfn asked) {
    return Gfn{asked.value % kPages};
  }

  // A guest's accesses, direct and nested, to eight pages from `first` on. An
  // even page has two names.
  template <class V>
  void Use(V& vm, typename Fast::Domain& domain, std::uint64_t first,
           unsigned seed, std::vector<Access>& accesses) {
    std::mt19937 random(seed);
    for (int turn = 0; turn < kTurns; ++turn) {
      const std::uint64_t page = first + random() % 8;
      const bool nested = random() % 2 == 0;
      const std::uint64_t name =
          page + (page % 2 == 0 && random() % 2 == 0 ? kPages : 0);
      Access access{.span = {.begin = Now()}, .page = page, .sure = false};
      const FaultOutcome outcome =
          nested ? vm.NestedFault(NestedGfn{name}, Rights::kRead, AsL1Does)
                 : vm.Fault(Gfn{page}, Rights::kRead);
      if (outcome == FaultOutcome::kMapped) {
        access.sure = true;
        FetchAdd(became_young_, std::uint64_t{1}, kRelaxed);
      } else {
        const LocklessWalk walk(domain, WalkEntry::kWait);
        const FoundEntry<F> found =
            nested ? vm.shadow().tree().Lookup(walk, Gfn{name})
                   : vm.tdp().tree().Lookup(walk, Gfn{page});
        if (IsYoung<F>(found.word)) {
          access.sure = true;
        } else if (F::IsPresent(found.word) &&
                   TryCmpxchg(*found.entry, found.word, found.word | 0x100,
                              kRelaxed)) {  // accessed (SDM 3C 29.3.5)
          access.sure = true;
          FetchAdd(became_young_, std::uint64_t{1}, kRelaxed);
        }
      }
      access.span.end = Now();
      accesses.push_back(access);
      if (turn % 4 == 0) std::this_thread::yield();
    }
  }
  void Ask(AgeMode mode, std::vector<Question>& questions, int turns = kTurns) {
    AgeCounts counts;
    for (int turn = 0; turn < turns; ++turn) {
      test::Answer answer(kAll.begin, kPages);
      Question question{.span = {.begin = Now()}, .mode = mode};
      question.result =
          chain_.Age(kAll, AgeAction::kTestAndClear, mode, answer.output());
      question.span.end = Now();
      for (std::uint64_t page = 0; page < kPages; ++page) {
        question.young[page] = answer.Young(Gfn{page});
        question.unknown[page] = answer.Unknown(Gfn{page});
      }
      counts += answer.counts;
      questions.push_back(question);
      if (turn % 4 == 0) std::this_thread::yield();
    }
    absl::MutexLock lock(&counts_lock_);
    counts_ += counts;
  }
  void TakeAway(unsigned seed) {
    std::mt19937 random(seed);
    for (int turn = 0; turn < kTurns; ++turn) {
      const std::uint64_t page = random() % kPages;
      Invalidation call{
          .span = {.begin = Now()},
          .range = GfnRange{Gfn{page}, Gfn{std::min(page + 3, kPages)}}};
      chain_.Invalidate(call.range, [&](const ZappedLeaf& leaf) {
        // The entry is frozen, or was never there.
        std::this_thread::yield();
        const Time now = Now();
        if (leaf.pfn >= Pfn{kGuestBase}) {
          call.others[leaf.pfn.value - kGuestBase] = now;
          return;
        }
        if (!leaf.accessed) return;
        if (call.handed[leaf.gfn.value] == 0) call.handed[leaf.gfn.value] = now;
        FetchAdd(handed_over_, std::uint64_t{1}, kRelaxed);
      });
      call.told = Witness::last;
      call.span.end = Now();
      invalidations_.push_back(call);
      if (turn % 2 == 0) std::this_thread::yield();
    }
  }
  void ComeAndGo() {
    for (std::uint64_t number = 0; number < 20; ++number) {
      // Freed at the end of its turn: a call after that is a use after free.
      auto guest = std::make_unique<Guest>(number);
      Registration there{.number = number, .in = {.begin = Now()}};
      EXPECT_TRUE(chain_.Register(*guest).ok());
      there.in.end = Now();
      std::this_thread::yield();
      there.out.begin = Now();
      EXPECT_TRUE(chain_.Unregister(*guest).ok());
      there.out.end = Now();
      registrations_.push_back(there);
    }
  }

  Fast fast_{64, 64, Level{1}};
  Slow slow_{64, 64, Level{1}};
  Cell<std::uint64_t> clock_;
  VmNotifier<Fast::VmType> fast_member_{*fast_.vm};
  VmNotifier<Slow::VmType> slow_member_{*slow_.vm};
  Witness witness_{slow_member_, clock_};
  EpochDomain<> domain_;
  NotifierChain<EpochDomain<>> chain_{domain_};
  Cell<std::uint64_t> became_young_{std::uint64_t{0}};
  Cell<std::uint64_t> handed_over_{std::uint64_t{0}};
  absl::Mutex counts_lock_;
  AgeCounts counts_;
  std::vector<Access> accesses_;
  std::vector<Question> questions_;
  // Each of one thread's.
  std::vector<Invalidation> invalidations_;
  std::vector<Registration> registrations_;
};

TEST(NotifierStressTest, TheRecordIsWhatTheChainPromises) {
  const auto end = std::chrono::steady_clock::now() + 4 * test::kStressTime;
  unsigned rounds = 0;
  while (std::chrono::steady_clock::now() < end || rounds < 3) {
    SCOPED_TRACE(testing::Message() << "round " << rounds);
    Round round;
    round.Run(rounds * 8);
    round.ExpectAnswersThatAgree();
    round.ExpectNoAccessLost();
    round.ExpectNothingOld();
    round.ExpectABalance();
    round.ExpectThatWhoIsThereIsTold();
    if (testing::Test::HasFatalFailure()) return;
    ++rounds;
  }
}

}  // namespace
}  // namespace ptage
