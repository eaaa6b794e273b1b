// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of notifier.h: the chain while notifiers come and go, and while it
// asks and invalidates at the same time. One thread at most registers: the lock
// that keeps writers apart is Abseil's, which the checker cannot wait for.

#ifndef PTAGE_TEST_RELACY_NOTIFIER_SEARCHES_H_
#define PTAGE_TEST_RELACY_NOTIFIER_SEARCHES_H_

#include <cstdint>
#include <optional>

#include "ptage/lock.h"
#include "ptage/mmu.h"
#include "ptage/notifier.h"
#include "ptage/once.h"
#include "ptage/reclaim.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// Has a place for each thread, whose lock is held while the thread walks: so a
// writer waits for the walks that began before, and sees what they did; and a
// walk that begins later sees what the writer did. Frees nothing before the
// end.
class WaitsForWalks {
 public:
  struct Section {
    explicit operator bool() const { return true; }
    unsigned place = 0;
  };

  Section Begin() {
    const unsigned place = Here();
    places_[place].Lock();
    return Section{place};
  }
  void End(Section section) { places_[section.place].Unlock(); }
  void Synchronize() {
    for (unsigned place = 0; place < kThreads; ++place) {
      if (place == Here()) continue;
      places_[place].Lock();
      places_[place].Unlock();
    }
  }
  void Retire(Retired& node) {
    node.next = retired_;
    retired_ = &node;
  }
  void FreeAll() {
    while (retired_ != nullptr) {
      Retired& node = *retired_;
      retired_ = node.next;
      node.free(node, node.owner);
    }
  }

 private:
  // One is alone, before and after the others.
  static constexpr unsigned kThreads = 4;

  static unsigned Here() { return rl::ctx().current_thread() % kThreads; }

  BlockingLock places_[kThreads];
  Retired* retired_ = nullptr;
};

static_assert(SynchronizingReclaimer<WaitsForWalks>);

inline constexpr GfnRange kPage{kA, kB};

// An MMU of one entry, which maps kA. Its fast-ness is what `fast` says.
class OneEntry final : public Notifier {
 public:
  explicit OneEntry(bool fast) : fast_(fast), entry_(TinyFormat::kEmpty) {}

  AgeResult Age(GfnRange, AgeAction action, AgeMode mode,
                const AgeOutput&) override {
    Require(alive_, "nobody calls a notifier that was unregistered");
    ++asked_;
    AgeResult result = ToResult(
        AgeEntry<TinyFormat>(entry_, action, [] { return true; }), mode);
    result.was_fast = fast_ && result.young;
    return result;
  }
  std::uint64_t Invalidate(GfnRange range, ZapSink sink) override {
    Require(alive_, "nobody calls a notifier that was unregistered");
    const ScopedLock<BlockingLock> hold(faults_);
    std::uint64_t zapped = 0;
    (void)Zap<TinyFormat>(
        entry_, [] {},
        [&](Word taken) {
          ++zapped;
          sink(ZappedLeaf{.gfn = range.begin,
                          .level = Level{1},
                          .pfn = TinyFormat::FrameOf(taken),
                          .accessed = IsYoung<TinyFormat>(taken),
                          .dirty = IsDirty<TinyFormat>(taken)});
        });
    return zapped;
  }
  [[nodiscard]] bool fast() const override {
    Require(alive_, "nobody calls a notifier that was unregistered");
    return fast_;
  }

  // A fault: maps what `resolve()` says is there. Faults and invalidations keep
  // each other out, as an MMU's do.
  template <class Resolve>
  void Fault(Resolve&& resolve) {
    const ScopedLock<BlockingLock> hold(faults_);
    if (resolve()) Map(0);
  }
  void Map(Word bits) { WriteOnce(entry_, Leaf(Backing(kA)) | bits, kRelease); }
  // A walker's access. False: it was a fault.
  bool Use() {
    return AccessSeen(entry_, ReadOnce(entry_, kRelaxed), AccessKind::kRead);
  }
  [[nodiscard]] bool Maps() const {
    return TinyFormat::IsPresent(ReadOnce(entry_, kRelaxed));
  }
  [[nodiscard]] bool Young() const {
    return IsYoung<TinyFormat>(ReadOnce(entry_, kRelaxed));
  }
  [[nodiscard]] unsigned asked() const { return asked_; }
  void Destroy() { alive_ = false; }

 private:
  const bool fast_;
  bool alive_ = true;
  unsigned asked_ = 0;
  BlockingLock faults_;
  Entry entry_;
};

// A chain that is gone, with all its versions, when the search looks for leaks.
class SearchedChain {
 public:
  void Make() { chain_.emplace(reclaimer_); }
  void Clear() {
    chain_.reset();
    reclaimer_.FreeAll();
  }
  void Register(Notifier& notifier) {
    Require(chain_->Register(notifier).ok(), "it is registered");
  }
  void Unregister(Notifier& notifier) {
    Require(chain_->Unregister(notifier).ok(), "it is unregistered");
  }
  NotifierChain<WaitsForWalks>* operator->() { return &*chain_; }

