// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A process for tests: a primary MMU over some mappings, and whoever else maps
// its pages.

#ifndef PTAGE_TEST_PROCESS_H_
#define PTAGE_TEST_PROCESS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "ptage/hold.h"
#include "ptage/memory/arena.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/page_table.h"
#include "ptage/primary_mmu.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/machine.h"
#include "test/scheme.h"

namespace ptage::test {

struct Question {
  GfnRange range;
  AgeAction action;
  AgeMode mode;

  bool operator==(const Question&) const = default;
};

// In a chain's place: answers what it is told to, and remembers what it was
// asked. One thread.
struct FixedOthers {
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput&) {
    asked.push_back(Question{range, action, mode});
    return answer;
  }
  std::uint64_t Invalidate(GfnRange range, ZapSink) {
    invalidated.push_back(range);
    return 0;
  }
  TakeOutcome TakeIfIdle(GfnRange, ZapSink, TakeRest rest) { return rest(); }
  bool Split(GfnRange) { return true; }

  AgeResult answer;
  std::vector<Question> asked;
  std::vector<GfnRange> invalidated;
};

// Pages 0 … 1499 are ordinary, 2000 … 2099 special, and only readable. Page n
// is in frame kFirst + n.
template <class Others = FixedOthers, Flusher Fl = RecordingFlusher>
struct Process {
  using F = X86_64;
  using Mmu = PrimaryMmu<F, Arena<F>, Scheme, Fl, Others>;
  static constexpr std::uint64_t kFrames = 4096;
  static constexpr Pfn kFirst{0x10000};
  static constexpr GfnRange kOrdinary{Gfn{0}, Gfn{1500}};
  static constexpr GfnRange kSpecial{Gfn{2000}, Gfn{2100}};

  // `parts` are what the others are made of.
  template <class... Parts>
  explicit Process(Parts&... parts) : others(parts...) {
    (void)mmu.AddMapping(kOrdinary, Rights::kAll);
    (void)mmu.AddMapping(kSpecial, Rights::kRead, MappingKind::kSpecial);
  }

  FaultOutcome Fault(std::uint64_t gfn, Rights access = Rights::kRead) {
    return mmu.Fault(Gfn{gfn}, access,
                     [&](Gfn asked) -> std::optional<typename Mmu::Resident> {
                       if (resident && !resident(asked)) return std::nullopt;
                       return
                           typename Mmu::Resident{kFirst + asked.value, level};
                     });
  }
  // The same by another thread.
  FaultOutcome FaultElsewhere(std::uint64_t gfn) {
    FaultOutcome outcome = FaultOutcome::kNoMemory;
    std::thread([&] { outcome = Fault(gfn); }).join();
    return outcome;
  }
  FoundEntry<F> Find(std::uint64_t gfn) {
    return mmu.own().tree().Lookup(LocklessWalk(domain, WalkEntry::kWait),
                                   Gfn{gfn});
  }
  F::Word WordAt(std::uint64_t gfn) { return Find(gfn).word; }
  SpteCell<F>& EntryAt(std::uint64_t gfn) { return *Find(gfn).entry; }

  TableBlock<F> block{64};
  Arena<F> arena{block.tables.data(), block.infos.data(), block.gfns.data(), 64,
                 Pfn{0x1000}};
  Scheme domain;
  Fl flusher;
  Others others;
  Mmu mmu{arena, domain, flusher, others, kFrames};
  // Who answers whether a page is there; it always is without one.
  std::function<bool(Gfn)> resident;
  Level level{1};
};

// A mark for each page, and what a test wants to happen when an evictor takes
// one.
class Marks {
 public:
  void MarkReferenced(GfnRange page) { marked(page, 1u); }
  bool TakeReferenced(GfnRange page) {
    if (before_take) before_take();
    return marked(page, 0u);
  }

  std::function<void()> before_take;

 private:
  // Of the first frame. Returns what it was.
  bool marked(GfnRange page, std::uint32_t mark) {
    Cell<std::uint32_t>& word = words_[page.begin.value];
    for (;;) {
      const std::uint32_t seen = ReadOnce(word, kRelaxed);
      if (TryCmpxchg(word, seen, mark, kRelaxed)) return seen != 0;
    }
  }
  std::vector<Cell<std::uint32_t>> words_ =
      std::vector<Cell<std::uint32_t>>(4096, Cell<std::uint32_t>(0u));
};

// Another thread that calls `hold(wait)`: while it is inside `wait()`, this is
// constructed and not yet destroyed.
class HoldsElsewhere {
 public:
  template <class Hold>
  explicit HoldsElsewhere(Hold hold)
      : thread_([this, hold] {
          hold([this] {
            held_.Notify();
            released_.WaitForNotification();
          });
        }) {
    held_.WaitForNotification();
  }
  ~HoldsElsewhere() {
    released_.Notify();
    thread_.join();
  }
  HoldsElsewhere(const HoldsElsewhere&) = delete;
  HoldsElsewhere& operator=(const HoldsElsewhere&) = delete;

 private:
  absl::Notification held_;
  absl::Notification released_;
  std::thread thread_;
};

}  // namespace ptage::test

#endif  // PTAGE_TEST_PROCESS_H_
