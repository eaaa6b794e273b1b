// SPDX-License-Identifier: MIT OR Apache-2.0
//
// foreign_seeds DIRECTORY: writes images to begin fuzzing with, the same every
// time: few and many pages, whole trees and broken ones, each question.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "test/foreign_images.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: foreign_seeds DIRECTORY\n");
    return 2;
  }
  std::mt19937_64 random(1);
  for (int seed = 0; seed < 48; ++seed) {
    const std::size_t pages = 1 + random() % 8;
    const ptage::test::Image image = ptage::test::RandomImage(
        random, pages, static_cast<unsigned>(random() % 40));
    const std::string name = absl::StrCat(argv[1], "/seed", seed);
    std::ofstream file(name, std::ios::binary);
    file.write(reinterpret_cast<const char*>(image.data()),
               static_cast<std::streamsize>(image.size() * sizeof image[0]));
    // What comes behind an image (foreign_fuzz.cc): root 0; then, by the seed,
    // a hole, how many tables, the physical bits, a budget and the question.
    const unsigned char question[6] = {
        0,
        static_cast<unsigned char>(seed % 2 * 2),
        static_cast<unsigned char>(seed % 3 * 20),
        static_cast<unsigned char>(seed % 5),
        static_cast<unsigned char>(seed % 7),
        static_cast<unsigned char>(seed % 4)};
    file.write(reinterpret_cast<const char*>(question), sizeof question);
    if (!file.flush()) {
      std::fprintf(stderr, "foreign_seeds: cannot write %s\n", name.c_str());
      return 2;
    }
  }
}
