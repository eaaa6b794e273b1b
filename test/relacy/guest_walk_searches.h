// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Searches of guest_walk.h.

#ifndef PTAGE_TEST_RELACY_GUEST_WALK_SEARCHES_H_
#define PTAGE_TEST_RELACY_GUEST_WALK_SEARCHES_H_

#include "ptage/guest_walk.h"
#include "ptage/once.h"
#include "ptage/spte.h"
#include "ptage/types.h"
#include "test/relacy/guest_frames.h"
#include "test/relacy/search.h"
#include "test/relacy/tiny_format.h"

namespace ptage::relacy {

using GuestFormat = OfGuest<TinyFormat>;

// Two tables of L1: the root at frame 0, and one of leaves at frame 1.
class GuestTables : public GuestFrames<GuestFormat, 2> {
 public:
  Entry& root() { return WordAt(Gfn{0}, 0); }
  Entry& leaf() { return WordAt(Gfn{1}, 0); }
  void Link() { WriteOnce(root(), TinyFormat::MakeInner(Pfn{1}), kRelease); }
  GuestTranslation Walk(Rights needed) const {
    return GuestWalker<GuestFormat, GuestTables>(*this, Pfn{0},
                                                 GuestBits::kMarked, 52)
        .Translate(Gfn{0}, needed);
  }
};

constexpr Word kPageA = TinyFormat::MakeLeaf(Pfn{0xA}, Level{1}, Rights::kAll);
constexpr Word kPageB = TinyFormat::MakeLeaf(Pfn{0xB}, Level{1}, Rights::kAll);

// --- L1 fills a table, and links it.

struct WalkAgainstLinking : rl::test_suite<WalkAgainstLinking, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;

  GuestTables tables;

  void thread(unsigned index) {
    if (index == 0) {
      WriteOnce(tables.leaf(), kPageA, kRelaxed);
      tables.Link();
      return;
    }
    const GuestTranslation found = tables.Walk(Rights::kRead);
    Require(found || found.level == Level{2},
            "what L1 wrote before the entry above is there");
  }
};

// --- L1 puts another page there, and looks whether the old one was used.

template <AccessKind kKind>
struct WalkAgainstChange : rl::test_suite<WalkAgainstChange<kKind>, 2> {
  static constexpr Plan kPlan = kEveryInterleaving;
  static constexpr Rights kNeeded =
      kKind == AccessKind::kWrite ? Rights::kReadWrite : Rights::kRead;
  static constexpr Word kWanted =
      TinyFormat::kAccessed |
      (kKind == AccessKind::kWrite ? TinyFormat::kDirty : Word{0});

  GuestTables tables;
  GuestTranslation found;
  Word taken = 0;

  void before() {
    tables.Link();
    WriteOnce(tables.leaf(), kPageA, kRelaxed);
  }
  void thread(unsigned index) {
    if (index == 1) {
      found = tables.Walk(kNeeded);
      return;
    }
    taken = ReadOnce(tables.leaf(), kRelaxed);
    while (!TryCmpxchg(tables.leaf(), taken, kPageB, kRelease)) {
      taken = ReadOnce(tables.leaf(), kRelaxed);
    }
  }
  void after() {
    const Word left = ReadOnce(tables.leaf(), kRelaxed);
    Require(TinyFormat::FrameOf(left) == Pfn{0xB},
            "what L1 wrote stays where it is");
    Require(static_cast<bool>(found), "a walk that L1 hinders once gets there");
    const Word used = found.gfn == Gfn{0xA} ? taken : left;
    Require((used & kWanted) == kWanted, "L1 finds set what may be used");
    const Word unused = found.gfn == Gfn{0xA} ? left : taken;
    Require((unused & kWanted) == 0, "L1 finds clear what may not be");
  }
};

}  // namespace ptage::relacy

#endif  // PTAGE_TEST_RELACY_GUEST_WALK_SEARCHES_H_
