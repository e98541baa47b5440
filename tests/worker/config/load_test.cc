#include "worker/config/load.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "worker/config/keys.h"

// Files and overrides: what is taken, what is refused, and what the refusal says.

namespace filigree::config {
namespace {

std::string Refusal(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const auto settings = Parse(text, "run.toml", overrides);
  EXPECT_FALSE(settings.ok()) << text;
  if (settings.ok()) return "";
  EXPECT_EQ(settings.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(settings.status().message());
}

void ExpectRefusal(const std::string& start, const std::string& text, const std::vector<std::string>& overrides = {},
                   const std::string& part = "") {
  const std::string message = Refusal(text, overrides);
  EXPECT_EQ(message.substr(0, start.size()), start);
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

TEST(Parse, EmptyTextGivesResolvedDefaults) {
  const auto settings = Parse("", "run.toml");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->model.d_model, 256);
  EXPECT_EQ(settings->model.d_mlp, 1024);
  EXPECT_EQ(settings->sparsity.regime, Regime::kActive);
  EXPECT_EQ(settings->train.shards, 4);
  EXPECT_TRUE(Validate(*settings).ok());
}

TEST(Parse, TakesEveryTypeOfValue) {
  const auto settings = Parse(
      "[run]\ndir = \"runs/a b/\"\nsteps = 7\n"
      "[model]\nactivation = \"relu\"\nafrac = 1\nsink = true\ntopk_places = [\"mlp_neuron\", \"attn_v\"]\n"
      "[sparsity]\ndensity = \"1/64\"\nanneal_shape = \"power\"\nbiases = \"sparse\"\n"
      "[sample]\nprompt = \"class A:\\n\"\n",
      "run.toml");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->run.dir, "runs/a b/");
  EXPECT_EQ(settings->run.name, "a b");
  EXPECT_EQ(settings->run.steps, 7);
  EXPECT_EQ(settings->model.activation, Activation::kRelu);
  EXPECT_EQ(settings->model.afrac, 1);
  EXPECT_TRUE(settings->model.sink);
  EXPECT_EQ(settings->model.topk_places, (std::vector<std::string>{"mlp_neuron", "attn_v"}));
  EXPECT_EQ(settings->sparsity.density, 1.0 / 64);
  EXPECT_EQ(settings->sparsity.anneal_shape, AnnealShape::kPower);
  EXPECT_EQ(settings->sparsity.biases, Biases::kSparse);
  EXPECT_EQ(settings->sample.prompt, "class A:\n");
}

TEST(Parse, OverridesComeAfterTheFileAndInOrder) {
  const auto settings = Parse("[run]\nsteps = 7\n[model]\nd_model = 64\n", "run.toml",
                              {"--run.steps=8", "run.steps=9", "--sparsity.density=1/256", "--model.sink=true",
                               "--model.topk_places=mlp_in, mlp_out", "--optim.eps=1e-3", "--sample.prompt=a=b"});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->run.steps, 9);
  EXPECT_EQ(settings->model.d_model, 64);
  EXPECT_EQ(settings->model.d_mlp, 256);
  EXPECT_EQ(settings->sparsity.density, 1.0 / 256);
  EXPECT_TRUE(settings->model.sink);
  EXPECT_EQ(settings->model.topk_places, (std::vector<std::string>{"mlp_in", "mlp_out"}));
  EXPECT_EQ(settings->optim.eps, 1e-3);
  EXPECT_EQ(settings->sample.prompt, "a=b");
  const auto off = Parse("", "", {"--model.topk_places="});
  ASSERT_TRUE(off.ok());
  EXPECT_TRUE(off->model.topk_places.empty());
}

TEST(Parse, NamesPlaceAndNearestOfAnUnknownKey) {
  ExpectRefusal("run.toml:3:1: unknown key 'run.stepz'; the nearest known one is run.steps", "\n[run]\nstepz = 3\n");
  ExpectRefusal("run.toml:1:2: unknown section [sparcity]; the nearest known one is [sparsity]",
                "[sparcity]\ndensity = 0.5\n", {}, "");
  ExpectRefusal("run.toml:1:1: unknown key 'steps'; the nearest known one is run.steps", "steps = 3\n");
  ExpectRefusal("run.toml:2:3: unknown key 'train.steps'; the nearest known one is run.steps",
                "[train]\n  steps = 3\n");
  ExpectRefusal("--model.dmodel=3: unknown key 'model.dmodel'; the nearest known one is model.d_model", "",
                {"--model.dmodel=3"});
  ExpectRefusal("--lr=3: unknown key 'lr'; the nearest known one is optim.lr", "", {"--lr=3"});
}

TEST(Parse, NamesTheProblemThatStandsFirstInTheFile) {
  ExpectRefusal("run.toml:2:9: run.steps is 0", "[run]\nsteps = 0\n[data]\ndirr = \"x\"\n");
  ExpectRefusal("run.toml:2:1: unknown key 'data.dirr'", "[data]\ndirr = \"x\"\n[run]\nsteps = 0\n");
}

TEST(Parse, SaysWhatATypeShouldHaveBeen) {
  ExpectRefusal("run.toml:2:9: run.steps is 'many', expected a whole number from 1", "[run]\nsteps = \"many\"\n");
  ExpectRefusal("run.toml:2:9: run.steps is 2.5, expected a whole number", "[run]\nsteps = 2.5\n");
  ExpectRefusal("run.toml:2:8: model.sink is 1, expected true or false", "[model]\nsink = 1\n");
  ExpectRefusal("run.toml:2:9: model.afrac is 'some', expected a number above 0 and at most 1",
                "[model]\nafrac = \"some\"");
  ExpectRefusal("run.toml:2:9: model.afrac is true", "[model]\nafrac = true");
  ExpectRefusal("run.toml:2:7: data.dir is 3, expected a line of text in quotes", "[data]\ndir = 3");
  ExpectRefusal("run.toml:2:15: model.topk_places is 'attn_in', expected a list", "[model]\ntopk_places = \"attn_in\"");
  ExpectRefusal("run.toml:2:15: model.topk_places is a list of other things than text, expected a list of words",
                "[model]\ntopk_places = [1]");
  ExpectRefusal("run.toml:2:15: model.topk_places has the unknown word 'attn_inn', the nearest known one is attn_in",
                "[model]\ntopk_places = [\"attn_inn\"]");
  ExpectRefusal("run.toml:2:15: model.topk_places names mlp_in twice",
                "[model]\ntopk_places = [\"mlp_in\", \"mlp_in\"]");
  ExpectRefusal("run.toml:2:14: model.activation has the unknown word 'rely', the nearest known one is relu",
                "[model]\nactivation = \"rely\"");
  ExpectRefusal(
      "run.toml:2:9: run.steps is a date or time, expected a whole number from 1 to 1000000000; the "
      "default is 1000",
      "[run]\nsteps = 2024-01-01");
  ExpectRefusal("run.toml:1:1: run is a section; write [run]", "run = 5");
  ExpectRefusal("run.toml:1:3: run is a section; write [run]", "[[run]]\nsteps = 5");
  ExpectRefusal("run.toml:2:9: run.steps is a table, expected a whole number", "[run]\nsteps = {a = 1}");
  ExpectRefusal("run.toml:2:7: data.dir is a table, expected a line of text in quotes, as in", "[data]\ndir = {a = 1}");
  ExpectRefusal("'--run.steps': has no value; write --run.steps=VALUE", "", {"--run.steps"});
  ExpectRefusal("--run.steps=12x: run.steps is '12x', expected a whole number", "", {"--run.steps=12x"});
  ExpectRefusal("--run.steps=: run.steps is '', expected a whole number", "", {"--run.steps="});
}

// One step beyond either end of every range, and the ends themselves, by the table of keys itself.
TEST(Parse, HoldsTheRangeOfEveryKey) {
  int ranges = 0;
  for (const Key& key : Keys()) {
    const auto refused = [&](const std::string& value) {
      ++ranges;
      ExpectRefusal(fmt::format("--{}={}: {} is ", key.name, value, key.name), "", {"--" + key.name + "=" + value},
                    "; the default is ");
    };
    // A value inside the range may break a rule with the defaults of other keys, never its own range.
    const auto inside = [&](const std::string& value) {
      const auto settings = Parse("", "", {"--" + key.name + "=" + value});
      if (settings.ok()) return;
      const std::string message(settings.status().message());
      EXPECT_EQ(message.find("expected a"), std::string::npos) << message;
    };
    if (const auto* f = std::get_if<IntField>(&key.field)) {
      refused(fmt::format("{}", f->low - 1));
      refused(f->high == INT64_MAX ? "9223372036854775808" : fmt::format("{}", f->high + 1));
      inside(fmt::format("{}", f->low));
      inside(fmt::format("{}", f->high));
    } else if (const auto* f = std::get_if<RealField>(&key.field)) {
      const bool low_out = f->bounds == Bounds::kOpenLow || f->bounds == Bounds::kOpen;
      const bool high_out = f->bounds == Bounds::kOpenHigh || f->bounds == Bounds::kOpen;
      const double below = low_out ? f->low : std::nextafter(f->low, -1.0);
      const double above = high_out ? f->high : std::nextafter(f->high, INFINITY);
      refused(fmt::format("{}", below));
      refused(fmt::format("{}", above));
      refused("nan");
      refused("inf");
      refused("-inf");
      refused("1/0");
      inside(fmt::format("{}", std::nextafter(f->low, 1.0)));
      inside(fmt::format("{}", std::nextafter(f->high, 0.0)));
    } else if (std::holds_alternative<BoolField>(key.field)) {
      refused("yes");
    } else if (std::holds_alternative<ChoiceField>(key.field)) {
      ExpectRefusal(fmt::format("--{0}=zzz: {0} has the unknown word 'zzz'", key.name), "", {key.name + "=zzz"});
    } else if (const auto* f = std::get_if<TextField>(&key.field)) {
      ExpectRefusal(fmt::format("--{}=\xff: {} is '\\xff', which is not UTF-8", key.name, key.name), "",
                    {key.name + "=\xff"});
      if (f->one_line) ExpectRefusal("--" + key.name, "", {key.name + "=a\nb"}, "control character at byte 1");
    }
  }
  EXPECT_GT(ranges, 100);
}

TEST(Load, ReadsAFileAndSaysWhyItCannot) {
  const std::filesystem::path dir = std::filesystem::temp_directory_path() / "filigree_load_test";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  const std::string file = dir / "a.toml";
  std::ofstream(file) << "[run]\nsteps = 12\n";
  const auto settings = Load(file, {"--run.threads=2"});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->run.steps, 12);
  EXPECT_EQ(settings->run.threads, 2);
  const auto missing = Load(dir / "b.toml");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_NE(std::string(missing.status().message()).find("b.toml"), std::string::npos);
  EXPECT_EQ(Load(dir).status().code(), absl::StatusCode::kInvalidArgument);
  std::ofstream(dir / "long.toml") << std::string(kMaxFileBytes + 1, '#');
  EXPECT_EQ(Load(dir / "long.toml").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Load("", {"--run.steps=3"})->run.steps, 3);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace filigree::config
