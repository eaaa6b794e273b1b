// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A guest that writes anything into its tables, and what its CPUs are given:
// always what a plain walk through a plain copy of the tables says.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/legacy_shadow.h"
#include "ptage/mmu.h"
#include "ptage/once.h"
#include "ptage/spte/x86_64.h"
#include "ptage/types.h"
#include "test/legacy_guest.h"
#include "test/machine.h"

namespace ptage {
namespace {

constexpr std::uint64_t kFrames = 48;
// Any of the first frames may be a table, of any level or of several, and a
// page as well. Four entries of each are used.
constexpr std::uint64_t kTableFrames = 12;
constexpr std::uint64_t kEntries = 4;
constexpr std::size_t kRoots = 3;
constexpr GfnRange kAll{Gfn{0}, Gfn{kFrames}};

// What the guest's tables hold, but for accessed and dirty bits. (SDM 3A
// 4.5.4: present, writable, bit 7, no-execute.)
class Model {
 public:
  using Place = std::pair<std::uint64_t, std::uint64_t>;  // frame, index
  struct Page {
    std::uint64_t frame;
    Rights rights;
    std::vector<Place> path;
  };

  void Set(Place at, std::uint64_t word) { words_[at.first][at.second] = word; }
  [[nodiscard]] std::optional<Page> Walk(std::uint64_t root,
                                         std::uint64_t page) const {
    Page found{root, Rights::kAll, {}};
    for (int level = 4; level >= 1; --level) {
      if (found.frame >= kFrames) return std::nullopt;
      const std::uint64_t index = page >> (9 * (level - 1)) & 511;
      const std::uint64_t word = words_[found.frame][index];
      found.path.emplace_back(found.frame, index);
      if ((word & 1) == 0 || (word >> 45 & 1) != 0) return std::nullopt;
      const bool large = level > 1 && (word & 0x80) != 0;
      if (large && level == 4) return std::nullopt;
      if ((word & 2) == 0) found.rights = found.rights & Rights::kReadExecute;
      if (word >> 63 != 0) found.rights = found.rights & Rights::kReadWrite;
      found.frame = word >> 12 & 0xFFFF;
      if (!large) continue;
      // Not aligned to its size: reserved bits are set.
      const std::uint64_t frames = std::uint64_t{1} << (9 * (level - 1));
      if ((found.frame & (frames - 1) & ~std::uint64_t{1}) != 0) {
        return std::nullopt;
      }
      found.frame = found.frame / frames * frames + page % frames;
      return found;
    }
    return found;
  }

 private:
  std::array<std::array<std::uint64_t, 512>, kFrames> words_ = {};
};

template <class D>
class LegacyShadowModelTest : public testing::Test {
 protected:
  using Guest = test::LegacyGuest<D>;
  using Root = typename Guest::Root;
  using Vcpu = typename Guest::Vcpu;

  [[nodiscard]] std::uint64_t translated() const { return translated_; }

  void Run(unsigned seed, int steps) {
    random_.seed(seed);
    guest_ = std::make_unique<Guest>(typename Guest::Options{
        .frames = kFrames, .cpus = kRoots, .tables = 48, .limit = 24});
    model_ = Model();
    written_.clear();
    accessed_.clear();
    guest_->AddMemory();
    for (std::uint64_t frame = 0; frame < kTableFrames; ++frame) {
      for (std::uint64_t i = 0; i < kEntries; ++i) WriteEntry({frame, i});
    }
    for (std::size_t i = 0; i < kRoots; ++i) Load(i);
    for (int step = 0; step < steps && !HasFailure(); ++step) {
      Step();
      for (std::uint64_t frame = 0; frame < kFrames; ++frame) {
        if (!guest_->mmu->IsTable(Gfn{frame})) continue;
        ASSERT_EQ(guest_->WritableLeaves(frame), 0)
            << "seed " << seed << ", step " << step << ", frame " << frame;
      }
    }
    guest_->mmu->ZapFrames(kAll, guest_->sink());
    TakeTold();
    EXPECT_TRUE(written_.empty()) << "seed " << seed << ": a write was lost";
    for (std::size_t i = 0; i < kRoots; ++i) Drop(i);
    // Tables that were only built, and not dropped by the way, are unused.
    EXPECT_EQ(guest_->mmu->tables(), 0u) << "seed " << seed;
    guest_.reset();
  }

 private:
  std::uint64_t Random(std::uint64_t below) { return random_() % below; }

  void Step() {
    const std::uint64_t what = Random(100);
    if (what < 20) {
      WriteEntry({Random(kTableFrames), Random(kEntries)});
    } else if (what < 90) {
      Access();
    } else if (what < 93) {
      const std::uint64_t from = Random(kFrames);
      guest_->mmu->ZapFrames({Gfn{from}, Gfn{from + 1 + Random(3)}},
                             guest_->sink());
      TakeTold();
    } else if (what < 95) {
      guest_->mmu->Reclaim(Random(4), guest_->sink());
      TakeTold();
    } else if (what < 97) {
      const std::size_t root = Random(kRoots);
      Drop(root);
      Load(root);
    } else {
      Age();
    }
  }

