#ifndef FILIGREE_COORDINATOR_CORE_CORE_H_
#define FILIGREE_COORDINATOR_CORE_CORE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/clock.h"
#include "coordinator/core/events.h"
#include "coordinator/core/memory.h"
#include "coordinator/core/messages.h"
#include "coordinator/core/options.h"
#include "coordinator/tables/tables.h"

// The coordinator's mind: it takes a request and the time and answers with a decision. It reads no clock, opens no
// file, starts no thread and rolls no dice: the same requests at the same times are decided the same.
//
//     Decision d = core.Submit(now, request);
//     kept = d.outcome.rows.empty() || journal.Write(d.outcome.rows).ok();
//     kept ? core.Accept(d.outcome) : core.Drop(d.outcome);
//     kept ? answer with d.reply, publish d.outcome.events : answer Unavailable
//
// Durable state changes only in Accept, so what was answered is what the journal holds. A decision that is dropped is
// made again by the next request or Tick that sees its cause: nothing hangs on having been told once.
//
// Threads: none; one caller at a time. Every decision must be accepted or dropped before the next is asked for (CHECK).
// Time: monotonic time that goes backwards counts as standing still.
// Status of every request, beside those listed: InvalidArgument: a field is no id or out of its range; NotFound: an
// unknown worker or job; FailedPrecondition: the speaker's incarnation is over (of requests with a speaker).

namespace filigree::coordinator {

struct Outcome {
  Changes rows;                     // to be kept before anything is said
  std::vector<Event> events;        // to be published after
  std::vector<std::string> nudged;  // workers that should hear of new assignments at once
  Now now;
  uint64_t number = 0;
};

template <typename Reply>
struct Decision {
  absl::StatusOr<Reply> reply;
  Outcome outcome;  // may have rows even where the reply is an error: a lease can have run out meanwhile
};

class Core {
 public:
  // `tables` are a journal's (Tables::Check has passed) or empty. Every live worker gets a whole lease from `now` on.
  Core(const Options& options, Tables tables, Now now);

  // Must be the first decision: this process is a new epoch. Heartbeats sent before it decide nothing.
  Decision<Empty> Start(Now now);

  // AlreadyExists: a live process holds the name. ResourceExhausted: Options::max_workers. A repeated nonce gets the
  // answer it got before.
  Decision<RegisterReply> Register(Now now, const RegisterRequest& request);
  // Aborted: a later heartbeat has been answered.
  Decision<HeartbeatReply> Heartbeat(Now now, const HeartbeatRequest& request);
  Decision<Empty> Leave(Now now, const LeaveRequest& request);
  // Idempotent. FailedPrecondition: the worker is gone.
  Decision<Empty> DrainWorker(Now now, const DrainWorkerRequest& request);

  // AlreadyExists: the key belongs to a job with another spec. ResourceExhausted: Options::max_jobs.
  // FailedPrecondition: Options::of_one_run.
  Decision<SubmitReply> Submit(Now now, const SubmitRequest& request);
  // Idempotent; the job is cancelled when its ranks are gone. FailedPrecondition: it is done or failed.
  Decision<Empty> Cancel(Now now, const CancelRequest& request);
  // The same after a last checkpoint, where ranks run.
  Decision<Empty> DrainJob(Now now, const DrainJobRequest& request);

  // The row is the commit. A repetition of the last commit succeeds. FailedPrecondition: another generation than the
  // job's, one that is being ended, or a step not above the last. PermissionDenied: the worker has no rank of the job.
  Decision<Empty> Commit(Now now, const CommitRequest& request);
  // DataLoss: replicas disagree or a rank contradicts itself; the ranks are named and the generation is ended.
  // FailedPrecondition: a generation that is not running. PermissionDenied: not the worker's rank.
  Decision<MaskReportReply> ReportMask(Now now, const MaskReportRequest& request);

  // Leases, deadlines, the queue and stragglers. To be called a few times a second.
  Decision<Empty> Tick(Now now);

  void Accept(const Outcome& outcome);
  void Drop(const Outcome& outcome);

  const Tables& tables() const { return tables_; }
  const Memory& memory() const { return memory_; }
  const Options& options() const { return options_; }

 private:
  // renews: a worker whose lease this may renew. Others' ends are not looked at then: where the journal cannot be
  // written they could not be kept, and must not cost that worker its lease.
  template <typename Reply, typename Work>
  Decision<Reply> Decide(Now now, Work work, const std::string* renews = nullptr);

  const Options options_;
  Tables tables_;
  Memory memory_;
  int64_t latest_us_;
  uint64_t number_ = 0;
  bool undecided_ = false;  // a decision waits for Accept or Drop
};

}  // namespace filigree::coordinator

#endif  // FILIGREE_COORDINATOR_CORE_CORE_H_
