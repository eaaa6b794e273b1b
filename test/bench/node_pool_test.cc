// SPDX-License-Identifier: MIT OR Apache-2.0

#include "bench/node_pool.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace ptage::bench {
namespace {

constexpr std::size_t kSome = 3 * NodePool::kMagazine + 1;

std::vector<void*> TakeSome() {
  std::vector<void*> nodes;
  for (std::size_t i = 0; i < kSome; ++i) nodes.push_back(NodePool::Take());
  return nodes;
}

TEST(NodePoolTest, NodesAreApartAndAligned) {
  const std::vector<void*> nodes = TakeSome();
  const std::set<void*> distinct(nodes.begin(), nodes.end());
  EXPECT_EQ(distinct.size(), kSome);
  for (void* const node : nodes) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(node) % NodePool::kNodeBytes,
              0u);
    // Writing all of one leaves the others whole, or the next test fails.
    std::memset(node, 0xff, NodePool::kNodeBytes);
  }
  for (void* const node : nodes) NodePool::Give(node);
}

TEST(NodePoolTest, WhatWasGivenIsTakenAgain) {
  for (void* const node : TakeSome()) NodePool::Give(node);
  const std::uint64_t made = NodePool::Made();
  for (int turn = 0; turn < 10; ++turn) {
    for (void* const node : TakeSome()) NodePool::Give(node);
  }
  EXPECT_EQ(NodePool::Made(), made);
}

TEST(NodePoolTest, GivenNodesAreCountedWhereTheyWereGiven) {
  const std::uint64_t before = NodePool::Given();
  const std::vector<void*> nodes = TakeSome();
  EXPECT_EQ(NodePool::Given(), before);
  std::thread([&] {
    for (void* const node : nodes) NodePool::Give(node);
    EXPECT_EQ(NodePool::Given(), kSome);
  }).join();
  EXPECT_EQ(NodePool::Given(), before);
}

TEST(NodePoolTest, NodesComeBackFromAThreadThatEnds) {
  for (void* const node : TakeSome()) NodePool::Give(node);
  const std::uint64_t made = NodePool::Made();
  for (int turn = 0; turn < 10; ++turn) {
    const std::vector<void*> nodes = TakeSome();
    std::thread([&] {
      for (void* const node : nodes) NodePool::Give(node);
      NodePool::Flush();
    }).join();
  }
  EXPECT_EQ(NodePool::Made(), made);
}

}  // namespace
}  // namespace ptage::bench
