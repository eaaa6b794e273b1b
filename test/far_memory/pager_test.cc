// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The pager over a backing that checks each of its steps, and by software.

#include "examples/far_memory/pager.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "examples/far_memory/clock.h"
#include "examples/far_memory/compressed_store.h"
#include "examples/far_memory/failure.h"
#include "examples/far_memory/fifo.h"
#include "examples/far_memory/frames.h"
#include "examples/far_memory/generations.h"
#include "examples/far_memory/page.h"
#include "examples/far_memory/shared_state.h"
#include "examples/far_memory/software.h"
#include "examples/far_memory/store.h"
#include "examples/far_memory/workload.h"
#include "gtest/gtest.h"
#include "ptage/types.h"

namespace ptage::far_memory {
namespace {

// An MMU by hand: pages that have memory, and what is mapped of them. One call
// in `refuse_one_in` is refused, as while an address space is being changed.
class FakeBacking {
 public:
  struct Frame {
    Page page;
    bool readable = false;
    bool writable = false;
  };

  absl::Status Fill(Gfn gfn, const Page& page) {
    EXPECT_TRUE(frames.emplace(gfn.value, Frame{.page = page}).second);
    most = std::max(most, frames.size());
    return absl::OkStatus();
  }
  absl::Status Map(Gfn gfn, bool writable) {
    if (Refuses()) return absl::UnavailableError("refused");
    Frame& frame = frames.at(gfn.value);
    frame.readable = true;
    frame.writable = writable;
    return absl::OkStatus();
  }
  absl::Status Unmap(GfnRange range) {
    if (Refuses()) return absl::UnavailableError("refused");
    for (auto& [page, frame] : frames) {
      if (!range.Contains(Gfn{page})) continue;
      unmapped += frame.readable;
      frame.readable = frame.writable = false;
    }
    return absl::OkStatus();
  }
  absl::Status Take(Gfn gfn, Page& page) {
    if (Refuses()) return absl::UnavailableError("refused");
    page = frames.at(gfn.value).page;
    frames.erase(gfn.value);
    return absl::OkStatus();
  }
  absl::Status Free(GfnRange range) {
    for (Gfn gfn = range.begin; gfn < range.end; gfn = gfn + 1) {
      frames.erase(gfn.value);
    }
    return absl::OkStatus();
  }

  std::map<std::uint64_t, Frame> frames;
  std::size_t most = 0;
  std::uint64_t unmapped = 0;
  unsigned refuse_one_in = 0;

 private:
  bool Refuses() {
    return refuse_one_in != 0 && random_() % refuse_one_in == 0;
  }

  std::mt19937_64 random_{1};
};

constexpr std::uint64_t kPages = 200;

template <class P>
class PagerTest : public testing::Test {
 protected:
  // A pager, and accesses as the workload would make them.
  struct World {
    World(std::uint64_t limit, Failure failure = {})
        : store(*CompressedStore::Create(kPages), failure),
          pager(kPages, limit, store, backing) {}

    // The byte; an access that is not mapped faults until it is.
    absl::Status Access(std::uint64_t page, bool write) {
      for (int tries = 0; tries < 1000; ++tries) {
        const auto found = backing.frames.find(page);
        if (found != backing.frames.end() &&
            (write ? found->second.writable : found->second.readable)) {
          return absl::OkStatus();
        }
        const absl::Status status =
            pager.Fault(Gfn{page}, write ? Rights::kReadWrite : Rights::kRead);
        if (!status.ok() && !absl::IsUnavailable(status)) return status;
      }
      return absl::DeadlineExceededError("it faults for ever");
    }
    absl::Status Write(std::uint64_t page, std::uint8_t value) {
      const absl::Status status = Access(page, true);
      if (status.ok()) Bytes(page)[page % kPageBytes] = std::byte{value};
      return status;
    }
    std::uint8_t Read(std::uint64_t page) {
      const absl::Status status = Access(page, false);
      EXPECT_TRUE(status.ok()) << status;
      return std::to_integer<std::uint8_t>(Bytes(page)[page % kPageBytes]);
    }
    std::byte* Bytes(std::uint64_t page) {
      return backing.frames.at(page).page.bytes.data();
    }