 private:
  WaitsForWalks reclaimer_;
  std::optional<NotifierChain<WaitsForWalks>> chain_;
};

// --- Who registers while a page is taken away maps nothing of it.

struct RegisterAgainstInvalidate
    : rl::test_suite<RegisterAgainstInvalidate, 2> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  SearchedChain chain;
  OneEntry first{true};
  OneEntry second{true};
  Cell<std::uint32_t> there{1u};

  void before() {
    chain.Make();
    chain.Register(first);
    first.Map(0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      chain.Register(second);
      second.Fault([this] { return ReadOnce(there, kRelaxed) != 0; });
    } else {
      WriteOnce(there, 0u, kRelaxed);
      (void)chain->Invalidate(kPage, [](const ZappedLeaf&) {});
      Require(!first.Maps(), "who was registered has unmapped it");
    }
  }
  void after() {
    Require(!second.Maps(), "who is registered maps nothing that is gone");
    chain.Clear();
  }
};

// --- Who was unregistered may be destroyed; the others are asked all the same,
// once each.

enum class Calling { kAge, kInvalidate, kFast };

template <Calling kCall>
struct UnregisterAgainst : rl::test_suite<UnregisterAgainst<kCall>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  SearchedChain chain;
  OneEntry leaves{true};
  OneEntry stays{true};

  void before() {
    chain.Make();
    chain.Register(leaves);
    chain.Register(stays);
    stays.Map(TinyFormat::kAccessed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      chain.Unregister(leaves);
      leaves.Destroy();
    } else if (kCall == Calling::kAge) {
      Require(chain->TestClearYoung(kPage).young && stays.asked() == 1,
              "who stays is asked once");
    } else if (kCall == Calling::kInvalidate) {
      Require(chain->Invalidate(kPage, [](const ZappedLeaf&) {}) == 1 &&
                  !stays.Maps(),
              "who stays is told");
    } else {
      Require(chain->fast(), "who stays is asked once");
    }
  }
  void after() { chain.Clear(); }
};

// --- Was-fast is of who answered, whoever is in the chain by then.

template <bool kFastIsYoung>
struct WasFastAgainstRegister
    : rl::test_suite<WasFastAgainstRegister<kFastIsYoung>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  SearchedChain chain;
  OneEntry quick{true};
  OneEntry slow{false};
  OneEntry more{!kFastIsYoung};

  void before() {
    chain.Make();
    chain.Register(quick);
    chain.Register(slow);
    quick.Map(kFastIsYoung ? TinyFormat::kAccessed : Word{0});
    slow.Map(kFastIsYoung ? Word{0} : TinyFormat::kAccessed);
    more.Map(0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      chain.Register(more);
      chain.Unregister(more);
    } else {
      const AgeResult result = chain->TestClearYoung(kPage);
      Require(result.young && result.complete, "a young entry is found");
      Require(result.was_fast == kFastIsYoung, "was-fast is of who was young");
    }
  }
  void after() { chain.Clear(); }
};

// --- Questions and invalidations side by side.

// An access from before both: to the one, or to the other.
template <AgeMode kMode>
struct AgeAgainstInvalidate : rl::test_suite<AgeAgainstInvalidate<kMode>, 2> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  SearchedChain chain;
  OneEntry first{true};
  OneEntry second{true};
  bool told = false;      // a sink, of the access
  bool reported = false;  // by a question

  void before() {
    chain.Make();
    chain.Register(first);
    chain.Register(second);
    first.Map(0);
    second.Map(TinyFormat::kAccessed);
  }
  void thread(unsigned index) {
    if (index == 0) {
      const AgeResult result = kMode == AgeMode::kSlow
                                   ? chain->TestClearYoung(kPage)
                                   : chain->TestClearYoungFastOnly(kPage);
      Require(result.young || !result.complete || told,
              "who answers not young finds the access told");
      reported = result.young;
    } else {
      (void)chain->Invalidate(
          kPage, [this](const ZappedLeaf& leaf) { told |= leaf.accessed; });
      Require(!first.Maps() && !second.Maps(),
              "what is invalidated is mapped nowhere");
      Require(!chain->TestYoung(kPage).young,
              "a question that begins later tells of nothing unmapped");
    }
  }
  void after() {
    Require(reported || told, "an access goes to a question or to a sink");
    chain.Clear();
  }
};

// An access while a question is asked: to this one, or to the next.
struct AgeAgainstUse : rl::test_suite<AgeAgainstUse, 2> {
  static constexpr Plan kPlan = UpToPreemptions(2);

  SearchedChain chain;
  OneEntry first{true};
  OneEntry second{true};
  bool used = false;
  bool reported = false;

  void before() {
    chain.Make();
    chain.Register(first);
    chain.Register(second);
    first.Map(0);
    second.Map(0);
  }
  void thread(unsigned index) {
    if (index == 0) {
      reported = chain->TestClearYoung(kPage).young;
    } else {
      used = first.Use();
      used = second.Use() || used;
    }
  }
  void after() {
    Require(!used || reported || first.Young() || second.Young(),
            "test and clear are one question");
    chain.Clear();
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_NOTIFIER_SEARCHES_H_
