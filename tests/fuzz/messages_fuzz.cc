#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/core/core.h"
#include "coordinator/rpc/from_wire.h"
#include "coordinator/rpc/key_store.h"
#include "coordinator/rpc/log_store.h"
#include "coordinator/rpc/to_wire.h"
#include "coordinator/rpc/views.h"
#include "kernels/base/check.h"
#include "tests/fuzz/fuzz_target.h"

// What peers send to the coordinator, behind protobuf's own parser: any sequence of messages, as a worker with a
// running job or anybody else may send them. Whatever it is, the tables stay sound, what is kept is what the core
// knows, and what is answered can be sent.
//
// Input: a byte for the method, two for a length, the message's bytes; again and again.

namespace filigree::fuzz {
namespace {

using namespace coordinator;  // NOLINT: everything here is about its types

constexpr char kDigest[] = "0123456789abcdef";

enum Kind : unsigned char {
  kSubmit,
  kCancel,
  kDrain,
  kRegister,
  kHeartbeat,
  kLeave,
  kCommit,
  kReportMask,
  kSetKey,
  kGetKey,
  kList,
  kListWorkers,
  kWatch,
  kGet,
  kAwaitNews,
  kSendLog,
  kReadLog,
  kKinds
};

// A coordinator in which worker "a" runs job "j-1" as generation 1.
class Coordinator {
 public:
  Coordinator() : core_({}, {}, now_) {
    Settle(core_.Start(now_));
    RegisterRequest worker;
    worker.name = worker.host = worker.nonce = std::string("a");
    worker.slots = 2;
    Settle(core_.Register(now_, worker));
    Settle(core_.Heartbeat(now_, {{"a", 1}, 1, 1, {}}));
    SubmitRequest job;
    job.spec.name = std::string("j");
    job.spec.data = 2;
    Settle(core_.Submit(now_, job));
  }

  void Take(Kind kind, const std::string& bytes) {
    now_.monotonic_us += 1000;
    switch (kind) {
      case kSubmit:
        return Decide<v1::SubmitRequest>(bytes, [&](const auto& r) { Settle(core_.Submit(now_, r)); });
      case kCancel:
        return Decide<v1::CancelRequest>(bytes, [&](const auto& r) { Settle(core_.Cancel(now_, r)); });
      case kRegister:
        return Decide<v1::RegisterRequest>(bytes, [&](const auto& r) { Settle(core_.Register(now_, r)); });
      case kLeave:
        return Decide<v1::LeaveRequest>(bytes, [&](const auto& r) { Settle(core_.Leave(now_, r)); });
      case kCommit:
        return Decide<v1::CommitCheckpointRequest>(bytes, [&](const auto& r) { Settle(core_.Commit(now_, r)); });
      case kReportMask:
        return Decide<v1::ReportMaskRequest>(bytes, [&](const auto& r) { Settle(core_.ReportMask(now_, r)); });
      case kHeartbeat:
        return Decide<v1::HeartbeatRequest>(bytes, [&](const auto& r) { Answer(Kept(core_.Heartbeat(now_, r))); });
      case kDrain:
        return Decide<v1::DrainRequest>(bytes, [&](const auto& r) {
          if (const auto* job = std::get_if<DrainJobRequest>(&r))
            Settle(core_.DrainJob(now_, *job));
          else
            Settle(core_.DrainWorker(now_, std::get<DrainWorkerRequest>(r)));
        });
      default:
        return TakeQuestion(kind, bytes);
    }
  }

  void Tick() { Settle(core_.Tick(now_)); }

  void Check() const {
    CHECK(kept_.Check().ok(), "{}", std::string(kept_.Check().message()));
    CHECK(Dump(kept_) == Dump(core_.tables()), "what is kept is not what the core knows");
  }

 private:
  template <typename Wire, typename Work>
  void Decide(const std::string& bytes, Work work) {
    Wire wire;
    if (!wire.ParseFromString(bytes)) return;
    const auto request = FromWire(wire, limits_);
    if (request.ok()) work(*request);
  }

