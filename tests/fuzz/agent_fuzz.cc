#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <string>
#include <vector>

#include "coordinator/rpc/from_wire.h"
#include "kernels/base/check.h"
#include "tests/fuzz/fuzz_target.h"
#include "worker/agent/rank_table.h"

// What ranks send to the worker's agent, and what the coordinator answers it, behind protobuf's own parser. Whatever it
// is, the coordinator takes the heartbeat that comes of it: what one rank says cannot cost the worker its lease.
//
// Input: a byte for the kind, two for a length, the message's bytes; again and again.

namespace filigree::fuzz {
namespace {

enum Kind : unsigned char { kFollow, kTake, kTell, kEnd, kTick, kKinds };

class Agent {
 public:
  void Take(Kind kind, const std::string& bytes) {
    now_us_ += 1'000'000;
    switch (kind) {
      case kFollow:
        return Parsed<v1::HeartbeatReply>(bytes, [&](const auto& reply) { table_.Follow(now_us_, reply); });
      case kTake:
        return Parsed<v1::TakeRequest>(bytes, [&](const auto& request) {
          const auto taken = table_.Take(now_us_, request);
          CHECK(!taken.ok() || !taken->has_value() || (*taken)->over() || (*taken)->part().generation() > 0, "no part");
        });
      case kTell:
        return Parsed<v1::TellRequest>(
            bytes, [&](const auto& request) { table_.Tell(now_us_, request).status().IgnoreError(); });
      case kEnd:
        return table_.HasEnded(now_us_, bytes.substr(0, 2), {.code = bytes.size() > 2 ? bytes[2] : 0, .tail = bytes});
      default:
        return table_.Tick(now_us_);
    }
  }

  void Check() {
    v1::HeartbeatRequest beat;
    beat.mutable_speaker()->set_worker("a");
    beat.mutable_speaker()->set_incarnation(1);
    beat.set_sequence(1);
    for (const v1::RankReport& report : table_.Reports()) *beat.add_ranks() = report;
    v1::HeartbeatRequest heard;
    CHECK(heard.ParseFromString(beat.SerializeAsString()), "the heartbeat is none");
    const auto taken = coordinator::FromWire(heard, coordinator::Limits());
    CHECK(taken.ok(), "the heartbeat is refused: {}", std::string(taken.status().message()));
    for (const agent::Start& start : table_.TakeOrders().start)
      CHECK(start.job.find('/') == std::string::npos && start.spec != nullptr, "{} would be started", start.job);
  }

 private:
  template <typename Message, typename Work>
  void Parsed(const std::string& bytes, Work work) {
    Message message;
    if (message.ParseFromString(bytes)) work(message);
  }

  int64_t now_us_ = 1'000'000'000;
  int names_ = 0;
  agent::RankTable table_{"host", [this] { return fmt::format("p{}", ++names_); }};
};

std::string Packed(Kind kind, const google::protobuf::Message& message) {
  const std::string bytes = message.SerializeAsString();
  std::string packed(1, static_cast<char>(kind));
  packed += static_cast<char>(bytes.size() & 0xFF);
  packed += static_cast<char>(bytes.size() >> 8);
  return packed + bytes;
}

std::string Told(int64_t generation, v1::Action action) {
  v1::HeartbeatReply reply;
  v1::Assignment& assignment = *reply.add_assignments();
  assignment.set_job("j-1");
  assignment.set_generation(generation);
  assignment.set_action(action);
  assignment.set_keep_processes(true);
  assignment.add_ranks(0);
  assignment.add_ranks(1);
  assignment.set_data(2);
  assignment.set_tensor(1);
  assignment.mutable_spec()->set_name("j");
  assignment.mutable_spec()->set_data(2);
  return Packed(kFollow, reply);
}

std::string Takes(const std::string& process, int64_t after, const std::string& lost) {
  v1::TakeRequest request;
  request.set_process(process);
  request.set_after(after);
  request.set_lost(lost);
  return Packed(kTake, request);
}

std::string Tells(const std::string& process, int64_t generation, v1::RankState state) {
  v1::TellRequest request;
  request.set_process(process);
  request.set_generation(generation);
  request.set_state(state);
  request.set_reason("disk full");
  request.mutable_progress()->set_step(7);
  request.mutable_progress()->mutable_seconds()->set_forward(0.5);
  request.set_mask_epoch(3);
  v1::Digest& digest = *request.add_mask_digests();
  digest.set_name("masks");
  digest.set_digest("0123456789abcdef");
  request.set_metrics_address("10.0.0.1:9400");
  request.mutable_figures()->set_config_sha256("0123456789abcdef");
  request.mutable_figures()->add_matrices()->set_matrix("c_attn");
  return Packed(kTell, request);
}

}  // namespace

std::vector<std::string> Seeds() {
  google::protobuf::SetLogHandler(nullptr);  // it complains of every text that is no UTF-8
  const std::string begun = Told(1, v1::ACTION_RUN) + Takes("p1", 0, "") + Takes("p2", 0, "") +
                            Tells("p1", 1, v1::RANK_STATE_RUNNING) + Tells("p2", 1, v1::RANK_STATE_RUNNING);
  const std::string ended = std::string(1, kEnd) + std::string("\x03\0", 2) + "p2\x03";
  const std::string tick = std::string(1, kTick) + std::string(2, '\0');
  return {begun + ended + Takes("p1", 1, "rank 1") + Told(1, v1::ACTION_STOP) + Told(2, v1::ACTION_RUN) +
              Takes("p1", 1, ""),
          begun + Told(1, v1::ACTION_CHECKPOINT_AND_STOP) + Takes("p1", 1, "") + tick + Told(2, v1::ACTION_RUN),
          begun + Tells("p1", 1, v1::RANK_STATE_FAILED) + tick + tick + tick + ended};
}

void Try(std::string_view input) {
  Agent agent;
  while (input.size() >= 3) {
    const auto kind = static_cast<Kind>(static_cast<unsigned char>(input[0]) % kKinds);
    const size_t size = static_cast<unsigned char>(input[1]) | size_t{static_cast<unsigned char>(input[2])} << 8;
    agent.Take(kind, std::string(input.substr(3, size)));
    input.remove_prefix(std::min(input.size(), 3 + size));
  }
  agent.Check();
}

}  // namespace filigree::fuzz
