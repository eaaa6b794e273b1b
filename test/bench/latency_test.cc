// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/latency.h"

#include <cstdint>
#include <cstdio>
#include <string>

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

TEST(LatencyBucketsTest, OnlyBucketsWithSamplesAreWritten) {
  LatencyBuckets buckets;
  EXPECT_EQ(buckets.JsonMembers(), "\"below_ns\": [], \"count\": []");
  for (const std::uint32_t ns : {0u, 7u, 7u, 8u}) buckets.Add(ns);
  EXPECT_EQ(buckets.JsonMembers(),
            "\"below_ns\": [1, 8, 9], \"count\": [1, 2, 1]");
}

TEST(LatencyBucketsTest, AnySampleFallsIntoABucketOfItsSize) {
  for (std::uint64_t ns = 1; ns < std::uint64_t{1} << 32; ns += 1 + ns / 7) {
    LatencyBuckets buckets;
    buckets.Add(static_cast<std::uint32_t>(ns));
    unsigned long long below = 0;
    ASSERT_EQ(std::sscanf(buckets.JsonMembers().c_str(), "\"below_ns\": [%llu]",
                          &below),
              1);
    EXPECT_GT(below, ns);
    EXPECT_LE(below, ns + 1 + ns / 20);
  }
  LatencyBuckets longest;
  longest.Add(~std::uint32_t{0});
  EXPECT_NE(longest.JsonMembers().find("\"count\": [1]"), std::string::npos);
}

}  // namespace
}  // namespace ptage::bench
