// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/windows.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace ptage::live_guest {
namespace {

TEST(WindowsTest, TheFirstPassTellsOfNoKnownTime) {
  Windows windows;
  EXPECT_FALSE(windows.Find(1000).has_value());
  windows.Add(500);
  EXPECT_FALSE(windows.Find(1000).has_value());
  windows.Add(1501);
  const auto window = windows.Find(1000);
  ASSERT_TRUE(window.has_value());
  EXPECT_EQ(window->since, 1501u);
  EXPECT_EQ(window->took, 1001u);
  EXPECT_FALSE(windows.Find(10'000).has_value());
}

TEST(WindowsTest, IsMadeOfThePassesThatComeNearest) {
  Windows windows;
  // Every second, give or take.
  for (std::uint32_t i = 1; i <= 200; ++i) windows.Add(i * 1000 + i % 3);
  for (const std::uint64_t wanted : {1'000u, 10'000u, 60'000u}) {
    const auto window = windows.Find(wanted);
    ASSERT_TRUE(window.has_value()) << wanted;
    EXPECT_GE(window->took, wanted - 10);
    EXPECT_LE(window->took, wanted + 10);
    EXPECT_GE(window->since, 200'000 - wanted + 900);
  }
}

TEST(WindowsTest, PassesThatAreTooFarApartTellOfNone) {
  Windows windows;
  for (std::uint32_t i = 1; i <= 20; ++i) windows.Add(i * 5000);
  EXPECT_FALSE(windows.Find(1'000).has_value());
  const auto window = windows.Find(10'000);
  ASSERT_TRUE(window.has_value());
  EXPECT_EQ(window->took, 10'000u);
  EXPECT_EQ(window->since, 95'000u);
}

TEST(WindowsTest, AFewMillisecondsAreMadeOfManyPasses) {
  Windows windows;
  for (std::uint32_t i = 1; i <= 50; ++i) windows.Add(i * 100);
  const auto window = windows.Find(1'000);
  ASSERT_TRUE(window.has_value());
  EXPECT_EQ(window->took, 1'000u);
  EXPECT_EQ(window->since, 4'100u);
  windows.Reset();
  EXPECT_FALSE(windows.Find(1'000).has_value());
}

}  // namespace
}  // namespace ptage::live_guest
