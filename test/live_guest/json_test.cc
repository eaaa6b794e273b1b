// SPDX-License-Identifier: MIT OR Apache-2.0

#include "examples/live_guest/json.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace ptage::live_guest {
namespace {

TEST(JsonTest, ReadsWhatAMonitorAnswers) {
  const auto value = ParseJson(
      R"( {"return": [{"id": "m\n\"\u0041", "size": 18446744073709551615,)"
      R"( "share": true, "none": null, "x": -1.5e3}, [], {}]} )");
  ASSERT_TRUE(value.ok()) << value.status();
  const Json* const answer = value->Find("return");
  ASSERT_NE(answer, nullptr);
  ASSERT_EQ(answer->items.size(), 3u);
  const Json& first = answer->items[0];
  EXPECT_EQ(first.StringAt("id"), "m\n\"A");
  EXPECT_TRUE(first.Find("share")->boolean);
  EXPECT_EQ(first.Find("none")->kind, JsonKind::kNull);
  std::uint64_t number = 0;
  EXPECT_TRUE(first.Find("size")->ToNumber(number));
  EXPECT_EQ(number, ~std::uint64_t{0});
  EXPECT_FALSE(first.Find("x")->ToNumber(number));
  EXPECT_EQ(first.Find("y"), nullptr);
  EXPECT_EQ(first.StringAt("share"), "");
}

TEST(JsonTest, RefusesWhatIsNotOneValue) {
  for (const char* const text :
       {"", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "tru", "\"a", "\"\\q\"",
        "\"\\u12g4\"", "1 2", "+1", ".5", "\"\n\"", "nul", "[1", "--1"}) {
    EXPECT_FALSE(ParseJson(text).ok()) << text;
  }
  EXPECT_TRUE(ParseJson(std::string(60, '[') + std::string(60, ']')).ok());
  EXPECT_FALSE(ParseJson(std::string(70, '[') + std::string(70, ']')).ok());
  EXPECT_FALSE(ParseJson(std::string(1'000'000, '[')).ok());
}

TEST(JsonTest, WhatIsQuotedIsReadBack) {
  std::string text;
  for (char c = 1; c < 127; ++c) text += c;
  const auto back = ParseJson(QuoteJson(text));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->text, text);
}

}  // namespace
}  // namespace ptage::live_guest
