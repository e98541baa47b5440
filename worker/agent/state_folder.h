#ifndef FILIGREE_WORKER_AGENT_STATE_FOLDER_H_
#define FILIGREE_WORKER_AGENT_STATE_FOLDER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/agent/rank_table.h"

namespace filigree::agent {

// What a worker writes on its machine, in a folder that only its user may enter and only one worker uses at a time:
//
//   lock                               held while the worker runs
//   agent.sock                         where ranks reach it
//   configs/JOB.toml                   of jobs that have ranks here
//   logs/JOB/gGENERATION-rankRANK.log  what ranks print (rank_log.h); the oldest beyond 1000 files are removed
class StateFolder {
 public:
  // Made where it is not there. InvalidArgument: no socket can have its path; PermissionDenied: others may enter
  // it; FailedPrecondition: another worker uses it; else what the system said.
  static absl::StatusOr<StateFolder> Open(const std::string& path);
  StateFolder(StateFolder&& other) noexcept;
  ~StateFolder();  // the lock goes, files stay

  const std::string& path() const { return path_; }  // absolute
  std::string socket() const { return path_ + "/agent.sock"; }
  // Unavailable: it cannot be written.
  absl::StatusOr<std::string> WriteConfig(const std::string& job, const std::string& config) const;
  void RemoveConfig(const std::string& job) const;
  // Its folder is made where it can be.
  std::string LogPath(const RankId& id) const;

 private:
  StateFolder(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}

  std::string path_;
  int lock_ = -1;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_STATE_FOLDER_H_
