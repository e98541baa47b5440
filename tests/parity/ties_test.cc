// A selection of weights that rounding can turn may go either way, and only such a one: cases whose truth has a tie on
// purpose, as it falls and the other way round.

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <vector>

#include "gtest/gtest.h"
#include "tests/parity/plain_case.h"

namespace filigree::parity {
namespace {

constexpr char kOptions[] = "--threads 1 --shards 3 --quiet";
constexpr Plan kPlan = {6, 0.05, 0.3, 0.05, 1, 3, 0, 0.77, 0, 2};

// A weight that begins with another value than it was drawn.
struct Change {
  int tensor = 0;
  int64_t entry = 0;
  double value = 0;
};

std::unique_ptr<CaseWriter> MakeCase(const std::optional<Change>& change) {
  auto c = std::make_unique<CaseWriter>(TinySpec(), 3, 8);
  if (change) {
    const TensorInfo& info = c->registry[change->tensor];
    c->plain.tensor(change->tensor)[change->entry] = change->value;
    c->Add("in." + info.name, info.shape, c->plain.tensor(change->tensor));
  }
  return c;
}

// The closest turn of the first mask, which no earlier one has touched. Rounding does not reach it.
Turn ClosestTurn() {
  const std::vector<Turn> turns = TrainPlainly(*MakeCase({}), kPlan);
  const auto relative = [&](const Turn& turn) {
    return turn.step == turns.front().step ? turn.gap() / std::fabs(turn.kept_weight) : HUGE_VAL;
  };
  return *std::min_element(turns.begin(), turns.end(),
                           [&](const Turn& a, const Turn& b) { return relative(a) < relative(b); });
}

// The beginning of the one that is kept is moved until the two differ by no more than its last bits.
struct Tied {
  Change change;
  Turn turn;
};
std::optional<Tied> MakeTie(const Turn& clear) {
  Tied tied{{clear.tensor, clear.kept, MakeCase({})->plain.tensor(clear.tensor)[clear.kept]}, clear};
  for (int attempt = 0; attempt < 12; ++attempt) {
    const Turn& turn = tied.turn;
    if (turn.gap() <= 2e-7 * std::fabs(turn.kept_weight)) return tied;
    const bool is_kept = turn.kept == tied.change.entry;
    const double weight = is_kept ? turn.kept_weight : turn.dropped_weight;
    tied.change.value += (is_kept ? -1 : 1) * std::copysign(turn.gap(), weight);
    tied.change.value = static_cast<double>(static_cast<float>(tied.change.value));
    const std::vector<Turn> turns = TrainPlainly(*MakeCase(tied.change), kPlan);
    const auto same = std::find_if(turns.begin(), turns.end(), [&](const Turn& t) { return t.IsOf(clear); });
    if (same == turns.end() || std::minmax(same->kept, same->dropped) != std::minmax(clear.kept, clear.dropped)) break;
    tied.turn = *same;
  }
  return std::nullopt;
}

TEST(Ties, WhereRoundingDecidesEitherWayAgrees) {
  const std::optional<Tied> tied = MakeTie(ClosestTurn());
  ASSERT_TRUE(tied.has_value()) << "seed " << kSeed;
  for (const bool other_way : {false, true}) {
    const auto c = MakeCase(tied->change);
    TrainPlainly(*c, kPlan, other_way ? std::optional(tied->turn) : std::nullopt);
    EXPECT_TRUE(c->Agrees(kOptions)) << (other_way ? "the other way, " : "as it falls, ") << "gap " << tied->turn.gap();
    // Nor does a tie hide what is wrong.
    float& weight = c->tensors["in.lm_head.weight"][3];
    weight *= 1 + 1e-4f;
    EXPECT_FALSE(c->Agrees(kOptions));
    weight /= 1 + 1e-4f;
    c->root["steps"][5]["loss"] = c->root["steps"][5]["loss"].get<double>() * (1 + 1e-5);
    EXPECT_FALSE(c->Agrees(kOptions));
  }
}

TEST(Ties, WhereItIsClearTheOtherWayMisses) {
  const Turn clear = ClosestTurn();
  ASSERT_GT(clear.gap(), 1e-5 * std::fabs(clear.kept_weight)) << "seed " << kSeed;
  for (const bool other_way : {false, true}) {
    const auto c = MakeCase({});
    TrainPlainly(*c, kPlan, other_way ? std::optional(clear) : std::nullopt);
    EXPECT_EQ(c->Agrees(kOptions), !other_way);
  }
}

}  // namespace
}  // namespace filigree::parity
