#include "worker/parallel/world.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"
#include "worker/comm/local.h"
#include "worker/machine/processor.h"
#include "worker/parallel/threads.h"

namespace filigree::parallel {
namespace {

// Until ranks know each other nothing takes long.
constexpr std::chrono::seconds kMeeting{60};
// One may have a large file to read or to write.
constexpr std::chrono::minutes kDeadline{10};
// A watchdog notices lost ranks much earlier (watchdog.h).
constexpr std::chrono::hours kWatched{24 * 7};

std::unique_ptr<comm::Communicator> CommunicatorOf(std::unique_ptr<comm::Transport> transport) {
  comm::Communicator::Options options;
  options.deadline = kMeeting;
  return std::make_unique<comm::Communicator>(std::move(transport), options);
}

std::string Beginning(const std::string& text) {
  constexpr size_t kMost = 80;
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

}  // namespace

std::unique_ptr<World> World::Alone() {
  std::unique_ptr<World> world(new World);
  world->all_ = CommunicatorOf(std::move(comm::LocalTransports(1).front()));
  return world;
}

absl::StatusOr<std::unique_ptr<World>> World::Make(const absl::StatusOr<config::Settings>& settings,
                                                   std::unique_ptr<comm::Transport> transport) {
  std::unique_ptr<World> world(new World);
  world->all_ = CommunicatorOf(std::move(transport));
  if (absl::Status agreed = world->Agree(settings.status()); !agreed.ok()) return agreed;
  const absl::StatusOr<Grid> grid = FitGrid(*settings, world->size());
  if (absl::Status agreed = world->Agree(grid.status()); !agreed.ok()) return agreed;
  world->grid_ = *grid;
  if (absl::Status looked = world->LookAtHosts(settings->run); !looked.ok()) return looked;
  if (grid->tensor > 1) {
    const int rank = world->rank();
    absl::StatusOr<std::unique_ptr<comm::Communicator>> data =
        world->all_->Split(grid->tensor_rank(rank), grid->data_rank(rank));
    if (!data.ok()) return data.status();
    world->data_ = *std::move(data);
    absl::StatusOr<std::unique_ptr<comm::Communicator>> tensor =
        world->all_->Split(grid->data_rank(rank), grid->tensor_rank(rank));
    if (!tensor.ok()) return tensor.status();
    world->tensor_ = *std::move(tensor);
  }
  world->SetDeadline(kDeadline);
  return world;
}

void World::SetDeadline(std::chrono::milliseconds deadline) {
  deadline_ = deadline;
  for (comm::Communicator* group : {all_.get(), data_.get(), tensor_.get()}) {
    if (group != nullptr) group->SetDeadline(deadline);
  }
}

void World::BeWatched() { SetDeadline(kWatched); }

absl::StatusOr<std::unique_ptr<comm::Communicator>> World::AnotherGroup() {
  all_->SetDeadline(kMeeting);
  absl::StatusOr<std::unique_ptr<comm::Communicator>> group = all_->Split(0, rank());
  all_->SetDeadline(deadline_);
  return group;
}

absl::Status World::LookAtHosts(const config::RunSettings& settings) {
  for (int r = 0; r < size(); ++r) {
    if (r != rank() && all_->host(r) == all_->host(rank())) ++ranks_on_this_host_;
  }
  const int threads = ThreadsOfRank(settings, ranks_on_this_host_);
  const bool mine = HasSpareCores(machine::DescribeProcessor().cores, threads, ranks_on_this_host_);
  const Progress::Waiting waiting(progress_);
  const absl::StatusOr<std::vector<std::string>> everyones = all_->AllGatherStrings(mine ? "spare" : "");
  if (!everyones.ok()) return everyones.status();
  has_spare_cores_ = std::none_of(everyones->begin(), everyones->end(), [](const auto& word) { return word.empty(); });
  return absl::OkStatus();
}

int World::hosts() const {
  std::set<std::string> names;
  for (int r = 0; r < size(); ++r) names.insert(all_->host(r));
  return static_cast<int>(names.size());
}

std::string World::Describe() const {
  return fmt::format("{} ranks ({} data x {} tensor) over {} on {} host{}", size(), grid_.data, grid_.tensor,
                     all_->backend(), hosts(), hosts() == 1 ? "" : "s");
}

comm::Traffic World::traffic() const {
  comm::Traffic sum = all_->traffic();
  if (data_ != nullptr) sum += data_->traffic();
  if (tensor_ != nullptr) sum += tensor_->traffic();
  return sum;
}

absl::Status World::failure() const {
  for (const comm::Communicator* group : {all_.get(), data_.get(), tensor_.get()}) {
    if (group != nullptr && !group->broken().ok()) return group->broken();
  }
  return absl::OkStatus();
}

void World::Abort(const absl::Status& why) {
  for (comm::Communicator* group : {all_.get(), data_.get(), tensor_.get()}) {
    if (group != nullptr) group->Abort(why);
  }
}

absl::Status World::Agree(const absl::Status& mine) {
  if (size() == 1) return mine;
  std::string word;  // the code and the message; empty: OK
  if (!mine.ok()) word = fmt::format("{} {}", static_cast<int>(mine.code()), std::string(mine.message()));
  const Progress::Waiting waiting(progress_);
  const absl::StatusOr<std::vector<std::string>> words = all_->AllGatherStrings(word);
  if (!words.ok()) return mine.ok() ? words.status() : mine;
  for (int r = 0; r < size(); ++r) {
    const std::string& of_rank = (*words)[r];
    if (of_rank.empty()) continue;
    const size_t space = of_rank.find(' ');
    const int code = std::atoi(of_rank.substr(0, space).c_str());
    return {static_cast<absl::StatusCode>(code),
            fmt::format("rank {} on {}: {}", r, all_->host(r), of_rank.substr(space + 1))};
  }
  return absl::OkStatus();
}

absl::Status World::Compare(const std::vector<Field>& fields) {
  if (size() == 1) return absl::OkStatus();
  const Progress::Waiting waiting(progress_);
  nlohmann::json mine = nlohmann::json::array();
  for (const Field& field : fields) mine.push_back({field.name, field.value});
  const absl::StatusOr<std::vector<std::string>> all =
      all_->AllGatherStrings(mine.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (!all.ok()) return all.status();
  const nlohmann::json first = nlohmann::json::parse((*all)[0], nullptr, /*allow_exceptions=*/false);
  for (int r = 1; r < size(); ++r) {
    if ((*all)[r] == (*all)[0]) continue;
    const nlohmann::json other = nlohmann::json::parse((*all)[r], nullptr, /*allow_exceptions=*/false);
    for (size_t i = 0; first.is_array() && other.is_array() && i < first.size() && i < other.size(); ++i) {
      if (first[i] == other[i]) continue;
      return absl::FailedPreconditionError(fmt::format(
          "ranks disagree in {}: rank 0 on {} has {}, rank {} on {} has {}; start all of them with the same program, "
          "settings and corpus",
          first[i][0].get<std::string>(), all_->host(0), Beginning(first[i][1].get<std::string>()), r, all_->host(r),
          Beginning(other[i][1].get<std::string>())));
    }
    return absl::FailedPreconditionError(
        fmt::format("ranks disagree: rank {} on {} compares other things than rank 0; start all of them with the same "
                    "program",
                    r, all_->host(r)));
  }
  return absl::OkStatus();
}

}  // namespace filigree::parallel
