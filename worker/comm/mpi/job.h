#ifndef FILIGREE_WORKER_COMM_MPI_JOB_H_
#define FILIGREE_WORKER_COMM_MPI_JOB_H_

#include <mpi.h>

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"

// MPI as this process has it: one communicator with every rank, of which groups share out the tags among themselves.
// Inside filigree_mpi.so only.

namespace filigree::comm {

class MpiJob {
 public:
  // Initialises MPI; once a process.
  static absl::Status Start(std::shared_ptr<MpiJob>* job);
  MpiJob() = default;
  MpiJob(const MpiJob&) = delete;
  MpiJob& operator=(const MpiJob&) = delete;

  MPI_Comm world() const { return world_; }
  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& host(int rank) const { return hosts_[static_cast<size_t>(rank)]; }
  void SetHosts(std::vector<std::string> hosts) { hosts_ = std::move(hosts); }

  // To be held around every call of MPI; locks nothing where MPI takes calls of several threads by itself.
  std::unique_lock<std::mutex> Lock() {
    return one_at_a_time_ ? std::unique_lock(calls_) : std::unique_lock<std::mutex>();
  }

  // Groups of this process have numbers of their own, which give their messages tags of their own. A new group takes
  // the highest that one of its processes proposes.
  int ProposeGroup() const { return next_group_; }
  void TakeGroup(int group) { next_group_ = group + 1; }

  // Sends that nobody waits for; `text` lives as long as they do.
  void SendAndForget(std::string text, const std::vector<int>& ranks, int tag);
  // Frees what has arrived.
  void Sweep();
  void Finish();

 private:
  struct Forgotten {
    std::string text;
    std::vector<MPI_Request> requests;
  };

  MPI_Comm world_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1;
  bool one_at_a_time_ = false;
  int next_group_ = 1;
  std::mutex calls_;
  std::mutex forgotten_mutex_;
  std::list<Forgotten> forgotten_;  // guarded by forgotten_mutex_
  std::vector<std::string> hosts_;
};

// The words of MPI for an error code.
std::string MpiError(int code);

}  // namespace filigree::comm

#endif  // FILIGREE_WORKER_COMM_MPI_JOB_H_
