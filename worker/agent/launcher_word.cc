#include "worker/agent/launcher_word.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace filigree::agent {
namespace {

// Takes `text` and all before it from the front of `rest`.
bool SkipPast(std::string_view text, std::string_view& rest) {
  const size_t at = rest.find(text);
  if (at == std::string_view::npos) return false;
  rest.remove_prefix(at + text.size());
  return true;
}

// The number at the front of `rest`.
std::optional<int> Number(std::string_view& rest) {
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  int number = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  return number;
}

// What follows the last `before` in the text.
std::optional<std::string_view> AfterLast(std::string_view text, std::string_view before) {
  const size_t at = text.rfind(before);
  if (at == std::string_view::npos) return std::nullopt;
  return text.substr(at + before.size());
}

// "... noticed that process rank 1 with PID 4711 on node host exited on signal 9 (Killed)."
std::optional<LaunchersWord> Killed(std::string_view text) {
  auto rest = AfterLast(text, "noticed that process rank");
  if (!rest) return std::nullopt;
  const std::optional<int> rank = Number(*rest);
  if (!rank || !SkipPast("exited on signal", *rest)) return std::nullopt;
  const std::optional<int> signal = Number(*rest);
  if (!signal || *signal == 0) return std::nullopt;
  return LaunchersWord{*rank, 0, *signal};
}

// "  Process name: [[57037,1],1]", Open MPI 5: "[prterun-host-4711@1,1]", and the line "  Exit code:    3".
std::optional<LaunchersWord> Ended(std::string_view text) {
  auto rest = AfterLast(text, "Process name:");
  if (!rest) return std::nullopt;
  std::string_view name = rest->substr(0, rest->find('\n'));
  name.remove_prefix(std::min(name.size(), name.rfind(',') + 1));
  const std::optional<int> rank = Number(name);
  if (!rank || !name.starts_with(']') || !SkipPast("Exit code:", *rest)) return std::nullopt;
  const std::optional<int> code = Number(*rest);
  if (!code || *code == 0) return std::nullopt;
  return LaunchersWord{*rank, *code, 0};
}

// "MPI_ABORT was invoked on rank 0 in communicator MPI_COMM_WORLD", and the line "with errorcode 4."
std::optional<LaunchersWord> Aborted(std::string_view text) {
  auto rest = AfterLast(text, "MPI_ABORT was invoked on rank");
  if (!rest) return std::nullopt;
  const std::optional<int> rank = Number(*rest);
  if (!rank || !SkipPast("with errorcode", *rest)) return std::nullopt;
  const std::optional<int> code = Number(*rest);
  if (!code || *code == 0) return std::nullopt;
  return LaunchersWord{*rank, *code, 0};
}

}  // namespace

std::optional<LaunchersWord> WordOfMpirun(std::string_view tail) {
  // Whoever calls MPI_Abort ends others, which then look like the first.
  if (const auto aborted = Aborted(tail)) return aborted;
  if (const auto killed = Killed(tail)) return killed;
  return Ended(tail);
}

}  // namespace filigree::agent
