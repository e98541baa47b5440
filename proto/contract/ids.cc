#include "proto/contract/ids.h"

#include <fmt/format.h>

#include <algorithm>

namespace filigree::contract {
namespace {

bool IsIdCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

bool IsHexDigit(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

bool IsId(std::string_view text) {
  return !text.empty() && text.size() <= kMaxIdBytes && std::all_of(text.begin(), text.end(), IsIdCharacter);
}

absl::Status CheckId(std::string_view what, std::string_view text) {
  if (IsId(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: {} is no name; write 1 to {} of A-Z a-z 0-9 . _ -", what, Shown(text), kMaxIdBytes));
}

std::string JobId(std::string_view name, int64_t number) { return fmt::format("{}-{}", name, number); }

absl::Status CheckDigest(std::string_view what, std::string_view text) {
  if (text.size() >= 16 && text.size() <= 64 && std::all_of(text.begin(), text.end(), IsHexDigit))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("{}: {} is no digest; 16 to 64 hexadecimal digits 0-9 a-f were expected", what, Shown(text)));
}

std::string Shown(std::string_view text) {
  constexpr size_t kMost = 80;
  std::string shown = "\"";
  for (const char c : text.substr(0, kMost)) shown += c >= ' ' && c <= '~' && c != '"' ? c : '?';
  return shown + (text.size() > kMost ? "...\"" : "\"");
}

}  // namespace filigree::contract
