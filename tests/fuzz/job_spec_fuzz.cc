#include "kernels/base/check.h"
#include "proto/contract/job_spec.h"
#include "tests/fuzz/fuzz_target.h"

namespace filigree::fuzz {

std::vector<std::string> Seeds() {
  contract::JobSpec plain;
  plain.name = "night-7";
  contract::JobSpec full;
  full.name = "full";
  full.config = "[model]\nd_model = 64  # \xc3\xa4\n";
  full.arguments = {"--run.steps=100", "--model.d_model=\"x\""};
  full.data = 8;
  full.tensor = 2;
  full.min_data = 4;
  full.priority = -3;
  full.idempotency_key = "key";
  full.backend = contract::Backend::kNccl;
  full.restart_limit = 1000;
  full.deadlines = {1, 2, 3};
  return {contract::EncodeJobSpec(plain), contract::EncodeJobSpec(full), "{\"name\": \"a\"}"};
}

void Try(std::string_view input) {
  const auto spec = contract::DecodeJobSpec(input, "input");
  if (!spec.ok()) return;
  CHECK(contract::Validate(*spec).ok(), "{}", std::string(contract::Validate(*spec).message()));
  const std::string text = contract::EncodeJobSpec(*spec);
  const auto again = contract::DecodeJobSpec(text, "again");
  CHECK(again.ok() && *again == *spec, "{} is read as another job", text);
}

}  // namespace filigree::fuzz
