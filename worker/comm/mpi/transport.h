#ifndef FILIGREE_WORKER_COMM_MPI_TRANSPORT_H_
#define FILIGREE_WORKER_COMM_MPI_TRANSPORT_H_

#include <mpi.h>

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "worker/comm/mpi/job.h"
#include "worker/comm/transport.h"

// Rounds as sends and receives that MPI carries while we ask again and again: nothing waits inside MPI, so that a rank
// that is stuck costs a deadline and not the process.

namespace filigree::comm {

class MpiTransport : public Transport {
 public:
  // `ranks`: of the job, in the order of this group's; `group`: its number in all of their processes.
  MpiTransport(std::shared_ptr<MpiJob> job, int group, std::vector<int> ranks);
  ~MpiTransport() override;

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(ranks_.size()); }
  std::string backend() const override { return "mpi"; }
  std::string host(int rank) const override { return job_->host(ranks_[static_cast<size_t>(rank)]); }

  absl::Status Exchange(uint64_t round, std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in,
                        std::chrono::steady_clock::time_point deadline) override;
  void Interrupt() override { interrupted_.store(true); }
  void Leave(const absl::Status& why) override;
  absl::StatusOr<std::unique_ptr<Transport>> Subgroup(uint64_t round, std::span<const int> ranks,
                                                      std::chrono::steady_clock::time_point deadline) override;

 private:
  static constexpr size_t kFarewellBytes = 1024;

  // The pieces of a round's messages, which MPI counts in int.
  struct Round {
    std::vector<MPI_Request> requests;
    std::vector<int> peers;  // of this group
    std::vector<bool> incoming;
    size_t open = 0;  // requests that are not over
    bool large = false;
    // Of the last MPI_Testsome.
    std::vector<int> over;
    std::vector<MPI_Status> statuses;

    MPI_Request* Add(int peer, bool is_incoming);
  };
  absl::Status Post(int tag, std::span<const OutgoingMessage> out, std::span<const IncomingMessage> in, Round* round);
  absl::Status Test(Round* round);
  static std::vector<int> Missing(const Round& round);
  absl::Status Poll(Round* round, std::chrono::steady_clock::time_point deadline);
  void Cancel(Round* round);
  void ListenForFarewells();
  void TakeFarewells();
  int Tag(uint64_t round) const;
  int FarewellTag() const;
  int OfJob(int rank) const { return ranks_[static_cast<size_t>(rank)]; }

  const std::shared_ptr<MpiJob> job_;
  const int group_;
  const std::vector<int> ranks_;
  int rank_ = 0;
  std::atomic<bool> interrupted_{false};
  bool has_left_ = false;
  std::array<char, kFarewellBytes> farewell_{};
  MPI_Request farewell_request_ = MPI_REQUEST_NULL;
  std::vector<std::optional<absl::Status>> left_;  // why ranks take no part any more
  bool someone_left_ = false;
  std::optional<int> failed_;  // the first rank that left because of a failure, which is everybody's
};

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_MPI_TRANSPORT_H_
