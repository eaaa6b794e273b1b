// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The chain that asks every secondary MMU of an address space, and tells them
// what is taken away.
//
// Contract
//   * Any thread may ask or invalidate at any time. Register and Unregister may
//     be called concurrently with all of that and with each other, but not from
//     inside a notifier or a walk.
//   * A question is asked of each notifier that is registered during the whole
//     call, an invalidation told to each; test-and-clear is one call, never a
//     test and then a clear.
//   * When Unregister returns, nobody calls the notifier any more, and it may
//     be destroyed. What it still maps is then its owner's to take down.
//   * When Register returns, each invalidation that the notifier was not told
//     of has returned. So who maps nothing before that misses none:
//       invalidation: reads the list         | notifier: is registered
//       invalidation: tells the others       | its guest: resolves the frame,
//       caller: gives the frame away         |   and maps it
//     is what came of a Register that did not wait.
//   * fast() is advisory: it changes on registration. `was_fast` of an answer
//     is what counts.
//
//   Questions and invalidations go on side by side, and wait for each other no
//   more than in a notifier. Of an access that was made before both began:
//   * A question tells of it, or the invalidation's sink is told, or both.
//     Neither is what no notifier allows for its own entries; and since no
//     entry's bit ever passes from one notifier to another, it makes no
//     difference in which order either goes through them.
//   * A question whose answer is neither young nor unknown finds it told: by
//     the time that it returns, a question has it, or a sink was called.
//   * A question that begins when the invalidation has returned tells of no
//     access through what that unmapped. (A notifier with a history does, and
//     is meant to.)
//   * One that is under way may tell of a page that is mapped nowhere by then.
//     It asks one after the other: young is what it found, at its time, in one.
//
//   TakeIfIdle is hold.h's of all notifiers, one inside the other, always in
//   one order: who holds what he has frozen in one, waits for those behind it
//   only. A notifier that can only invalidate comes last. It is asked once more
//   whether the page is young, by the slow question; but if it is not, and all
//   others agree, it is told to unmap the page, and there is no way back: an
//   access that it finds then goes to the sink, of a page that is taken.
//
//   Progress: Age fast-only is wait-free if every notifier's is. Register and
//   Unregister wait for the questions and invalidations that were under way.

#ifndef PTAGE_NOTIFIER_H_
#define PTAGE_NOTIFIER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "ptage/hold.h"
#include "ptage/mmu.h"
#include "ptage/published.h"
#include "ptage/reclaim.h"
#include "ptage/types.h"

namespace ptage {

// What a secondary MMU, or whatever stands for some, answers. Every function
// may be called by any thread at any time.
class Notifier {
 public:
  virtual ~Notifier() = default;

  // As AgeableMmu: bits of young and of unknown frames are set in `output`,
  // which spans the range, and none is cleared. Fast-only must not wait.
  virtual AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                        const AgeOutput& output) = 0;
  // Unmaps the frames; returns when no CPU uses them, and each accessed and
  // dirty bit is with the sink. May wait. Returns the entries that it zapped.
  virtual std::uint64_t Invalidate(GfnRange range, ZapSink sink) = 0;
  // Whether fast-only answers for every entry: a constant.
  [[nodiscard]] virtual bool fast() const = 0;

  // Whether it has a TakeIfIdle (hold.h): a constant.
  [[nodiscard]] virtual bool takes() const { return false; }
  // Freezes what it has of the page, calls `rest()` once, and takes it or puts
  // it back by what that answers. Any other answer than rest's: it was not
  // called.
  virtual TakeOutcome TakeIfIdle(GfnRange, ZapSink, TakeRest) {
    return TakeOutcome::kInUse;
  }
  // Splits leaves larger than the page. False: not all.
  virtual bool Split(GfnRange) { return false; }
};

// A Vm as a notifier.
template <class V>
class VmNotifier final : public Notifier {
 public:
  // `vm` outlives the notifier.
  explicit VmNotifier(V& vm) : vm_(vm) {}

  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output) override {
    return vm_.Age(range, action, mode, output);
  }
  std::uint64_t Invalidate(GfnRange range, ZapSink sink) override {
    return vm_.Invalidate(range, sink);
  }
  [[nodiscard]] bool fast() const override {
    return V::Tdp::kFastAging && V::Shadow::kFastAging;
  }
  [[nodiscard]] bool takes() const override { return true; }
  TakeOutcome TakeIfIdle(GfnRange page, ZapSink sink, TakeRest rest) override {
    return vm_.TakeIfIdle(page, sink, rest);
  }
  bool Split(GfnRange page) override { return vm_.Split(page); }

 private:
  V& vm_;
};

// The chain of one address space. Any threads, see the contract.
template <SynchronizingReclaimer R>
class NotifierChain : public AgeQuestions<NotifierChain<R>> {
 public:
  // `reclaimer` outlives the chain.
  explicit NotifierChain(R& reclaimer)
      : reclaimer_(reclaimer), notifiers_(reclaimer) {}

  // AlreadyExists: `notifier` is in the chain. It outlives its registration.
  // Precondition of both: the calling thread is not inside a walk of the
  // reclaimer.
  absl::Status Register(Notifier& notifier);
  // NotFound: `notifier` is not in the chain.
  absl::Status Unregister(Notifier& notifier);

  // Of all: young if it is in one, complete if it is in each. Where fast-only
  // finds no place to begin its walk, all is unknown.
  AgeResult Age(GfnRange range, AgeAction action, AgeMode mode,
                const AgeOutput& output);
  // Tells each, one after the other. Returns the entries zapped by all.
  std::uint64_t Invalidate(GfnRange range, ZapSink sink);
  // As hold.h says. `rest` is asked when all that can be is frozen.
  TakeOutcome TakeIfIdle(GfnRange page, ZapSink sink, TakeRest rest);
  // Of each that can. False: one could not.
  bool Split(GfnRange page);
  // Whether every notifier in the chain is fast.
  [[nodiscard]] bool fast();

