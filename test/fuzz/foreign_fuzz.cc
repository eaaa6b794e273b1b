// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Any bytes as the RAM of somebody else: whole pages, and behind them what is
// asked. Run by tools/fuzz.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "test/foreign_images.h"

namespace {

constexpr std::size_t kPage = 4096;

using ptage::test::CheckImage;
using ptage::test::Image;
using ptage::test::LikelyEntry;
using ptage::test::QuestionOf;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  Image image(size / kPage);
  if (!image.empty()) std::memcpy(image.data(), data, image.size() * kPage);
  const std::size_t rest = size % kPage;
  const std::string wrong =
      CheckImage(image, QuestionOf(data + (size - rest), rest, image.size()));
  if (!wrong.empty()) {
    std::fprintf(stderr, "foreign_fuzz: %s\n", wrong.c_str());
    std::abort();
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size,
                                        std::size_t most);

// Bytes that are changed anywhere hardly ever make an entry that leads on.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data,
                                               std::size_t size,
                                               std::size_t most,
                                               unsigned seed) {
  std::mt19937_64 random(seed);
  const std::size_t pages = size / kPage;
  if (pages == 0 || random() % 4 == 0) {
    return LLVMFuzzerMutate(data, size, most);
  }
  for (std::uint64_t entries = random() % 16; entries != 0; --entries) {
    const std::uint64_t word = LikelyEntry(random, pages);
    const std::size_t at = random() % (pages * kPage / sizeof word);
    std::memcpy(data + at * sizeof word, &word, sizeof word);
  }
  return size;
}
