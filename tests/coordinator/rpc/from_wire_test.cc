#include "coordinator/rpc/from_wire.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "coordinator/rpc/to_wire.h"

// Conversions of messages: nothing is lost, and nothing that arrives does harm.

namespace filigree::coordinator {
namespace {

const Limits kLimits;

template <typename Wire>
absl::Status Refusal(const Wire& wire) {
  return FromWire(wire, kLimits).status();
}

v1::HeartbeatRequest FullHeartbeat() {
  v1::HeartbeatRequest wire;
  wire.mutable_speaker()->set_worker("a");
  wire.mutable_speaker()->set_incarnation(3);
  wire.set_epoch(5);
  wire.set_sequence(7);
  v1::RankReport& rank = *wire.add_ranks();
  rank.set_job("night-1");
  rank.set_generation(2);
  rank.set_rank(9);
  rank.set_state(v1::RANK_STATE_FAILED);
  rank.set_reason("out of memory");
  rank.mutable_progress()->set_step(11);
  rank.mutable_progress()->mutable_seconds()->set_data(1);
  rank.mutable_progress()->mutable_seconds()->set_forward(2);
  rank.mutable_progress()->mutable_seconds()->set_backward(3);
  rank.mutable_progress()->mutable_seconds()->set_compress(4);
  rank.mutable_progress()->mutable_seconds()->set_exchange(5);
  rank.mutable_progress()->mutable_seconds()->set_optimizer(6);
  rank.mutable_progress()->mutable_seconds()->set_topk(7);
  rank.mutable_progress()->mutable_seconds()->set_checkpoint(8);
  rank.mutable_progress()->set_sent_bytes(UINT64_MAX);
  rank.mutable_progress()->set_received_bytes(13);
  rank.mutable_progress()->set_dense_equivalent_bytes(14);
  rank.set_metrics_address("host:9400");
  rank.mutable_figures()->set_target_steps(500);
  rank.mutable_figures()->set_train_loss(0);
  v1::MatrixFigures& matrix = *rank.mutable_figures()->add_matrices();
  matrix.set_layer(2);
  matrix.set_matrix("c_fc");
  matrix.set_density(0.5);
  matrix.set_threshold(0.25);
  rank.set_mask_epoch(0);
  for (const char* name : {"moments", "weights"}) {
    v1::Digest& digest = *rank.add_mask_digests();
    digest.set_name(name);
    digest.set_digest("0123456789abcdef");
  }
  return wire;
}

TEST(FromWire, AHeartbeatArrivesWhole) {
  const auto request = FromWire(FullHeartbeat(), kLimits);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->speaker.worker, "a");
  EXPECT_EQ(request->speaker.incarnation, 3);
  EXPECT_EQ(request->epoch, 5);
  EXPECT_EQ(request->sequence, 7);
  const RankReport& rank = request->ranks.at(0);
  EXPECT_EQ(rank.job, "night-1");
  EXPECT_EQ(rank.generation, 2);
  EXPECT_EQ(rank.rank, 9);
  EXPECT_EQ(rank.state, RankState::kFailed);
  EXPECT_EQ(rank.reason, "out of memory");
  EXPECT_EQ(rank.progress.step, 11);
  EXPECT_EQ(rank.progress.seconds, (PhaseSeconds{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(rank.progress.sent_bytes, UINT64_MAX);
  EXPECT_EQ(rank.progress.received_bytes, 13u);
  EXPECT_EQ(rank.progress.dense_equivalent_bytes, 14u);
  EXPECT_EQ(rank.metrics_address, "host:9400");
  ASSERT_NE(rank.figures, nullptr);
  EXPECT_EQ(rank.figures->target_steps, 500);
  EXPECT_EQ(rank.figures->train_loss, std::optional<double>(0));
  EXPECT_EQ(rank.figures->val_loss, std::nullopt);
  ASSERT_EQ(rank.figures->matrices.size(), 1);
  EXPECT_EQ(rank.figures->matrices[0].layer, 2);
  EXPECT_EQ(rank.figures->matrices[0].matrix, "c_fc");
  EXPECT_EQ(rank.figures->matrices[0].threshold, 0.25);
  EXPECT_EQ(rank.figures->matrices[0].churn, std::nullopt);
  EXPECT_EQ(rank.mask_epoch, 0);
  EXPECT_EQ(rank.mask_digests.at(1).first, "weights");
  v1::HeartbeatRequest without = FullHeartbeat();
  without.mutable_ranks(0)->clear_mask_epoch();
  EXPECT_EQ(FromWire(without, kLimits)->ranks[0].mask_epoch, -1);
}

TEST(FromWire, HeartbeatsOutOfRangeAreRefusedByName) {
  const auto refused = [](const char* part, auto change) {
    v1::HeartbeatRequest wire = FullHeartbeat();
    change(wire);
    const absl::Status status = Refusal(wire);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << part;
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
  };
  refused("worker", [](auto& wire) { wire.clear_speaker(); });
  refused("worker", [](auto& wire) { wire.mutable_speaker()->set_worker("a/b"); });
  refused("sequence", [](auto& wire) { wire.set_sequence(0); });
  refused("state", [](auto& wire) { wire.mutable_ranks(0)->clear_state(); });
  refused("state", [](auto& wire) { wire.mutable_ranks(0)->set_state(static_cast<v1::RankState>(6)); });
  refused("reason", [](auto& wire) { wire.mutable_ranks(0)->set_reason(std::string(8193, 'x')); });
  refused("mask_epoch", [](auto& wire) { wire.mutable_ranks(0)->set_mask_epoch(-1); });
  refused("ascend", [](auto& wire) { wire.mutable_ranks(0)->mutable_mask_digests(1)->set_name("moments"); });
  refused("digests", [](auto& wire) {
    for (int i = 0; i < 64; ++i) wire.mutable_ranks(0)->add_mask_digests();
  });
  refused("rank reports", [](auto& wire) {
    for (int i = 0; i < 16'384; ++i) wire.add_ranks();
  });
}

TEST(FromWire, LimitsOfTheOtherMessages) {
  v1::GetKeyRequest get;
  get.mutable_speaker()->set_worker("a");
  get.set_job("night-1");
  EXPECT_FALSE(FromWire(get, kLimits).ok());  // no key
  get.set_key(std::string(256, '\0'));
  EXPECT_TRUE(FromWire(get, kLimits).ok());
  get.set_key(std::string(257, 'x'));
  EXPECT_FALSE(FromWire(get, kLimits).ok());
  get.set_key("k");
  for (const int64_t wait : {int64_t{-1}, int64_t{60'000'001}, INT64_MAX, INT64_MIN}) {
    get.set_wait_us(wait);
    EXPECT_FALSE(FromWire(get, kLimits).ok()) << wait;
  }
  v1::SetKeyRequest set;
  set.mutable_speaker()->set_worker("a");
  set.set_job("night-1");
  set.set_key("k");
  set.set_value(std::string(256 << 10, 'x'));
  EXPECT_TRUE(FromWire(set, kLimits).ok());
  set.mutable_value()->push_back('x');
  EXPECT_FALSE(FromWire(set, kLimits).ok());

  v1::WatchRequest watch;
  EXPECT_EQ(FromWire(watch, kLimits)->progress_us, 1'000'000);
  for (const int32_t ms : {-1, 199, 60'001}) {
    watch.set_progress_ms(ms);
    EXPECT_FALSE(FromWire(watch, kLimits).ok()) << ms;
  }
  v1::ListRequest list;
  EXPECT_EQ(FromWire(list, kLimits)->limit, 100);
  list.set_limit(501);
  EXPECT_FALSE(FromWire(list, kLimits).ok());
  EXPECT_FALSE(FromWire(v1::DrainRequest(), kLimits).ok());
  EXPECT_FALSE(FromWire(v1::SubmitRequest(), kLimits).ok());
}

TEST(ToWire, EnumsKeepTheirNames) {
  for (int s = 0; s < kJobStates; ++s) {
    std::string name = v1::JobState_Name(ToWire(static_cast<JobState>(s))).substr(sizeof("JOB_STATE_") - 1);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    EXPECT_EQ(name, Name(static_cast<JobState>(s)));
  }
  for (int p = 0; p < kPhases; ++p) {
    std::string name = v1::Phase_Name(ToWire(static_cast<Phase>(p))).substr(sizeof("PHASE_") - 1);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    EXPECT_EQ(name, Name(static_cast<Phase>(p)));
  }
  EXPECT_EQ(ToWire(RankState::kFailed), v1::RANK_STATE_FAILED);
  EXPECT_EQ(ToWire(Presence::kLeft), v1::PRESENCE_LEFT);
  Event event;
  event.kind = EventKind::kWorkerLeft;
  EXPECT_EQ(ToWire(event).kind(), v1::EVENT_KIND_WORKER_LEFT);
  EXPECT_FALSE(ToWire(event).has_rank());
  event.kind = EventKind::kMasksAgreed;
  event.rank = 0;
  EXPECT_EQ(ToWire(event).kind(), v1::EVENT_KIND_MASKS_AGREED);
  EXPECT_TRUE(ToWire(event).has_rank());
}

// A worker with many new jobs hears of them over several heartbeats, not in one that no client would take.
TEST(ToWire, AnAnswerNeverGrowsBeyondAMessage) {
  HeartbeatReply reply;
  for (int i = 0; i < 20; ++i) {
    Assignment assignment;
    assignment.job = "j-" + std::to_string(i);
    auto spec = std::make_shared<contract::JobSpec>();
    spec->config = std::string(contract::kMaxConfigBytes, 'x');
    assignment.spec = spec;
    reply.assignments.push_back(assignment);
  }
  Assignment known;
  known.job = "known";
  reply.assignments.push_back(known);
  v1::HeartbeatReply wire;
  ToWire(reply, wire);
  EXPECT_EQ(wire.assignments_size(), 7 + 1);
  EXPECT_EQ(wire.assignments(7).job(), "known");
  EXPECT_LT(wire.ByteSizeLong(), 9u << 20);
}

template <typename Wire>
void ParseAndConvert(const std::string& bytes) {
  Wire wire;
  if (wire.ParseFromString(bytes)) FromWire(wire, kLimits).status().IgnoreError();
}

// Every message from bytes that began as a good one: nothing may end the process. Findings of longer runs (label fuzz)
// become cases above.
TEST(FromWire, BrokenBytesDoNoHarm) {
  google::protobuf::SetLogHandler(nullptr);  // it complains of every text that is no UTF-8
  constexpr unsigned kSeed = 20'260;
  std::mt19937 dice(kSeed);
  v1::SubmitRequest submit;
  submit.mutable_spec()->set_name("night");
  submit.mutable_spec()->set_config("x = 1");
  submit.mutable_spec()->add_arguments("--a.b=c");
  const std::vector<std::string> seeds = {FullHeartbeat().SerializeAsString(), submit.SerializeAsString()};
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = seeds[round % seeds.size()];
    for (unsigned edits = 1 + dice() % 4; edits > 0; --edits) {
      const size_t at = dice() % bytes.size();
      switch (dice() % 3) {
        case 0:
          bytes[at] = static_cast<char>(dice());
          break;
        case 1:
          bytes.insert(at, 1, static_cast<char>(dice()));
          break;
        default:
          bytes.resize(std::max<size_t>(at, 1));
      }
    }
    ParseAndConvert<v1::HeartbeatRequest>(bytes);
    ParseAndConvert<v1::SubmitRequest>(bytes);
    ParseAndConvert<v1::RegisterRequest>(bytes);
    ParseAndConvert<v1::CommitCheckpointRequest>(bytes);
    ParseAndConvert<v1::ReportMaskRequest>(bytes);
    ParseAndConvert<v1::SetKeyRequest>(bytes);
    ParseAndConvert<v1::GetKeyRequest>(bytes);
    ParseAndConvert<v1::WatchRequest>(bytes);
    ParseAndConvert<v1::ListRequest>(bytes);
    ParseAndConvert<v1::DrainRequest>(bytes);
  }
}

TEST(FromWire, PartsOfLogsOutOfRangeAreRefusedByName) {
  v1::SendLogRequest good;
  good.mutable_speaker()->set_worker("a");
  v1::LogPart& part = *good.add_parts();
  part.set_job("night-1");
  part.set_generation(1);
  part.set_rank(65'535);
  part.set_offset(int64_t{1} << 62);
  part.set_text(std::string(64 << 10, '\xff'));
  const auto query = FromWire(good, kLimits);
  ASSERT_TRUE(query.ok()) << query.status();
  EXPECT_EQ(query->parts.at(0).key, (LogKey{1, 65'535}));
  EXPECT_EQ(query->parts.at(0).text, part.text());
  const auto refused = [&](const char* what, auto change) {
    v1::SendLogRequest wire = good;
    change(wire);
    const absl::Status status = Refusal(wire);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_NE(std::string(status.message()).find(what), std::string::npos) << status;
  };
  refused("worker", [](auto& wire) { wire.clear_speaker(); });
  refused("job", [](auto& wire) { wire.mutable_parts(0)->set_job("a/b"); });
  refused("generation", [](auto& wire) { wire.mutable_parts(0)->set_generation(0); });
  refused("rank", [](auto& wire) { wire.mutable_parts(0)->set_rank(-1); });
  refused("rank", [](auto& wire) { wire.mutable_parts(0)->set_rank(65'536); });
  refused("offset", [](auto& wire) { wire.mutable_parts(0)->set_offset(-1); });
  refused("offset", [](auto& wire) { wire.mutable_parts(0)->set_offset(INT64_MAX); });
  refused("text", [](auto& wire) { wire.mutable_parts(0)->mutable_text()->push_back('x'); });
  refused("256", [](auto& wire) {
    for (int i = 0; i < 256; ++i) wire.add_parts();
  });
  refused("together", [&](auto& wire) {
    for (int i = 0; i < 16; ++i) *wire.add_parts() = good.parts(0);
  });
}

TEST(FromWire, QuestionsForLogsOutOfRangeAreRefusedByName) {
  v1::ReadLogRequest wire;
  wire.set_job("night-1");
  const auto all = FromWire(wire, kLimits);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_FALSE(all->rank || all->generation || all->follow);
  wire.set_rank(0);
  wire.set_generation(3);
  const auto one = FromWire(wire, kLimits);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->rank, 0);
  EXPECT_EQ(one->generation, 3);
  wire.set_tail_bytes(-1);
  EXPECT_EQ(Refusal(wire).code(), absl::StatusCode::kInvalidArgument);
  wire.set_tail_bytes(0);
  wire.set_generation(0);
  EXPECT_EQ(Refusal(wire).code(), absl::StatusCode::kInvalidArgument);
  wire.set_generation(1);
  wire.set_rank(-1);
  EXPECT_EQ(Refusal(wire).code(), absl::StatusCode::kInvalidArgument);
  wire.clear_job();
  EXPECT_EQ(Refusal(wire).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace filigree::coordinator