  void TakeQuestion(Kind kind, const std::string& bytes) {
    switch (kind) {
      case kSetKey:
        return Decide<v1::SetKeyRequest>(bytes, [&](const auto& q) { keys_.Set(core_.tables(), q).IgnoreError(); });
      case kGetKey:
        return Decide<v1::GetKeyRequest>(
            bytes, [&](const auto& q) { keys_.Get(core_.tables(), q, now_.monotonic_us, [](const auto&) {}); });
      case kSendLog:
        return Decide<v1::SendLogRequest>(bytes, [&](const auto& q) {
          logs_.Take(core_.tables(), q).IgnoreError();
          CHECK(logs_.bytes() <= limits_.log_store_bytes, "{} bytes of logs", logs_.bytes());
        });
      case kReadLog:
        return Decide<v1::ReadLogRequest>(bytes, [&](const auto& q) { Read(q); });
      case kList:
        return Decide<v1::ListRequest>(
            bytes, [&](const auto& q) { CHECK(ListJobs(core_, q, now_.monotonic_us).jobs_size() <= q.limit, "list"); });
      case kListWorkers:
        return Decide<v1::ListWorkersRequest>(
            bytes, [&](const auto& q) { CHECK(ListWorkers(core_, q).workers_size() <= q.limit, "list"); });
      case kGet:
        return Decide<v1::GetRequest>(bytes, [&](const auto& q) {
          if (const JobRow* row = core_.tables().FindJob(q.job)) Sent(ViewOfJob(core_, *row, now_.monotonic_us));
        });
      case kWatch:
        return Decide<v1::WatchRequest>(bytes, [](const auto& q) { CHECK(q.progress_us > 0, "watch"); });
      case kAwaitNews:
        return Decide<v1::AwaitNewsRequest>(bytes, [](const auto& q) { CHECK(q.wait_us >= 0, "wait"); });
      default:
        return;
    }
  }

  template <typename Reply>
  void Settle(Decision<Reply> decision) {
    Kept(std::move(decision)).status().IgnoreError();
  }

  template <typename Reply>
  absl::StatusOr<Reply> Kept(Decision<Reply> decision) {
    kept_.Apply(decision.outcome.rows);
    core_.Accept(decision.outcome);
    keys_.Follow(decision.outcome.rows);
    logs_.Follow(decision.outcome.rows);
    for (const Event& event : decision.outcome.events) Sent(ToWire(event));
    return std::move(decision.reply);
  }

  // All that is kept comes, and comes once.
  void Read(const ReadLogQuery& query) {
    LogStore::Position position = logs_.Begin(query);
    std::map<LogKey, int64_t> ends;
    for (;;) {
      const auto parts = logs_.Read(query, position, 100);
      if (parts.empty()) break;
      for (const LogPart& part : parts) {
        Sent(ToWire(part));
        CHECK(!part.text.empty() && part.offset >= ends[part.key], "a part that was told");
        ends[part.key] = part.offset + static_cast<int64_t>(part.text.size());
      }
    }
  }

  static void Answer(const absl::StatusOr<HeartbeatReply>& reply) {
    if (!reply.ok()) return;
    v1::HeartbeatReply wire;
    ToWire(*reply, wire);
    Sent(wire);
  }

  // Text that is no UTF-8 would not be serialised.
  static void Sent(const google::protobuf::Message& message) {
    const std::string bytes = message.SerializeAsString();
    const std::unique_ptr<google::protobuf::Message> back(message.New());
    CHECK(back->ParseFromString(bytes), "an answer that nobody can read: {}", message.ShortDebugString());
  }

  static Limits Small() {
    Limits limits;
    limits.log_rank_bytes = 600;  // full after a few parts
    limits.log_job_bytes = 900;
    limits.log_store_bytes = 1500;
    return limits;
  }

