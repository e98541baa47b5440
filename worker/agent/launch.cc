#include "worker/agent/launch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace filigree::agent {
namespace {

constexpr char kThisProgram[] = "/proc/self/exe";

constexpr std::string_view kOthers[] = {"OMPI_",
                                        "PMIX_",
                                        "PMI_",
                                        "SLURM_",
                                        "FILIGREE_RANK=",
                                        "FILIGREE_RANKS=",
                                        "FILIGREE_STORE=",
                                        "FILIGREE_GENERATION=",
                                        "FILIGREE_AGENT=",
                                        "FILIGREE_PROCESS=",
                                        "FILIGREE_COORDINATOR=",
                                        "FILIGREE_TLS_",
                                        "FILIGREE_TOKEN_FILE=",
                                        "FILIGREE_SERVER_NAME=",
                                        "TERM="};

// Where the shell would find it; empty: nowhere.
std::string InPath(const std::string& program) {
  const char* const variable = std::getenv("PATH");
  const std::string path = variable == nullptr ? "/usr/bin:/bin" : variable;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    std::string candidate = path.substr(at, end - at) + "/" + program;
    if (end > at && access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  return "";
}

}  // namespace

std::vector<std::string> EnvironmentOfRanks(char** environment) {
  std::vector<std::string> kept;
  for (char** at = environment; *at != nullptr; ++at) {
    const std::string_view variable = *at;
    const bool others = std::any_of(std::begin(kOthers), std::end(kOthers), [&](std::string_view prefix) {
      return variable.substr(0, prefix.size()) == prefix;
    });
    if (!others) kept.emplace_back(variable);
  }
  kept.emplace_back("TERM=dumb");  // mpirun gives its ranks a terminal, and nobody sits at it
  return kept;
}

absl::StatusOr<Command> CommandOf(const LaunchPlace& place, const Start& start, const std::string& config) {
  std::error_code error;
  Command command;
  command.program = place.program;
  command.folder = place.folder;
  command.environment = place.environment;
  command.environment.push_back("FILIGREE_AGENT=unix:" + place.socket);
  command.environment.push_back("FILIGREE_PROCESS=" + start.process);
  if (start.spec->backend == contract::Backend::kMpi) {
    command.program = InPath("mpirun");
    if (command.program.empty())
      return absl::NotFoundError("backend mpi needs mpirun, which is not in the PATH; install Open MPI");
    // The coordinator has counted slots; mpirun need not do it again.
    command.arguments = {"mpirun",
                         "--mca",
                         "plm",
                         "isolated",
                         "--oversubscribe",
                         "--bind-to",
                         "none",
                         "--mca",
                         "mpi_yield_when_idle",
                         "1",
                         "-n",
                         fmt::format("{}", start.ranks.size())};
    if (geteuid() == 0) command.arguments.emplace_back("--allow-run-as-root");
  }
  std::string program = place.program;
  // Of mpirun's processes that would be mpirun.
  if (program == kThisProgram) program = std::filesystem::read_symlink(kThisProgram, error).string();
  for (const std::string& word : {program, std::string("train"), config}) command.arguments.push_back(word);
  command.arguments.insert(command.arguments.end(), start.spec->arguments.begin(), start.spec->arguments.end());
  command.arguments.push_back("--telemetry.job=" + start.job);
  command.arguments.push_back(fmt::format("--parallel.backend={}", Name(start.spec->backend)));
  command.arguments.push_back(fmt::format("--parallel.data={}", start.data));
  command.arguments.push_back(fmt::format("--parallel.tensor={}", start.tensor));
  return command;
}

}  // namespace filigree::agent
