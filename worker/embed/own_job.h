#ifndef FILIGREE_WORKER_EMBED_OWN_JOB_H_
#define FILIGREE_WORKER_EMBED_OWN_JOB_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/rpc/server.h"
#include "filigree/v1/agent.pb.h"
#include "filigree/v1/coordinator.grpc.pb.h"
#include "filigree/v1/workers.grpc.pb.h"
#include "proto/contract/job_spec.h"

namespace filigree::embed {

// A coordinator in this process, with one worker and one job: the run that this process is in. Users reach it as they
// reach a cluster's (jobs, watch, drain, cancel, metrics, console). Nothing of it is kept: what must last is in the run
// folder. Its ranks are not started by it, and it commits no checkpoints.
//
// Threads: any may call.
class OwnJob {
 public:
  struct Options {
    std::string listen;      // HOST:PORT, a loopback address
    std::string host;        // of this process
    contract::JobSpec spec;  // its grid is that of the ranks
  };

  // When this returns, the job is placed and all ranks are said to be starting. Errors: as coordinator::Server::Start.
  static absl::StatusOr<std::unique_ptr<OwnJob>> Start(const Options& options);
  // As End(RANK_STATE_STOPPED).
  ~OwnJob();
  OwnJob(const OwnJob&) = delete;
  OwnJob& operator=(const OwnJob&) = delete;

  // What rank `rank` says of itself.
  void Hear(int rank, const v1::TellRequest& report);
  // All ranks have ended so: finished, stopped or failed, with the reason of the first. Whoever watches hears it.
  void End(v1::RankState state, const std::string& reason);

  // Somebody wants the run to stop: after a checkpoint, or without one.
  bool Drained() const { return drained_; }
  bool Cancelled() const { return cancelled_; }

  const std::string& job() const { return job_; }
  coordinator::Server& server() { return *server_; }

 private:
  OwnJob() = default;
  absl::Status Enrol(const Options& options);
  void Run();
  void Beat();
  void Obey(const v1::HeartbeatReply& reply);
  void SayStopped();

  std::unique_ptr<coordinator::Server> server_;
  std::unique_ptr<v1::Workers::Stub> stub_;
  std::unique_ptr<v1::Coordinator::Stub> users_;
  std::string job_;
  v1::HeartbeatRequest beat_;  // of the thread, which alone sends; its ranks guarded by mutex_
  std::chrono::milliseconds interval_{1000};
  std::atomic<bool> drained_{false}, cancelled_{false};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace filigree::embed

#endif  // FILIGREE_WORKER_EMBED_OWN_JOB_H_