  const Limits limits_ = Small();
  Now now_{1'000'000, 1'700'000'000'000'000};
  Core core_;
  Tables kept_;
  KeyStore keys_{limits_};
  LogStore logs_{limits_};
};

std::string Packed(Kind kind, const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  return std::string{static_cast<char>(kind), static_cast<char>(bytes.size()), static_cast<char>(bytes.size() >> 8)} +
         bytes;
}

v1::HeartbeatRequest Beat(int64_t sequence, v1::RankState state) {
  v1::HeartbeatRequest beat;
  beat.mutable_speaker()->set_worker("a");
  beat.mutable_speaker()->set_incarnation(1);
  beat.set_epoch(1);
  beat.set_sequence(sequence);
  for (int r = 0; r < 2; ++r) {
    v1::RankReport& rank = *beat.add_ranks();
    rank.set_job("j-1");
    rank.set_generation(1);
    rank.set_rank(r);
    rank.set_state(state);
    rank.set_reason("why");
    rank.mutable_progress()->set_step(sequence);
    rank.mutable_progress()->mutable_seconds()->set_forward(0.5);
    rank.set_metrics_address("host:9400");
    rank.mutable_figures()->set_train_loss(2.5);
    rank.mutable_figures()->add_matrices()->set_matrix("c_fc");
    rank.set_mask_epoch(1);
    v1::Digest& digest = *rank.add_mask_digests();
    digest.set_name("weights");
    digest.set_digest(kDigest);
  }
  return beat;
}

std::string UserMessages() {
  v1::SubmitRequest submit;
  submit.mutable_spec()->set_name("k");
  submit.mutable_spec()->set_config("x = 1");
  submit.mutable_spec()->add_arguments("--a.b=c");
  submit.mutable_spec()->set_idempotency_key("key");
  v1::GetRequest get;
  get.set_job("j-1");
  v1::DrainRequest drain;
  drain.set_worker("a");
  v1::CancelRequest cancel;
  cancel.set_job("j-1");
  return Packed(kSubmit, submit) + Packed(kGet, get) + Packed(kList, v1::ListRequest()) +
         Packed(kListWorkers, v1::ListWorkersRequest()) + Packed(kWatch, v1::WatchRequest()) + Packed(kDrain, drain) +
         Packed(kCancel, cancel);
}

std::string WorkerMessages() {
  v1::CommitCheckpointRequest commit;
  *commit.mutable_speaker() = Beat(1, v1::RANK_STATE_RUNNING).speaker();
  commit.set_job("j-1");
  commit.mutable_point()->set_generation(1);
  commit.mutable_point()->set_step(3);
  commit.mutable_point()->set_digest(kDigest);
  v1::ReportMaskRequest mask;
  *mask.mutable_speaker() = commit.speaker();
  mask.set_job("j-1");
  mask.set_generation(1);
  mask.set_epoch(2);
  mask.add_after()->set_name("weights");
  mask.mutable_after(0)->set_digest(kDigest);
  v1::SetKeyRequest set;
  *set.mutable_speaker() = commit.speaker();
  set.set_job("j-1");
  set.set_generation(1);
  set.set_key("k");
  set.set_value("v");
  v1::GetKeyRequest key;
  *key.mutable_speaker() = commit.speaker();
  key.set_job("j-1");
  key.set_generation(1);
  key.set_key("k");
  v1::SendLogRequest log;
  *log.mutable_speaker() = commit.speaker();
  for (const int offset : {0, 2, 500}) {
    v1::LogPart& part = *log.add_parts();
    part.set_job("j-1");
    part.set_generation(1);
    part.set_offset(offset);
    part.set_text("line\n");
  }
  v1::ReadLogRequest read;
  read.set_job("j-1");
  read.set_tail_bytes(7);
  return Packed(kHeartbeat, Beat(2, v1::RANK_STATE_RUNNING)) + Packed(kSendLog, log) + Packed(kReadLog, read) +
         Packed(kSetKey, set) + Packed(kGetKey, key) + Packed(kCommit, commit) + Packed(kReportMask, mask) +
         Packed(kHeartbeat, Beat(3, v1::RANK_STATE_RUNNING));
}

}  // namespace

std::vector<std::string> Seeds() {
  google::protobuf::SetLogHandler(nullptr);  // it complains of every text that is no UTF-8
  v1::RegisterRequest join;
  join.set_name("b");
  join.set_host("h");
  join.set_slots(4);
  join.set_nonce("n");
  v1::LeaveRequest leave;
  *leave.mutable_speaker() = Beat(1, v1::RANK_STATE_RUNNING).speaker();
  return {WorkerMessages() + Packed(kHeartbeat, Beat(4, v1::RANK_STATE_FINISHED)), WorkerMessages() + UserMessages(),
          Packed(kRegister, join) + WorkerMessages() + Packed(kHeartbeat, Beat(4, v1::RANK_STATE_FAILED)),
          Packed(kHeartbeat, Beat(2, v1::RANK_STATE_RUNNING)) + Packed(kLeave, leave) + UserMessages()};
}

void Try(std::string_view input) {
  Coordinator coordinator;
  while (input.size() >= 3) {
    const auto kind = static_cast<Kind>(static_cast<unsigned char>(input[0]) % kKinds);
    const size_t size = static_cast<unsigned char>(input[1]) | size_t{static_cast<unsigned char>(input[2])} << 8;
    coordinator.Take(kind, std::string(input.substr(3, size)));
    input.remove_prefix(std::min(input.size(), 3 + size));
  }
  coordinator.Tick();
  coordinator.Check();
}

}  // namespace filigree::fuzz