  std::uint64_t RandomEntry() {
    const std::uint64_t kind = Random(20);
    if (kind == 0) return Random(2) << 12;                      // not present
    if (kind == 1) return 1ull << 45 | 0x7;                     // reserved
    if (kind == 2) return 60ull << 12 | 0x7;                    // beyond memory
    std::uint64_t word = Random(8) == 0 ? 0x5 : 0x7;            // read-only
    if (Random(8) == 0) word |= 1ull << 63;                     // no-execute
    if (Random(8) == 0) return word | 0x80 | Random(2) * 0x60;  // large
    word |= Random(4) * 0x20;  // accessed and dirty, as it likes
    return word | (Random(4) == 0 ? Random(kFrames) : Random(kTableFrames))
                      << 12;
  }
  void WriteEntry(Model::Place at) {
    const std::uint64_t word = RandomEntry();
    if (guest_->mmu->IsTable(Gfn{at.first})) {
      guest_->Write(at.first, at.second, word);
      TakeTold();
    } else {
      // By a name that is writable: nobody learns of it.
      WriteOnce(guest_->WordAt(at.first, at.second), word, kRelease);
    }
    model_.Set(at, word);
  }

  void Access() {
    const std::size_t root = Random(kRoots);
    std::uint64_t page = 0;
    for (int level = 1; level <= 4; ++level) {
      page |= Random(kEntries) << (9 * (level - 1));
    }
    constexpr Rights kKinds[] = {Rights::kRead, Rights::kReadWrite,
                                 Rights::kReadExecute};
    const Rights access = kKinds[Random(3)];
    const bool writes = Allows(access, Rights::kWrite);
    const auto expected = model_.Walk(root, page);
    const std::uint64_t walks = vcpus_[root]->stats().walks;
    Pfn pfn{};
    const FaultOutcome outcome = guest_->Access(
        *vcpus_[root], roots_[root], page, access, pfn, guest_->walked);
    TakeTold();
    if (!expected.has_value() || !Allows(expected->rights, access)) {
      ASSERT_EQ(outcome, FaultOutcome::kReflected);
      return;
    }
    // The guest finds its own bits set.
    const Model::Place leaf = expected->path.back();
    for (const Model::Place& at : expected->path) {
      EXPECT_NE(guest_->Word(at.first, at.second) & 0x20, 0u);
    }
    if (writes) {
      EXPECT_NE(guest_->Word(leaf.first, leaf.second) & 0x40, 0u);
    }
    if (expected->frame >= kFrames) {
      ASSERT_EQ(outcome, FaultOutcome::kNoSlot);
      return;
    }
    if (writes && guest_->mmu->IsTable(Gfn{expected->frame})) {
      ASSERT_EQ(outcome, FaultOutcome::kGuestTable);
      ASSERT_EQ(guest_->walked.gfn, Gfn{expected->frame});
      return;
    }
    ASSERT_EQ(outcome, FaultOutcome::kMapped);
    ASSERT_EQ(pfn.value - Guest::kBase.value, expected->frame);
    ++translated_;
    if (writes) written_.insert(expected->frame);
    if (vcpus_[root]->stats().walks != walks) accessed_.insert(expected->frame);
  }

  void Age() {
    test::Answer answer(Gfn{0}, kFrames);
    (void)guest_->mmu->TestClearYoung(kAll, answer.output());
    for (const std::uint64_t frame : accessed_) {
      EXPECT_TRUE(answer.Young(Gfn{frame})) << frame;
    }
    accessed_.clear();
  }
  // What zaps handed on.
  void TakeTold() {
    for (const ZappedLeaf& leaf : guest_->zapped) {
      ASSERT_EQ(leaf.pfn.value - Guest::kBase.value, leaf.gfn.value);
      if (leaf.dirty) written_.erase(leaf.gfn.value);
      if (leaf.accessed) accessed_.erase(leaf.gfn.value);
    }
    guest_->zapped.clear();
  }

  void Load(std::size_t i) {
    roots_[i] = guest_->Load(i);
    vcpus_[i] = std::make_unique<Vcpu>(guest_->cpus, i, guest_->arena,
                                       *roots_[i].table);
    // Of what had to make room.
    TakeTold();
  }
  void Drop(std::size_t i) {
    vcpus_[i].reset();
    guest_->mmu->UnloadRoot(roots_[i]);
    EXPECT_TRUE(guest_->mmu->DropRoot(Gfn{i}, guest_->sink()));
    TakeTold();
  }

  std::mt19937 random_;
  Model model_;
  std::unique_ptr<Guest> guest_;
  std::array<Root, kRoots> roots_;
  std::array<std::unique_ptr<Vcpu>, kRoots> vcpus_;
  // Not told of yet.
  std::set<std::uint64_t> written_;
  std::set<std::uint64_t> accessed_;
  std::uint64_t translated_ = 0;
};

using Disciplines =
    testing::Types<test::BitRmaps<X86_64>, test::LocklessRmapsInOrder<X86_64>>;
TYPED_TEST_SUITE(LegacyShadowModelTest, Disciplines);

TYPED_TEST(LegacyShadowModelTest, EachAccessIsWhatTheTablesSay) {
  for (unsigned seed = 0; seed < 25 && !this->HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    this->Run(seed, 2'000);
  }
  EXPECT_GT(this->translated(), 25u * 100);
}

}  // namespace
}  // namespace ptage