    FakeBacking backing;
    FailingStore store;
    Pager<P, FakeBacking> pager;
  };
};
using Policies = testing::Types<Clock, Fifo, Generations>;
TYPED_TEST_SUITE(PagerTest, Policies);

TYPED_TEST(PagerTest, MemoryIsAsPlainMemoryInAnyLimit) {
  for (const std::uint64_t limit : {1u, 2u, 3u, 5u, 10u, 64u, 150u, 200u}) {
    typename TestFixture::World world(limit);
    // Half of the worlds are refused now and then.
    world.backing.refuse_one_in = limit % 2 == 0 ? 5 : 0;
    std::vector<std::uint8_t> model(kPages);
    std::mt19937_64 random(limit);
    for (int i = 0; i < 1000; ++i) {
      const std::uint64_t page = std::min(random() % kPages, random() % kPages);
      switch (random() % 16) {
        case 0: {
          const std::uint64_t end = std::min(kPages, page + random() % 8);
          ASSERT_TRUE(world.pager.Discard({Gfn{page}, Gfn{end}}).ok());
          for (std::uint64_t p = page; p < end; ++p) model[p] = 0;
          break;
        }
        case 1:
          ASSERT_TRUE(world.pager.EvictAhead().ok() ||
                      world.backing.refuse_one_in != 0);
          break;
        case 2:
        case 3:
        case 4:
        case 5:
          model[page] = static_cast<std::uint8_t>(random());
          ASSERT_TRUE(world.Write(page, model[page]).ok());
          break;
        default:
          ASSERT_EQ(world.Read(page), model[page])
              << "limit " << limit << ", step " << i;
      }
      ASSERT_EQ(world.pager.stats().resident, world.backing.frames.size());
    }
    EXPECT_LE(world.backing.most, limit);
    EXPECT_EQ(world.pager.stats().most_resident, world.backing.most);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(world.Read(page), model[page]);
    }
  }
}

TYPED_TEST(PagerTest, APageThatIsOnlyReadIsStoredOnce) {
  typename TestFixture::World world(1);
  ASSERT_TRUE(world.Write(0, 1).ok());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(world.Read(1), 0);
    EXPECT_EQ(world.Read(0), 1);
  }
  // Page 1 was never written, page 0 once.
  EXPECT_EQ(world.pager.stats().evictions, 10u);
  EXPECT_EQ(world.pager.stats().clean_evictions, 9u);
  EXPECT_EQ(world.pager.stats().stored_pages, 1u);
}

TYPED_TEST(PagerTest, TheFirstWriteToACleanPageFaultsAndItsSecondDoesNot) {
  typename TestFixture::World world(4);
  EXPECT_EQ(world.Read(0), 0);
  EXPECT_FALSE(world.backing.frames.at(0).writable);
  ASSERT_TRUE(world.Write(0, 1).ok());
  EXPECT_EQ(world.pager.stats().write_faults, 1u);
  ASSERT_TRUE(world.Write(0, 2).ok());
  EXPECT_EQ(world.pager.stats().write_faults, 1u);
}

TYPED_TEST(PagerTest, AWriteThatNoFaultToldOfIsFound) {
  typename TestFixture::World world(1);
  EXPECT_EQ(world.Read(0), 0);
  world.Bytes(0)[9] = std::byte{1};
  const absl::Status status = world.Access(1, false);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), "page 0")) << status;
}

TYPED_TEST(PagerTest, AStoreThatIsFullEndsIt) {
  typename TestFixture::World world(1,
                                    {.kind = FailureKind::kStoreFull, .at = 2});
  ASSERT_TRUE(world.Write(0, 1).ok());
  ASSERT_TRUE(world.Write(1, 1).ok());
  EXPECT_EQ(world.Access(2, true).code(), absl::StatusCode::kResourceExhausted);
}

TYPED_TEST(PagerTest, ACopyThatChangedByItselfEndsIt) {
  typename TestFixture::World world(1,
                                    {.kind = FailureKind::kFlipBit, .at = 1});
  ASSERT_TRUE(world.Write(0, 1).ok());
  ASSERT_TRUE(world.Write(1, 1).ok());
  EXPECT_EQ(world.Access(0, false).code(), absl::StatusCode::kDataLoss);
}

// A store that gives out another page, with a checksum that fits it.
class LyingStore final : public PageStore {
 public:
  absl::Status Put(Gfn, const Page&) override { return absl::OkStatus(); }
  absl::Status Get(Gfn, Page& page) override {
    page = Page();
    return absl::OkStatus();
  }
  void Drop(Gfn) override {}
  bool Has(Gfn) const override { return false; }
  std::uint32_t ChecksumOf(Gfn) const override { return 0; }
  StoreStats stats() const override { return {}; }
  void FlipBit(Gfn) override {}
};