 private:
  using Walk = LocklessWalk<R>;
  using Notifiers = std::vector<Notifier*>;

  template <class Visitor>
  void ForEach(const Walk& walk, Visitor&& visit) const {
    for (Notifier* const notifier : notifiers_.Read(walk)) visit(*notifier);
  }
  // TakeIfIdle, of the notifiers from number `from` on.
  static TakeOutcome TakeFrom(const Notifiers& notifiers, std::size_t from,
                              GfnRange page, ZapSink sink, TakeRest rest);
  // The same, of those that can only invalidate.
  static TakeOutcome TakeLast(const Notifiers& notifiers, GfnRange page,
                              ZapSink sink, TakeRest rest);

  R& reclaimer_;
  absl::Mutex writer_;
  Published<Notifiers, R> notifiers_;
};

// ---------------------------------------------------------------------------

template <SynchronizingReclaimer R>
absl::Status NotifierChain<R>::Register(Notifier& notifier) {
  {
    absl::MutexLock lock(&writer_);
    Notifiers notifiers = notifiers_.Latest();
    if (std::find(notifiers.begin(), notifiers.end(), &notifier) !=
        notifiers.end()) {
      return absl::AlreadyExistsError(
          absl::StrFormat("notifier %p is registered already", &notifier));
    }
    notifiers.push_back(&notifier);
    notifiers_.Replace(std::move(notifiers));
  }
  // Whoever goes by a list without it.
  reclaimer_.Synchronize();
  return absl::OkStatus();
}

template <SynchronizingReclaimer R>
absl::Status NotifierChain<R>::Unregister(Notifier& notifier) {
  {
    absl::MutexLock lock(&writer_);
    Notifiers notifiers = notifiers_.Latest();
    const auto found = std::find(notifiers.begin(), notifiers.end(), &notifier);
    if (found == notifiers.end()) {
      return absl::NotFoundError(
          absl::StrFormat("notifier %p is not registered", &notifier));
    }
    notifiers.erase(found);
    notifiers_.Replace(std::move(notifiers));
  }
  // Whoever goes by a list with it.
  reclaimer_.Synchronize();
  return absl::OkStatus();
}

template <SynchronizingReclaimer R>
AgeResult NotifierChain<R>::Age(GfnRange range, AgeAction action, AgeMode mode,
                                const AgeOutput& output) {
  const Walk walk(reclaimer_, EntryFor(mode));
  if (!walk) return Unanswered(range, output);
  AgeResult result;
  ForEach(walk, [&](Notifier& notifier) {
    result |= notifier.Age(range, action, mode, output);
  });
  return result;
}

template <SynchronizingReclaimer R>
std::uint64_t NotifierChain<R>::Invalidate(GfnRange range, ZapSink sink) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  std::uint64_t zapped = 0;
  ForEach(walk, [&](Notifier& notifier) {
    zapped += notifier.Invalidate(range, sink);
  });
  return zapped;
}

template <SynchronizingReclaimer R>
TakeOutcome NotifierChain<R>::TakeIfIdle(GfnRange page, ZapSink sink,
                                         TakeRest rest) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  return TakeFrom(notifiers_.Read(walk), 0, page, sink, rest);
}

template <SynchronizingReclaimer R>
TakeOutcome NotifierChain<R>::TakeFrom(const Notifiers& notifiers,
                                       std::size_t from, GfnRange page,
                                       ZapSink sink, TakeRest rest) {
  while (from != notifiers.size() && !notifiers[from]->takes()) {
    ++from;
  }
  if (from == notifiers.size()) return TakeLast(notifiers, page, sink, rest);
  return notifiers[from]->TakeIfIdle(page, sink, [&] {
    return TakeFrom(notifiers, from + 1, page, sink, rest);
  });
}

template <SynchronizingReclaimer R>
TakeOutcome NotifierChain<R>::TakeLast(const Notifiers& notifiers,
                                       GfnRange page, ZapSink sink,
                                       TakeRest rest) {
  for (Notifier* const notifier : notifiers) {
    if (notifier->takes()) continue;
    const AgeResult asked =
        notifier->Age(page, AgeAction::kTest, AgeMode::kSlow, AgeOutput{});
    if (asked.young || !asked.complete) return TakeOutcome::kInUse;
  }
  const TakeOutcome outcome = rest();
  // Were they told before that:
  //   evictor: has them unmap the page  | its user: is about to use it again
  //   evictor: finds it in use by others, and puts back what it froze
  // and the users of one MMU have to fault for the users of another.
  if (outcome != TakeOutcome::kTaken) return outcome;
  for (Notifier* const notifier : notifiers) {
    if (!notifier->takes()) (void)notifier->Invalidate(page, sink);
  }
  return outcome;
}

template <SynchronizingReclaimer R>
bool NotifierChain<R>::Split(GfnRange page) {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  bool done = true;
  ForEach(walk, [&](Notifier& notifier) {
    if (notifier.takes()) done = notifier.Split(page) && done;
  });
  return done;
}

template <SynchronizingReclaimer R>
bool NotifierChain<R>::fast() {
  const Walk walk(reclaimer_, WalkEntry::kWait);
  bool all = true;
  ForEach(walk, [&](Notifier& notifier) { all = all && notifier.fast(); });
  return all;
}

}  // namespace ptage

#endif  // PTAGE_NOTIFIER_H_
