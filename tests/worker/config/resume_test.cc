#include <gtest/gtest.h>

#include <filesystem>

#include "worker/config/keys.h"
#include "worker/config/load.h"
#include "worker/config/value.h"

// What a resumed run may change, key by key.

namespace filigree::config {
namespace {

// Another valid value of the key.
void Change(const Key& key, Settings& settings) {
  if (const auto* f = std::get_if<IntField>(&key.field))
    f->at.edit(settings) += 1;
  else if (const auto* f = std::get_if<RealField>(&key.field))
    f->at.edit(settings) *= 0.5;
  else if (const auto* f = std::get_if<BoolField>(&key.field))
    f->at.edit(settings) = !f->at.read(settings);
  else if (const auto* f = std::get_if<TextField>(&key.field))
    f->at.edit(settings) += "other";
  else if (const auto* f = std::get_if<WordsField>(&key.field))
    f->at.edit(settings).pop_back();
  else if (const auto* f = std::get_if<ChoiceField>(&key.field))
    f->set(settings, (f->get(settings) + 1) % static_cast<int>(f->words.size()));
}

const std::vector<std::string>& FreeKeys() {
  static const std::vector<std::string> keys = {
      "run.dir", "run.name", "run.threads", "data.dir", "eval.every", "eval.sequences", "sample.every", "sample.tokens",
      "sample.top_p", "sample.prompt", "checkpoint.every", "checkpoint.keep", "telemetry.listen", "telemetry.open",
      "telemetry.job", "telemetry.serve",
      // The regime may change where the run stands, and what it means to the state is said when it does.
      "sparsity.regime", "sparsity.candidates", "sparsity.refresh_every", "sparsity.drop", "sparsity.newcomers",
      "sparsity.line_reserve", "sparsity.dense_phase",
      // So may the form in which activations are kept.
      "model.activation_storage",
      // So may the grid of ranks: it changes no bit.
      "parallel.data", "parallel.tensor", "parallel.backend", "parallel.stuck_after", "parallel.elastic",
      "parallel.overlap"};
  return keys;
}

TEST(CheckResume, NamesEveryChangedKeyThatAltersTheRun) {
  int fixed = 0;
  for (const Key& key : Keys()) {
    if (key.name == "sample.temperature") continue;
    const Settings stored;
    Settings wanted = stored;
    Change(key, wanted);
    if (key.name == "optim.warmup" || FormatValue(key, stored) == FormatValue(key, wanted)) Change(key, wanted);
    ASSERT_NE(FormatValue(key, stored), FormatValue(key, wanted)) << key.name;
    const absl::Status status = CheckResume(stored, wanted);
    const bool free = std::count(FreeKeys().begin(), FreeKeys().end(), key.name) > 0;
    EXPECT_EQ(status.ok(), free) << key.name << status;
    if (free) continue;
    ++fixed;
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    const std::string part = key.name + " was " + FormatValue(key, stored) + " and is now " + FormatValue(key, wanted);
    EXPECT_NE(std::string(status.message()).find(part), std::string::npos) << status;
  }
  EXPECT_EQ(fixed, 40);
}

TEST(CheckResume, NamesAllOfSeveral) {
  Settings stored, wanted;
  wanted.run.steps = 5;
  wanted.optim.lr = 0.1;
  wanted.run.threads = 3;
  const std::string message(CheckResume(stored, wanted).message());
  EXPECT_NE(message.find("run.steps was 1000 and is now 5; optim.lr was 0.0512 and is now 0.1"), std::string::npos)
      << message;
  EXPECT_EQ(message.find("threads"), std::string::npos);
}

TEST(CheckResume, KnowsTheSameFolderInOtherWords) {
  Settings stored, wanted;
  stored.init.from = "imports/a";
  for (const std::string& same : {std::string("imports/a/"), std::string("./imports//a"),
                                  (std::filesystem::current_path() / "imports/x/../a").string()}) {
    wanted.init.from = same;
    EXPECT_TRUE(CheckResume(stored, wanted).ok()) << same;
  }
  wanted.init.from = "imports/b";
  EXPECT_FALSE(CheckResume(stored, wanted).ok());
  wanted.init.from = "";
  EXPECT_FALSE(CheckResume(stored, wanted).ok());
}

TEST(CheckResume, ResolvedAndUnresolvedAreTheSameOnceLoaded) {
  const auto stored = Parse("", "");
  const auto wanted = Parse("[sparsity]\nregime = \"active\"\n[model]\nd_mlp = 1024\n", "");
  ASSERT_TRUE(stored.ok() && wanted.ok());
  EXPECT_TRUE(CheckResume(*stored, *wanted).ok());
}

}  // namespace
}  // namespace filigree::config
