#include "coordinator/rpc/tokens.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

#include "proto/contract/ids.h"
#include "proto/rpc/channel.h"

namespace filigree::coordinator {
namespace {

constexpr size_t kLeastTokenBytes = 16, kMostTokenBytes = 512, kMostTokens = 4096;

bool IsToken(std::string_view text) {
  return text.size() >= kLeastTokenBytes && text.size() <= kMostTokenBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c <= '~'; });
}

std::array<unsigned char, 32> DigestOf(std::string_view token) {
  std::array<unsigned char, 32> digest = {};
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  return digest;
}

std::string_view Trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

const char* Name(Role role) {
  switch (role) {
    case Role::kReader:
      return "reader";
    case Role::kAdmin:
      return "admin";
    case Role::kWorker:
      return "worker";
    case Role::kEverything:
      return "everything";
  }
  return "unknown";
}

bool ParseRole(std::string_view text, char separator, Caller& caller) {
  for (const Role role : {Role::kReader, Role::kAdmin, Role::kWorker})
    if (text == Name(role)) {
      caller = {role, ""};
      return true;
    }
  const std::string prefix = std::string(Name(Role::kWorker)) + separator;
  if (text.substr(0, prefix.size()) != prefix || !contract::IsId(text.substr(prefix.size()))) return false;
  caller = {Role::kWorker, std::string(text.substr(prefix.size()))};
  return true;
}

absl::StatusOr<Tokens> Tokens::Read(const std::string& path) {
  const auto text = rpc::ReadCredentialFile(path, true);
  if (!text.ok()) return text.status();
  return Parse(*text, path);
}

absl::StatusOr<Tokens> Tokens::Parse(std::string_view text, std::string_view where) {
  Tokens tokens;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const size_t blank = std::min(line.find_first_of(" \t"), line.size());
    Entry entry;
    // The line itself is a secret and is not shown.
    if (!ParseRole(line.substr(0, blank), ':', entry.caller))
      return absl::InvalidArgumentError(
          fmt::format("{}:{}: the line begins with no role; write reader, admin, worker or worker:NAME, then the token",
                      where, number));
    const std::string_view token = Trimmed(line.substr(blank));
    if (!IsToken(token))
      return absl::InvalidArgumentError(fmt::format("{}:{}: no token of {} to {} visible characters follows the role",
                                                    where, number, kLeastTokenBytes, kMostTokenBytes));
    entry.digest = DigestOf(token);
    if (tokens.Find(token)) return absl::InvalidArgumentError(fmt::format("{}:{}: a token twice", where, number));
    tokens.entries_.push_back(entry);
    if (tokens.entries_.size() > kMostTokens)
      return absl::InvalidArgumentError(fmt::format("{}: more than {} tokens", where, kMostTokens));
  }
  if (tokens.entries_.empty())
    return absl::InvalidArgumentError(
        fmt::format("{}: holds no token, so nobody could come in; add a line such as: admin TOKEN", where));
  return tokens;
}

std::optional<Caller> Tokens::Find(std::string_view token) const {
  const Digest digest = DigestOf(token);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_)
    if (CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0) found = &entry;
  if (found == nullptr) return std::nullopt;
  return found->caller;
}

}  // namespace filigree::coordinator