TEST(StoredPagesTest, AreComparedBeforeTheyAreGivenUp) {
  FakeBacking backing;
  LyingStore store;
  Pager<Fifo, FakeBacking> pager(8, 1, store, backing);
  ASSERT_TRUE(pager.Fault(Gfn{0}, Rights::kReadWrite).ok());
  backing.frames.at(0).page.bytes[5] = std::byte{1};
  const absl::Status status = pager.Fault(Gfn{1}, Rights::kRead);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), "does not come back"));
}

TEST(AgingTest, CostsAMinorFaultForEachPageThatItFindsYoung) {
  FakeBacking backing;
  const auto store = *CompressedStore::Create(8);
  Pager<Clock, FakeBacking> pager(8, 2, *store, backing);
  ASSERT_TRUE(pager.Fault(Gfn{0}, Rights::kRead).ok());
  ASSERT_TRUE(pager.Fault(Gfn{1}, Rights::kRead).ok());
  EXPECT_EQ(backing.unmapped, 0u);
  // Both are young, lose their mappings, and page 0 goes.
  ASSERT_TRUE(pager.Fault(Gfn{2}, Rights::kRead).ok());
  EXPECT_EQ(backing.unmapped, 2u);
  EXPECT_EQ(pager.stats().unmapped, 2u);
  EXPECT_FALSE(backing.frames.contains(0));
  ASSERT_FALSE(backing.frames.at(1).readable);
  ASSERT_TRUE(pager.Fault(Gfn{1}, Rights::kRead).ok());
  EXPECT_EQ(pager.stats().minor_faults, 1u);
  EXPECT_EQ(pager.stats().major_faults, 3u);
  EXPECT_TRUE(backing.frames.at(1).readable);
}

TEST(AgingTest, FifoNeverAges) {
  FakeBacking backing;
  const auto store = *CompressedStore::Create(64);
  Pager<Fifo, FakeBacking> pager(64, 2, *store, backing);
  for (std::uint64_t page = 0; page < 64; ++page) {
    ASSERT_TRUE(pager.Fault(Gfn{page}, Rights::kReadWrite).ok());
  }
  EXPECT_EQ(pager.stats().aging_passes, 0u);
  EXPECT_EQ(backing.unmapped, 0u);
}

// The whole of the software form, with its data in few pages.
TEST(SoftwareTest, TheWorkloadsPassInAFewPages) {
  for (const std::uint64_t limit : {2u, 64u}) {
    const auto frames = Frames::Create(kPages);
    ASSERT_TRUE(frames.ok()) << frames.status();
    const auto store = *CompressedStore::Create(kPages);
    SoftwareBacking backing(*frames);
    using PagerType = Pager<Clock, SoftwareBacking>;
    PagerType pager(kPages, limit, *store, backing);
    const auto memory = *SoftwareMemory<PagerType>::Create(*frames, pager);
    SharedState shared;
    Progress progress(shared);
    const absl::Status sorted = RunSort(*memory, progress);
    ASSERT_TRUE(sorted.ok()) << sorted;
    EXPECT_LE(frames->InUse(), limit);
    ASSERT_TRUE(memory->DiscardAll().ok());
    EXPECT_EQ(frames->InUse(), 0u);
    EXPECT_EQ(store->stats().pages, 0u);
    const absl::Status served = RunTable(*memory, 200, 1, progress);
    ASSERT_TRUE(served.ok()) << served;
    EXPECT_LE(frames->InUse(), limit);
    EXPECT_LE(pager.stats().most_resident, limit);
  }
}

TEST(SoftwareTest, AnErrorOfTheStoreIsTheStatusOfTheWorkload) {
  const auto frames = Frames::Create(kPages);
  ASSERT_TRUE(frames.ok()) << frames.status();
  FailingStore store(*CompressedStore::Create(kPages),
                     {.kind = FailureKind::kFlipBit, .at = 20});
  SoftwareBacking backing(*frames);
  using PagerType = Pager<Fifo, SoftwareBacking>;
  PagerType pager(kPages, 16, store, backing);
  const auto memory = *SoftwareMemory<PagerType>::Create(*frames, pager);
  SharedState shared;
  Progress progress(shared);
  const absl::Status sorted = RunSort(*memory, progress);
  EXPECT_EQ(sorted.code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::StrContains(sorted.message(), "stored copy")) << sorted;
}

}  // namespace
}  // namespace ptage::far_memory
