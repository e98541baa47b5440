#ifndef FILIGREE_WORKER_PARALLEL_WORLD_H_
#define FILIGREE_WORKER_PARALLEL_WORLD_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/comm/communicator.h"
#include "worker/config/settings.h"
#include "worker/parallel/grid.h"
#include "worker/parallel/progress.h"

// The ranks of a run as one of them sees them: itself, all, and those along either side of the grid.
//
// Threads: one caller at a time.

namespace filigree::parallel {

class World {
 public:
  // A world of one: no messages.
  static std::unique_ptr<World> Alone();

  // The ranks that a launcher started, or a world of one where none did. `settings`: what this rank read, or why it
  // could not. Errors: those of settings, FitGrid, and Unavailable where the backend cannot be opened. Collective, also
  // in its errors: all ranks fail if one does.
  static absl::StatusOr<std::unique_ptr<World>> Open(const absl::StatusOr<config::Settings>& settings);

  // Of a transport that is there already.
  static absl::StatusOr<std::unique_ptr<World>> Make(const absl::StatusOr<config::Settings>& settings,
                                                     std::unique_ptr<comm::Transport> transport);

  int rank() const { return all_->rank(); }
  int size() const { return all_->size(); }
  bool first() const { return rank() == 0; }  // speaks to the user and writes the log
  const Grid& grid() const { return grid_; }
  int data_rank() const { return grid_.data_rank(rank()); }
  int tensor_rank() const { return grid_.tensor_rank(rank()); }
  int ranks_on_this_host() const { return ranks_on_this_host_; }
  int hosts() const;
  // Every rank has a core for one thread more than its own (threads.h). The same answer on all.
  bool has_spare_cores() const { return has_spare_cores_; }
  std::string Describe() const;  // "4 ranks (2 data x 2 tensor) over mpi on 1 host"

  // How far this rank is. Whoever waits for others says so (Progress::Waiting); the functions below do.
  Progress& progress() { return progress_; }
  const Progress& progress() const { return progress_; }

  comm::Communicator& all() { return *all_; }
  comm::Communicator& data() { return data_ == nullptr ? *all_ : *data_; }  // ranks with this one's part of the model
  comm::Communicator& tensor() { return *tensor_; }  // ranks of its model; where grid().tensor > 1

  // All ranks once more, for a thread of its own. Collective. DeadlineExceeded where one does not come for a minute:
  // this is for those who begin to watch, and nobody watches them yet.
  absl::StatusOr<std::unique_ptr<comm::Communicator>> AnotherGroup();

  // From now on a watchdog notices lost and stuck ranks: those who wait for one that is neither, as it may be told to
  // wait itself, wait on.
  void BeWatched();

  // Bytes of all these groups since the start: this rank's.
  comm::Traffic traffic() const;

  // Why ranks do not reach each other any more; OK: they do, as far as this one knows.
  absl::Status failure() const;
  // Makes all operations of the world return `why`, on this rank and then on the others. From any thread.
  void Abort(const absl::Status& why);

  // OK everywhere if every rank says so; else on all ranks the status of the first rank that failed, with its number
  // and host in front. A rank that does not answer is such a failure.
  absl::Status Agree(const absl::Status& mine);

  // FailedPrecondition on all ranks where they differ: names the ranks, the field and the values (their beginnings).
  struct Field {
    std::string name, value;
  };
  absl::Status Compare(const std::vector<Field>& fields);

 private:
  World() = default;
  void SetDeadline(std::chrono::milliseconds deadline);
  absl::Status LookAtHosts(const config::RunSettings& settings);

  Grid grid_;
  std::unique_ptr<comm::Communicator> all_, data_, tensor_;
  int ranks_on_this_host_ = 1;
  bool has_spare_cores_ = false;
  std::chrono::milliseconds deadline_{0};  // of operations
  Progress progress_;
};

}  // namespace filigree::parallel

#endif  // FILIGREE_WORKER_PARALLEL_WORLD_H_
