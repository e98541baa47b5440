#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "worker/config/load.h"

// The configurations in deploy/configs load, are valid and say what they claim.

namespace filigree::config {
namespace {

Settings Ready(const std::string& name) {
  const auto settings = Load(std::string(FILIGREE_CONFIGS) + "/" + name);
  EXPECT_TRUE(settings.ok()) << settings.status();
  return settings.ok() ? *settings : Settings();
}

TEST(ReadyConfigs, AllLoadWithPathsOfTheirOwn) {
  std::set<std::string> dirs;
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(FILIGREE_CONFIGS)) {
    if (entry.path().extension() != ".toml") continue;
    ++files;
    const Settings settings = Ready(entry.path().filename());
    EXPECT_TRUE(Validate(settings).ok());
    EXPECT_TRUE(RequirePaths(settings).ok());
    EXPECT_EQ(settings.run.dir, "runs/" + entry.path().stem().string());
    EXPECT_TRUE(dirs.insert(settings.run.dir).second);
  }
  EXPECT_GE(files, 8);
}

TEST(ReadyConfigs, QuickstartLeavesHalfOfTheWeightsToTheRanking) {
  const Settings s = Ready("quickstart.toml");
  EXPECT_LE(s.sparsity.density, 1.0 / 16);
  // Nonzeros a unit against the j that min alive takes of them.
  const double nonzeros = s.sparsity.density * static_cast<double>(s.model.d_model);
  EXPECT_LE(static_cast<double>(s.sparsity.min_alive), nonzeros / 2);
  EXPECT_EQ(s.data.dir, "data/python");
}

TEST(ReadyConfigs, AuthorsScript) {
  const Settings s = Ready("authors.toml");
  EXPECT_EQ(s.model.d_model, 1024);
  EXPECT_EQ(s.model.n_layer, 8);
  EXPECT_EQ(s.model.n_ctx, 256);
  EXPECT_EQ(s.train.batch, 512);
  EXPECT_EQ(s.sparsity.density, 1.0 / 64);
  EXPECT_EQ(s.sparsity.embedding_density, 1.0 / 16);
  EXPECT_EQ(s.optim.lr, 1.28e-2);
  EXPECT_NEAR(static_cast<double>(s.run.steps * s.train.batch * s.model.n_ctx), 32e9, 1e6);
}

TEST(ReadyConfigs, SweepHoldsTheNonzerosOfItsSmallestModel) {
  for (const int ef : {1, 2, 4, 8, 16}) {
    const Settings s = Ready("sweep-" + std::to_string(ef) + "x.toml");
    EXPECT_EQ(s.model.d_model, 256 * ef);
    EXPECT_EQ(s.model.n_layer, 8);
    const double pfrac = 1.0 / 8;
    EXPECT_DOUBLE_EQ(s.sparsity.density, pfrac / (ef * ef));
    EXPECT_DOUBLE_EQ(s.sparsity.embedding_density, pfrac / ef);
  }
}

TEST(ReadyConfigs, ReleasedShape) {
  const Settings s = Ready("csp-yolo2.toml");
  EXPECT_EQ(s.model.d_model, 2048);
  EXPECT_EQ(s.model.d_mlp, 8192);
  EXPECT_EQ(s.model.n_layer, 8);
  EXPECT_EQ(s.model.d_model / s.model.d_head, 128);
  EXPECT_EQ(s.model.d_pos_emb, 32);
  EXPECT_TRUE(s.model.sink);
  EXPECT_EQ(s.sparsity.density, 1.0 / 1024);
  EXPECT_EQ(s.sparsity.embedding_density, 1.0 / 128);
}

}  // namespace
}  // namespace filigree::config
