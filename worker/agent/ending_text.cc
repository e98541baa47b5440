#include "worker/agent/ending_text.h"

#include <fmt/format.h>

#include <csignal>
#include <cstring>
#include <iterator>
#include <string_view>

#include "worker/telemetry/display.h"

namespace filigree::agent {
namespace {

// At most so many bytes from the front, whole characters.
std::string First(std::string text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;
  text.resize(most);
  return text;
}

// The same from the end.
std::string Last(std::string text, size_t most) {
  if (text.size() <= most) return text;
  size_t begin = text.size() - most;
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  return text.substr(begin);
}

// Of the exit codes of `filigree train` those that say more than that it failed (worker/cli/command.h).
const char* Class(int code) {
  constexpr const char* kClasses[] = {"bad configuration", "files that cannot be used", "a rank was lost",
                                      "replicas differ", "out of memory"};
  return code >= 2 && code < 2 + static_cast<int>(std::size(kClasses)) ? kClasses[code - 2] : nullptr;
}

// Shells and mpirun end with more than 128 where a process of theirs was killed.
std::string Meaning(int code) {
  if (const char* known = Class(code); known != nullptr) return fmt::format(" ({})", known);
  const char* const name = code > 128 ? sigabbrev_np(code - 128) : nullptr;
  return name == nullptr ? "" : fmt::format(" (a process was killed by signal {}, SIG{})", code - 128, name);
}

}  // namespace

std::string EndingText(const Ending& ending) {
  if (ending.signal == 0) return fmt::format("exit code {}{}", ending.code, Meaning(ending.code));
  const char* const name = sigabbrev_np(ending.signal);
  std::string text = fmt::format("killed by signal {}", ending.signal);
  if (name != nullptr) text += fmt::format(" (SIG{})", name);
  if (ending.signal != SIGKILL) return text;
  return text + (ending.out_of_memory ? ", out of memory: the kernel has killed processes for that meanwhile"
                                      : ", not by this worker");
}

std::string ReasonText(const std::string& reason, const std::string& tail) {
  constexpr std::string_view kBetween = "; printed last:\n";
  std::string text = First(telemetry::Printable(reason), kMostReasonBytes / 2);
  if (tail.empty()) return text;
  text += kBetween;
  return text + Last(telemetry::Printable(tail), kMostReasonBytes - text.size());
}

}  // namespace filigree::agent
