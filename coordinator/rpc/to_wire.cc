#include "coordinator/rpc/to_wire.h"

#include "proto/rpc/job_spec.h"

namespace filigree::coordinator {
namespace {

constexpr size_t kMostSpecBytes = 8 << 20;

v1::Action ActionOf(Action action) {
  switch (action) {
    case Action::kRun:
      return v1::ACTION_RUN;
    case Action::kCheckpointAndStop:
      return v1::ACTION_CHECKPOINT_AND_STOP;
    case Action::kStop:
      return v1::ACTION_STOP;
  }
  return v1::ACTION_UNSPECIFIED;
}

void FillAssignment(const Assignment& assignment, v1::Assignment& wire) {
  wire.set_job(assignment.job);
  wire.set_generation(assignment.generation);
  wire.set_action(ActionOf(assignment.action));
  wire.set_keep_processes(assignment.keep_processes);
  if (assignment.action != Action::kRun) return;
  wire.mutable_ranks()->Assign(assignment.ranks.begin(), assignment.ranks.end());
  wire.set_data(assignment.data);
  wire.set_tensor(assignment.tensor);
  wire.set_rollback(assignment.rollback);
  if (assignment.resume) *wire.mutable_resume() = ToWire(*assignment.resume);
}

}  // namespace

// The wire's numbers are the core's, one higher: 0 is for what is not said.
v1::JobState ToWire(JobState state) { return static_cast<v1::JobState>(static_cast<int>(state) + 1); }
v1::RankState ToWire(RankState state) { return static_cast<v1::RankState>(static_cast<int>(state) + 1); }
v1::Presence ToWire(Presence presence) { return static_cast<v1::Presence>(static_cast<int>(presence) + 1); }
v1::Phase ToWire(Phase phase) { return static_cast<v1::Phase>(static_cast<int>(phase) + 1); }

v1::PhaseSeconds ToWire(const PhaseSeconds& seconds) {
  v1::PhaseSeconds wire;
  wire.set_data(seconds[0]);
  wire.set_forward(seconds[1]);
  wire.set_backward(seconds[2]);
  wire.set_compress(seconds[3]);
  wire.set_exchange(seconds[4]);
  wire.set_optimizer(seconds[5]);
  wire.set_topk(seconds[6]);
  wire.set_checkpoint(seconds[7]);
  return wire;
}

v1::CommitPoint ToWire(const CommitPoint& point) {
  v1::CommitPoint wire;
  wire.set_generation(point.generation);
  wire.set_step(point.step);
  wire.set_digest(point.digest);
  return wire;
}

v1::Event ToWire(const Event& event) {
  v1::Event wire;
  wire.set_kind(static_cast<v1::EventKind>(static_cast<int>(event.kind) + 1));
  wire.set_wall_us(event.wall_us);
  wire.set_job(event.job);
  wire.set_worker(event.worker);
  wire.set_generation(event.generation);
  if (event.rank >= 0) wire.set_rank(event.rank);
  wire.set_step(event.step);
  if (event.kind == EventKind::kJobMoved) {
    wire.set_from(ToWire(event.from));
    wire.set_to(ToWire(event.to));
  }
  wire.set_text(event.text);
  return wire;
}

v1::LogPart ToWire(const LogPart& part) {
  v1::LogPart wire;
  wire.set_generation(part.key.generation);
  wire.set_rank(part.key.rank);
  wire.set_offset(part.offset);
  wire.set_text(part.text);
  return wire;
}

void ToWire(const RegisterReply& reply, v1::RegisterReply& wire) {
  wire.set_incarnation(reply.incarnation);
  wire.set_epoch(reply.epoch);
  wire.set_lease_us(reply.lease_us);
  wire.set_heartbeat_us(reply.heartbeat_us);
}

void ToWire(const SubmitReply& reply, v1::SubmitReply& wire) {
  wire.set_job(reply.job);
  wire.set_repeated(reply.repeated);
}

void ToWire(const MaskReportReply& reply, v1::ReportMaskReply& wire) { wire.set_agreed(reply.agreed); }

void ToWire(const HeartbeatReply& reply, v1::HeartbeatReply& wire) {
  wire.set_epoch(reply.epoch);
  wire.set_lease_us(reply.lease_us);
  wire.set_again(reply.again);
  wire.set_may_leave(reply.may_leave);
  size_t spec_bytes = 0;
  for (const Assignment& assignment : reply.assignments) {
    v1::JobSpec spec;
    if (assignment.spec != nullptr) {
      spec = rpc::ToWire(*assignment.spec);
      spec_bytes += spec.ByteSizeLong();
      if (spec_bytes > kMostSpecBytes) continue;
    }
    v1::Assignment& told = *wire.add_assignments();
    FillAssignment(assignment, told);
    if (assignment.spec != nullptr) *told.mutable_spec() = std::move(spec);
  }
}

}  // namespace filigree::coordinator
