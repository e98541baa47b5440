#include "worker/cli/dry_run.h"

#include <memory>

#include "absl/status/statusor.h"
#include "worker/cli/command.h"
#include "worker/cli/print.h"
#include "worker/data/corpus.h"
#include "worker/machine/memory.h"
#include "worker/model/spec.h"
#include "worker/plan/plan.h"
#include "worker/plan/plan_text.h"
#include "worker/run/open_run.h"

namespace filigree::cli {
namespace {

absl::StatusOr<plan::RunPlan> PlanOf(const std::string& config, const std::vector<std::string>& overrides,
                                     const DryRunOptions& options) {
  const absl::StatusOr<config::Settings> settings = train::WantedSettings(config, overrides);
  if (!settings.ok()) return settings.status();
  const absl::StatusOr<std::unique_ptr<data::Corpus>> corpus = data::Corpus::Open(settings->data.dir);
  if (!corpus.ok()) return corpus.status();
  const absl::StatusOr<model::ModelSpec> spec = model::MakeSpec(settings->model, (*corpus)->manifest().vocab);
  if (!spec.ok()) return spec.status();
  return plan::PlanRun(
      *spec, *settings,
      {options.ranks, options.ranks_per_host, machine::UsableMemory(), train::StepGoneOnFrom(settings->run.dir)});
}

}  // namespace

int RunDryRun(const std::string& config, const std::vector<std::string>& overrides, const DryRunOptions& options) {
  const absl::StatusOr<plan::RunPlan> plan = PlanOf(config, overrides, options);
  if (!plan.ok()) return Finish(plan.status());
  Print("{}", options.json ? plan::Json(*plan).dump(2) + "\n" : plan::Text(*plan));
  return options.json ? Finish(plan->fits) : ExitCodeOf(plan->fits);  // the text says it
}

}  // namespace filigree::cli
