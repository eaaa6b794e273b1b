// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of page_history.h: who asks while a page is unmapped and mapped
// again.

#ifndef PTAGE_TEST_RELACY_PAGE_HISTORY_SEARCHES_H_
#define PTAGE_TEST_RELACY_PAGE_HISTORY_SEARCHES_H_

#include <cstdint>

#include "ptage/once.h"
#include "ptage/page_history.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

// The history of both frames, which share its words.
class TinyHistory {
 public:
  static constexpr GfnRange kFrames{kA, Gfn{2}};

  TinyHistory() {
    for (auto& word : words_) WriteOnce(word, std::uint64_t{0}, kRelaxed);
  }
  PageHistory& history() { return history_; }

 private:
  Cell<std::uint64_t> words_[PageHistory::WordsFor(2)];
  PageHistory history_{words_, kFrames};
};

// The page was used, and nobody asks to clear: whoever asks is told.
struct AskerAgainstZap : rl::test_suite<AskerAgainstZap, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  TinyHistory tiny;
  Entry entry;

  void before() { WriteOnce(entry, YoungLeaf(Backing(kA)), kRelaxed); }
  void thread(unsigned index) {
    const GfnRange frame{kA, kB};
    if (index == 0) {
      (void)Zap<TinyFormat>(
          entry, [] {},
          [&](Word word) {
            tiny.history().Record(frame, IsYoung<TinyFormat>(word),
                                  IsDirty<TinyFormat>(word));
          });
      // Mapped ahead of its use.
      (void)Install<TinyFormat>(entry, Leaf(Backing(kA)));
      return;
    }
    const AgeResult answer = AgeWithHistory(
        tiny.history(), frame, AgeAction::kTest, AgeOutput{}, [&] {
          return ToResult(AgeEntry<TinyFormat>(entry, AgeAction::kTest,
                                               [] { return true; }),
                          AgeMode::kFastOnly);
        });
    Require(answer.young || !answer.complete,
            "a page that was used does not look idle");
  }
};

// Records and questions of the same word.
struct RecordsAgainstTaker : rl::test_suite<RecordsAgainstTaker, 3> {
  static constexpr Plan kPlan = UpToPreemptions(4);

  TinyHistory tiny;
  bool told[2] = {};

  void Take() {
    std::uint64_t young = 0;
    (void)tiny.history().Accessed(
        TinyHistory::kFrames, AgeAction::kTestAndClear,
        AgeOutput{.begin = kA, .young = Bitmap(&young, 2)});
    for (const Gfn gfn : {kA, kB}) {
      told[gfn.value] |= (young >> gfn.value & 1) != 0;
    }
  }
  void thread(unsigned index) {
    if (index == 2) {
      Take();
      Take();
    } else {
      tiny.history().Record(GfnRange{Gfn{index}, Gfn{index + 1}}, true, false);
    }
  }
  void after() {
    Take();
    Require(told[0] && told[1], "no access is lost");
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_PAGE_HISTORY_SEARCHES_H_
