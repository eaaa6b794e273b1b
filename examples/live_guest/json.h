// SPDX-License-Identifier: MIT OR Apache-2.0
//
// JSON values, as QEMU's monitor answers with and as we print.

#ifndef PTAGE_EXAMPLES_LIVE_GUEST_JSON_H_
#define PTAGE_EXAMPLES_LIVE_GUEST_JSON_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace ptage::live_guest {

enum class JsonKind { kNull, kBool, kNumber, kString, kArray, kObject };

// A value. Numbers keep their text, so that 64-bit ones lose nothing.
struct Json {
  JsonKind kind = JsonKind::kNull;
  bool boolean = false;
  std::string text;  // of a string or number
  std::vector<Json> items;
  std::vector<std::string> names;  // of an object's items

  // The member of that name; null if there is none, or this is no object.
  [[nodiscard]] const Json* Find(absl::string_view name) const {
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == name) return &items[i];
    }
    return nullptr;
  }
  // The text of the string member `name`; empty if there is none.
  [[nodiscard]] std::string StringAt(absl::string_view name) const {
    const Json* const member = Find(name);
    return member != nullptr && member->kind == JsonKind::kString ? member->text
                                                                  : "";
  }
  // Whether this is a whole number that fits.
  [[nodiscard]] bool ToNumber(std::uint64_t& number) const {
    return kind == JsonKind::kNumber && absl::SimpleAtoi(text, &number);
  }
};

// InvalidArgument, with the place: `text` is not one JSON value and nothing
// else, or is nested deeper than 64.
[[nodiscard]] inline absl::StatusOr<Json> ParseJson(absl::string_view text);

// `text` as a JSON string, quotes included. Bytes from 0x80 on are passed on as
// they are.
[[nodiscard]] inline std::string QuoteJson(absl::string_view text);

// ---------------------------------------------------------------------------

namespace internal {

class JsonParser {
 public:
  explicit JsonParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<Json> Whole() {
    Json value;
    if (!Value(value, 64)) return Error();
    Space();
    if (at_ != text_.size()) return Error();
    return value;
  }

 private:
  absl::Status Error() const {
    return absl::InvalidArgumentError(
        absl::StrFormat("not JSON, at byte %d of %d", at_, text_.size()));
  }
  void Space() {
    while (at_ < text_.size() && absl::string_view(" \t\r\n").find(
                                     text_[at_]) != absl::string_view::npos) {
      ++at_;
    }
  }
  bool Take(absl::string_view what) {
    if (text_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }
  bool TakeToken(absl::string_view what) {
    Space();
    return Take(what);
  }

  bool Value(Json& value, int depth) {
    Space();
    if (depth == 0 || at_ == text_.size()) return false;
    switch (text_[at_]) {
      case '{':
        return Object(value, depth);
      case '[':
        return Array(value, depth);
      case '"':
        value.kind = JsonKind::kString;
        return String(value.text);
      case 't':
      case 'f':
        value.kind = JsonKind::kBool;
        value.boolean = text_[at_] == 't';
        return Take(value.boolean ? "true" : "false");
      case 'n':
        return Take("null");
      default:
        return Number(value);
    }
  }
  bool Object(Json& value, int depth) {
    value.kind = JsonKind::kObject;
    ++at_;
    if (TakeToken("}")) return true;
    do {
      Space();
      value.names.emplace_back();
      value.items.emplace_back();
      if (!String(value.names.back()) || !TakeToken(":") ||
          !Value(value.items.back(), depth - 1)) {
        return false;
      }
    } while (TakeToken(","));
    return TakeToken("}");
  }
  bool Array(Json& value, int depth) {
    value.kind = JsonKind::kArray;
    ++at_;
    if (TakeToken("]")) return true;
    do {
      value.items.emplace_back();
      if (!Value(value.items.back(), depth - 1)) return false;
    } while (TakeToken(","));
    return TakeToken("]");
  }
  bool String(std::string& to) {
    if (!Take("\"")) return false;
    while (at_ < text_.size() && text_[at_] != '"') {
      const char c = text_[at_];
      if (static_cast<unsigned char>(c) < 0x20) return false;
      ++at_;
      if (c != '\\') {
        to += c;
      } else if (!Escape(to)) {
        return false;
      }
    }
    return Take("\"");
  }
  bool Escape(std::string& to) {
    if (at_ == text_.size()) return false;
    const char c = text_[at_++];
    constexpr absl::string_view kNames = "\"\\/bfnrt";
    constexpr absl::string_view kMeant = "\"\\/\b\f\n\r\t";
    const std::size_t which = kNames.find(c);
    if (which != absl::string_view::npos) {
      to += kMeant[which];
      return true;
    }
    unsigned code = 0;
    if (c != 'u' || at_ + 4 > text_.size()) return false;
    for (int i = 0; i < 4; ++i) {
      const std::size_t digit = absl::string_view("0123456789abcdef")
                                    .find(static_cast<char>(text_[at_] | 0x20));
      if (digit == absl::string_view::npos) return false;
      code = code * 16 + static_cast<unsigned>(digit);
      ++at_;
    }
    // Names that we compare are ASCII: what is not is only shown.
    to += code < 0x80 ? static_cast<char>(code) : '?';
    return true;
  }
  bool Number(Json& value) {
    const std::size_t from = at_;
    (void)Take("-");
    while (at_ < text_.size() &&
           absl::string_view("0123456789+-.eE").find(text_[at_]) !=
               absl::string_view::npos) {
      ++at_;
    }
    value.kind = JsonKind::kNumber;
    value.text = std::string(text_.substr(from, at_ - from));
    double number = 0;
    return absl::SimpleAtod(value.text, &number) && value.text[0] != '+' &&
           value.text[0] != '.';
  }

  const absl::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace internal

inline absl::StatusOr<Json> ParseJson(absl::string_view text) {
  return internal::JsonParser(text).Whole();
}

inline std::string QuoteJson(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<unsigned>(c));
    } else {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace ptage::live_guest

#endif  // PTAGE_EXAMPLES_LIVE_GUEST_JSON_H_
