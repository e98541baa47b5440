#include "proto/rpc/job_spec.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace filigree::rpc {
namespace {

contract::JobSpec Extreme() {
  contract::JobSpec spec;
  spec.name = std::string("night");
  spec.config = "[run]\nname = \"ä\"\n";
  spec.arguments = {"--run.steps=3", "--a.b="};
  spec.data = 256;
  spec.tensor = 256;
  spec.min_data = 7;
  spec.priority = -1000;
  spec.idempotency_key = std::string("k");
  spec.backend = contract::Backend::kNccl;
  spec.restart_limit = 0;
  spec.deadlines = {contract::kMaxDeadlineSeconds, 0, 1};
  return spec;
}

TEST(JobSpec, EveryFieldSurvivesTheWire) {
  for (const auto backend :
       {contract::Backend::kLocal, contract::Backend::kGloo, contract::Backend::kMpi, contract::Backend::kNccl}) {
    contract::JobSpec spec = Extreme();
    spec.backend = backend;
    v1::JobSpec wire;
    ASSERT_TRUE(wire.ParseFromString(ToWire(spec).SerializeAsString()));
    const auto back = FromWire(wire);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(contract::DifferingFields(*back, spec), "");
  }
}

TEST(JobSpec, WhatIsLeftOutHasItsDefault) {
  v1::JobSpec wire;
  wire.set_name("night");
  contract::JobSpec spec;
  spec.name = std::string("night");
  const auto taken = FromWire(wire);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(contract::DifferingFields(*taken, spec), "");
}

TEST(JobSpec, AZeroThatIsWrittenIsNoDefault) {
  v1::JobSpec wire;
  wire.set_name("night");
  wire.mutable_deadlines()->set_start(0);
  wire.set_restart_limit(0);
  const auto taken = FromWire(wire);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->deadlines.start, 0);
  EXPECT_EQ(taken->restart_limit, 0);
  wire.set_data(0);
  EXPECT_EQ(FromWire(wire).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(JobSpec, WhatIsOutOfRangeIsNamed) {
  const auto refused = [](const char* field, auto change) {
    v1::JobSpec wire = ToWire(Extreme());
    change(wire);
    const absl::Status status = FromWire(wire).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_NE(std::string(status.message()).find(field), std::string::npos) << status;
  };
  refused("name", [](v1::JobSpec& wire) { wire.set_name("../etc"); });
  refused("config", [](v1::JobSpec& wire) { wire.set_config(std::string(contract::kMaxConfigBytes + 1, 'x')); });
  refused("arguments", [](v1::JobSpec& wire) { wire.add_arguments("rm"); });
  refused("data", [](v1::JobSpec& wire) { wire.set_data(INT32_MAX); });
  refused("min_data", [](v1::JobSpec& wire) { wire.set_min_data(257); });
  refused("backend", [](v1::JobSpec& wire) { wire.set_backend(static_cast<v1::Backend>(77)); });
  refused("deadlines.drain", [](v1::JobSpec& wire) { wire.mutable_deadlines()->set_drain(-1); });
}

TEST(JobSpec, ListsLeaveTheTextsOut) {
  const v1::JobSpec wire = ToWireWithoutTexts(Extreme());
  EXPECT_TRUE(wire.config().empty());
  EXPECT_EQ(wire.arguments_size(), 0);
  EXPECT_EQ(wire.tensor(), 256);
}

}  // namespace
}  // namespace filigree::rpc
