#include "worker/client/names.h"

#include <cctype>
#include <string_view>
#include <vector>

#include "worker/config/load.h"

namespace filigree::client {
namespace {

// "JOB_STATE_RUNNING" without its prefix, small. Protobuf knows no name of a number that it does not know.
std::string Small(std::string_view name, std::string_view prefix) {
  if (name.substr(0, prefix.size()) != prefix) return "unknown";
  std::string small(name.substr(prefix.size()));
  for (char& c : small) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return small == "unspecified" ? "unknown" : small;
}

}  // namespace

std::string NameOf(v1::JobState state) { return Small(v1::JobState_Name(state), "JOB_STATE_"); }
std::string NameOf(v1::RankState state) { return Small(v1::RankState_Name(state), "RANK_STATE_"); }
std::string NameOf(v1::Presence presence) { return Small(v1::Presence_Name(presence), "PRESENCE_"); }
std::string NameOf(v1::Phase phase) { return Small(v1::Phase_Name(phase), "PHASE_"); }
std::string NameOf(v1::EventKind kind) { return Small(v1::EventKind_Name(kind), "EVENT_KIND_"); }
std::string NameOf(v1::Backend backend) { return Small(v1::Backend_Name(backend), "BACKEND_"); }

bool Ended(v1::JobState state) {
  return state == v1::JOB_STATE_DONE || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

int64_t TargetSteps(const v1::JobSpec& spec) {
  const std::vector<std::string> overrides(spec.arguments().begin(), spec.arguments().end());
  const auto settings = config::Parse(spec.config(), "config", overrides);
  return settings.ok() ? settings->run.steps : 0;
}

}  // namespace filigree::client
