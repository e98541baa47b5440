#include <fmt/format.h>

#include <algorithm>

#include "coordinator/core/parts.h"
#include "proto/contract/ids.h"

namespace filigree::coordinator {
namespace {

absl::Status CheckRequest(const RegisterRequest& request) {
  for (const absl::Status& status :
       {contract::CheckId("name of the worker", request.name),
        contract::CheckId("host of worker " + contract::Shown(request.name), request.host),
        contract::CheckId("nonce of worker " + contract::Shown(request.name), request.nonce)})
    if (!status.ok()) return status;
  if (request.slots < 1 || request.slots > kMaxSlots)
    return absl::InvalidArgumentError(
        fmt::format("slots of worker {}: {} is outside 1..{}", request.name, request.slots, kMaxSlots));
  return absl::OkStatus();
}

// The worker is gone for good in its present incarnation; what ran there is at fault, or ended as was asked.
void LoseWorker(Turn& turn, const std::string& name, Presence presence, const std::string& reason) {
  turn.draft.EditWorker(name).presence = presence;
  const WorkerRow row = *turn.draft.FindWorker(name);
  Event& event = Say(turn, presence == Presence::kLost ? EventKind::kWorkerLost : EventKind::kWorkerLeft, reason);
  event.worker = name;
  for (const std::string& job : turn.draft.JobsOn(name)) {
    const JobRow& held = turn.draft.Job(job);
    const JobMemory& memory = turn.MemoryOf(job);
    int32_t missed = -1;  // the first rank there that had not ended
    for (size_t rank = 0; rank < held.ranks.size() && missed < 0; ++rank)
      if (held.ranks[rank] == RankPlace{name, row.incarnation} &&
          (!memory.ranks[rank].heard() || Alive(memory.ranks[rank].state())))
        missed = static_cast<int32_t>(rank);
    // A worker that was heard to have nothing of it any more takes nothing with it.
    if (missed >= 0 && memory.released.count(name) == 0)
      Fault(turn, job, {.rank = missed, .reason = fmt::format("{}: {}", RankName(held, missed), reason)});
    Progress(turn, job);
  }
}

absl::Status NameTaken(const Turn& turn, const WorkerRow& row) {
  const Lease* lease = turn.memory.leases.Find(row.name);
  const int64_t left_us = lease == nullptr ? 0 : std::max<int64_t>(lease->until_us - turn.now.monotonic_us, 0);
  return absl::AlreadyExistsError(fmt::format(
      "worker {} is registered from host {} by another process, whose lease has {} ms to run; wait for its end "
      "if that process is gone, or choose another name",
      row.name, row.host, left_us / 1000));
}

}  // namespace

absl::Status CheckSpeaker(const Turn& turn, const Speaker& speaker) {
  if (absl::Status status = contract::CheckId("name of the worker", speaker.worker); !status.ok()) return status;
  const WorkerRow* row = turn.draft.FindWorker(speaker.worker);
  if (row == nullptr)
    return absl::NotFoundError(fmt::format("worker {} is not known here; register it first", speaker.worker));
  if (row->incarnation != speaker.incarnation || row->presence != Presence::kLive)
    return absl::FailedPreconditionError(fmt::format(
        "incarnation {} of worker {} is over (its lease ran out, it left, or its name was registered anew) and "
        "is refused for ever; stop its ranks and register again",
        speaker.incarnation, speaker.worker));
  return absl::OkStatus();
}

namespace {

void LoseSilent(Turn& turn, const std::string& worker) {
  const WorkerRow* row = turn.draft.FindWorker(worker);
  if (row == nullptr || row->presence != Presence::kLive) return;
  LoseWorker(turn, worker, Presence::kLost,
             fmt::format("no heartbeat of incarnation {} for {} ms", row->incarnation, turn.options.lease_us / 1000));
}

}  // namespace

void ExpireLease(Turn& turn, const std::string& worker) {
  const Lease* lease = turn.memory.leases.Find(worker);
  if (lease != nullptr && lease->until_us <= turn.now.monotonic_us) LoseSilent(turn, worker);
}

void ExpireLeases(Turn& turn) {
  for (const std::string& worker : turn.memory.leases.Expired(turn.now.monotonic_us)) LoseSilent(turn, worker);
}

absl::StatusOr<RegisterReply> Register(Turn& turn, const RegisterRequest& request) {
  if (absl::Status status = CheckRequest(request); !status.ok()) return status;
  const WorkerRow* row = turn.draft.FindWorker(request.name);
  RegisterReply reply;
  reply.epoch = turn.draft.tables().epoch();
  reply.lease_us = turn.options.lease_us - turn.options.lease_margin_us;
  reply.heartbeat_us = turn.options.heartbeat_us;
  if (row != nullptr && row->nonce == request.nonce) {
    const Speaker speaker = {row->name, row->incarnation};
    if (absl::Status status = CheckSpeaker(turn, speaker); !status.ok()) return status;
    if (row->host != request.host || row->slots != request.slots)
      return absl::InvalidArgumentError(fmt::format(
          "worker {} registered with host {} and {} slots and repeats it with host {} and {}; use a new nonce",
          row->name, row->host, row->slots, request.host, request.slots));
    turn.memory.leases.Renew(row->name, turn.now.monotonic_us + turn.options.lease_us);
    reply.incarnation = row->incarnation;
    return reply;
  }
  if (row == nullptr && turn.draft.tables().workers().size() >= turn.options.max_workers)
    return absl::ResourceExhaustedError(
        fmt::format("{} workers are registered, more are not taken; reuse names of workers that are gone",
                    turn.options.max_workers));
  if (row != nullptr && row->presence == Presence::kLive) {
    if (request.replaces != row->nonce) return NameTaken(turn, *row);
    LoseWorker(turn, row->name, Presence::kLeft, "its process registered anew");
    row = turn.draft.FindWorker(request.name);
  }
  WorkerRow joined;
  joined.name = request.name;
  joined.host = request.host;
  joined.slots = request.slots;
  joined.nonce = request.nonce;
  joined.incarnation = row == nullptr ? 1 : row->incarnation + 1;
  turn.draft.Put(joined);
  Say(turn, EventKind::kWorkerJoined,
      fmt::format("{} slots on host {}, incarnation {}", joined.slots, joined.host, joined.incarnation))
      .worker = joined.name;
  reply.incarnation = joined.incarnation;
  return reply;
}

absl::StatusOr<Empty> Leave(Turn& turn, const LeaveRequest& request) {
  if (absl::Status status = CheckSpeaker(turn, request.speaker); !status.ok()) return status;
  LoseWorker(turn, request.speaker.worker, Presence::kLeft, "it left");
  return Empty{};
}

absl::StatusOr<Empty> DrainWorker(Turn& turn, const DrainWorkerRequest& request) {
  if (absl::Status status = contract::CheckId("name of the worker", request.worker); !status.ok()) return status;
  const WorkerRow* row = turn.draft.FindWorker(request.worker);
  if (row == nullptr)
    return absl::NotFoundError(
        fmt::format("worker {} is not known here; list the workers for their names", request.worker));
  if (row->presence != Presence::kLive)
    return absl::FailedPreconditionError(fmt::format("worker {} is gone; there is nothing to drain", request.worker));
  if (row->draining) return Empty{};
  turn.draft.EditWorker(request.worker).draining = true;
  Say(turn, EventKind::kWorkerDraining, "no more ranks are placed on it").worker = request.worker;
  for (const std::string& job : turn.draft.JobsOn(request.worker)) {
    const JobState state = turn.draft.Job(job).state;
    if (state == JobState::kPlaced || state == JobState::kRunning)
      StartDraining(turn, job, Intent::kRequeue, fmt::format("worker {} is being drained", request.worker));
  }
  return Empty{};
}

}  // namespace filigree::coordinator
