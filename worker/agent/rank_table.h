#ifndef FILIGREE_WORKER_AGENT_RANK_TABLE_H_
#define FILIGREE_WORKER_AGENT_RANK_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "filigree/v1/agent.pb.h"
#include "filigree/v1/workers.pb.h"
#include "proto/contract/job_spec.h"
#include "worker/agent/launcher_word.h"

// Which process has which part of which generation, and what is to happen next. Pure bookkeeping: it starts, ends and
// waits for nothing; whoever holds it carries out its orders and tells it what came of them. The clock is handed in.
//
// A launcher (backend mpi) is started, killed and waited for as one process, and the processes that it starts speak for
// themselves, each for one rank: where the launcher is called NAME they are NAME.RANK. They live and end together.

namespace filigree::agent {

// One rank of one generation.
struct RankId {
  std::string job;
  int64_t generation = 0;
  int32_t rank = 0;
  bool operator==(const RankId&) const = default;
  bool operator<(const RankId& other) const {
    return std::tie(job, generation, rank) < std::tie(other.job, other.generation, other.rank);
  }
};
std::string Text(const RankId& id);  // "night-1 generation 2 rank 3"

// Microseconds. How long things may take before the table does something about it.
struct Patience {
  int64_t leave_us = 5'000'000;    // from being told to leave a generation until the process is killed
  int64_t silence_us = 5'000'000;  // between what a process tells
  int64_t lost_us = 3'000'000;     // until a rank that missed a peer is reported: the peer's own agent may know more
  int64_t failed_us = 2'000'000;   // from telling a failure until the process is killed
  int64_t idle_us = 10'000'000;    // without an assignment of its job, until a process that was kept is told to end
  int64_t over_us = 5'000'000;     // from then on until it is killed
};

// A process to be started.
struct Start {
  std::string process;  // what it is called here
  std::string job;
  int64_t generation = 0;
  std::vector<int32_t> ranks;  // more than one: a launcher starts them
  int32_t data = 1, tensor = 1;
  std::shared_ptr<const contract::JobSpec> spec;
};

// What is to be done now, in this order.
struct Orders {
  std::vector<std::string> kill;  // what was started under that name: its group, at once
  std::vector<Start> start;
  std::vector<std::string> answer;  // processes for whose Take there may be an answer now
  std::vector<std::string> say;     // for people
  bool heartbeat = false;           // a heartbeat before its time is worth while
};

// How a process ended.
struct Ending {
  int code = 0;
  int signal = 0;              // not 0: it was killed by it
  bool out_of_memory = false;  // the kernel has killed something for that in the meantime
  std::string tail = {};       // the last lines that it printed
};

class RankTable {
 public:
  // `name`: a new name for a process, unlike all before. `host`: of this machine, for reasons.
  RankTable(std::string host, std::function<std::string()> name, Patience patience = {});

  // What the next heartbeat tells of ranks.
  std::vector<v1::RankReport> Reports() const;
  // What an answered heartbeat says is to run here.
  void Follow(int64_t now_us, const v1::HeartbeatReply& reply);

  // As Ranks::Take. Nothing: not yet; ask again when an order says so.
  absl::StatusOr<std::optional<v1::TakeReply>> Take(int64_t now_us, const v1::TakeRequest& request);
  absl::StatusOr<v1::TellReply> Tell(int64_t now_us, const v1::TellRequest& request);
  // The job for which a process asks something, as one of `generation`. Status as Ranks says.
  absl::StatusOr<std::string> JobOf(const std::string& process, int64_t generation) const;

  // What was started under that name and all that it started in turn are gone. Also the answer to an order to start one
  // that could not be started.
  void HasEnded(int64_t now_us, const std::string& process, const Ending& ending);
  void CouldNotStart(int64_t now_us, const std::string& process, const std::string& why);

  // To be called some times a second: what was waited for too long.
  void Tick(int64_t now_us);

  // All processes are to be killed and what was assigned is void: the lease is over, the incarnation is refused.
  void GiveUp(int64_t now_us, const std::string& why);
  // The worker is registered anew, and no process is left: generations count from the beginning, as a coordinator with
  // another journal counts them.
  void Forget() { jobs_.clear(); }
  // The worker ends: nothing is started any more, every rank is to make a checkpoint and stop.
  void Drain(int64_t now_us);

