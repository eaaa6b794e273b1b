// SPDX-License-Identifier: MIT OR Apache-2.0

#include "ptage/published.h"

#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "ptage/reclaim.h"
#include "ptage/reclaim/anonymous_epoch.h"
#include "ptage/reclaim/epoch.h"
#include "test/stress.h"

namespace ptage {
namespace {

template <class R>
class PublishedTest : public testing::Test {
 protected:
  R domain_;
};
using Reclaimers = testing::Types<EpochDomain<>, AnonymousEpochDomain<>>;
TYPED_TEST_SUITE(PublishedTest, Reclaimers);

// Says when it is gone.
class Told {
 public:
  explicit Told(int number, int* gone) : number_(number), gone_(gone) {}
  Told(Told&& other) noexcept
      : number_(other.number_), gone_(std::exchange(other.gone_, nullptr)) {}
  Told(const Told&) = delete;
  Told& operator=(const Told&) = delete;
  ~Told() {
    if (gone_ != nullptr) ++*gone_;
  }
  [[nodiscard]] int number() const { return number_; }

 private:
  int number_;
  int* gone_;
};

TYPED_TEST(PublishedTest, TheFirstVersionIsThereFromTheBeginning) {
  const Published<int, TypeParam> given(this->domain_, 7);
  const Published<int, TypeParam> none(this->domain_);
  const LocklessWalk<TypeParam> walk(this->domain_);
  EXPECT_EQ(given.Read(walk), 7);
  EXPECT_EQ(given.Latest(), 7);
  EXPECT_EQ(none.Read(walk), 0);
}

TYPED_TEST(PublishedTest, AVersionStaysAsLongAsAWalkThatMayHaveFoundIt) {
  int gone = 0;
  Published<Told, TypeParam> published(this->domain_, Told(1, &gone));
  {
    const LocklessWalk<TypeParam> walk(this->domain_);
    const Told& found = published.Read(walk);
    published.Replace(Told(2, &gone));
    for (int i = 0; i < 4; ++i) this->domain_.Poll();
    EXPECT_EQ(gone, 0);
    EXPECT_EQ(found.number(), 1);
    // Whoever asks once more, finds the next.
    EXPECT_EQ(published.Read(walk).number(), 2);
    EXPECT_EQ(published.Latest().number(), 2);
  }
  this->domain_.Synchronize();
  for (int i = 0; i < 4; ++i) this->domain_.Poll();
  EXPECT_EQ(gone, 1);
}

TYPED_TEST(PublishedTest, EachVersionIsFreedOnce) {
  int gone = 0;
  {
    Published<Told, TypeParam> published(this->domain_, Told(0, &gone));
    for (int i = 1; i < 5; ++i) published.Replace(Told(i, &gone));
  }
  this->domain_.Synchronize();
  for (int i = 0; i < 4; ++i) this->domain_.Poll();
  EXPECT_EQ(gone, 5);
}

// Each version is numbers in a row that start with a number of its own.
TYPED_TEST(PublishedTest, ManyReadWholeVersionsInTheirOrderWhileTheyChange) {
  constexpr int kVersions = 3000;
  using Row = std::vector<int>;
  const auto row = [](int first) {
    Row numbers;
    for (int i = 0; i < 4; ++i) numbers.push_back(first + i);
    return numbers;
  };
  Published<Row, TypeParam> published(this->domain_, row(0));
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      int last = 0;
      while (last != kVersions) {
        const LocklessWalk<TypeParam> walk(this->domain_);
        const Row& found = published.Read(walk);
        ASSERT_EQ(found.size(), 4u);
        for (std::size_t k = 1; k < found.size(); ++k) {
          ASSERT_EQ(found[k], found[0] + static_cast<int>(k));
        }
        ASSERT_GE(found[0], last);
        last = found[0];
      }
    });
  }
  for (int i = 1; i <= kVersions; ++i) published.Replace(row(i));
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace ptage
