#ifndef FILIGREE_COORDINATOR_CORE_PARTS_H_
#define FILIGREE_COORDINATOR_CORE_PARTS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/messages.h"
#include "coordinator/core/turn.h"

// The parts of a decision, a file each. core.h says what the requests mean and which Status they end in.

namespace filigree::coordinator {

// membership.cc: who is there.
absl::StatusOr<RegisterReply> Register(Turn& turn, const RegisterRequest& request);
absl::StatusOr<Empty> Leave(Turn& turn, const LeaveRequest& request);
absl::StatusOr<Empty> DrainWorker(Turn& turn, const DrainWorkerRequest& request);
absl::Status CheckSpeaker(const Turn& turn, const Speaker& speaker);  // is it live?
void ExpireLeases(Turn& turn);
void ExpireLease(Turn& turn, const std::string& worker);  // that one's, if it is over

// heartbeat.cc: what a worker reports, and what it is to do.
absl::StatusOr<HeartbeatReply> Heartbeat(Turn& turn, const HeartbeatRequest& request);

// jobs.cc: what users ask.
absl::StatusOr<SubmitReply> Submit(Turn& turn, const SubmitRequest& request);
absl::StatusOr<Empty> Cancel(Turn& turn, const CancelRequest& request);
absl::StatusOr<Empty> DrainJob(Turn& turn, const DrainJobRequest& request);
absl::StatusOr<const JobRow*> OpenOrEnded(const Turn& turn, const std::string& job);  // NotFound: unknown

// ending.cc: how a generation comes to its end. Nothing here starts one.
//
// Fault: the generation is to end because of `cause`. No-op where it is already being ended so.
struct Cause {
  int32_t rank = -1;      // -1: no one's
  std::string reason;     // for people
  bool rollback = false;  // what the replicas hold is not to be trusted
  bool counts = true;     // against the limit of restarts
};
void Fault(Turn& turn, const std::string& job, const Cause& cause);
// Ends a placed or running generation on request.
void StartDraining(Turn& turn, const std::string& job, Intent intent, const std::string& reason);
// Moves the job on where its ranks allow it: all run, all finished, all gone.
void Progress(Turn& turn, const std::string& job);
// A rank whose place is over and that nobody has heard of (a coordinator that was started anew may have forgotten its
// end) will never be heard of again: a fault. Looks at all ranks: for WatchTime, not for every heartbeat.
void MissUnheard(Turn& turn, const std::string& job);

// scheduler.cc: who is placed next, and who grows.
void Schedule(Turn& turn);

// commit.cc, mask_reports.cc.
absl::StatusOr<Empty> Commit(Turn& turn, const CommitRequest& request);
absl::StatusOr<MaskReportReply> ReportMask(Turn& turn, const MaskReportRequest& request);
absl::Status CheckDigests(const Digests& digests);
// Takes one rank's digests; where replicas differ the generation is at fault.
MaskAgreement::Verdict HearMasks(Turn& turn, const std::string& job, int32_t rank, int64_t epoch, const Digests& before,
                                 const Digests& after);

// watch_time.cc: deadlines of jobs, and ranks that fall behind.
void WatchTime(Turn& turn);
// Microseconds since this process first saw the job in its state and generation; submitted and queued are one wait.
int64_t InStateFor(Turn& turn, const JobRow& row);

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_PARTS_H_
