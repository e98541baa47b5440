#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tiles.h"
#include "worker/config/keys.h"
#include "worker/config/load.h"
#include "worker/config/value.h"

// ToToml and Parse are inverse: random values of every key, alone and together.

namespace filigree::config {
namespace {

using testing_support::Rng;

void Randomise(const Key& key, Rng& rng, Settings& settings) {
  if (const auto* f = std::get_if<IntField>(&key.field)) {
    const auto span = static_cast<uint64_t>(f->high - f->low);
    f->at.edit(settings) = f->low + static_cast<int64_t>(rng.Below(std::min<uint64_t>(span, 1ULL << 62) + 1));
  } else if (const auto* f = std::get_if<RealField>(&key.field)) {
    double x = f->low + (f->high - f->low) * rng.Uniform();
    if (rng.Below(4) == 0) x = f->low + (f->high - f->low) * std::pow(2.0, -static_cast<double>(rng.Below(60)) - 1);
    f->at.edit(settings) = x == f->low || x == f->high ? (f->low + f->high) / 2 : x;
  } else if (const auto* f = std::get_if<BoolField>(&key.field)) {
    f->at.edit(settings) = rng.Below(2) == 1;
  } else if (const auto* f = std::get_if<TextField>(&key.field)) {
    static const std::vector<std::string> pieces = {"a",    "\"",  "\\", "'", "#", "=", "é",  "\xf0\x9f\xa6\x8e",
                                                    " ",    "\\u", "[",  "]", ",", ".", "/x", "-",
                                                    "1/64", "true"};
    static const std::vector<std::string> controls = {"\n", "\t", "\r", "\x01", "\x1b", "\x7f"};
    std::string text;
    for (uint64_t n = rng.Below(12); n > 0; --n) text += pieces[rng.Below(pieces.size())];
    if (!f->one_line) text += controls[rng.Below(controls.size())];
    f->at.edit(settings) = text;
  } else if (const auto* f = std::get_if<WordsField>(&key.field)) {
    std::vector<std::string> words;
    for (const std::string& word : f->words)
      if (rng.Below(2) == 1) words.insert(words.begin() + static_cast<int64_t>(rng.Below(words.size() + 1)), word);
    f->at.edit(settings) = words;
  } else if (const auto* f = std::get_if<ChoiceField>(&key.field)) {
    f->set(settings, static_cast<int>(rng.Below(f->words.size())));
  }
}

// Settings that pass every rule, whatever else was drawn.
void MakeValid(Settings& settings) {
  Resolve(settings);
  settings.sparsity.regime = Regime::kExact;
  settings.model.d_model = (settings.model.d_model / settings.model.d_head + 1) * settings.model.d_head;
  if (settings.model.d_model > 16384) settings.model.d_model = settings.model.d_head;
  settings.model.d_mlp = std::max<int64_t>(settings.model.d_mlp, 1);
  if (settings.sparsity.anneal_start >= settings.sparsity.anneal_end)
    std::swap(settings.sparsity.anneal_start, settings.sparsity.anneal_end);
  if (settings.sparsity.anneal_start == settings.sparsity.anneal_end) {
    settings.sparsity.anneal_start = 0;
    settings.sparsity.anneal_end = 1;
  }
  settings.train.batch = std::max(settings.train.batch / settings.model.n_ctx + 1, settings.train.shards);
  settings.train.batch = std::min(settings.train.batch, INT32_MAX / settings.model.n_ctx);
  settings.train.shards = std::min(settings.train.shards, settings.train.batch);
  settings.sparsity.min_alive = std::min(settings.sparsity.min_alive, settings.model.d_model);
  if (settings.parallel.tensor > 1) settings.parallel.exchange = Exchange::kTree;
  if (Validate(settings).ok()) return;
  settings.model.tensor_groups = 1;
  if (Validate(settings).ok()) return;
  settings.model.afrac = 1;
  settings.sparsity.density = settings.sparsity.density_start = 1;
  settings.sparsity.embedding_density = settings.sparsity.embedding_density_start = 0.5;
}

bool Equal(const Settings& a, const Settings& b) {
  for (const Key& key : Keys())
    if (FormatValue(key, a) != FormatValue(key, b)) return false;
  return true;
}

TEST(ToToml, ParsesBackToEqualSettings) {
  constexpr uint64_t kSeed = 20251113;
  SCOPED_TRACE(kSeed);
  Rng rng(kSeed);
  for (int round = 0; round < 500; ++round) {
    Settings settings;
    for (const Key& key : Keys()) Randomise(key, rng, settings);
    MakeValid(settings);
    const std::string text = ToToml(settings);
    const auto back = Parse(text, "back.toml");
    ASSERT_TRUE(back.ok()) << back.status() << "\n" << text;
    ASSERT_TRUE(Equal(settings, *back)) << text << "\n\n" << ToToml(*back);
    ASSERT_TRUE(CheckResume(settings, *back).ok());
  }
}

// FormatValue alone could hide a field that two keys share: every key must reach its own field.
TEST(Keys, EachHasItsOwnField) {
  constexpr uint64_t kSeed = 7;
  Rng rng(kSeed);
  for (const Key& key : Keys()) {
    Settings settings;
    const Settings defaults;
    for (int draw = 0; draw < 100 && FormatValue(key, settings) == FormatValue(key, defaults); ++draw)
      Randomise(key, rng, settings);
    for (const Key& other : Keys())
      EXPECT_EQ(FormatValue(other, settings) != FormatValue(other, defaults), other.name == key.name)
          << key.name << " " << other.name;
    EXPECT_FALSE(key.help.empty());
    EXPECT_EQ(FindKey(key.name), &key);
  }
}

TEST(Keys, DefaultsAreInRangeAndPrinted) {
  for (const Key& key : Keys()) EXPECT_EQ(CheckRange(key, DefaultSettings()), "") << key.name;
  const std::string text = ToToml(*Parse("", ""));
  for (const char* line :
       {"[run]\n", "[init]\n", "steps = 1000\n", "afrac = 0.25\n", "regime = \"active\"\n", "density_start = 0.0625\n",
        "topk_places = [\"attn_in\", ", "d_mlp = 1024\n", "sink = false\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

}  // namespace
}  // namespace filigree::config
