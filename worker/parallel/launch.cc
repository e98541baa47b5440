#include "worker/parallel/launch.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "worker/comm/mpi.h"

namespace filigree::parallel {
namespace {

constexpr int kMostRanks = 65536;

struct Variable {
  std::string name, value;
};

// The first of them that is set and not empty.
std::optional<Variable> FirstSet(const Environment& environment, const std::vector<const char*>& names) {
  for (const char* name : names) {
    const char* const value = environment(name);
    if (value != nullptr && *value != '\0') return Variable{name, value};
  }
  return std::nullopt;
}

absl::StatusOr<int> WholeNumber(const Environment& environment, const std::vector<const char*>& names, int least,
                                int most, const char* what) {
  const std::optional<Variable> variable = FirstSet(environment, names);
  if (!variable) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not set: {}; without it {} would do", names.front(), what,
                    fmt::join(std::vector<const char*>(names.begin() + 1, names.end()), " or ")));
  }
  int number = 0;
  const char* const end = variable->value.data() + variable->value.size();
  const auto [stop, error] = std::from_chars(variable->value.data(), end, number);
  if (error == std::errc() && stop == end && number >= least && number <= most) return number;
  return absl::InvalidArgumentError(fmt::format("{} is \"{}\": {}, a whole number from {} to {}", variable->name,
                                                variable->value, what, least, most));
}

bool IsName(const std::string& text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

}  // namespace

bool MeetThroughStore(const absl::StatusOr<config::Settings>& settings, const Environment& environment) {
  const config::Backend backend = settings.ok() ? settings->parallel.backend : config::Backend::kAuto;
  if (backend != config::Backend::kAuto) return backend == config::Backend::kGloo;
  return FirstSet(environment, {"FILIGREE_STORE"}).has_value() && !comm::UnderMpi();
}

absl::StatusOr<Launch> ReadLaunch(const Environment& environment) {
  Launch launch;
  const absl::StatusOr<int> ranks = WholeNumber(environment, {"FILIGREE_RANKS", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"},
                                                1, kMostRanks, "how many ranks were started");
  if (!ranks.ok()) return ranks.status();
  launch.ranks = *ranks;
  const absl::StatusOr<int> rank = WholeNumber(environment, {"FILIGREE_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"},
                                               0, *ranks - 1, "which of the ranks this process is");
  if (!rank.ok()) return rank.status();
  launch.rank = *rank;
  const auto text = [&](const std::vector<const char*>& names, const char* without) {
    const std::optional<Variable> variable = FirstSet(environment, names);
    return variable ? variable->value : std::string(without);
  };
  launch.store = text({"FILIGREE_STORE"}, "");
  launch.host = text({"FILIGREE_HOST"}, "");
  launch.interface = text({"FILIGREE_INTERFACE"}, "");
  launch.generation = text({"FILIGREE_GENERATION", "SLURM_JOB_ID"}, "0");
  if (launch.store.empty()) {
    return absl::InvalidArgumentError(
        "FILIGREE_STORE is not set: the folder where the ranks meet, which all of them see");
  }
  if (!IsName(launch.generation)) {
    return absl::InvalidArgumentError(fmt::format(
        "FILIGREE_GENERATION is \"{}\": 1 to 64 letters, digits, '.', '_' and '-' were expected", launch.generation));
  }
  return launch;
}

}  // namespace filigree::parallel