  Orders TakeOrders();
  bool empty() const { return processes_.empty(); }  // no process is left
  bool HasProcessOf(const std::string& job) const;
  bool IsPlaced(const std::string& job, int64_t generation) const;
  bool IsWanted(const std::string& process) const;  // is there, and not to be killed
  // The ranks of which a process, or those of a launcher, have the parts, or had them last.
  std::vector<RankId> RanksOf(const std::string& process) const;

 private:
  struct Rank {
    v1::RankReport report;
    std::string process;  // empty: none yet
    bool ended = false;   // the report says how
  };
  // A generation of a job, as far as it is placed here.
  struct Placement {
    int64_t generation = 0;
    int32_t data = 1, tensor = 1;
    bool rollback = false;
    std::optional<v1::CommitPoint> resume;
    std::map<int32_t, Rank> ranks;
    v1::Directive directive = v1::DIRECTIVE_GO_ON;
    int64_t directive_us = 0;
    bool keep = false;     // processes that leave wait for the next generation
    bool started = false;  // its ranks have processes, or never will
    bool told = false;     // by the heartbeat that is being followed
  };
  struct Job {
    std::shared_ptr<const contract::JobSpec> spec;
    int64_t seen = 0;     // the highest generation that was ever to run here; none is started twice
    int64_t told_us = 0;  // last time that something of the job was assigned
    bool keeps = false;   // idle processes are worth keeping
    std::optional<Placement> placement;
  };
  struct Process {
    std::string job;
    std::string launcher;    // with which it begins and ends; empty: none
    int64_t generation = 0;  // of the part it has; 0: none
    RankId part;             // that one, or the last that it had
    int64_t left = 0;        // the last generation that it said it had left
    bool taken = false;      // it has heard of its part
    int64_t told_us = -1;    // when it told something of its generation; -1: not yet
    std::string reason;      // of the failure that it told
    int64_t failed_us = -1, lost_us = -1, idle_us = -1, over_us = -1;
    std::string lost;  // the peer it missed
    bool killed = false;
    std::string killed_why;  // empty: it was asked to end
  };

  // What is assigned: rank_table.cc.
  void FollowOne(int64_t now_us, const v1::Assignment& assignment);
  void Begin(int64_t now_us, Job& job, const v1::Assignment& assignment);
  void Direct(int64_t now_us, Job& job, v1::Directive directive, bool keep);
  void DirectProcess(int64_t now_us, const std::string& name, Process& process, const Placement& placement);
  void Drop(int64_t now_us, Job& job);
  void StartIfAlone(int64_t now_us, const std::string& id, Job& job);
  std::vector<int32_t> GiveToIdle(int64_t now_us, const std::string& id, Placement& placement);
  void Give(const std::string& name, Process& process, Placement& placement, int32_t rank);
  void StartNew(const std::string& id, Job& job, std::vector<int32_t> ranks);
  void Refuse(Placement& placement, const std::string& why);

  // What processes say and do: rank_processes.cc.
  absl::StatusOr<Process*> Find(const std::string& name);
  void Leaves(int64_t now_us, const std::string& name, Process& process, const std::string& lost);
  void Idle(int64_t now_us, const std::string& name, Process& process);
  void EndIdle(int64_t now_us, const std::string& name, Process& process);
  void Kill(const std::string& name, Process& process, const std::string& why);
  // What was started under that name, by rank: the process itself, or those of the launcher.
  std::vector<std::string> StartedAs(const std::string& name) const;
  void CheckIdle(int64_t now_us, const std::string& name, Process& process);
  void CheckRank(int64_t now_us, const std::string& name, Process& process);
  // What became of the ranks of a process, where nothing has been said of that yet.
  void Settle(Process& process, v1::RankState state, const std::string& reason);
  // `how`: the ending in words.
  std::pair<v1::RankState, std::string> Verdict(const Process& process, const Ending& ending,
                                                const std::string& how) const;
  void SettleLaunched(const std::vector<std::string>& names, const Ending& ending);
  // The placement of the part that a process has; null: it has none, or that generation is void by now.
  const Placement* PlacementOf(const Process& process) const;
  Placement* PlacementOf(const Process& process);

  const std::string host_;
  const std::function<std::string()> name_;
  const Patience patience_;
  std::map<std::string, Job> jobs_;
  std::map<std::string, Process> processes_;
  bool draining_ = false;
  int64_t ticked_us_ = -1;
  Orders orders_;
};

}  // namespace filigree::agent

#endif  // FILIGREE_WORKER_AGENT_RANK_TABLE_H_
